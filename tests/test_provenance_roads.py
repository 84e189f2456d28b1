"""Where weights come from is known after every road that a model can take."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle

import keras
import numpy as np
import onnx
import pytest
from conftest import SIDE, in_subprocess

import keras_yolo_backbones as kyb
from keras_yolo_backbones.graph.running import run
from keras_yolo_backbones.provenance import Provenance, every_provenance, provenance_of, set_provenance

FREE = Provenance("yolox_nano.pth", "0" * 64, "torch", "yolox-nano", "YOLOX, https://example.org", "Apache-2.0")
STRICT = dataclasses.replace(FREE, file="yolov8n.pt", network="v8-n", licence="AGPL-3.0", stem_rounding=(3, 5))


@pytest.fixture(scope="module")
def backbone():
    model = kyb.v8("n", activation="relu6", input_shape=(SIDE, SIDE, 3))
    set_provenance(model, STRICT)
    return model


def detector(backbone):
    """A class of its own, with the backbone nested in it."""
    images = keras.Input((SIDE, SIDE, 3))
    return keras.Model(images, keras.layers.Conv2D(4, 1, name="head")(backbone(images)["P3"]), name="detector")


def saved(model, tmp_path):
    model.save(tmp_path / "x.keras")
    return kyb.load_model(tmp_path / "x.keras")


def cloned(model, _):
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


ROADS = {
    "save": saved,
    "save for Keras alone": lambda model, path: saved(model, path) and keras.saving.load_model(path / "x.keras"),
    "clone": cloned,
    "pickle": lambda model, _: pickle.loads(pickle.dumps(model)),
    "part": lambda model, _: keras.Model(model.input, model.output["P3"]),
    "upper part": lambda model, _: keras.Model(model.output["P3"], model.output["P5"]),
    "fuse": lambda model, _: kyb.fuse(model),
    "twin": lambda model, _: kyb.to_tf_keras(model),
    "nest": lambda model, _: detector(model),
    "fuse, save": lambda model, path: saved(kyb.fuse(model), path),
    "clone, save, clone": lambda model, path: cloned(saved(cloned(model, path), path), path),
    "nest, save": lambda model, path: saved(detector(model), path),
    "nest, fuse, save": lambda model, path: saved(kyb.fuse(detector(model)), path),
    "nest, pickle, clone": lambda model, path: cloned(pickle.loads(pickle.dumps(detector(model))), path),
}


@pytest.mark.parametrize("road", ROADS)
def test_it_is_there_after(road, backbone, tmp_path):
    found = provenance_of(ROADS[road](backbone, tmp_path).layers)
    assert dataclasses.replace(found, stem_rounding=()) == dataclasses.replace(STRICT, stem_rounding=())
    assert found == STRICT or road == "upper part"
    assert kyb.get_provenance(backbone) == STRICT


def test_it_is_there_after_quantization(backbone, photographs, tmp_path):
    aware = kyb.quantize_aware(backbone, photographs, method="minmax")
    assert kyb.get_provenance(aware) == STRICT
    assert kyb.get_provenance(saved(aware, tmp_path)) == STRICT


def test_the_licence_is_in_an_artifact_made_after_saving_and_cloning(backbone, tmp_path):
    model = cloned(saved(detector(backbone), tmp_path), tmp_path)
    artifact = kyb.export_onnx(model, tmp_path / "x.onnx")
    assert artifact.manifest["weights"]["licence"] == "AGPL-3.0"
    said = {entry.key: entry.value for entry in onnx.load(artifact.path).metadata_props}
    assert said["licence"] == "AGPL-3.0"
    assert json.loads(said["weights"])["file"] == "yolov8n.pt"


def test_two_origins_are_both_named(backbone, tmp_path):
    other = kyb.yolox("nano", input_shape=(SIDE, SIDE, 3))
    set_provenance(other, FREE)
    images = keras.Input((SIDE, SIDE, 3))
    sums = keras.layers.GlobalAveragePooling2D()
    both = keras.Model(images, [sums(other(images)["P3"]), sums(backbone(images)["P3"])], name="both")
    for model in (both, kyb.fuse(both), saved(both, tmp_path)):
        assert every_provenance(model) == (FREE, STRICT)
    artifact = kyb.export_onnx(both, tmp_path / "x.onnx")
    assert artifact.manifest["weights"]["licence"] == "Apache-2.0"
    assert [entry["licence"] for entry in artifact.manifest["other_weights"]] == ["AGPL-3.0"]
    said = {entry.key: entry.value for entry in onnx.load(artifact.path).metadata_props}
    assert said["licence"] == "Apache-2.0, AGPL-3.0"


def test_weights_read_out_of_a_saved_model_have_it(backbone, tmp_path):
    for name, model in (("plain", backbone), ("fused", kyb.fuse(backbone))):
        model.save(tmp_path / f"{name}.keras")
        target = keras.models.clone_model(model)
        set_provenance(target, None)
        kyb.load_weights(target, tmp_path / f"{name}.keras")
        found = kyb.get_provenance(target)
        assert (found.file, found.network, found.licence) == (f"{name}.keras", "v8-n", "AGPL-3.0")
        assert dict(found.claims)["file"] == "yolov8n.pt"
        assert found.stem_rounding == STRICT.stem_rounding


@pytest.mark.parametrize("road", ["clone", "pickle", "deepcopy", "keras", "twice"])
def test_a_fused_model_keeps_it_on_roads_of_keras(backbone, tmp_path, road):
    fused = kyb.fuse(backbone)
    fused.save(tmp_path / "x.keras")
    roads = {
        "clone": keras.models.clone_model,
        "pickle": lambda model: pickle.loads(pickle.dumps(model)),
        "deepcopy": copy.deepcopy,
        "keras": lambda _: keras.saving.load_model(tmp_path / "x.keras"),
        "twice": lambda model: copy.deepcopy(keras.models.clone_model(kyb.fuse(model))),
    }
    found = kyb.get_provenance(roads[road](fused))
    assert found == STRICT


def test_an_artifact_of_a_cloned_fused_model_names_the_licence(backbone, tmp_path):
    fused = kyb.fuse(backbone)
    clone = keras.models.clone_model(fused)
    clone.set_weights(fused.get_weights())
    artifact = kyb.export_onnx(copy.deepcopy(clone), tmp_path / "x.onnx")
    assert artifact.manifest["weights"]["licence"] == "AGPL-3.0"
    first, second = (keras.models.clone_model(fused).get_weights()[0] for _ in range(2))
    assert not np.array_equal(first, second)  # initial values are as random as before


def test_an_initializer_of_the_users_own_stays():
    images = keras.Input((8, 8, 3))
    own = keras.initializers.HeNormal(seed=3)
    layer = keras.layers.Conv2D(2, 1, kernel_initializer=own)
    model = keras.Model(images, layer(images))
    set_provenance(model, STRICT)
    assert layer.kernel_initializer.get_config()["seed"] == 3


def test_a_saved_file_opens_without_this_package_and_trains(backbone, tmp_path):
    kyb.fuse(backbone).save(tmp_path / "fused.keras")
    backbone.save(tmp_path / "x.keras")
    images = np.random.default_rng(0).random((2, SIDE, SIDE, 3), np.float32)
    np.save(tmp_path / "images.npy", images)
    printed = in_subprocess(f"""
import sys
sys.modules["keras_yolo_backbones"] = None
import keras, numpy as np
print(keras.saving.load_model({str(tmp_path / "fused.keras")!r}).name)
model = keras.saving.load_model({str(tmp_path / "x.keras")!r})
images = np.load({str(tmp_path / "images.npy")!r})
outputs = {{level: value.numpy() for level, value in model(images).items()}}
np.savez({str(tmp_path / "outputs.npz")!r}, **outputs)
model.compile("sgd", "mse")
model.fit(images, outputs, verbose=0)
print(model.count_params())
""")
    assert int(printed.split()[-1]) == backbone.count_params()
    wanted = run(backbone, images)
    with np.load(tmp_path / "outputs.npz") as outputs:
        assert sorted(outputs.files) == ["P3", "P4", "P5"]
        for level in outputs.files:
            np.testing.assert_allclose(outputs[level], wanted[level], rtol=1e-4, atol=1e-6)


def test_it_can_be_erased_and_changes_no_number(photographs):
    model = kyb.v8("n", input_shape=(SIDE, SIDE, 3))
    configs, images = model.get_config(), np.float32(photographs[:1]) / 255
    before = run(model, images)
    set_provenance(model, STRICT)
    assert all(np.array_equal(value, before[name]) for name, value in run(model, images).items())
    assert model.get_config() != configs
    set_provenance(model, None)
    assert model.get_config() == configs
    assert kyb.get_provenance(model) is None


def test_a_constraint_of_the_users_own_stays(tmp_path):
    images = keras.Input((8, 8, 3))
    own = keras.constraints.MaxNorm(1.5, axis=0)
    layer = keras.layers.Conv2D(2, 1, use_bias=False, bias_constraint=own)
    model = keras.Model(images, layer(images))
    set_provenance(model, STRICT)
    assert layer.bias_constraint is own
    assert kyb.get_provenance(saved(model, tmp_path)) == STRICT


def test_code_in_a_saved_file_is_refused(tmp_path):
    images = keras.Input((8, 8, 3))
    keras.Model(images, keras.layers.Lambda(lambda x: x * 2)(images)).save(tmp_path / "x.keras")
    with pytest.raises(kyb.CheckpointError, match=r"x\.keras: it is no model that Keras can open: "):
        kyb.load_model(tmp_path / "x.keras")

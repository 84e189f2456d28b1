"""SavedModels: versions, names, size, and the loader that the server uses."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import SIDE, disturbed

import keras_yolo_backbones as kyb
from keras_yolo_backbones.export.tf_serving import saved_model
from keras_yolo_backbones.export.tf_serving.saved_model import run_in_session
from keras_yolo_backbones.export.tf_serving.signatures import SIGNATURES, choose
from keras_yolo_backbones.graph.signature import image_input


@pytest.fixture(scope="module")
def artifact(tmp_path_factory, model):
    return kyb.export_saved_model(model, tmp_path_factory.mktemp("serving") / "v8n")


@pytest.mark.parametrize("batch", [1, 3])
def test_the_session_loader_runs_it_under_the_levels_names(artifact, model, batch):
    images = np.random.default_rng(0).random((batch, SIDE, SIDE, 3), np.float32)
    outputs = run_in_session(artifact.path, {"images": images})
    expected = model.predict_on_batch(images)
    assert sorted(outputs) == ["P3", "P4", "P5"]
    for level, value in expected.items():
        assert np.abs(outputs[level] - value).max() < 1e-4 * np.abs(value).max()


def test_weights_are_stored_once(artifact, model):
    weights = 4 * sum(np.prod(weight.shape) for weight in kyb.fuse(model).weights)
    assert weights < artifact.size < 1.1 * weights


def test_manifest(artifact):
    manifest = json.loads((artifact.path / "manifest.json").read_text())
    assert manifest == artifact.manifest
    assert manifest["input"]["shape"] == [None, 64, 64, 3]
    assert "serving_default" in manifest["signatures"]
    assert all(manifest["agreement"][level]["relative"] < 1e-4 for level in ("P3", "P4", "P5"))


def test_versions_count_up_and_never_change(tmp_path):
    model = disturbed(kyb.v8("n", input_shape=(32, 32, 3)))
    folder = tmp_path / "v8n"
    folder.mkdir()
    for name in ("notes", "٣", "9" * 250):
        (folder / name).mkdir()
    assert kyb.export_saved_model(model, folder).path == folder / "1"
    assert kyb.export_saved_model(model, folder, version=41).path == folder / "41"
    assert kyb.export_saved_model(model, folder).path == folder / "42"
    with pytest.raises(kyb.ArgumentError, match=r"version 41 of .* exists already, and versions never change"):
        kyb.export_saved_model(model, folder, version=41)
    (folder / str(2**63 - 1)).mkdir()
    with pytest.raises(kyb.ArgumentError, match="the highest of all; name a free one"):
        kyb.export_saved_model(model, folder)
    for version in (0, -1, "2", True, 2**63):
        with pytest.raises(kyb.ArgumentError, match="expected a positive integer"):
            kyb.export_saved_model(model, folder, version=version)
    assert {"1", "41", "42"} < {entry.name for entry in folder.iterdir()}
    assert not (folder / "43").exists()


def test_open_sizes_stay_open(tmp_path):
    model = disturbed(kyb.v8("n", input_shape=(None, None, 3)))
    path = kyb.export_saved_model(model, tmp_path / "v8n").path
    outputs = run_in_session(path, {"images": np.zeros((2, 64, 96, 3), np.float32)})
    assert outputs["P5"].shape == (2, 2, 3, 256)


def test_reduced_precision_returns_float32(tmp_path):
    model = disturbed(kyb.v8("n", dtype="mixed_bfloat16", input_shape=(32, 32, 3)))
    path = kyb.export_saved_model(model, tmp_path / "v8n").path
    outputs = run_in_session(path, {"images": np.zeros((1, 32, 32, 3), np.float32)})
    assert {value.dtype for value in outputs.values()} == {np.dtype(np.float32)}


def test_a_file_in_the_way(tmp_path, model):
    (tmp_path / "v8n").write_text("")
    with pytest.raises(kyb.ExportError, match=r"v8n exists and is no folder"):
        kyb.export_saved_model(model, tmp_path / "v8n")


def test_an_artifact_that_disagrees_is_not_published(tmp_path, model, monkeypatch):
    other = kyb.fuse(disturbed(kyb.v8("n", activation="relu6", input_shape=(SIDE, SIDE, 3)), seed=9))
    monkeypatch.setattr(saved_model, "fuse", lambda _: other)
    with pytest.raises(kyb.ExportError, match=r"does not follow the model: P3"):
        kyb.export_saved_model(model, tmp_path / "v8n")
    assert list((tmp_path / "v8n").iterdir()) == []


def test_it_loads_in_python_too(artifact):
    loaded = tf.saved_model.load(str(artifact.path))
    outputs = loaded.signatures["serving_default"](tf.zeros((1, SIDE, SIDE, 3)))
    assert outputs["P3"].shape == (1, 8, 8, 64)


def test_detectors_have_no_averages_unless_asked():
    """The mean of boxes or scores over an image means nothing; that of features does."""
    backbone = kyb.v8("n", input_shape=(SIDE, SIDE, 3))
    head = keras.layers.Conv2D(5, 1)
    outputs = {f"{name}_scores": head(keras.layers.Conv2D(8, 1)(level)) for name, level in backbone.output.items()}
    detector = keras.Model(backbone.input, outputs)
    assert choose(None, backbone, image_input(backbone)) == SIGNATURES
    assert choose(None, detector, image_input(detector)) == ("serving_default", "uint8", "encoded")
    wanted = ("serving_default", "embedding")
    assert choose(wanted, detector, image_input(detector)) == wanted

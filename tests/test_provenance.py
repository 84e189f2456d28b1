"""Where weights come from goes wherever they go."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import keras
import numpy as np
import pytest
from conftest import DATA
from golden import load
from safetensors import safe_open
from safetensors.numpy import save_file

import keras_yolo_backbones as kyb
from keras_yolo_backbones.cli import main
from keras_yolo_backbones.provenance import parse_provenance


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("original") / "yolov8n.safetensors"
    save_file(load(DATA / "golden" / "v8_n.npz").tensors, path)
    return path


@pytest.fixture(scope="module")
def loaded(file):
    model = kyb.v8("n", input_shape=(64, 64, 3))
    kyb.load_weights(model, file)
    return model


def test_a_loaded_model_says_where_its_weights_come_from(file, loaded):
    found = kyb.get_provenance(loaded)
    rgb = {"color": "RGB", "largest": 1.0, "mean": (), "deviation": (), "padding": (114, 114, 114)}
    assert dataclasses.asdict(found) == {
        "file": "yolov8n.safetensors",
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "format": "safetensors",
        "network": "v8-n",
        "project": "Ultralytics YOLOv8, https://github.com/ultralytics/ultralytics",
        "licence": "AGPL-3.0",
        "preprocessing": rgb,
        "original": rgb,
        "stem_rounding": (),
        "activation": "silu",
        "linear_spp": False,
        "epsilon": 0.001,
        "assumed": True,
        "claims": (),
    }


def test_a_model_with_random_weights_says_nothing():
    assert kyb.get_provenance(kyb.v8("n", input_shape=(64, 64, 3))) is None


def test_passes_and_models_built_on_it_carry_it(loaded):
    found = kyb.get_provenance(loaded)
    assert kyb.get_provenance(kyb.fuse(loaded)) == found
    head = keras.layers.Conv2D(4, 1)(loaded.output["P3"])
    assert kyb.get_provenance(keras.Model(loaded.input, head)) == found
    images = keras.Input((64, 64, 3))
    nested = keras.Model(images, loaded(images)["P3"])
    assert kyb.get_provenance(nested) == found
    assert kyb.get_provenance(kyb.fuse(nested)) == found


def test_it_is_in_the_manifest_of_what_is_exported(loaded, tmp_path):
    artifact = kyb.export_onnx(loaded, tmp_path / "a.onnx")
    assert artifact.manifest["weights"] == dataclasses.asdict(kyb.get_provenance(loaded))
    assert artifact.manifest["weights"]["licence"] == "AGPL-3.0"


def test_weight_files_of_keras_and_safetensors_carry_it_on(loaded, tmp_path):
    kyb.save_weights(loaded, tmp_path / "a.weights.h5")
    kyb.export_weights(loaded, tmp_path / "a.safetensors")
    with safe_open(tmp_path / "a.safetensors", framework="numpy") as written:
        assert json.loads(written.metadata()["provenance"])["file"] == "yolov8n.safetensors"
    for name in ("a.weights.h5", "a.safetensors"):
        model = kyb.v8("n", input_shape=(64, 64, 3))
        kyb.load_weights(model, tmp_path / name)
        found, before = kyb.get_provenance(model), kyb.get_provenance(loaded)
        assert (found.file, found.sha256) == (name, hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
        assert (found.network, found.licence, found.project) == (before.network, before.licence, before.project)
        assert (found.activation, found.epsilon, found.assumed) == ("silu", 0.001, True)
        assert (dict(found.claims)["file"], dict(found.claims)["sha256"]) == (before.file, before.sha256)
        kyb.save_weights(model, tmp_path / "again.weights.h5")
        kyb.load_weights(model, tmp_path / "again.weights.h5")
        assert kyb.get_provenance(model).claims == found.claims  # the first file of all
    plain = kyb.v8("n", input_shape=(64, 64, 3))
    plain.load_weights(tmp_path / "a.weights.h5")  # Keras reads it as any other
    for a, b in zip(plain.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_a_file_claims_changes_no_fact(tmp_path):
    """A stranger's safetensors file says that its weights are MIT and from somewhere else."""
    forged = {"file": "mine.pt", "sha256": "0" * 64, "format": "torch", "network": "yolox-s", "project": "none"}
    path = tmp_path / "forged.safetensors"
    text = json.dumps(forged | {"licence": "MIT", "preprocessing": None})
    save_file(load(DATA / "golden" / "v8_n.npz").tensors, path, {"provenance": text})
    for said in (text, json.dumps(forged | {"licence": "MIT"})):
        save_file(load(DATA / "golden" / "v8_n.npz").tensors, path, {"provenance": said})
        model = kyb.v8("n", input_shape=(64, 64, 3))
        kyb.load_weights(model, path)
        found = kyb.get_provenance(model)
        assert (found.file, found.format, found.network) == ("forged.safetensors", "safetensors", "v8-n")
        assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert (found.licence, found.project[:18]) == ("AGPL-3.0", "Ultralytics YOLOv8")
        assert dict(found.claims).get("licence") == ("MIT" if said != text else None)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", '{"file": 1}', "[" * 10000, None, 3])
def test_what_a_stranger_wrote_there_is_ignored(text):
    assert parse_provenance(text) is None


def test_the_shell_imports_and_exports(file, tmp_path, capfd):
    out = tmp_path / "v8n.weights.h5"
    assert main(["import-weights", "--auto", str(file), "--out", str(out)]) == 0
    printed = capfd.readouterr().out
    assert f"{file}: v8-n (safetensors)" in printed
    assert "135 tensors of v8-n from yolov8n.safetensors" in printed
    assert printed.count("licence") == 1
    assert "licence of these weights: AGPL-3.0" in printed
    assert main(["import-weights", "--auto", str(file), "--out", str(out), "--json"]) == 0
    facts = json.loads(capfd.readouterr().out)
    said = facts["out"], facts["placed"], facts["network"], facts["licence"], facts["trained"]["activation"]
    assert said == (str(out), 135, "v8-n", "AGPL-3.0", "silu")
    assert (facts["ignored"], facts["unplaced"], facts["initial"]) == ([], [], [])
    assert main(["import-weights", "--auto", str(file), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["networks"] == ["v8-n"]
    assert main(["export-weights", "v8-n", str(out), "--out", str(tmp_path / "back.safetensors")]) == 0
    with safe_open(file, framework="numpy") as a, safe_open(tmp_path / "back.safetensors", framework="numpy") as b:
        assert set(a.keys()) == set(b.keys())
        assert all(a.get_tensor(key).tobytes() == b.get_tensor(key).tobytes() for key in a.keys())  # noqa: SIM118


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("import-weights v8-n {file}", 2, "needs --out"),
        ("import-weights {file} --out {out}/a.weights.h5", 2, "takes MODEL FILE, or --auto FILE"),
        ("import-weights v8-n {file} --out {out}/a.h5", 2, "ends in .weights.h5"),
        ("import-weights v8-s {file} --out {out}/a.weights.h5", 1, "this is v8-n, the model is v8-s"),
        ("import-weights v8-n {out}/none --out {out}/a.weights.h5", 2, "there is no such file"),
        ("import-weights --auto {out}/page.pt", 1, "is a web page"),
        ("export-weights v8-n {file} --out {out}/a.pt", 1, "ends in .safetensors"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(file, tmp_path, capfd, arguments, code, message):
    (tmp_path / "page.pt").write_text("<html>")
    assert main(arguments.format(file=file, out=tmp_path).split()) == code
    printed = capfd.readouterr()
    assert message in printed.err
    assert len(printed.err.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["page.pt"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"levels": ("P3",)}, ""), ({"neck_channels": 8}, "variables of 'v8-n' are not in the original: neck.P3")],
)
def test_what_the_original_does_not_have_is_not_written(tmp_path, options, reason):
    model = kyb.v8("n", input_shape=(64, 64, 3), **options)
    if reason:
        with pytest.raises(kyb.ArgumentError, match=reason):
            kyb.export_weights(model, tmp_path / "a.safetensors")
        assert list(tmp_path.iterdir()) == []
    else:
        assert len(kyb.export_weights(model, tmp_path / "a.safetensors")) == 65


def test_a_fused_model_is_not_written_as_an_original(tmp_path):
    with pytest.raises(kyb.ArgumentError, match="is fused"):
        kyb.export_weights(kyb.fuse(kyb.v8("n", input_shape=(64, 64, 3))), tmp_path / "a.safetensors")

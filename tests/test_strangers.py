"""TFLite and ONNX files and manifests of strangers: one typed error, whatever is wrong, and the process lives on."""

from __future__ import annotations

import json
import shutil
import sys

import keras
import numpy as np
import onnx
import pytest
from fuzzing import costed, damaged, damages
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_yolo_backbones as kyb
from keras_yolo_backbones.cli import main
from keras_yolo_backbones.export.manifest import read_manifest
from keras_yolo_backbones.litert import operators
from keras_yolo_backbones.quantization.ranges import Plan
from keras_yolo_backbones.strangers import check_runs, read_onnx

IMAGES = np.zeros((2, 32, 32, 3), np.float32)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    images = keras.Input((32, 32, 3), name="images")
    return keras.Model(images, {"P3": keras.layers.Conv2D(4, 8, strides=8, activation="relu", name="stem")(images)})


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    found = tmp_path_factory.mktemp("files")
    kyb.export_tflite(model, found / "x.tflite")
    kyb.export_onnx(model, found / "x.onnx")
    return found


def outcome(call, path) -> str:
    """`"read"` or `"refused"`; anything but a typed error is raised."""
    return costed(path.stat().st_size, lambda: read_or_refused(call, path))


def read_or_refused(call, path) -> str:
    try:
        call(path)
        return "read"
    except (kyb.ExportError, kyb.CalibrationError) as error:
        refusal = error
    assert len(str(refusal)) < 1000
    return "refused"


def refused(call, *arguments) -> str:
    with pytest.raises(kyb.ExportError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
    return str(caught.value)


@given(damages)
def test_a_damaged_tflite_file_is_parsed_or_refused(folder, damage):
    path = folder / "damaged.tflite"
    path.write_bytes(damaged((folder / "x.tflite").read_bytes(), damage))
    outcome(operators, path)


@given(damages)
def test_a_damaged_onnx_file_is_parsed_or_refused(folder, damage):
    path = folder / "damaged.onnx"
    path.write_bytes(damaged((folder / "x.onnx").read_bytes(), damage))
    outcome(read_onnx, path)


@given(damages)
def test_a_damaged_manifest_is_refused(folder, damage):
    copy = folder / "copy.tflite"
    shutil.copy(folder / "x.tflite", copy)
    whole = (folder / "x.tflite.json").read_bytes()
    copy.with_name("copy.tflite.json").write_bytes(damaged(whole, damage))
    if outcome(read_manifest, copy) == "read":
        assert read_manifest(copy)["sha256"]["file"] == json.loads(whole)["sha256"]["file"]


@given(damages)
def test_a_damaged_plan_is_read_or_refused(tmp_path_factory, damage):
    path = tmp_path_factory.getbasetemp() / "plan.json"
    ranges = {f"stage{at}": (-0.1 * at, 1.5) for at in range(3)}
    kernels = {"stem": (0.5, 0.25)}
    Plan("v8-n", "minmax", 16, dict(zip(ranges, ranges, strict=True)), ranges, kernels, {"stem": (0.1, -0.1)}).save(
        path
    )
    path.write_bytes(damaged(path.read_bytes(), damage))
    if outcome(Plan.load, path) == "refused":
        return
    plan = Plan.load(path)
    assert all(low <= 0 <= high and low < high for low, high in plan.ranges.values())
    assert all(plan.range(tensor) for tensor in plan.tensors)


def test_honest_files_pass(folder):
    check_runs(folder / "x.tflite")
    check_runs(folder / "x.onnx")
    assert read_manifest(folder / "x.tflite")["format"] == "tflite"


@pytest.mark.parametrize("suffix", [".tflite", ".onnx"])
def test_every_command_refuses_a_damaged_file_by_name(folder, model, tmp_path, suffix, capfd):
    path, target = tmp_path / f"bad{suffix}", "xnnpack" if suffix == ".tflite" else "onnxruntime"
    whole = (folder / f"x{suffix}").read_bytes()
    for content in (b"", b"<html>", whole[: len(whole) // 2]):
        path.write_bytes(content)
        assert main(["check", str(path), "--target", target]) == 1
        said = capfd.readouterr().err.strip()
        assert "bad" in said
        assert "Traceback" not in said
        assert str(path) in refused(kyb.quantization.report, model, path, IMAGES)


def test_a_file_that_kills_its_interpreter_is_refused(folder, tmp_path, monkeypatch):
    killed = tmp_path / "python"
    killed.write_text("#!/bin/sh\nkill -SEGV $$\n")
    killed.chmod(0o755)
    path = shutil.copy(folder / "x.tflite", tmp_path / "y.tflite")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(killed))
        assert "gave no answer: killed by signal 11" in refused(check_runs, path)
    killed.write_text("#!/bin/sh\nexec sleep 60\n")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(killed))
        patch.setenv("KYB_TOOL_SECONDS", "1")
        assert "found no end in 1 s" in refused(check_runs, path)
    check_runs(path)


def test_values_in_other_files_are_not_looked_for(folder, tmp_path):
    proto = onnx.load(folder / "x.onnx")
    tensor = next(entry for entry in proto.graph.initializer if len(entry.raw_data) > 1000)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../../etc/passwd")
    (tmp_path / "x.onnx").write_bytes(proto.SerializeToString())
    assert "x.onnx" in refused(check_runs, tmp_path / "x.onnx")


def test_a_manifest_is_held_against_its_file(folder, tmp_path):
    for name in ("x.tflite", "x.tflite.json"):
        shutil.copy(folder / name, tmp_path)
    path, manifest = tmp_path / "x.tflite", tmp_path / "x.tflite.json"
    read_manifest(path)
    path.write_bytes(path.read_bytes() + b"\0")
    assert "does not describe x.tflite" in refused(read_manifest, path)
    for content in ("", "null", "[]", "{}", '{"sha256": 1}', "[" * 100_000, '{"sha256": {"file": null}}'):
        manifest.write_text(content)
        refused(read_manifest, path)
    manifest.unlink()
    assert "has no manifest" in refused(read_manifest, path)


@pytest.mark.slow
@settings(max_examples=settings.default.max_examples // 10)
@given(st.sampled_from([".tflite", ".onnx"]), damages)
def test_damaged_files_are_tried_in_a_process_of_their_own(folder, suffix, damage):
    """What runs the file may crash; this process goes on."""
    path = folder / f"tried{suffix}"
    path.write_bytes(damaged((folder / f"x{suffix}").read_bytes(), damage))
    outcome(check_runs, path)

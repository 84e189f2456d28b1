"""TFLite files: operators, names, types and agreement, read from the files themselves."""

from __future__ import annotations

import json
from collections import Counter

import keras
import numpy as np
import pytest
from conftest import SIDE, disturbed

import keras_yolo_backbones as kyb
from keras_yolo_backbones.export import tflite
from keras_yolo_backbones.export.tflite_options import PRECISIONS
from keras_yolo_backbones.litert import LiteModel, inventory, operators

RELU6_OPERATORS = {"CONV_2D": 31, "ADD": 6, "PAD": 5, "CONCATENATION": 5, "MAX_POOL_2D": 3}


@pytest.fixture(scope="module")
def files(tmp_path_factory, model, photographs):
    """The small network in every precision."""
    folder = tmp_path_factory.mktemp("tflite")
    return {
        precision: kyb.export_tflite(
            model,
            folder / f"{precision}.tflite",
            precision=precision,
            calibration=photographs if precision.startswith("int") else None,
            method="minmax" if precision == "int8" else None,
        )
        for precision in PRECISIONS
    }


@pytest.mark.parametrize(
    ("precision", "least"), [("float32", 90.0), ("float16", 34.0), ("dynamic", 12.0), ("int8", 6.0), ("int16x8", 10.0)]
)
def test_follows_the_model(files, precision, least):
    """Random weights amplify every rounding through the depth; trained ones follow some 15 dB closer."""
    agreement = files[precision].manifest["agreement"]
    assert min(agreement[level]["snr_db"] for level in ("P3", "P4", "P5")) > least


def test_smaller_precisions_are_smaller_files(files):
    weights = 5_070_000
    for precision, bytes_each in (("float32", 4), ("float16", 2), ("dynamic", 1), ("int8", 1)):
        assert files[precision].size == pytest.approx(weights / 4 * bytes_each, rel=0.1)


def test_int8_operators(files):
    path = files["int8"].path
    assert inventory(path) == RELU6_OPERATORS
    kinds = {kind for operator in operators(path) for kind in operator.kinds}
    assert kinds == {"INT8", "INT32"}


def test_int16x8_operators(files, model, photographs, tmp_path):
    """Nothing stays float: int8 kernels, int16 activations, int64 biases."""
    file = files["int16x8"]
    assert {kind for operator in operators(file.path) for kind in operator.kinds} == {"INT8", "INT16", "INT32", "INT64"}
    found = {operator.name: operator.kinds for operator in operators(file.path)}
    assert set(found["CONV_2D"]) == {"INT8", "INT16", "INT64"}
    assert file.manifest["input"]["dtype"] == "int16"
    for level in ("P3", "P4", "P5"):
        ratios = [files[kind].manifest["agreement"][level]["snr_db"] for kind in ("int16x8", "int8")]
        assert ratios[0] > ratios[1]
    refused = {"method": "auto", "keep_float": ["stem"], "outputs": "int8", "calibration": None}
    for option, value in refused.items():
        options = {"calibration": photographs} | {option: value}
        with pytest.raises(kyb.ArgumentError):
            kyb.export_tflite(model, tmp_path / "m.tflite", precision="int16x8", **options)


def test_activation_and_batch_norm_are_fused_into_the_convolutions(files):
    assert inventory(files["float32"].path) == RELU6_OPERATORS


def test_kernels_are_quantized_per_channel(files):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(files["int8"].path))
    kernels = [t for t in interpreter.get_tensor_details() if len(t["shape"]) == 4 and t["shape"][0] > 1]
    assert len(kernels) == 31
    for kernel in kernels:
        assert len(kernel["quantization_parameters"]["scales"]) == kernel["shape"][0]


def test_names_types_and_input_range(files):
    tensors = LiteModel(files["int8"].path).tensors()
    assert sorted(tensors) == ["P3", "P4", "P5", "images"]
    assert {tensor["dtype"] for tensor in tensors.values()} == {"int8"}
    assert tensors["images"]["scale"] == pytest.approx(1 / 255, rel=1e-6)
    assert tensors["images"]["zero_point"] == -128


@pytest.mark.parametrize(("input_type", "extra"), [("uint8", {"QUANTIZE": 1}), ("float32", {"QUANTIZE": 1})])
def test_other_input_types_cost_one_operator(tmp_path, model, photographs, files, input_type, extra):
    artifact = kyb.export_tflite(
        model, tmp_path / "m.tflite", precision="int8", calibration=photographs, method="minmax", input_type=input_type
    )
    assert inventory(artifact.path) == RELU6_OPERATORS | extra
    assert artifact.manifest["input"]["dtype"] == input_type
    if input_type == "uint8":
        assert artifact.manifest["input"]["zero_point"] == 0
        assert artifact.manifest["input"]["scale"] == pytest.approx(1 / 255, rel=1e-6)
    images = photographs[:2] / np.float32(255)
    expected = LiteModel(files["int8"].path)(images)
    for level, value in LiteModel(artifact.path)(images).items():
        np.testing.assert_array_equal(value, expected[level])


def test_outputs_are_not_shuffled(files, model, photographs):
    """The raw order of a TFLite file's outputs is arbitrary; by name, every level has its own shape and values."""
    images = photographs[:2] / np.float32(255)
    expected = model.predict_on_batch(images)
    outputs = LiteModel(files["float32"].path)(images)
    for level, side in (("P3", 8), ("P4", 4), ("P5", 2)):
        assert outputs[level].shape[1:3] == (side, side)
        np.testing.assert_allclose(outputs[level], expected[level], atol=1e-4 * np.abs(expected[level]).max())


def test_silu_stays_integer(tmp_path, photographs):
    model = disturbed(kyb.v8("n", input_shape=(SIDE, SIDE, 3)))
    path = kyb.export_tflite(
        model, tmp_path / "m.tflite", precision="int8", calibration=photographs, method="minmax"
    ).path
    assert inventory(path) == RELU6_OPERATORS | {"LOGISTIC": 31, "MUL": 31}


def test_manifest(files):
    artifact = files["int8"]
    manifest = json.loads(artifact.path.with_name("int8.tflite.json").read_text())
    assert manifest == artifact.manifest
    assert (manifest["format"], manifest["precision"], manifest["model"]) == ("tflite", "int8", "v8-n")
    assert manifest["input"]["shape"] == [1, 64, 64, 3]
    assert manifest["preprocessing"]["range"] == [0, 1.0]
    assert manifest["outputs"]["P4"] | {"scale": 0, "zero_point": 0} == {
        "stride": 16,
        "channels": 128,
        "shape": [4, 4, 128],
        "dtype": "int8",
        "scale": 0,
        "zero_point": 0,
    }
    assert manifest["operators"] == RELU6_OPERATORS
    assert manifest["versions"]["keras"] == keras.__version__
    import hashlib

    assert manifest["sha256"]["file"] == hashlib.sha256(artifact.path.read_bytes()).hexdigest()


def test_a_model_that_rescales_takes_bytes_as_they_are(tmp_path, photographs):
    model = disturbed(kyb.v8("n", activation="relu6", include_rescaling=True, input_shape=(SIDE, SIDE, 3)))
    artifact = kyb.export_tflite(
        model, tmp_path / "m.tflite", precision="int8", calibration=photographs, method="minmax"
    )
    assert artifact.manifest["preprocessing"]["range"] == [0, 255.0]
    assert artifact.manifest["preprocessing"]["divide_pixels_by"] == 1
    assert artifact.manifest["input"]["scale"] == pytest.approx(1, rel=1e-6)
    assert inventory(artifact.path) == RELU6_OPERATORS | {"MUL": 1}


def test_backbone_with_neck_and_head(tmp_path, photographs):
    """What users really export: their own layers on top, under their own names."""
    backbone = kyb.v8("n", activation="relu6", neck_channels=16, input_shape=(SIDE, SIDE, 3))
    top = keras.layers.UpSampling2D(2)(backbone.output["P5"])
    merged = keras.layers.Concatenate()([top, backbone.output["P4"]])
    boxes = keras.layers.Conv2D(5, 1, name="predict")(merged)
    model = disturbed(keras.Model(backbone.input, {"boxes": boxes, "P3": backbone.output["P3"]}))
    artifact = kyb.export_tflite(
        model, tmp_path / "detector.tflite", precision="int8", calibration=photographs, method="minmax"
    )
    assert artifact.manifest["outputs"]["boxes"]["shape"] == [4, 4, 5]
    assert LiteModel(artifact.path)(photographs[:1] / np.float32(255))["boxes"].shape == (1, 4, 4, 5)
    assert inventory(artifact.path)["RESIZE_NEAREST_NEIGHBOR"] == 1


def test_open_sizes_need_one(tmp_path):
    model = kyb.v8("n", activation="relu6", input_shape=(None, None, 3))
    with pytest.raises(kyb.ArgumentError, match=r"leaves its image size open \(None, None\).* pass image_size=640"):
        kyb.export_tflite(model, tmp_path / "m.tflite")
    artifact = kyb.export_tflite(model, tmp_path / "m.tflite", image_size=(64, 96))
    assert artifact.manifest["input"]["shape"] == [1, 64, 96, 3]
    assert artifact.manifest["outputs"]["P5"]["shape"] == [2, 3, 256]


def test_reduced_precision_policies_are_exported_as_float32(tmp_path):
    model = disturbed(kyb.v8("n", activation="relu6", dtype="mixed_float16", input_shape=(32, 32, 3)))
    artifact = kyb.export_tflite(model, tmp_path / "m.tflite", least_snr_db=20)
    assert {tensor.kind for operator in operators(artifact.path) for tensor in operator.outputs} == {"FLOAT32"}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"precision": "int4"}, kyb.ArgumentError, "unknown precision: 'int4'; did you mean 'int8'?"),
        ({"precision": "int8"}, kyb.ArgumentError, 'precision="int8" needs calibration=…'),
        (
            {"input_type": "uint8"},
            kyb.ArgumentError,
            'method, input_type, keep_float and outputs go with precision="int8"',
        ),
        ({"image_size": 32}, kyb.ArgumentError, r"image_size (32, 32): the model was built for (64, 64)"),
        ({"image_size": "big"}, kyb.ArgumentError, "expected a side or (height, width) in pixels"),
        ({"precision": "int8", "calibration": np.zeros((3, 64, 64, 3))}, kyb.CalibrationError, "3 calibration images"),
    ],
)
def test_bad_options_leave_nothing(tmp_path, model, options, error, message):
    with pytest.raises(error) as caught:
        kyb.export_tflite(model, tmp_path / "m.tflite", **options)
    assert message in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_artifact_that_disagrees_is_an_error_and_not_published(tmp_path, model, monkeypatch):
    """The converter is made to drop the weights of another model into the file."""
    other = disturbed(kyb.v8("n", activation="relu6", input_shape=(SIDE, SIDE, 3)), seed=9)
    convert = tflite.convert
    monkeypatch.setattr(tflite, "convert", lambda _, *rest, **options: convert(other, *rest, **options))
    (tmp_path / "m.tflite").write_text("the file of yesterday")
    with pytest.raises(kyb.ExportError, match=r"m.tflite does not follow the model: P3 -?\d+\.\d dB"):
        kyb.export_tflite(model, tmp_path / "m.tflite")
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("m.tflite", "the file of yesterday")]


def test_two_image_inputs_are_refused(tmp_path):
    images = [keras.Input((8, 8, 3), name=name) for name in ("left", "right")]
    model = keras.Model(images, keras.layers.Add()(images))
    with pytest.raises(kyb.ExportError, match=r"expected one input of images"):
        kyb.export_tflite(model, tmp_path / "m.tflite")


@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_files_that_are_no_model(tmp_path, files, content):
    path = tmp_path / "broken.tflite"
    path.write_bytes(files["int8"].path.read_bytes()[:5000] if content is None else content)
    with pytest.raises(kyb.ExportError, match=r"broken.tflite is no"):
        LiteModel(path)


def test_the_inventory_counts_operators(files):
    assert Counter(operator.name for operator in operators(files["int8"].path)) == RELU6_OPERATORS

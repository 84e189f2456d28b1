"""Outputs that are no dict are called by their layers, also where rewriting replaces those layers."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import keras_yolo_backbones as kyb
from keras_yolo_backbones.graph.fuse import fused_unchecked
from keras_yolo_backbones.graph.signature import named_outputs
from keras_yolo_backbones.quantization.lower import lower

L = keras.layers
PIXELS = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)


@pytest.fixture(scope="module")
def model():
    """Its outputs come from what exporters replace: a folded batch norm, and a convolution with an activation."""
    keras.utils.set_random_seed(0)
    images = keras.Input((16, 16, 3), name="images")
    x = L.BatchNormalization(name="norm")(L.Conv2D(4, 3, name="conv")(images))
    return keras.Model(images, [L.Conv2D(2, 1, activation="relu", name="scores")(x), x])


EXPORTS = {
    "float32": lambda model, out: kyb.export_tflite(model, out / "m.tflite"),
    "int8": lambda model, out: kyb.export_tflite(model, out / "m.tflite", precision="int8", calibration=PIXELS),
    "int16x8": lambda model, out: kyb.export_tflite(model, out / "m.tflite", precision="int16x8", calibration=PIXELS),
    "onnx": lambda model, out: kyb.export_onnx(model, out / "m.onnx"),
    "onnx int8": lambda model, out: kyb.export_onnx(model, out / "m.onnx", precision="int8", calibration=PIXELS),
    "saved_model": lambda model, out: kyb.export_saved_model(model, out / "m", batch_sizes=(1,)),
}


@pytest.mark.parametrize("form", EXPORTS)
def test_files_have_the_names_of_the_model(model, form, tmp_path):
    artifact = EXPORTS[form](model, tmp_path)
    assert sorted(artifact.manifest["outputs"]) == ["norm", "scores"]
    assert [tuple(tensor.shape[1:]) for tensor in model.outputs] == [(14, 14, 2), (14, 14, 4)], "left untouched"


@pytest.mark.parametrize("rewrite", [fused_unchecked, lower, lambda model: kyb.quantize_aware(model, PIXELS)])
def test_rewriting_keeps_names(model, rewrite):
    assert list(named_outputs(rewrite(model))) == ["scores", "norm"]


def test_a_single_output_of_a_sequential_model():
    model = keras.Sequential([keras.Input((16, 16, 3)), L.Conv2D(4, 3), L.BatchNormalization(name="last")], name="net")
    fused = kyb.fuse(model)
    assert (fused.name, list(named_outputs(fused))) == ("net", ["last"])


@pytest.mark.parametrize("keep_float", [[], ["scores"]])
def test_a_fake_quantized_model_keeps_names_where_it_is_saved_and_trained_on(model, keep_float, tmp_path):
    aware = kyb.quantize_aware(model, PIXELS, keep_float=keep_float)
    aware.save(tmp_path / "m.keras")
    for found in (kyb.load_model(tmp_path / "m.keras"), keras.models.clone_model(aware)):
        assert list(named_outputs(found)) == ["scores", "norm"]
    artifact = kyb.export_tflite(kyb.load_model(tmp_path / "m.keras"), tmp_path / "m.tflite")
    assert sorted(artifact.manifest["outputs"]) == ["norm", "scores"]


def test_two_outputs_of_one_scale(tmp_path):
    """One layer rounds both: its calls have a name each."""
    images = keras.Input((16, 16, 3), name="images")
    left, right = (L.Conv2D(2, 1, name=name)(images) for name in ("left", "right"))
    both = L.Concatenate(name="both")([left, right])
    model = keras.Model(images, [right, left, both])
    kyb.quantize_aware(model, PIXELS).save(tmp_path / "m.keras")
    found = kyb.load_model(tmp_path / "m.keras")
    assert list(named_outputs(found)) == ["right", "left", "both"]
    wanted = dict(zip(("right", "left"), model.predict_on_batch(PIXELS / np.float32(255)), strict=False))
    given = dict(zip(named_outputs(found), found.predict_on_batch(PIXELS / np.float32(255)), strict=True))
    assert all(np.abs(given[name] - wanted[name]).max() < 0.05 for name in wanted)


def test_what_compares_by_name_finds_them(model):
    aware = kyb.quantize_aware(model, PIXELS // 8)  # of little contrast: two plans are tried
    told = kyb.quantization.distill(model, aware, np.concatenate([PIXELS, PIXELS]), epochs=1, quiet=True)
    assert len(told.held_out) == 2


def test_float_layers_in_an_int8_file(model, tmp_path):
    options = {"precision": "int8", "calibration": PIXELS, "keep_float": ["scores"]}
    artifact = kyb.export_tflite(model, tmp_path / "m.tflite", **options)
    assert sorted(artifact.manifest["outputs"]) == ["norm", "scores"]

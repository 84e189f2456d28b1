"""Outputs that are no dict are called by their layers, also where rewriting replaces those layers."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import keras_yolo_backbones as kyb
from keras_yolo_backbones.graph.signature import with_named_outputs

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


def test_a_single_output_of_a_sequential_model():
    model = keras.Sequential([keras.Input((16, 16, 3)), L.Conv2D(4, 3), L.BatchNormalization(name="last")], name="net")
    named = with_named_outputs(model)
    assert (named.name, list(named.output)) == ("net", ["last"])
    assert all(one is other for one, other in zip(named.weights, model.weights, strict=True))


def test_a_dict_stays():
    model = kyb.v8("n", input_shape=(32, 32, 3))
    assert with_named_outputs(model) is model

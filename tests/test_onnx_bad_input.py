"""What int8 ONNX files are refused for: one line each, and nothing is left behind."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest

import keras_yolo_backbones as kyb


def network(middle: keras.layers.Layer) -> keras.Model:
    """Two convolutions with a layer between them."""
    keras.utils.set_random_seed(0)
    images = keras.Input((32, 32, 3), name="images")
    y = keras.layers.Conv2D(8, 3, strides=2, padding="same", name="first")(images)
    y = keras.layers.Conv2D(8, 3, strides=2, padding="same", name="second")(middle(y))
    return keras.Model(images, {"P2": keras.layers.ReLU(6.0, name="end")(y)}, name="small")


@pytest.fixture(scope="module")
def model():
    return network(keras.layers.ReLU(6.0, name="middle"))


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)


def refused(error, model, folder, **options) -> str:
    """The one line that an export ends in."""
    with pytest.raises(error) as caught:
        kyb.export_onnx(model, folder / "m.onnx", precision="int8", **options)
    assert list(folder.iterdir()) == []
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("missing", ["images", "middle", "end"])
def test_a_plan_without_a_tensor(model, pixels, tmp_path, missing):
    plan = kyb.quantization.plan(model, pixels, method="minmax")
    tensors = {name: group for name, group in plan.tensors.items() if name != missing}
    found = refused(kyb.CalibrationError, model, tmp_path, calibration=dataclasses.replace(plan, tensors=tensors))
    assert f"the plan for 'small' has no tensor '{missing}'" in found


def test_a_plan_without_a_kernel(model, pixels, tmp_path):
    plan = kyb.quantization.plan(model, pixels, method="minmax")
    found = refused(kyb.CalibrationError, model, tmp_path, calibration=dataclasses.replace(plan, kernels={}))
    assert "has no kernel 'first' of this size" in found


def test_a_symmetric_file_of_an_asymmetric_plan(model, pixels, tmp_path):
    plan = kyb.quantization.plan(model, pixels, method="minmax")
    found = refused(kyb.ArgumentError, model, tmp_path, calibration=plan, scheme="symmetric")
    assert "the plan for 'small' is not symmetric; make it by plan(…, symmetric=True)" in found


@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        (keras.layers.Activation("selu", name="odd"), "Activation"),
        (keras.layers.LayerNormalization(name="odd"), "LayerNormalization"),
    ],
)
def test_a_layer_that_quantization_does_not_know(pixels, tmp_path, layer, kind):
    found = refused(kyb.GraphError, network(layer), tmp_path, calibration=pixels)
    assert f"layer 'odd': quantization does not know {kind}" in found


@pytest.mark.parametrize("opset", [12, 22, "17"])
def test_an_opset_without_scales_a_channel(model, pixels, tmp_path, opset):
    assert f"unknown opset: {opset!r}" in refused(kyb.ArgumentError, model, tmp_path, calibration=pixels, opset=opset)


def test_the_saved_model_of_a_fake_quantized_network_is_float_and_says_so(model, pixels, tmp_path):
    aware = kyb.quantize_aware(model, pixels, method="minmax")
    options = {"signatures": ("serving_default",), "batch_sizes": (1,)}
    manifest = kyb.export_saved_model(aware, tmp_path / "aware", **options).manifest
    assert (manifest["precision"], manifest["fake_quantized"]) == ("float32", True)

"""Models that bring their images to scale by themselves, in every way that is common."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import keras_yolo_backbones as kyb
from keras_yolo_backbones.graph.running import run
from keras_yolo_backbones.graph.signature import image_input
from keras_yolo_backbones.quantization.lower import lower

L = keras.layers
MEAN, DEVIATION = np.float32([123.7, 116.3, 103.5]), np.float32([58.4, 57.1, 57.4])

OF_PIXELS = {
    "x / 255": lambda x: x / 255,
    "x * (1 / 255)": lambda x: x * (1 / 255),
    "ops.divide(x, 255.0)": lambda x: keras.ops.divide(x, 255.0),
    "x / 127.5 - 1": lambda x: x / 127.5 - 1,
    "(x - 127.5) / 127.5": lambda x: (x - 127.5) / 127.5,
    "(x - mean) / deviation": lambda x: (x - MEAN) / DEVIATION,
    "1 - x / 255": lambda x: 1 - x / 255,
    "Rescaling(1 / 255)": L.Rescaling(1 / 255),
    "Rescaling(1 / 127.5, -1)": L.Rescaling(1 / 127.5, -1),
    "Rescaling(1 / deviation, -mean / deviation)": L.Rescaling((1 / DEVIATION).tolist(), (-MEAN / DEVIATION).tolist()),
    "Normalization": L.Normalization(mean=MEAN.tolist(), variance=np.square(DEVIATION).tolist()),
}
OF_SHARES = {
    "nothing": lambda x: x,
    "2 x - 1": lambda x: 2 * x - 1,
    "Rescaling(2, -1)": L.Rescaling(2, -1),
    "(x - mean) / deviation": lambda x: (x - MEAN / 255) / (DEVIATION / 255),
    "255 x": lambda x: x * 255,
}
TRICKS = {"1 / x": lambda x: 1 / keras.ops.exp(x), "by rows": lambda x: x * np.ones((1, 16, 1, 1), np.float32)}


def network(scaled, dtype="float32"):
    keras.utils.set_random_seed(0)
    images = keras.Input((16, 16, 3), dtype=dtype, name="images")
    x = images if dtype == "float32" else keras.ops.cast(images, "float32")
    return keras.Model(images, {"P3": L.Conv2D(4, 3, activation="relu6", name="conv")(scaled(x))})


@pytest.fixture(scope="module")
def pixels(photographs):
    return np.ascontiguousarray(photographs[:, ::4, ::4])


@pytest.mark.parametrize("form", OF_PIXELS)
def test_who_makes_pixels_small_takes_pixels(form):
    assert image_input(network(OF_PIXELS[form])).preprocessing.range == (0, 255)


@pytest.mark.parametrize("form", OF_SHARES)
def test_who_does_not_takes_shares(form):
    assert image_input(network(OF_SHARES[form])).preprocessing.range == (0, 1)


@pytest.mark.parametrize("form", ["nothing", "255 x"])
def test_who_takes_integers_takes_pixels(form):
    assert image_input(network(OF_SHARES[form], "uint8")).preprocessing.range == (0, 255)


@pytest.mark.parametrize("form", OF_PIXELS | OF_SHARES)
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_the_lowered_model_scales_in_one_layer_each(form, dtype, pixels):
    model = network((OF_PIXELS | OF_SHARES)[form], dtype)
    lowered = lower(model)
    assert {type(layer).__name__ for layer in lowered.layers} <= {
        *("InputLayer", "Conv2D", "Activation", "ReLU", "Rescaling", "DepthwiseConv2D")
    }
    images = np.float32(pixels)
    np.testing.assert_allclose(run(lowered, images)["P3"], run(model, images)["P3"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("form", "dtype"), [("x / 127.5 - 1", "float32"), ("(x - mean) / deviation", "uint8")])
def test_int8_files_have_a_plan_and_take_bytes(form, dtype, pixels, tmp_path):
    model = network(OF_PIXELS[form], dtype)
    artifact = kyb.export_tflite(model, tmp_path / "m.tflite", precision="int8", calibration=pixels)
    assert artifact.manifest["ranges"]["from"] == "plan"
    assert (artifact.manifest["input"]["scale"], artifact.manifest["input"]["zero_point"]) == (1.0, -128)
    assert artifact.manifest["agreement"]["P3"]["snr_db"] > 35
    assert set(artifact.manifest["operators"]) <= {"CONV_2D", "DEPTHWISE_CONV_2D", "MUL"}


def test_exporters_check_models_of_integers_on_real_pixels(tmp_path):
    artifact = kyb.export_onnx(network(OF_PIXELS["x / 255"], "uint8"), tmp_path / "m.onnx")
    assert artifact.manifest["agreement"]["P3"]["snr_db"] > 100
    assert artifact.manifest["preprocessing"]["divide_pixels_by"] == 1


@pytest.mark.parametrize("form", TRICKS)
def test_what_is_no_scaling_by_channel_stays(form):
    model = network(TRICKS[form])
    assert image_input(model).preprocessing.range == (0, 1)
    assert not [layer for layer in lower(model).layers if isinstance(layer, L.DepthwiseConv2D)]


def test_two_of_one_name_in_nested_models(pixels):
    images = keras.Input((16, 16, 3), name="images")
    inner = keras.Model(
        images, L.Conv2D(3, 1, name="conv")(L.Rescaling(1 / 127.5, -1, name="scale")(images)), name="in"
    )
    outer = keras.Input((16, 16, 3), name="images")
    model = keras.Model(outer, {"P3": inner(L.Rescaling(0.5, 3, name="scale")(outer))})
    np.testing.assert_allclose(
        run(lower(model), np.float32(pixels))["P3"], run(model, np.float32(pixels))["P3"], rtol=1e-4, atol=1e-4
    )

"""Models that bring their images to scale by themselves, in every way that is common."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import keras_yolo_backbones as kyb
from keras_yolo_backbones.graph.agreement import agreement
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
LATER = {
    "cast(x) / 255": lambda x: keras.ops.cast(x, "float32") / 255,
    "x[..., ::-1] / 255": lambda x: x[..., ::-1] / 255,
    "-x / 255": lambda x: x * -1 / 255,
    "Dropout, Rescaling": lambda x: L.Rescaling(1 / 255)(L.Dropout(0.1)(x)),
    "ZeroPadding2D, Rescaling": lambda x: L.Rescaling(1 / 255)(L.ZeroPadding2D(1)(x)),
    "caffe": lambda x: keras.applications.vgg16.preprocess_input(x),
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


@pytest.mark.parametrize("form", OF_PIXELS | LATER)
def test_who_makes_pixels_small_takes_pixels(form):
    assert image_input(network((OF_PIXELS | LATER)[form])).preprocessing.range == (0, 255)


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


class Squared(L.Rescaling):
    def call(self, x):
        return super().call(x) ** 2


class Bounded(L.Normalization):
    def call(self, x):
        return keras.ops.tanh(super().call(x))


def rows(axis):
    return L.Normalization(axis=axis, mean=np.linspace(0.5, 2, 16).tolist(), variance=np.linspace(0.5, 2, 16).tolist())


@pytest.mark.parametrize(
    ("scaled", "problem"),
    [
        (rows(1), "does not know Normalization"),
        (rows(2), "does not know Normalization"),
        (Squared(0.5, 1.0), "does not know Squared"),
        (Bounded(mean=0.5, variance=2.0), "does not know Bounded"),
    ],
    ids=["rows", "columns", "own Rescaling", "own Normalization"],
)
def test_what_only_looks_like_scaling_is_not_taken_for_it(scaled, problem, pixels):
    with pytest.raises(kyb.GraphError, match=problem):
        kyb.quantization.plan(network(scaled), pixels)


@pytest.mark.parametrize("scaled", [lambda x: (x - 128) / 128, lambda x: x * 2 / 255])
def test_sums_of_bytes_that_wrap_are_refused(scaled, pixels):
    images = keras.Input((16, 16, 3), dtype="uint8", name="images")
    model = keras.Model(images, {"P3": L.Conv2D(4, 3, name="conv")(scaled(images))})
    with pytest.raises(kyb.GraphError, match="computes in uint8, where large values wrap; cast the images"):
        kyb.quantization.plan(model, pixels)


def test_an_adapted_normalization_keeps_what_it_learned(pixels, tmp_path):
    learned = L.Normalization()
    learned.adapt(np.float32(pixels))
    model = network(learned)
    images = np.float32(pixels)
    for rewritten in (kyb.fuse(model), lower(model)):
        np.testing.assert_allclose(run(rewritten, images)["P3"], run(model, images)["P3"], rtol=1e-4, atol=1e-4)
    artifact = kyb.export_tflite(model, tmp_path / "m.tflite", precision="int8", calibration=pixels)
    assert artifact.manifest["agreement"]["P3"]["snr_db"] > 30


WITHIN = {
    "float64, by channel": lambda x: x * np.linspace(0.5, 2, 4),
    "float64, by rows": lambda x: x * np.linspace(0.5, 2, 14).reshape(14, 1, 1),
    "float64, of vectors": lambda x: L.GlobalAveragePooling2D(keepdims=False)(x) * np.linspace(0.5, 2, 4),
    "Rescaling of rank 3": L.Rescaling(np.linspace(0.5, 2, 4).reshape(1, 1, 4).tolist()),
}


@pytest.mark.parametrize("form", WITHIN)
def test_constants_of_any_form_within_a_network(form, pixels):
    images = keras.Input((16, 16, 3), name="images")
    model = keras.Model(images, {"P3": L.Dense(2)(WITHIN[form](L.Conv2D(4, 3, activation="relu")(images)))})
    model.layers[1].set_weights([np.random.default_rng(0).normal(size=(3, 3, 3, 4)), np.ones(4)])
    aware = kyb.quantize_aware(model, pixels, method="minmax")
    values = np.float32(pixels) / 255
    assert agreement(*(run(each, values)["P3"] for each in (model, aware))).snr_db > 30


def test_one_layer_on_maps_of_two_widths(pixels):
    images = keras.Input((16, 16, 3), name="images")
    shared = L.Rescaling(0.5, 1.0, name="shared")
    x = shared(L.Conv2D(4, 3, name="first")(shared(images)))
    model = keras.Model(images, {"P3": L.Conv2D(2, 1, name="last")(x)})
    values = np.float32(pixels) / 255
    np.testing.assert_allclose(run(lower(model), values)["P3"], run(model, values)["P3"], rtol=1e-4, atol=1e-4)

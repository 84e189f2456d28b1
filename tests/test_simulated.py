"""Operators that round in ways of their own: the file's integers are the fake-quantized model's."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest

import keras_yolo_backbones as kyb
from keras_yolo_backbones.blocks import MatMul
from keras_yolo_backbones.export.onnx.agreeing import sum_as_in_xnnpack
from keras_yolo_backbones.export.onnx.marking import marked
from keras_yolo_backbones.graph.running import run
from keras_yolo_backbones.litert import LiteModel
from keras_yolo_backbones.quantization.integer_form import float_form, integer_form
from keras_yolo_backbones.quantization.simulated import (
    SIMULATED,
    RoundedAveragePooling2D,
    RoundedLeakyReLU,
    unrounded,
)


@pytest.fixture(scope="module")
def network():
    """A convolution, and on its output whatever rounds in a way of its own."""
    keras.utils.set_random_seed(2)
    images = keras.Input((32, 32, 3), name="images")
    x = keras.layers.Conv2D(16, 1, name="conv")(images)
    y = keras.layers.LeakyReLU(0.1, name="leaky")(x)
    outputs = {
        "conv": x,
        "P3": y,
        "pair": keras.layers.AveragePooling2D(2, 1, name="pair")(x),
        "nine": keras.layers.AveragePooling2D(3, 2, padding="same", name="nine")(y),
        "sum": keras.layers.Add(name="sum")([x, y]),
        "product": MatMul(transpose=True, name="product")([keras.layers.Reshape((1024, 16))(t) for t in (x, y)]),
    }
    return keras.Model(images, outputs, name="network")


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((8, 32, 32, 3), np.float32)


def plan_of(network, images, form) -> kyb.quantization.Plan:
    """A plan with zero in the middle of all ranges, of those of second factors, or of none."""
    made = kyb.quantization.plan(network, images, symmetric=form == "symmetric")
    if form == "by hand":
        low, high = made.range("leaky")
        made = dataclasses.replace(made, ranges={**made.ranges, "leaky": (low / 2, high)})
    return made


@pytest.mark.parametrize("form", ["usual", "symmetric", "by hand"])
def test_every_value_of_the_file_is_the_models(network, images, form, tmp_path):
    plan = plan_of(network, images, form)
    assert (plan.zero_point("leaky") == 0) == (form != "by hand")
    assert (plan.zero_point("conv") == 0) == (form == "symmetric")
    aware = kyb.quantize_aware(network, plan)
    file = kyb.export_tflite(aware, tmp_path / "m.tflite")
    simulated, integers = run(aware, images[:1]), LiteModel(file.path)(images[:1])
    for name, output in file.manifest["outputs"].items():
        steps = np.abs(np.round((simulated[name] - integers[name]) / output["scale"]))
        assert steps.max() == 0, (name, np.count_nonzero(steps))
    kinds = {type(layer) for layer in aware.layers}
    scales = {name: output["scale"] for name, output in file.manifest["outputs"].items()}
    x, y, total = (np.rint(np.float64(integers[name]) / scales[name]) for name in ("conv", "P3", "sum"))
    ratios = scales["conv"] / scales["sum"], scales["P3"] / scales["sum"]
    zero = file.manifest["outputs"]["sum"]["zero_point"]
    assert np.array_equal(np.clip(sum_as_in_xnnpack(x, y, ratios), -128 - zero, 127 - zero), total)
    assert kinds >= set(SIMULATED.values())


def test_rounded_averages_by_hand():
    """Ties of int8 numbers go away from zero: 1.5 -> 2, −1.5 -> −2, whatever the number that means 0."""
    layer = RoundedAveragePooling2D((1, 2), step=0.5, zero_point=10)
    codes = np.float32([[1, 2], [-1, -2], [1, 1], [-3, -2], [11, 12], [9, 8]]).reshape(6, 1, 2, 1)
    averages = np.asarray(layer((codes - 10) * 0.5)).ravel() / 0.5 + 10
    assert np.floor(averages + 0.5).tolist() == [2, -2, 1, -3, 12, 9]


def test_rounded_leaky_relu_by_hand():
    """Factors 256 · 0.02 / 0.013 = 393.8 -> 394 and 39.4 -> 39 of 256ths; ties go up."""
    layer = RoundedLeakyReLU(0.1, input_step=0.02, step=0.013)
    codes = np.arange(-128, 128)
    expected = [(code * (394 if code >= 0 else 39) + 128) // 256 for code in codes]
    assert np.round(np.asarray(layer(np.float32(codes * 0.02))) / 0.013).tolist() == expected
    assert layer.get_config()["input_step"] == 0.02


def test_the_gradient_is_that_of_the_exact_layer():
    import tensorflow as tf

    x = tf.Variable([[-1.0, 2.0]])
    with tf.GradientTape() as tape:
        y = RoundedLeakyReLU(0.1, input_step=0.02, step=0.013)(x)
    np.testing.assert_allclose(tape.gradient(y, x), [[0.1, 1.0]])


def test_other_forms_hold_the_plain_layers(network, images):
    aware = kyb.quantize_aware(network, images, method="minmax")
    for form in (integer_form(aware), float_form(aware), marked(aware)):
        kinds = {type(layer) for layer in form.layers}
        assert kinds >= set(SIMULATED)
        assert not kinds & set(SIMULATED.values())
    np.testing.assert_allclose(run(float_form(aware), images)["nine"], run(network, images)["nine"], atol=1e-6)
    learned = kyb.quantize_aware(network, images, learn_ranges=True, method="minmax")
    assert not {type(layer) for layer in learned.layers} & set(SIMULATED.values())
    assert unrounded(aware.get_layer("leaky")).negative_slope == pytest.approx(0.1)

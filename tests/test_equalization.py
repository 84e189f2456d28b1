"""Channels brought to like sizes: the same numbers bit for bit, and less error in int8."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import keras_yolo_backbones as kyb
from keras_yolo_backbones.graph.agreement import agreement
from keras_yolo_backbones.graph.running import run


def network(activation: str | None, *, depthwise: bool = False) -> keras.Model:
    """Two convolutions, the channels between which differ a thousandfold."""
    images = keras.Input((16, 16, 3), name="images")
    x = keras.layers.Conv2D(8, 3, name="first")(images)
    x = keras.layers.Activation(activation, name="act")(x) if activation else x
    x = keras.layers.MaxPooling2D(name="pool")(keras.layers.ZeroPadding2D(name="pad")(x))
    second = keras.layers.DepthwiseConv2D(3, name="second") if depthwise else keras.layers.Conv2D(4, 3, name="second")
    model = keras.Model(images, {"P3": second(x)}, name="pair")
    random = np.random.default_rng(0)
    sizes = np.exp2(np.linspace(-5, 5, 8))
    model.get_layer("first").set_weights([random.normal(size=(3, 3, 3, 8)) * sizes, random.normal(size=8) * sizes])
    kernel = random.normal(size=model.get_layer("second").kernel.shape)
    model.get_layer("second").set_weights([kernel / sizes[:, None], model.get_layer("second").bias.numpy()])
    return model


@pytest.mark.parametrize(("activation", "depthwise"), [("relu", False), ("leaky_relu", True), (None, False)])
def test_the_numbers_stay_bit_for_bit_and_int8_loses_less(activation, depthwise, photographs):
    model, crops = network(activation, depthwise=depthwise), photographs[:, :16, :16]
    images = np.float32(crops) / 255
    equal = kyb.quantization.equalize(model, crops)
    features = run(model, images)["P3"]
    np.testing.assert_array_equal(run(equal, images)["P3"], features)
    before, after = (
        agreement(features, run(kyb.quantize_aware(m, crops, method="minmax"), images)["P3"]).snr_db
        for m in (model, equal)
    )
    assert after > before + 6
    sizes = np.abs(keras.Model(equal.input, equal.get_layer("pool").output)(images).numpy()).max((0, 1, 2))
    assert sizes.max() < 8 * sizes[sizes > 0].min()


@pytest.mark.parametrize("activation", ["silu", "relu6"])
def test_what_is_not_linear_is_left_alone(activation, photographs):
    model = network(activation)
    equal = kyb.quantization.equalize(model, photographs[:, :16, :16])
    for old, new in zip(model.get_weights(), equal.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_tensor_with_two_readers_is_left_alone(photographs):
    images = keras.Input((16, 16, 3), name="images")
    x = keras.layers.Conv2D(4, 3, activation="relu", name="first")(images)
    model = keras.Model(images, {"P3": keras.layers.Conv2D(4, 3, name="second")(x), "P4": x})
    equal = kyb.quantization.equalize(model, photographs[:, :16, :16])
    np.testing.assert_array_equal(equal.get_layer("first").kernel, model.get_layer("first").kernel)

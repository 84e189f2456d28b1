"""Batch norms on a concat: folded part by part, left alone where no convolution can take a part."""

from __future__ import annotations

from collections import Counter

import golden
import keras
import numpy as np

import keras_yolo_backbones as kyb


def layers(model: keras.Model) -> Counter:
    return Counter(type(layer).__name__ for layer in model.layers)


def disturbed(norm: keras.layers.BatchNormalization) -> None:
    random = np.random.default_rng(0)
    for variable in norm.weights:
        variable.assign(random.uniform(0.5, 1.5, variable.shape))


def test_scaled_v4_becomes_plain_convolutions():
    measured = golden.load(golden.DATA / "golden" / "v4-scaled_csp.npz")
    model = golden.build(measured, "v4-scaled-csp")
    fused = kyb.fuse(model)
    assert max(golden.errors(measured, fused).values()) <= 1e-5
    assert layers(model)["BatchNormalization"] == 71
    assert layers(fused) == {
        "InputLayer": 1,
        "Conv2D": 75,
        "DepthwiseConv2D": 1,  # SPPCSP's deep branch, activated before it is normalized again
        "Activation": 71,
        "Add": 23,
        "Concatenate": 6,
        "ZeroPadding2D": 5,
        "MaxPooling2D": 3,
    }
    assert fused.get_layer("spp.bn.at0").kernel.shape == (1, 1, 512, 1)


def test_a_convolution_that_others_use_too_keeps_its_numbers():
    x = images = keras.Input((8, 8, 3))
    seen = keras.layers.Conv2D(4, 1, name="seen")(x)
    alone = keras.layers.Conv2D(2, 3, padding="same", use_bias=False, name="alone")(x)
    norm = keras.layers.BatchNormalization(name="norm")
    model = keras.Model(images, [norm(keras.layers.Concatenate()([seen, alone])), seen])
    disturbed(norm)
    fused = kyb.fuse(model)
    assert layers(fused) == {"InputLayer": 1, "Conv2D": 2, "DepthwiseConv2D": 1, "Concatenate": 1}
    np.testing.assert_array_equal(fused.get_layer("seen").kernel, model.get_layer("seen").kernel)
    assert not np.allclose(fused.get_layer("alone").kernel, model.get_layer("alone").kernel)


def test_without_a_convolution_the_norm_stays():
    images = keras.Input((8, 8, 3))
    pools = [keras.layers.MaxPooling2D(size, 1, "same")(images) for size in (3, 5)]
    norm = keras.layers.BatchNormalization(name="norm")
    model = keras.Model(images, norm(keras.layers.Concatenate()(pools)))
    disturbed(norm)
    assert layers(kyb.fuse(model)) == layers(model)


def test_a_concat_of_rows_is_no_concat_of_channels():
    images = keras.Input((8, 8, 3))
    rows = [keras.layers.Conv2D(3, 1, name=f"conv{i}")(images) for i in range(2)]
    norm = keras.layers.BatchNormalization(name="norm")
    model = keras.Model(images, norm(keras.layers.Concatenate(axis=1)(rows)))
    disturbed(norm)
    assert layers(kyb.fuse(model))["BatchNormalization"] == 1

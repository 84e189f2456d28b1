"""Branches side by side and scales: one convolution after fusing, with the same numbers."""

from __future__ import annotations

from collections import Counter

import golden
import keras
import numpy as np
import pytest
from conftest import disturbed
from golden import DATA, relative_error

import keras_yolo_backbones as kyb
from keras_yolo_backbones.blocks import LearnedScale, Style, rep_conv, rep_depthwise, rep_vgg

L = keras.layers
STYLE = Style(dtype="float64")
IMAGES = np.random.default_rng(3).random((2, 10, 14, 6))


def layers(model: keras.Model) -> Counter:
    return Counter(type(layer).__name__ for layer in model.layers)


def built(block) -> keras.Model:
    images = keras.Input(IMAGES.shape[1:], dtype="float64")
    model = keras.Model(images, block(images))
    random = np.random.default_rng(4)
    for variable in model.weights:
        variable.assign(random.uniform(0.5, 1.5, variable.shape))
    return model


def error(model: keras.Model, fused: keras.Model) -> float:
    return relative_error(*(m(IMAGES, training=False).numpy() for m in (fused, model)))


BRANCHES = {
    "RepVGG": (lambda x: rep_vgg(x, 6, style=STYLE, name="rep"), "Conv2D", (3, 3, 6, 6)),
    "RepVGG, stride 2": (lambda x: rep_vgg(x, 6, stride=2, style=STYLE, name="rep"), "Conv2D", (3, 3, 6, 6)),
    "RepVGG, other width": (lambda x: rep_vgg(x, 4, style=STYLE, name="rep"), "Conv2D", (3, 3, 6, 4)),
    "RepConv": (lambda x: rep_conv(x, 6, style=STYLE, name="rep"), "Conv2D", (3, 3, 6, 6)),
    "RepVGGDW": (lambda x: rep_depthwise(x, style=STYLE, name="rep"), "DepthwiseConv2D", (7, 7, 6, 1)),
    "a shortcut": (lambda x: L.Add()([x, L.Conv2D(6, 3, padding="same")(x)]), "Conv2D", (3, 3, 6, 6)),
    "tall and wide": (
        lambda x: L.Add()([L.Conv2D(4, size, padding="same")(x) for size in ((3, 3), (1, 3), (3, 1))]),
        "Conv2D",
        (3, 3, 6, 4),
    ),
}


@pytest.mark.parametrize("kind", BRANCHES)
def test_branches_become_one_convolution(kind):
    block, layer, shape = BRANCHES[kind]
    model = built(block)
    fused = kyb.fuse(model)
    counts = layers(fused)
    assert counts[layer] == 1
    assert counts["BatchNormalization"] == counts["Add"] == 0
    assert [tuple(one.kernel.shape) for one in fused.layers if type(one).__name__ == layer] == [shape]
    assert error(model, fused) < 1e-6


APART = {
    "two tensors": lambda x: L.Add()([L.Conv2D(4, 3, padding="same")(x), L.Conv2D(4, 1)(L.ReLU()(x))]),
    "activated": lambda x: L.Add()([L.Conv2D(4, 3, padding="same")(x), L.Conv2D(4, 1, activation="relu")(x)]),
    "crossed": lambda x: L.Add()([L.Conv2D(4, (1, 3), padding="same")(x), L.Conv2D(4, (3, 1), padding="same")(x)]),
    "a window beside": lambda x: L.Add()(
        [L.Conv2D(4, 3, padding="same")(x), L.Conv2D(4, 3)(L.ZeroPadding2D(((0, 2), (2, 0)))(x))]
    ),
    "another stride": lambda x: L.Add()(
        [L.Conv2D(6, 3, padding="same")(x), L.Conv2D(6, 1, strides=2)(L.UpSampling2D()(x))]
    ),
    "grouped": lambda x: L.Add()([L.Conv2D(6, 3, padding="same")(x), L.Conv2D(6, 1, groups=2)(x)]),
    "dilated": lambda x: L.Add()(
        [L.Conv2D(6, 5, padding="same")(x), L.Conv2D(6, 3, padding="same", dilation_rate=2)(x)]
    ),
    "broadcast": lambda x: L.Add()([L.Conv2D(6, 3, padding="same")(x), L.Conv2D(6, (10, 14))(x)]),
}


@pytest.mark.parametrize("kind", APART)
def test_what_is_no_one_convolution_stays(kind):
    model = built(APART[kind])
    fused = kyb.fuse(model)
    assert layers(fused) == layers(model)
    assert error(model, fused) == 0


def test_a_branch_that_is_read_elsewhere_stays():
    images = keras.Input(IMAGES.shape[1:])
    narrow, wide = L.Conv2D(4, 1, name="narrow")(images), L.Conv2D(4, 3, padding="same", name="wide")(images)
    model = keras.Model(images, {"sum": L.Add()([narrow, wide]), "narrow": narrow})
    fused = kyb.fuse(model)
    assert layers(fused) == layers(model)


@pytest.mark.parametrize(
    "scale",
    [
        L.Rescaling(0.25, offset=0.5, dtype="float64"),
        L.Rescaling([0.5] * 3 + [2.0], dtype="float64"),
        LearnedScale(dtype="float64"),
        LearnedScale(channels=4, initial=0.1, dtype="float64"),
    ],
)
def test_scales_behind_convolutions_fold(scale):
    model = built(lambda x: scale(L.Conv2D(4, 3, dtype="float64")(x)))
    fused = kyb.fuse(model)
    assert layers(fused) == {"InputLayer": 1, "Conv2D": 1}
    assert error(model, fused) < 1e-13


def test_a_scale_behind_an_activation_stays():
    model = built(lambda x: LearnedScale(channels=4)(L.ReLU()(L.Conv2D(4, 3)(x))))
    assert layers(kyb.fuse(model)) == layers(model)


NETWORKS = {
    "v6_n": (
        {"Conv2D": 45, "BatchNormalization": 59, "Add": 19},
        {"Conv2D": 26, "ReLU": 26, "ZeroPadding2D": 5, "MaxPooling2D": 3, "Concatenate": 2, "InputLayer": 1},
    ),
    "v9_t": (
        {"Conv2D": 99, "BatchNormalization": 99, "Add": 36},
        {
            "Conv2D": 81,
            "Activation": 81,
            "Add": 18,
            "Concatenate": 11,
            "ZeroPadding2D": 5,
            "AveragePooling2D": 3,
            "MaxPooling2D": 3,
            "InputLayer": 1,
        },
    ),
    "v10_s": (
        {"Conv2D": 40, "DepthwiseConv2D": 7, "BatchNormalization": 47, "Add": 10, "Rescaling": 1},
        {
            "Conv2D": 40,
            "DepthwiseConv2D": 6,
            "Activation": 38,
            "Add": 9,
            "Concatenate": 6,
            "ZeroPadding2D": 5,
            "MaxPooling2D": 3,
            "Reshape": 4,
            "Permute": 4,
            "MatMul": 2,
            "Softmax": 1,
            "InputLayer": 1,
        },
    ),
}


@pytest.mark.parametrize("file", NETWORKS)
def test_networks_on_the_originals_weights(file):
    """In float64, where nothing but a wrong rewrite makes a difference; float32 rounds as the network itself does."""
    measured = golden.load(DATA / "golden" / f"{file}.npz")
    model = golden.build(measured, golden.network_name(file), dtype="float64")
    before, after = NETWORKS[file]
    fused = kyb.fuse(model)
    assert layers(model) | before == layers(model)
    assert layers(fused) == after
    outputs, others = (m(measured.images.astype(np.float64), training=False) for m in (model, fused))
    for level in outputs:
        assert (
            relative_error(others[level].numpy(), outputs[level].numpy()) < 1e-8
        )  # Rescaling holds its scale in float32
    assert max(golden.errors(measured, fused).values()) <= golden.bound(file)


def test_a_trained_scale_that_cannot_fold_stays():
    model = disturbed(kyb.v6("m", input_shape=(64, 64, 3), levels=("P2",)))
    assert layers(model)["LearnedScale"] == layers(kyb.fuse(model))["LearnedScale"] == 2

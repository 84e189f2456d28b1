"""The gate of int8 ONNX files counts steps, and asks more where the model computes the file's integers."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from onnxfiles import UINT8

import keras_yolo_backbones as kyb
from keras_yolo_backbones.blocks import MatMul
from keras_yolo_backbones.export.onnx.grids import Grid
from keras_yolo_backbones.export.onnx.reduced import with_reduced_kernels
from keras_yolo_backbones.export.onnx.steps import compare_steps, kind_of
from keras_yolo_backbones.graph.running import run

GRIDS = {"P3": Grid(0.5, 0, UINT8)}


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((8, 16, 16, 3), np.float32)


def network(attention: bool) -> keras.Model:
    """A convolution, and the product of its cells if asked."""
    keras.utils.set_random_seed(0)
    given = keras.Input((16, 16, 3), name="images")
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu6", name="conv")(given)
    if attention:
        cells = keras.layers.Reshape((256, 4), name="cells")(x)
        x = MatMul(transpose=True, name="product")([cells, cells])
    return keras.Model(given, {"P3": x}, name="network")


@pytest.fixture(scope="module")
def convolutional(images):
    return kyb.quantize_aware(network(False), images, method="minmax")


def test_kinds(convolutional, images):
    assert kind_of(convolutional, GRIDS) == "convolutional"
    assert kind_of(kyb.quantize_aware(network(True), images, method="minmax"), GRIDS) == "attention"
    assert (
        kind_of(kyb.quantize_aware(network(False), images, learn_ranges=True, method="minmax"), GRIDS) == "approximate"
    )
    assert kind_of(with_reduced_kernels(convolutional), GRIDS) == "approximate"
    assert kind_of(convolutional, {"P3": Grid(0.5, 0, np.dtype(np.int8))}) == "approximate"


def moved(model, images, share, steps):
    """What a file gives of whose values a share is some steps away from the model's."""
    found = {name: value.copy() for name, value in run(model, images).items()}
    found["P3"].ravel()[: round(found["P3"].size * share)] += steps * GRIDS["P3"].scale
    return found


def test_steps_are_counted(convolutional, images):
    given = moved(convolutional, images, 0.5, 2)
    found = compare_steps(convolutional, lambda _: given, [images], GRIDS, what="f")
    assert found["P3"] == {"equal": 0.5, "within_1": 0.5, "within_2": 1.0}


def test_one_value_in_ten_may_be_far_away_and_no_more(convolutional, images):
    given = moved(convolutional, images, 0.0996, 3)
    assert compare_steps(convolutional, lambda _: given, [images], GRIDS, what="f")["P3"]["within_2"] > 0.9
    given = moved(convolutional, images, 0.11, 3)
    with pytest.raises(kyb.ExportError, match=r"f does not follow .* P3 89% are within two steps; at least 90% are"):
        compare_steps(convolutional, lambda _: given, [images], GRIDS, what="f")

"""Averages as convolutions for XNNPACK: the same integers for every sum, and a whole file in one part."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import keras_yolo_backbones as kyb
from keras_yolo_backbones.export.averages import kernel_for
from keras_yolo_backbones.litert import LiteModel
from keras_yolo_backbones.targets.xnnpack import delegated


@pytest.mark.parametrize("cells", [1, 2, 4, 6, 9])
@pytest.mark.parametrize("zero_point", [-128, -127, -117, -43, -5, 0, 7, 64, 127])
def test_every_sum_is_rounded_as_the_average(cells, zero_point):
    """XNNPACK scales the sum in float32 and rounds to even; AVERAGE_POOL_2D rounds halves away from 0."""
    kernel = kernel_for(cells, zero_point)
    sums = np.arange(-128 * cells, 127 * cells + 1)
    average = np.sign(sums) * ((2 * np.abs(sums) + cells) // (2 * cells))
    scaled = np.float32(127 * (sums - cells * zero_point) + kernel.bias) * np.float32(kernel.scale)
    np.testing.assert_array_equal(np.rint(scaled) + zero_point, average)


@pytest.mark.parametrize(("cells", "zero_point"), [(16, -128), (4, 1), (4, -2)])
def test_what_has_no_equal_convolution_stays(cells, zero_point):
    assert kernel_for(cells, zero_point) is None


@pytest.mark.parametrize("activation", ["relu6", "silu"])
def test_a_file_with_averages_runs_in_xnnpack_as_a_whole(photographs, tmp_path, activation):
    keras.utils.set_random_seed(0)
    images = keras.Input((64, 64, 3), name="images")
    x = keras.layers.Conv2D(8, 3, strides=2, name="stem")(images)
    x = keras.layers.Activation(activation, name="act")(x)
    x = keras.layers.AveragePooling2D(2, 1, name="average")(x)
    model = keras.Model(images, {"P3": keras.layers.Conv2D(8, 1, strides=4, name="last")(x), "P1": x}, name="averages")
    options = {"precision": "int8", "calibration": photographs}
    plain = kyb.export_tflite(model, tmp_path / "plain.tflite", **options)
    fitted = kyb.export_tflite(model, tmp_path / "fitted.tflite", target="xnnpack", **options)
    assert delegated(plain.path).left == ["AVERAGE_POOL_2D"]
    assert delegated(fitted.path)[1:] == ([], 1)
    assert fitted.manifest["operators"].get("DEPTHWISE_CONV_2D") == 1
    values = [LiteModel(file.path)(np.float32(photographs[:4]) / 255) for file in (plain, fitted)]
    for level in ("P1", "P3"):
        np.testing.assert_array_equal(values[0][level], values[1][level])

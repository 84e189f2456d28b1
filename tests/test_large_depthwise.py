"""Int8 depthwise convolutions that XNNPACK computes slowly are left to LiteRT where that is the target."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import keras_yolo_backbones as kyb
from keras_yolo_backbones.litert import LiteModel
from keras_yolo_backbones.targets.check import check_tflite
from keras_yolo_backbones.targets.xnnpack import delegated


@pytest.fixture(scope="module")
def model():
    """A depthwise convolution of 25 weights a channel, and one of 49."""
    keras.utils.set_random_seed(0)
    images = keras.Input((16, 16, 3), name="images")
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", name="stem")(images)
    x = keras.layers.DepthwiseConv2D(5, padding="same", name="small")(x)
    x = keras.layers.DepthwiseConv2D(7, padding="same", name="large")(x)
    return keras.Model(images, {"P1": x}, name="depthwise")


def test_large_ones_are_left_to_litert(model, photographs, tmp_path):
    plan = kyb.quantization.plan(model, photographs[:, :16, :16], method="minmax")
    options = {"precision": "int8", "calibration": plan}
    plain = kyb.export_tflite(model, tmp_path / "plain.tflite", **options)
    fitted = kyb.export_tflite(model, tmp_path / "fitted.tflite", target="xnnpack", **options)
    assert delegated(plain.path).left == []
    assert delegated(fitted.path).left == ["DEPTHWISE_CONV_2D"]
    assert delegated(fitted.path).taken.count("DEPTHWISE_CONV_2D") == 1
    facts = [check_tflite(file.path, "xnnpack").facts for file in (plain, fitted)]
    assert facts[0]["slow"] == '1 large int8 DEPTHWISE_CONV_2D; export with target="xnnpack"'
    assert "slow" not in facts[1]
    values = [LiteModel(file.path)(np.float32(photographs[:4, 16:32, 16:32]) / 255)["P1"] for file in (plain, fitted)]
    steps = np.abs(values[0] - values[1]) / plan.scale("large")
    assert steps.max() < 1.01
    assert (steps > 0.5).mean() < 0.02

"""A trained detector: its int8 file computes what its fake-quantized model says, value for value."""

from __future__ import annotations

import numpy as np
import pytest
from quantized import share_equal, trained_digits
from skimage import data

import keras_yolo_backbones as kyb
from keras_yolo_backbones.benchmark import trained_like


def test_the_file_is_equal_to_its_model(make_digits, tmp_path):
    """With SiLU; the file with ReLU6 is among those of `test_onnx_int8.py`."""
    model = trained_digits("silu")
    aware = kyb.quantize_aware(model, make_digits(64, seed=1000, training=True).images, method="minmax")
    file = kyb.export_tflite(aware, tmp_path / "file.tflite")
    images = np.float32(make_digits(16, seed=2000, training=False).images) / 255
    found = share_equal(file.path, aware, images)
    assert set(found) == {"P3", "P4", "scores", "boxes"}
    assert min(found.values()) >= 0.9999, found


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["relu6", "silu"])
def test_a_path_aggregation_network_of_three_levels_is_too(from_example, activation, tmp_path):
    backbone = trained_like(kyb.v8("n", activation=activation, input_shape=(160, 160, 3)))
    model = trained_like(from_example("network").build_detector(backbone, 5))
    photos = (data.astronaut(), data.coffee(), data.chelsea(), data.rocket())
    images = np.stack([kyb.letterbox(turned, 160, 160).image for photo in photos for turned in (photo, photo[:, ::-1])])
    aware = kyb.quantize_aware(model, images)
    file = kyb.export_tflite(aware, tmp_path / "file.tflite")
    found = share_equal(file.path, aware, np.float32(images) / 255)
    assert len(found) == 6
    assert min(found.values()) >= 0.9999, found

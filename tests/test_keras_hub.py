"""Backbones as image encoders of keras-hub."""

from __future__ import annotations

import importlib.util

import keras
import numpy as np
import pytest
from conftest import disturbed

import keras_yolo_backbones as kyb
from keras_yolo_backbones.graph.agreement import agreement
from keras_yolo_backbones.graph.running import run

INSTALLED = importlib.util.find_spec("keras_hub") is not None


def test_it_says_what_it_needs(monkeypatch):
    """Whether keras-hub is installed or not, a process that cannot import it gets one line."""
    monkeypatch.setitem(__import__("sys").modules, "keras_hub", None)
    monkeypatch.delitem(__import__("sys").modules, "keras_yolo_backbones.graph.hub_backbone", raising=False)
    with pytest.raises(kyb.ArgumentError, match=r"to_keras_hub needs keras-hub \(pip install keras-hub\)"):
        kyb.to_keras_hub(kyb.v8("n", input_shape=(64, 64, 3)))


def test_outputs_that_are_no_levels_are_refused():
    images = keras.Input((8, 8, 3))
    with pytest.raises(kyb.ArgumentError, match="has outputs called boxes"):
        kyb.to_keras_hub(keras.Model(images, {"boxes": keras.layers.ReLU()(images)}))


@pytest.mark.skipif(not INSTALLED, reason="keras-hub is not installed")
def test_retinanet_stands_on_it(tmp_path):
    import keras_hub

    backbone = disturbed(kyb.v8("n", activation="relu6", input_shape=(128, 128, 3)))
    encoder = kyb.to_keras_hub(backbone)
    model = keras_hub.models.RetinaNetBackbone(encoder, 3, 7, use_p5=False, image_shape=(128, 128, 3))
    images = np.random.default_rng(0).random((2, 128, 128, 3), np.float32)
    wanted = run(model, images)
    assert {name: value.shape for name, value in wanted.items()} == {
        f"P{level}": (2, 128 >> level, 128 >> level, 256) for level in range(3, 8)
    }
    assert kyb.pyramid(model)[-1][:3] == ("P7", 128, 256)
    fused = run(kyb.fuse(model), images)
    assert all(agreement(wanted[name], fused[name]).snr_db > 90 for name in wanted)
    pixels = np.uint8(np.random.default_rng(1).integers(0, 256, (8, 128, 128, 3)))
    with pytest.warns(UserWarning, match="has the ranges of the TFLite converter, not of a plan: layer 'fpn'"):
        artifact = kyb.export_tflite(model, tmp_path / "r.tflite", precision="int8", calibration=pixels)
    assert all(artifact.manifest["agreement"][name]["snr_db"] > 6 for name in wanted)  # weights are random
    encoder.save(tmp_path / "encoder.keras")
    opened = kyb.load_model(tmp_path / "encoder.keras")
    assert list(opened.pyramid_outputs) == ["P3", "P4", "P5"]
    for name, value in run(encoder, images).items():
        np.testing.assert_array_equal(run(opened, images)[name], value)

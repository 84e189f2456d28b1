"""The same networks under the JAX backend, in a process of their own."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from conftest import in_subprocess

import keras_yolo_backbones as kyb

pytestmark = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")


def test_builds_fuses_and_predicts_what_tensorflow_does(tmp_path):
    model = kyb.v8("n", input_shape=(64, 64, 3))
    images = np.random.default_rng(0).random((2, 64, 64, 3), np.float32)
    model.save_weights(tmp_path / "v8n.weights.h5")
    np.save(tmp_path / "images.npy", images)
    code = f"""
import keras, numpy as np, keras_yolo_backbones as kyb
assert keras.backend.backend() == "jax"
model = kyb.v8("n", input_shape=(64, 64, 3), sync_batchnorm=True)
model.load_weights({str(tmp_path / "v8n.weights.h5")!r})
images = np.load({str(tmp_path / "images.npy")!r})
np.savez({str(tmp_path / "jax.npz")!r}, **model.predict_on_batch(images))
np.savez({str(tmp_path / "fused.npz")!r}, **kyb.fuse(model).predict_on_batch(images))
"""
    in_subprocess(code, environment={"KERAS_BACKEND": "jax"})
    expected = model.predict_on_batch(images)
    for file in ("jax.npz", "fused.npz"):
        with np.load(tmp_path / file) as outputs:
            for level, value in expected.items():
                assert np.max(np.abs(outputs[level] - value)) / np.max(np.abs(value)) < 1e-5


def test_exporting_says_that_it_needs_tensorflow(tmp_path):
    code = f"""
import keras_yolo_backbones as kyb
try:
    kyb.export_onnx(kyb.v8("n", input_shape=(32, 32, 3)), {str(tmp_path / "v8n.onnx")!r})
except kyb.ExportError as error:
    print(error)
"""
    printed = in_subprocess(code, environment={"KERAS_BACKEND": "jax"})
    assert "exporting needs the TensorFlow backend, not jax; set KERAS_BACKEND=tensorflow." in printed
    assert list(tmp_path.iterdir()) == []

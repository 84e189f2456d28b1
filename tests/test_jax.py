"""The same networks under the JAX backend, in a process of their own."""

from __future__ import annotations

import importlib.util

import keras
import numpy as np
import pytest
from conftest import in_subprocess

import keras_yolo_backbones as kyb

pytestmark = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")

CODE = """
import os
import keras, numpy as np, keras_yolo_backbones as kyb
assert keras.backend.backend() == "jax"
os.chdir({folder!r})
images = np.load("images.npy")
model = kyb.v8("n", input_shape=(64, 64, 3), sync_batchnorm=True)
model.load_weights("v8.weights.h5")
np.savez("jax.npz", **model.predict_on_batch(images))
np.savez("fused.npz", **kyb.fuse(model)(images))
for shape in ((64, 64, 3), (None, None, 3)):
    model = kyb.v12("n", input_shape=shape, levels=("P4",))
    model.load_weights("v12.weights.h5")
    np.save(f"{{shape[0]}}.npy", model(images)["P4"])
try:
    kyb.export_onnx(model, "v12n.onnx", image_size=32)
except kyb.ExportError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((2, 64, 64, 3), np.float32)


@pytest.fixture(scope="module")
def v8():
    return kyb.v8("n", input_shape=(64, 64, 3))


@pytest.fixture(scope="module")
def v12():
    return kyb.v12("n", input_shape=(64, 64, 3), levels=("P4",))


@pytest.fixture(scope="module")
def jax(v8, v12, images, tmp_path_factory):
    """The folder of the process that used JAX, and what it printed."""
    folder = tmp_path_factory.mktemp("jax")
    v8.save_weights(folder / "v8.weights.h5")
    v12.save_weights(folder / "v12.weights.h5")
    np.save(folder / "images.npy", images)
    environment = {"KERAS_BACKEND": "jax", "XLA_FLAGS": "--xla_backend_optimization_level=0"}
    return folder, in_subprocess(CODE.format(folder=str(folder)), environment=environment)


def agree(found, wanted) -> None:
    wanted = keras.ops.convert_to_numpy(wanted)
    assert np.max(np.abs(found - wanted)) / np.max(np.abs(wanted)) < 1e-5


def test_builds_fuses_and_predicts_what_tensorflow_does(jax, v8, images):
    wanted = v8(images)
    for file in ("jax.npz", "fused.npz"):
        with np.load(jax[0] / file) as outputs:
            assert sorted(outputs.files) == ["P3", "P4", "P5"]
            for level, value in wanted.items():
                agree(outputs[level], value)


@pytest.mark.parametrize("shape", ["64", "None"])
def test_attention_computes_what_tensorflow_does(jax, v12, images, shape):
    """At a fixed and at an open image size."""
    agree(np.load(jax[0] / f"{shape}.npy"), v12(images)["P4"])


def test_exporting_says_that_it_needs_tensorflow(jax):
    folder, printed = jax
    assert "exporting needs the TensorFlow backend, not jax; set KERAS_BACKEND=tensorflow." in printed
    assert list(folder.glob("*.onnx*")) == []

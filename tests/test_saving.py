"""Saved models open again in a process that has done nothing but import the package."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import in_subprocess
from quantized import small

import keras_yolo_backbones as kyb
from keras_yolo_backbones.graph.running import run


def test_attention_and_fake_quantization_open_in_a_new_process(photographs, tmp_path):
    model = small("v11-n", None, photographs)
    aware = kyb.quantize_aware(model, photographs, method="minmax")
    images = np.float32(photographs[:2]) / 255
    np.save(tmp_path / "images.npy", images)
    models = {"model": model, "aware": aware}
    for name, one in models.items():
        one.save(tmp_path / f"{name}.keras")
    in_subprocess(f"""
import numpy as np, keras_yolo_backbones as kyb
folder = {str(tmp_path)!r}
for name in ("aware", "model"):
    model = kyb.load_model(f"{{folder}}/{{name}}.keras")
    found = model(np.load(f"{{folder}}/images.npy"), training=False)
    np.savez(f"{{folder}}/{{name}}.npz", **{{level: value.numpy() for level, value in found.items()}})
""")
    for name, one in models.items():
        with np.load(tmp_path / f"{name}.npz") as found:
            for level, value in run(one, images).items():
                np.testing.assert_allclose(found[level], value, atol=2e-5 * np.abs(value).max())


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(kyb.CheckpointError, match="there is no such file"):
        kyb.load_model(tmp_path / "x.keras")
    (tmp_path / "x.keras").write_bytes(b"nothing")
    with pytest.raises(kyb.CheckpointError, match=r"x\.keras: it is no model that Keras can open: "):
        kyb.load_model(tmp_path / "x.keras")

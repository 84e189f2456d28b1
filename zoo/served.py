"""SavedModels of one network, for the benchmarks: in float32, in bfloat16, and compiled by XLA."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import keras_yolo_backbones as kyb

SERVED: dict[str, dict[str, Any]] = {
    "saved_model": {},
    "saved_model bfloat16": {"precision": "bfloat16"},
    "saved_model XLA": {"xla": True},
}
"""Form -> arguments of `export_saved_model`."""


def saved_models(model: Any, folder: Path, forms: Collection[str] = tuple(SERVED)) -> dict[str, Path]:
    """Form -> the folder of a SavedModel; unpinned, so that TensorFlow places it on the GPU.

    Args:
        model: a functional model of a fixed image size.
        folder: where they go.
        forms: which of `SERVED`.
    """
    options: dict[str, Any] = {"signatures": ("serving_default",), "batch_sizes": (1,)}
    return {
        form: kyb.export_saved_model(model, folder / form.replace(" ", "-"), **options, **SERVED[form]).path
        for form in forms
    }

"""SavedModels of one network, for the benchmarks: in float32, in bfloat16, and compiled by XLA."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import keras_yolo_backbones as kyb
from keras_yolo_backbones.benchmark import Candidate, saved_model_runner

SERVED: dict[str, dict[str, Any]] = {
    "saved_model": {},
    "saved_model bfloat16": {"precision": "bfloat16"},
    "saved_model XLA": {"xla": True},
}
"""Form -> arguments of `export_saved_model`."""


def saved_models(model: Any, folder: Path, forms: Collection[str] = tuple(SERVED)) -> dict[str, Candidate]:
    """The SavedModels, loaded; unpinned, so that TensorFlow places them on the GPU.

    Args:
        model: a functional model of a fixed image size.
        folder: where they go.
        forms: which of `SERVED`.
    """
    options: dict[str, Any] = {"signatures": ("serving_default",), "batch_sizes": (1,)}
    made = {
        form: kyb.export_saved_model(model, folder / form.replace(" ", "-"), **options, **SERVED[form])
        for form in forms
    }
    return {form: saved_model_runner(artifact.path) for form, artifact in made.items()}

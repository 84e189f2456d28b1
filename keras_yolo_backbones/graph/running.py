"""Running a model on a batch, its outputs by name."""

from __future__ import annotations

from typing import Any

import keras

from keras_yolo_backbones.errors import ExportError
from keras_yolo_backbones.graph.signature import named_outputs


def require_tensorflow() -> None:
    """Raise `ExportError` unless Keras runs on TensorFlow, which all converters start from."""
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise ExportError(f"exporting needs the TensorFlow backend, not {backend}; set KERAS_BACKEND=tensorflow.")


def run(model: keras.Model, images: Any) -> dict[str, Any]:
    """The model's outputs on a batch by name, as float32 arrays."""
    tensors = named_tensors(model, model(images, training=False))
    return {name: keras.ops.convert_to_numpy(tensor) for name, tensor in tensors.items()}


def named_tensors(model: keras.Model, outputs: Any) -> dict[str, Any]:
    """What a call of `model` returned, by name, as float32."""
    names = list(named_outputs(model))
    tensors = [outputs[name] for name in names] if isinstance(outputs, dict) else keras.tree.flatten(outputs)
    return {name: keras.ops.cast(tensor, "float32") for name, tensor in zip(names, tensors, strict=True)}

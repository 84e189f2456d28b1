"""YOLO backbones for Keras 3: equal to the originals, ready for int8 TFLite, TF Serving and ONNX.

import keras_yolo_backbones as kyb
model = kyb.v8(size="s", activation="relu6")
"""

from __future__ import annotations

import importlib
from typing import Any

from keras_yolo_backbones.errors import (
    ArgumentError,
    BackboneError,
    CalibrationError,
    CheckpointError,
    ExportError,
    GraphError,
)
from keras_yolo_backbones.families import v3, v5, v7, v8, yolox
from keras_yolo_backbones.pyramid import Level, pyramid
from keras_yolo_backbones.registry import create, list_models
from keras_yolo_backbones.version import __version__

_LAZY = {
    "fuse": "graph.fuse",
    "export_tflite": "export.tflite",
    "export_saved_model": "export.saved_model",
    "export_onnx": "export.onnx",
}
"""Names whose modules import TensorFlow or a converter: loaded on first use."""

__all__ = [
    "ArgumentError",
    "BackboneError",
    "CalibrationError",
    "CheckpointError",
    "ExportError",
    "GraphError",
    "Level",
    "__version__",
    "create",
    "list_models",
    "pyramid",
    "v3",
    "v5",
    "v7",
    "v8",
    "yolox",
    *_LAZY,
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_LAZY[name]}")
    globals()[name] = getattr(module, name)
    return globals()[name]


def __dir__() -> list[str]:
    return sorted(__all__)

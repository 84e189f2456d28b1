"""YOLO backbones for Keras 3: equal to the originals, ready for int8 TFLite, TF Serving and ONNX.

    import keras_yolo_backbones as kyb
    model = kyb.v8(size="s", activation="relu6")

Everything loads on first use: importing the package imports neither Keras nor a converter.

Public are the names in `dir(kyb)`, `dir(kyb.quantization)` and `dir(kyb.serving)`, and what their docstrings say. All
other modules and names are the package's own and may change in any version.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from keras_yolo_backbones.errors import (
    ArgumentError,
    BackboneError,
    BackboneWarning,
    CalibrationError,
    CheckpointError,
    ExportError,
    GraphError,
    ServingError,
)
from keras_yolo_backbones.version import __version__

if TYPE_CHECKING:  # for editors and type checkers, which cannot follow _LAZY
    from keras_yolo_backbones import quantization
    from keras_yolo_backbones.catalogue import list_models
    from keras_yolo_backbones.export.onnx.exporter import export_onnx
    from keras_yolo_backbones.export.tf_serving.detection import Detect
    from keras_yolo_backbones.export.tf_serving.saved_model import export_saved_model
    from keras_yolo_backbones.export.tflite import export_tflite
    from keras_yolo_backbones.families import (
        damo,
        nas,
        ppyoloe,
        rtmdet,
        v3,
        v4,
        v5,
        v6,
        v7,
        v8,
        v9,
        v10,
        v11,
        v12,
        v13,
        v26,
        yolox,
    )
    from keras_yolo_backbones.features.run import extract_features
    from keras_yolo_backbones.graph.cost import macs
    from keras_yolo_backbones.graph.draw import draw
    from keras_yolo_backbones.graph.freezing import freeze, unfreeze
    from keras_yolo_backbones.graph.fuse import fuse
    from keras_yolo_backbones.graph.hub import to_keras_hub
    from keras_yolo_backbones.graph.twin import to_tf_keras
    from keras_yolo_backbones.letterboxes import letterbox, unletterbox
    from keras_yolo_backbones.levels import Level, pyramid
    from keras_yolo_backbones.prepare import grid, preprocess
    from keras_yolo_backbones.preprocessing import Preprocessing
    from keras_yolo_backbones.pretrained import load_pretrained, save_pretrained
    from keras_yolo_backbones.provenance import get_provenance
    from keras_yolo_backbones.quantization.aware import quantize_aware
    from keras_yolo_backbones.registry import create
    from keras_yolo_backbones.saving import load_model
    from keras_yolo_backbones.weights.build import from_checkpoint
    from keras_yolo_backbones.weights.load import load_weights
    from keras_yolo_backbones.weights.readers.checkpoint import read_checkpoint
    from keras_yolo_backbones.weights.recognition.identify import identify
    from keras_yolo_backbones.weights.save import export_weights, save_weights

_LAZY = {
    **dict.fromkeys(("v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v26"), "families"),
    **dict.fromkeys(("yolox", "rtmdet", "ppyoloe", "damo", "nas"), "families"),
    "create": "registry",
    "list_models": "catalogue",
    **dict.fromkeys(("Level", "pyramid"), "levels"),
    **dict.fromkeys(("letterbox", "unletterbox"), "letterboxes"),
    **dict.fromkeys(("grid", "preprocess"), "prepare"),
    "Preprocessing": "preprocessing",
    "fuse": "graph.fuse",
    **dict.fromkeys(("freeze", "unfreeze"), "graph.freezing"),
    "quantize_aware": "quantization.aware",
    "to_keras_hub": "graph.hub",
    "to_tf_keras": "graph.twin",
    "macs": "graph.cost",
    "draw": "graph.draw",
    "export_tflite": "export.tflite",
    "export_saved_model": "export.tf_serving.saved_model",
    "Detect": "export.tf_serving.detection",
    "export_onnx": "export.onnx.exporter",
    "extract_features": "features.run",
    "load_model": "saving",
    **dict.fromkeys(("save_pretrained", "load_pretrained"), "pretrained"),
    "load_weights": "weights.load",
    "from_checkpoint": "weights.build",
    "read_checkpoint": "weights.readers.checkpoint",
    "identify": "weights.recognition.identify",
    "save_weights": "weights.save",
    "export_weights": "weights.save",
    "get_provenance": "provenance",
}
"""Public name -> the module that it is in."""

_PACKAGES = ("quantization", "serving")
"""Public parts that keep a name of their own: `kyb.serving.Client`."""

__all__ = [
    "ArgumentError",
    "BackboneError",
    "BackboneWarning",
    "CalibrationError",
    "CheckpointError",
    "ExportError",
    "GraphError",
    "ServingError",
    "__version__",
    *_LAZY,
    *_PACKAGES,
]


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_LAZY[name]}")
    globals()[name] = getattr(module, name)
    return globals()[name]


def __dir__() -> list[str]:
    return sorted(__all__)

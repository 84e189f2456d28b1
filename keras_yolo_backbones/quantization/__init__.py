"""Integer networks: calibration images, ranges, and what is made of them.

plan(model, images)                 ranges and groups, plain data
quantize_aware(model, images)       a trainable model that computes as its int8 file will
reconstruct(model, plan, images)    the same, its rounding, biases and ranges learned part by part, without labels
at_least(model, images, 25)         the cheapest of these, and layers in float, that keep every level above 25 dB
equalize(model, images)             the same numbers with channels of like sizes, where that is possible
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keras_yolo_backbones.quantization.aware import quantize_aware
    from keras_yolo_backbones.quantization.budget import Budget, at_least
    from keras_yolo_backbones.quantization.distillation import Distilled, distill
    from keras_yolo_backbones.quantization.equalization import equalize
    from keras_yolo_backbones.quantization.planning import plan
    from keras_yolo_backbones.quantization.ranges import Plan
    from keras_yolo_backbones.quantization.reconstruction import reconstruct
    from keras_yolo_backbones.quantization.reporting import Report, report

_LAZY = {
    "Budget": "budget",
    "at_least": "budget",
    "Distilled": "distillation",
    "Plan": "ranges",
    "distill": "distillation",
    "equalize": "equalization",
    "plan": "planning",
    "quantize_aware": "aware",
    "reconstruct": "reconstruction",
    "Report": "reporting",
    "report": "reporting",
}

__all__ = [
    "Budget",
    "Distilled",
    "Plan",
    "Report",
    "at_least",
    "distill",
    "equalize",
    "plan",
    "quantize_aware",
    "reconstruct",
    "report",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_LAZY[name]}")
    globals()[name] = getattr(module, name)
    return globals()[name]


def __dir__() -> list[str]:
    return sorted(__all__)

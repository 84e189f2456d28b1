"""Integer networks: calibration images, ranges, and what is made of them.

plan(model, images)                 ranges and groups, plain data
quantize_aware(model, images)       a trainable model that computes as its int8 file will
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keras_yolo_backbones.quantization.aware import quantize_aware
    from keras_yolo_backbones.quantization.distillation import Distilled, distill
    from keras_yolo_backbones.quantization.planning import plan
    from keras_yolo_backbones.quantization.ranges import Plan
    from keras_yolo_backbones.quantization.reporting import Report, report

_LAZY = {
    "Distilled": "distillation",
    "Plan": "ranges",
    "distill": "distillation",
    "plan": "planning",
    "quantize_aware": "aware",
    "Report": "reporting",
    "report": "reporting",
}

__all__ = ["Distilled", "Plan", "distill", "Report", "plan", "quantize_aware", "report"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_LAZY[name]}")
    globals()[name] = getattr(module, name)
    return globals()[name]


def __dir__() -> list[str]:
    return sorted(__all__)

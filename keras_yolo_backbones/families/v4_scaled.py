"""Scaled YOLOv4: what its release has of its own, a deeper Darknet with up to seven levels."""

from __future__ import annotations

from typing import Any

from keras_yolo_backbones.blocks import Style
from keras_yolo_backbones.families.frame.layout import Layout

STYLE = Style(activation="mish", epsilon=1e-3, momentum=0.97)

P5 = {1: (64, 1), 2: (128, 3), 3: (256, 15), 4: (512, 15), 5: (1024, 7)}
P6 = P5 | {6: (1024, 7)}
P7 = P6 | {7: (1024, 7)}
"""Level -> (channels, units) at width 1."""


def layout(spec: Any) -> Layout:
    """The YAML file's layer numbers; a stage is one layer."""
    prefixes = {"stem": "model.0", "stage1.0": "model.2", "spp": f"model.{2 * spec.top + 1}"}
    for level in spec.stages:
        prefixes |= {f"down{level}": f"model.{2 * level - 1}", f"stage{level}": f"model.{2 * level}"}
    return Layout(prefixes)

"""What the families share that descend from Darknet: one conv, then a stride-2 conv and a stage for every level."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import keras

from keras_yolo_backbones.blocks.conv import conv
from keras_yolo_backbones.blocks.csp import Unit, chain
from keras_yolo_backbones.blocks.style import Style

Stage = Callable[..., keras.KerasTensor]
"""What follows a stride-2 conv: `(x, channels, repeats, *, style, name) -> tensor` of the same size."""

DARKNET53 = {1: (64, 1), 2: (128, 2), 3: (256, 8), 4: (512, 8), 5: (1024, 4)}
"""Darknet-53: level -> (channels, residuals)."""


def darknet_trunk(
    images: keras.KerasTensor,
    stem: int,
    stages: Mapping[int, tuple[int, int]],
    *,
    stage: Stage,
    first: Stage | None = None,
    style: Style,
) -> dict[str, keras.KerasTensor]:
    """A 3×3 conv at full size, then a stride-2 conv and a stage for every level.

    Args:
        images: (batch, height, width, 3).
        stem: filters of the first conv.
        stages: level -> (channels, repeats), from P1 on.
        stage: what follows each stride-2 conv.
        first: the stage of P1, if it is a different one.

    Returns:
        Level name -> (batch, height / 2ⁿ, width / 2ⁿ, channels), from P1 on.
    """
    levels = {}
    kinds = {1: first or stage}
    x = conv(images, stem, 3, style=style, name="stem")
    for level, (channels, repeats) in stages.items():
        stride = style.stem_stride if level == 1 else 2
        x = conv(x, channels, 3, stride=stride, style=style, name=f"down{level}")
        x = kinds.get(level, stage)(x, channels, repeats, style=style, name=f"stage{level}")
        levels[f"P{level}"] = x
    return levels


def residuals(
    x: keras.KerasTensor, channels: int, repeats: int, *, unit: Unit, style: Style, name: str
) -> keras.KerasTensor:
    """Darknet-53's stage: a chain of bottlenecks, nothing around it."""
    return chain(x, channels, repeats, unit=unit, style=style, name=name)[-1]

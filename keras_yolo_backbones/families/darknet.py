"""What the families share that descend from Darknet: one conv, then a stride-2 conv and a stage for every level."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import keras

from keras_yolo_backbones.blocks import Style, Unit, chain, conv

Stage = Callable[..., keras.KerasTensor]
"""What follows a stride-2 conv: `(x, channels, repeats, *, style, name) -> tensor` of the same size."""

DARKNET53 = {1: (64, 1), 2: (128, 2), 3: (256, 8), 4: (512, 8), 5: (1024, 4)}
"""Darknet-53: level -> (channels, residuals)."""


def trunk(
    images: keras.KerasTensor, stem: int, stages: Mapping[int, tuple[int, int]], *, stage: Stage, style: Style
) -> dict[str, keras.KerasTensor]:
    """A 3×3 conv of `stem` filters at full size, then `stages`: level -> (channels, repeats).

    Returns:
        Level name -> (batch, height / 2ⁿ, width / 2ⁿ, channels), from P1 on.
    """
    levels = {}
    x = conv(images, stem, 3, style=style, name="stem")
    for level, (channels, repeats) in stages.items():
        x = conv(x, channels, 3, stride=2, style=style, name=f"down{level}")
        x = stage(x, channels, repeats, style=style, name=f"stage{level}")
        levels[f"P{level}"] = x
    return levels


def residuals(
    x: keras.KerasTensor, channels: int, repeats: int, *, unit: Unit, style: Style, name: str
) -> keras.KerasTensor:
    """Darknet-53's stage: a chain of bottlenecks, nothing around it."""
    return chain(x, channels, repeats, unit=unit, style=style, name=name)[-1]

"""Cross-stage-partial stages: some branches, a chain of units, one concat, a closing 1×1 conv."""

from __future__ import annotations

from collections.abc import Callable

import keras

from keras_yolo_backbones.blocks.conv import conv, split_conv
from keras_yolo_backbones.blocks.style import Style

Unit = Callable[..., keras.KerasTensor]
"""A block that keeps its input's shape: `(x, channels, *, style, name) -> tensor`."""


def add(a: keras.KerasTensor, b: keras.KerasTensor, *, style: Style, name: str) -> keras.KerasTensor:
    """Elementwise sum of two tensors of one shape."""
    return keras.layers.Add(name=f"{name}.add", dtype=style.dtype)([a, b])


def concat(tensors: list[keras.KerasTensor], *, style: Style, name: str) -> keras.KerasTensor:
    """Concatenation along the channels, first tensor first."""
    return keras.layers.Concatenate(axis=-1, name=f"{name}.cat", dtype=style.dtype)(tensors)


def bottleneck(
    x: keras.KerasTensor, channels: int, *, kernels: tuple[int, int] = (3, 3), style: Style, name: str
) -> keras.KerasTensor:
    """Two conv units of `channels` filters around a shortcut, added after the second activation."""
    y = conv(x, channels, kernels[0], style=style, name=f"{name}.cv1")
    y = conv(y, channels, kernels[1], style=style, name=f"{name}.cv2")
    return add(x, y, style=style, name=name)


def c2f(
    x: keras.KerasTensor, channels: int, repeats: int, *, unit: Unit = bottleneck, style: Style, name: str
) -> keras.KerasTensor:
    """Two halves, a chain of units from the second, everything concatenated, closed by a 1×1 conv (YOLOv8's C2f).

    Args:
        x: (batch, height, width, any).
        channels: output channels; each half has `channels // 2`.
        repeats: length of the chain.

    Returns:
        (batch, height, width, channels).
    """
    half = channels // 2
    outputs = split_conv(x, 2 * half, style=style, name=f"{name}.cv1")
    for i in range(repeats):
        outputs.append(unit(outputs[-1], half, style=style, name=f"{name}.m.{i}"))
    y = concat(outputs, style=style, name=name)
    return conv(y, channels, style=style, name=f"{name}.cv2")

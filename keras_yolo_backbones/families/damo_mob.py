"""The inverted bottleneck of DAMO-YOLO's networks for phones (ns, nm, nl, n)."""

from __future__ import annotations

import math

import keras

from keras_yolo_backbones.blocks import Style, add, conv, depthwise

RATIOS = (3.5, 4.0, 4.5, 5.0, 5.5)
"""Channels in the middle of a block over those at its end, group by group."""

MODULES = {"expand": 0, "spatial": 3, "project": 7}
"""Our convs of a block -> their place in the original's list; their batch norms come next."""


def mob_block(
    x: keras.KerasTensor, channels: int, ratio: float, *, stride: int, style: Style, name: str
) -> keras.KerasTensor:
    """A 1×1 conv to `ratio` times `channels`, a 5×5 depthwise one, a 1×1 one; x is added where the shape stays.

    Returns:
        (batch, ⌈height / stride⌉, ⌈width / stride⌉, channels).
    """
    y = conv(x, _nearest_8(math.ceil(channels * ratio)), style=style, name=f"{name}.expand")
    y = depthwise(y, 5, stride=stride, style=style, name=f"{name}.spatial")
    y = conv(y, channels, activate=False, style=style, name=f"{name}.project")
    return add(x, y, style=style, name=name) if stride == 1 and x.shape[-1] == channels else y


def _nearest_8(value: int) -> int:
    """The nearest multiple of 8 that is at least 90 % of `value`."""
    nearest = max(8, (value + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * value else nearest

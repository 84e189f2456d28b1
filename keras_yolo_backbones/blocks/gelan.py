"""Stages of YOLOv9: layer aggregation over re-parameterizable units (GELAN), and its ways to halve a map."""

from __future__ import annotations

from collections.abc import Callable

import keras

from keras_yolo_backbones.blocks.conv import conv, split_conv
from keras_yolo_backbones.blocks.csp import add, c3, concat, merge
from keras_yolo_backbones.blocks.elan import conv_down
from keras_yolo_backbones.blocks.pooling import pools
from keras_yolo_backbones.blocks.rep import rep_conv
from keras_yolo_backbones.blocks.style import Style


def gelan(
    x: keras.KerasTensor, hidden: int, *, link: Callable[..., keras.KerasTensor], style: Style, name: str
) -> keras.KerasTensor:
    """Two halves of one conv, two links from the second; all four meet (RepNCSPELAN4, ELAN1, before their last conv).

    Args:
        x: (batch, height, width, any).
        hidden: channels of both halves together.
        link: `(x, channels, *, style, name) -> tensor`.

    Returns:
        (batch, height, width, 2 · hidden).
    """
    first, second = split_conv(x, hidden, style=style, name=f"{name}.cv1")
    third = link(second, hidden // 2, style=style, name=f"{name}.cv2")
    fourth = link(third, hidden // 2, style=style, name=f"{name}.cv3")
    return concat([first, second, third, fourth], style=style, name=name)


def rep_csp(x: keras.KerasTensor, channels: int, *, repeats: int, style: Style, name: str) -> keras.KerasTensor:
    """A link of a GELAN: a C3 of `rep_bottleneck`, then a 3×3 conv."""
    x = c3(x, channels, repeats, unit=rep_bottleneck, style=style, name=f"{name}.0")
    return conv(x, channels, 3, style=style, name=f"{name}.1")


def rep_bottleneck(x: keras.KerasTensor, channels: int, *, style: Style, name: str) -> keras.KerasTensor:
    """x + (RepConv, 3×3 conv)."""
    y = rep_conv(x, channels, style=style, name=f"{name}.cv1")
    y = conv(y, channels, 3, style=style, name=f"{name}.cv2")
    return add(x, y, style=style, name=name)


def average_down(x: keras.KerasTensor, channels: int, *, style: Style, name: str) -> keras.KerasTensor:
    """The mean of 2×2 cells, then a 3×3 conv of stride 2 (AConv)."""
    return conv_down(_average(x, style=style, name=f"{name}.avg"), channels, style=style, name=f"{name}.cv1")


def mixed_down(halves: list[keras.KerasTensor], *, style: Style, name: str) -> keras.KerasTensor:
    """The mean of 2×2 cells, then a 3×3 conv of stride 2 for one half, a max pool and a 1×1 conv for the other (ADown).

    Args:
        halves: two tensors (batch, height, width, channels), height and width even.

    Returns:
        (batch, height / 2, width / 2, 2 · channels).
    """
    first, second = (_average(x, style=style, name=f"{name}.avg{i}") for i, x in enumerate(halves))
    first = conv_down(first, first.shape[-1], style=style, name=f"{name}.cv1")
    # The means have odd height and width, so that "same" pads by one cell on every side, as the original does.
    second = keras.layers.MaxPooling2D(
        3, strides=2, padding="same", data_format="channels_last", name=f"{name}.pool", dtype=style.dtype
    )(second)
    second = conv(second, second.shape[-1], style=style, name=f"{name}.cv2")
    return concat([first, second], style=style, name=name)


def _average(x: keras.KerasTensor, *, style: Style, name: str) -> keras.KerasTensor:
    """Mean of 2×2 cells with stride 1 and no padding: one row and one column less."""
    return keras.layers.AveragePooling2D(2, strides=1, data_format="channels_last", name=name, dtype=style.dtype)(x)


def spp_elan(x: keras.KerasTensor, channels: int, *, style: Style, name: str) -> keras.KerasTensor:
    """A 1×1 conv to half of `channels`, three chained pools, everything into a conv of `channels` (SPPELAN)."""
    y = conv(x, channels // 2, style=style, name=f"{name}.cv1")
    return merge(pools(y, style=style, name=name), channels, close="cv5", style=style, name=name)

"""Efficient layer aggregation (YOLOv7): a chain of 3×3 convs of which several lengths meet in one concat."""

from __future__ import annotations

from functools import partial

import keras

from keras_yolo_backbones.blocks.conv import conv
from keras_yolo_backbones.blocks.csp import add, chain, concat, merge
from keras_yolo_backbones.blocks.pooling import halve
from keras_yolo_backbones.blocks.style import Style


def elan(
    x: keras.KerasTensor, hidden: int, channels: int, *, convs: int, every: int = 2, style: Style, name: str
) -> keras.KerasTensor:
    """Two 1×1 convs, a chain of 3×3 convs from the second; they meet, the end of the chain first (ELAN).

    Args:
        x: (batch, height, width, any).
        hidden: channels of both branches and of every link.
        channels: output channels.
        convs: length of the chain, a multiple of `every`.
        every: the concat takes both 1×1 convs and, of the chain, each `every`-th conv: with 2 the second, fourth, ….

    Returns:
        (batch, height, width, channels).
    """
    first = conv(x, hidden, style=style, name=f"{name}.a")
    second = conv(x, hidden, style=style, name=f"{name}.b")
    links = chain(second, hidden, convs, unit=partial(conv, kernel=3), style=style, name=f"{name}.c")
    return merge([first, *links[::every]][::-1], channels, close="out", style=style, name=name)


def two_elans(
    x: keras.KerasTensor, hidden: int, channels: int, *, convs: int, style: Style, name: str
) -> keras.KerasTensor:
    """The sum of two ELANs on one input (E-ELAN); arguments and result as `elan`."""
    one = elan(x, hidden, channels, convs=convs, style=style, name=f"{name}.0")
    other = elan(x, hidden, channels, convs=convs, style=style, name=f"{name}.1")
    return add(one, other, style=style, name=name)


def conv_down(x: keras.KerasTensor, channels: int, *, style: Style, name: str) -> keras.KerasTensor:
    """A 3×3 conv unit of stride 2: (batch, height / 2, width / 2, channels)."""
    return conv(x, channels, 3, stride=2, style=style, name=name)


def pooled_down(
    x: keras.KerasTensor, channels: int, *, hidden: int | None = None, style: Style, name: str
) -> keras.KerasTensor:
    """Half the channels from a 1×1 and a stride-2 conv, half from a max pool and a 1×1 (MP and DownC).

    Args:
        x: (batch, height, width, any), height and width even.
        channels: output channels.
        hidden: channels between the first branch's convs; `None` keeps those of `x`.

    Returns:
        (batch, height / 2, width / 2, channels).
    """
    strided = conv(x, hidden or x.shape[-1], style=style, name=f"{name}.cv1")
    strided = conv(strided, channels // 2, 3, stride=2, style=style, name=f"{name}.cv2")
    pooled = conv(halve(x, style=style, name=name), channels // 2, style=style, name=f"{name}.cv3")
    return concat([strided, pooled], style=style, name=name)

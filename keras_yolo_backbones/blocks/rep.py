"""Branches that train side by side and are one convolution afterwards: `fuse` adds them up."""

from __future__ import annotations

import keras

from keras_yolo_backbones.blocks.conv import conv, depthwise
from keras_yolo_backbones.blocks.csp import add
from keras_yolo_backbones.blocks.style import Style


def rep_vgg(x: keras.KerasTensor, channels: int, *, stride: int = 1, style: Style, name: str) -> keras.KerasTensor:
    """A 3×3 and a 1×1 conv and, where the shape stays, a batch norm of `x` itself; summed, then activated (RepVGG).

    Args:
        x: (batch, height, width, channels in).
        channels: output channels.
        stride: 1 or 2.

    Returns:
        (batch, ⌈height / stride⌉, ⌈width / stride⌉, channels).
    """
    branches = rep_branches(x, channels, stride=stride, style=style, name=name)
    if stride == 1 and x.shape[-1] == channels:
        branches.append(style.normalize(x, name=f"{name}.rbr_identity"))
    return _activated_sum(branches, style=style, name=name)


def rep_branches(
    x: keras.KerasTensor, channels: int, *, stride: int = 1, style: Style, name: str
) -> list[keras.KerasTensor]:
    """A 3×3 and a 1×1 conv of `x` without activation, to be summed: two tensors of `channels` channels."""
    return [
        conv(x, channels, 3, stride=stride, activate=False, style=style, name=f"{name}.rbr_dense"),
        conv(x, channels, 1, stride=stride, activate=False, style=style, name=f"{name}.rbr_1x1"),
    ]


def rep_sum(x: keras.KerasTensor, channels: int, *, stride: int = 1, style: Style, name: str) -> keras.KerasTensor:
    """`rep_branches`, summed: (batch, ⌈height / stride⌉, ⌈width / stride⌉, channels), without activation."""
    return add(*rep_branches(x, channels, stride=stride, style=style, name=name), style=style, name=name)


def rep_conv(x: keras.KerasTensor, channels: int, *, style: Style, name: str) -> keras.KerasTensor:
    """A 3×3 and a 1×1 conv, summed, then activated (YOLOv9's RepConv).

    Returns:
        (batch, height, width, channels).
    """
    branches = [
        conv(x, channels, 3, activate=False, style=style, name=f"{name}.conv1"),
        conv(x, channels, 1, activate=False, style=style, name=f"{name}.conv2"),
    ]
    return _activated_sum(branches, style=style, name=name)


def rep_depthwise(x: keras.KerasTensor, *, style: Style, name: str) -> keras.KerasTensor:
    """A 7×7 and a 3×3 depthwise conv, summed, then activated (YOLOv10's RepVGGDW); shape stays."""
    branches = [
        depthwise(x, 7, activate=False, style=style, name=f"{name}.conv"),
        depthwise(x, 3, activate=False, style=style, name=f"{name}.conv1"),
    ]
    return _activated_sum(branches, style=style, name=name)


def _activated_sum(branches: list[keras.KerasTensor], *, style: Style, name: str) -> keras.KerasTensor:
    x = keras.layers.Add(name=f"{name}.add", dtype=style.dtype)(branches)
    return style.activate(x, name=f"{name}.act")

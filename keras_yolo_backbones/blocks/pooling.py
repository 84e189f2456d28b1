"""Context blocks: max pools of several sizes over the topmost features."""

from __future__ import annotations

from collections.abc import Callable

import keras

from keras_yolo_backbones.blocks.conv import conv
from keras_yolo_backbones.blocks.csp import concat, merge
from keras_yolo_backbones.blocks.style import Style

Pooling = Callable[..., list[keras.KerasTensor]]
"""What a context block concatenates: `(x, *, style, name) -> tensors` of the size of `x`."""


def max_pool(x: keras.KerasTensor, size: int, *, style: Style, name: str) -> keras.KerasTensor:
    """Max pool of `size` and stride 1; shape stays. "same" pads with −∞ here, never with zeros."""
    return keras.layers.MaxPooling2D(
        size, strides=1, padding="same", data_format="channels_last", name=name, dtype=style.dtype
    )(x)


def halve(x: keras.KerasTensor, *, style: Style, name: str) -> keras.KerasTensor:
    """2×2 max pool of stride 2: (batch, height, width, channels) -> (batch, height / 2, width / 2, channels)."""
    return keras.layers.MaxPooling2D(2, data_format="channels_last", name=f"{name}.pool", dtype=style.dtype)(x)


def pools(x: keras.KerasTensor, *, size: int = 5, style: Style, name: str) -> list[keras.KerasTensor]:
    """`x` itself and its max over windows of 5, 9 and 13 cells: three chained 5×5 pools, equal to the three large ones.

    Args:
        x: (batch, height, width, channels).
        size: side of each pool; 3 gives windows of 3, 5 and 7.

    Returns:
        Four tensors shaped like `x`, the smallest window first.
    """
    outputs = [x]
    for i in range(3):
        outputs.append(max_pool(outputs[-1], size, style=style, name=f"{name}.pool{i}"))
    return outputs


def largest_first(x: keras.KerasTensor, *, style: Style, name: str) -> list[keras.KerasTensor]:
    """`pools` in Darknet's order: the largest window first, `x` last."""
    return pools(x, style=style, name=name)[::-1]


def sppf(
    x: keras.KerasTensor, channels: int, *, pooling: Pooling = pools, style: Style, name: str
) -> keras.KerasTensor:
    """Spatial pyramid pooling: a conv to half the channels, `pooling`, a conv to `channels` (SPPF, and SPP before it).

    Args:
        x: (batch, height, width, channels in).
        channels: output channels.
        pooling: what is concatenated.

    Returns:
        (batch, height, width, channels).
    """
    y = conv(x, x.shape[-1] // 2, style=style, name=f"{name}.cv1")
    return merge(pooling(y, style=style, name=name), channels, close="cv2", style=style, name=name)


def linear_sppf(
    x: keras.KerasTensor, channels: int, *, pooling: Pooling = pools, style: Style, name: str
) -> keras.KerasTensor:
    """`sppf` whose first conv has a batch norm but no activation."""
    y = conv(x, x.shape[-1] // 2, activate=False, style=style, name=f"{name}.cv1")
    return merge(pooling(y, style=style, name=name), channels, close="cv2", style=style, name=name)


SPPF: dict[bool | str, Callable[..., keras.KerasTensor]] = {True: sppf, "linear": linear_sppf}
"""The argument `spp` of the builders -> the block, where that is an SPPF."""


def pooled_branch(
    x: keras.KerasTensor, channels: int, *, pooling: Pooling = pools, style: Style, name: str
) -> keras.KerasTensor:
    """Three convs, `pooling`, two convs, all of `channels`: the deep branch of SPPCSPC and its kin."""
    x = conv(x, channels, style=style, name=f"{name}.cv1")
    x = conv(x, channels, 3, style=style, name=f"{name}.cv3")
    x = conv(x, channels, style=style, name=f"{name}.cv4")
    x = concat(pooling(x, style=style, name=name), style=style, name=f"{name}.pools")
    x = conv(x, channels, style=style, name=f"{name}.cv5")
    return conv(x, channels, 3, style=style, name=f"{name}.cv6")


def sppcspc(
    x: keras.KerasTensor, channels: int, *, pooling: Pooling = pools, style: Style, name: str
) -> keras.KerasTensor:
    """`pooled_branch` beside a 1×1 conv, both of `channels`; they meet, deep branch first (YOLOv7's SPPCSPC).

    Returns:
        (batch, height, width, channels).
    """
    deep = pooled_branch(x, channels, pooling=pooling, style=style, name=name)
    skip = conv(x, channels, style=style, name=f"{name}.cv2")
    return merge([deep, skip], channels, close="cv7", style=style, name=name)

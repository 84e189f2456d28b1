"""Context blocks: max pools of several sizes over the topmost features."""

from __future__ import annotations

import keras

from keras_yolo_backbones.blocks.conv import conv
from keras_yolo_backbones.blocks.csp import merge
from keras_yolo_backbones.blocks.style import Style


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


def sppf(x: keras.KerasTensor, channels: int, *, size: int = 5, style: Style, name: str) -> keras.KerasTensor:
    """Spatial pyramid pooling: a conv to half the channels, `pools`, a conv to `channels` (SPPF, and SPP before it).

    Args:
        x: (batch, height, width, channels in).
        channels: output channels.
        size: side of each pool: 5 for SPP with (5, 9, 13), 3 for SPP with (3, 5, 7).

    Returns:
        (batch, height, width, channels).
    """
    y = conv(x, x.shape[-1] // 2, style=style, name=f"{name}.cv1")
    return merge(pools(y, size=size, style=style, name=name), channels, close="cv2", style=style, name=name)


def spp_darknet(x: keras.KerasTensor, channels: int, *, style: Style, name: str) -> keras.KerasTensor:
    """`sppf` with the pools concatenated as Darknet does: the largest window first, its input last."""
    y = conv(x, x.shape[-1] // 2, style=style, name=f"{name}.cv1")
    largest_first = reversed(pools(y, style=style, name=name))
    return merge(largest_first, channels, close="cv2", style=style, name=name)

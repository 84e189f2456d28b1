"""Halves of a map's channels, and their mixing (ShuffleNet), with stock layers only."""

from __future__ import annotations

import keras

from keras_yolo_backbones.blocks.csp import concat
from keras_yolo_backbones.blocks.layers import ReshapeLike
from keras_yolo_backbones.blocks.style import Style


def halves(x: keras.KerasTensor, *, style: Style, name: str) -> list[keras.KerasTensor]:
    """The lower and the upper half of the channels: two tensors (batch, height, width, channels // 2).

    The channels of any other map are halved where they are made, see `split_conv`; those of a shuffled map are not.
    """
    half = x.shape[-1] // 2
    # Read as channels-first, the last axis of (batch, height, width, channels) is one that cropping cuts.
    return [
        keras.layers.Cropping2D(((0, 0), cut), data_format="channels_first", name=f"{name}.{part}", dtype=style.dtype)(
            x
        )
        for part, cut in (("low", (0, half)), ("high", (half, 0)))
    ]


def interleaved(a: keras.KerasTensor, b: keras.KerasTensor, *, style: Style, name: str) -> keras.KerasTensor:
    """Channels of `a` and `b` by turns, a's first: what a channel shuffle in two groups makes of their concat.

    Args:
        a: (batch, height, width, channels).
        b: of the same shape.

    Returns:
        (batch, height, width, 2 · channels).
    """
    both = concat([a, b], style=style, name=name)
    height, width, channels = both.shape[1:]
    x = keras.layers.Reshape((-1, 2, channels // 2), name=f"{name}.groups", dtype=style.dtype)(both)
    x = keras.layers.Permute((1, 3, 2), name=f"{name}.turn", dtype=style.dtype)(x)
    if None in (height, width):
        return ReshapeLike(name=f"{name}.map", dtype=style.dtype)([x, both])
    return keras.layers.Reshape((height, width, channels), name=f"{name}.map", dtype=style.dtype)(x)

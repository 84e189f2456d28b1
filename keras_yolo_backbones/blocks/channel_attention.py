"""Channels that are weighted by what the whole map shows: squeeze-and-excitation with one convolution."""

from __future__ import annotations

import keras

from keras_yolo_backbones.blocks.style import Style


def channel_attention(x: keras.KerasTensor, *, style: Style, name: str) -> keras.KerasTensor:
    """x · hard_sigmoid(1×1 conv with bias of the mean over all cells), one factor a channel (effective SE).

    The gate is the same whatever the network's activation is.

    Args:
        x: (batch, height, width, channels).

    Returns:
        A tensor shaped like `x`.
    """
    mean = keras.layers.GlobalAveragePooling2D(
        keepdims=True, data_format="channels_last", name=f"{name}.mean", dtype=style.dtype
    )(x)
    gate = keras.layers.Conv2D(x.shape[-1], 1, data_format="channels_last", name=f"{name}.fc", dtype=style.dtype)(mean)
    gate = keras.layers.Activation("hard_sigmoid", name=f"{name}.gate", dtype=style.dtype)(gate)
    return keras.layers.Multiply(name=f"{name}.mul", dtype=style.dtype)([x, gate])

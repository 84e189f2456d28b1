"""Channels that are weighted by what the whole map shows: squeeze-and-excitation."""

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
    gate = _dense(_mean(x, style, name), x.shape[-1], style, f"{name}.fc")
    return _gated(x, gate, style, name)


def squeeze_excitation(x: keras.KerasTensor, squeezed: int, *, style: Style, name: str) -> keras.KerasTensor:
    """As `channel_attention`, with two 1×1 convs, a ReLU between them: down to `squeezed` channels and back."""
    y = _dense(_mean(x, style, name), squeezed, style, f"{name}.conv1")
    y = style.activated("relu").activate(y, name=f"{name}.act")
    return _gated(x, _dense(y, x.shape[-1], style, f"{name}.conv2"), style, name)


def _mean(x: keras.KerasTensor, style: Style, name: str) -> keras.KerasTensor:
    pool = keras.layers.GlobalAveragePooling2D
    return pool(keepdims=True, data_format="channels_last", name=f"{name}.mean", dtype=style.dtype)(x)


def _dense(mean: keras.KerasTensor, channels: int, style: Style, name: str) -> keras.KerasTensor:
    return keras.layers.Conv2D(channels, 1, data_format="channels_last", name=name, dtype=style.dtype)(mean)


def _gated(x: keras.KerasTensor, gate: keras.KerasTensor, style: Style, name: str) -> keras.KerasTensor:
    gate = keras.layers.Activation("hard_sigmoid", name=f"{name}.gate", dtype=style.dtype)(gate)
    return keras.layers.Multiply(name=f"{name}.mul", dtype=style.dtype)([x, gate])

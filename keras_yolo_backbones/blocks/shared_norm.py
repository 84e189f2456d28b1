"""Blocks of Scaled-YOLOv4: convs without batch norm whose concat has one batch norm and one activation.

Where both tensors of the concat come from bare convs, the batch norm can be split over them, and each folds.
"""

from __future__ import annotations

from collections.abc import Iterable

import keras

from keras_yolo_backbones.blocks.conv import conv
from keras_yolo_backbones.blocks.csp import Unit, chain, concat
from keras_yolo_backbones.blocks.pooling import pooled_branch
from keras_yolo_backbones.blocks.style import Style


def bare_conv(x: keras.KerasTensor, channels: int, *, style: Style, name: str) -> keras.KerasTensor:
    """1×1 Conv2D without bias, batch norm or activation: (batch, height, width, channels)."""
    return keras.layers.Conv2D(channels, 1, use_bias=False, data_format="channels_last", name=name, dtype=style.dtype)(
        x
    )


def shared_norm(tensors: Iterable[keras.KerasTensor], *, style: Style, name: str) -> keras.KerasTensor:
    """Concatenate, then one batch norm and one activation over all channels."""
    x = concat(tensors, style=style, name=name)
    return style.activate(style.normalize(x, name=f"{name}.bn"), name=f"{name}.act")


def bottleneck_csp(
    x: keras.KerasTensor, channels: int, repeats: int, *, unit: Unit, style: Style, name: str
) -> keras.KerasTensor:
    """`cross_stage` whose two branches end in bare convs and share a norm (BottleneckCSP).

    Args:
        x: (batch, height, width, any).
        channels: output channels; each branch has `channels // 2`.
        repeats: length of the chain.
        unit: its links; they keep the branch's shape.

    Returns:
        (batch, height, width, channels).
    """
    half = channels // 2
    deep = conv(x, half, style=style, name=f"{name}.cv1")
    deep = chain(deep, half, repeats, unit=unit, style=style, name=f"{name}.m")[-1]
    deep = bare_conv(deep, half, style=style, name=f"{name}.cv3")
    skip = bare_conv(x, half, style=style, name=f"{name}.cv2")
    both = shared_norm([deep, skip], style=style, name=name)
    return conv(both, channels, style=style, name=f"{name}.cv4")


def sppcsp(x: keras.KerasTensor, channels: int, *, style: Style, name: str) -> keras.KerasTensor:
    """`sppcspc` whose skip is a bare conv; the deep branch, normalized already, is so again with it (SPPCSP).

    Returns:
        (batch, height, width, channels).
    """
    deep = pooled_branch(x, channels, style=style, name=name)
    skip = bare_conv(x, channels, style=style, name=f"{name}.cv2")
    both = shared_norm([deep, skip], style=style, name=name)
    return conv(both, channels, style=style, name=f"{name}.cv7")

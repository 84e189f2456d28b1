"""Convolution, batch normalization, activation: the unit that everything else is made of.

Every block is a function `(x, channels, …, *, style, name) -> tensor` on NHWC tensors. `name` is the path of the
original module; the layers below it are `conv`, `bn`, `act` and `pad`.
"""

from __future__ import annotations

import keras

from keras_yolo_backbones.blocks.style import Style


def conv(
    x: keras.KerasTensor,
    channels: int,
    kernel: int = 1,
    *,
    stride: int = 1,
    activate: bool = True,
    style: Style,
    name: str,
) -> keras.KerasTensor:
    """Conv2D without bias → batch norm → activation (unless `activate` is false).

    Pads `kernel // 2` zeros on all four sides, also with a stride, as the originals do ("same" would pad even inputs
    on the bottom and right only, and shift the features by a pixel).

    Args:
        x: (batch, height, width, channels in).
        channels: filters.
        kernel: side of the kernel; an even one is a stem's.
        stride: 1 or 2.

    Returns:
        (batch, ⌈height / stride⌉, ⌈width / stride⌉, channels).
    """
    x, padding = pad(x, kernel, stride, style=style, name=name)
    x = keras.layers.Conv2D(
        channels,
        kernel,
        strides=stride,
        padding=padding,
        use_bias=False,
        data_format="channels_last",
        name=f"{name}.conv",
        dtype=style.dtype,
    )(x)
    x = style.normalize(x, name=f"{name}.bn")
    return style.activate(x, name=f"{name}.act") if activate else x


def depthwise(
    x: keras.KerasTensor, kernel: int, *, stride: int = 1, activate: bool = True, style: Style, name: str
) -> keras.KerasTensor:
    """DepthwiseConv2D without bias → batch norm → activation (unless `activate` is false); padded as `conv`.

    Returns:
        (batch, ⌈height / stride⌉, ⌈width / stride⌉, channels of `x`).
    """
    x, padding = pad(x, kernel, stride, style=style, name=name)
    x = keras.layers.DepthwiseConv2D(
        kernel,
        strides=stride,
        padding=padding,
        use_bias=False,
        data_format="channels_last",
        name=f"{name}.conv",
        dtype=style.dtype,
    )(x)
    x = style.normalize(x, name=f"{name}.bn")
    return style.activate(x, name=f"{name}.act") if activate else x


def separable(
    x: keras.KerasTensor, channels: int, kernel: int, *, stride: int = 1, style: Style, name: str
) -> keras.KerasTensor:
    """A depthwise conv unit, then a 1×1 one, both activated: (batch, ⌈height / stride⌉, ⌈width / stride⌉, channels)."""
    x = depthwise(x, kernel, stride=stride, style=style, name=f"{name}.dconv")
    return conv(x, channels, style=style, name=f"{name}.pconv")


def pad(x: keras.KerasTensor, kernel: int, stride: int, *, style: Style, name: str) -> tuple[keras.KerasTensor, str]:
    """Zero-pad `x` symmetrically for a convolution; returns it with the padding mode that is left to do."""
    if stride == 1:
        return x, "same"  # of an even kernel one more at the end, so that every second cell is that of stride 2
    if kernel == 1:
        return x, "valid"
    padding = (kernel - 1) // 2
    layer = keras.layers.ZeroPadding2D(padding, data_format="channels_last", name=f"{name}.pad", dtype=style.dtype)
    return layer(x), "valid"


def split_conv(
    x: keras.KerasTensor,
    channels: int,
    kernel: int = 1,
    *,
    stride: int = 1,
    parts: int = 2,
    style: Style,
    name: str,
) -> list[keras.KerasTensor]:
    """A conv unit of `channels` filters, split into equal parts along the channels, without a split.

    Each part is a conv unit of its own, `name.at0`, `name.at64`, … by the channel it starts at: the same numbers and
    parameters, and no operator that GPU delegates refuse.

    Returns:
        `parts` tensors of `channels // parts` channels, the original's lowest channels first.
    """
    width = channels // parts
    return [conv(x, width, kernel, stride=stride, style=style, name=f"{name}.at{i * width}") for i in range(parts)]


def grouped_conv(
    parts: list[keras.KerasTensor], channels: int, kernel: int, *, stride: int = 1, style: Style, name: str
) -> list[keras.KerasTensor]:
    """A grouped conv unit of `channels` filters, one group for each of `parts`: a conv unit of its own for every group.

    A grouped Conv2D gives the same numbers, but Keras runs it through XLA on TensorFlow, which ONNX does not take.

    Returns:
        As many tensors of `channels // len(parts)` channels, the original's lowest channels first.
    """
    width = channels // len(parts)
    return [
        conv(x, width, kernel, stride=stride, style=style, name=f"{name}.at{i * width}") for i, x in enumerate(parts)
    ]

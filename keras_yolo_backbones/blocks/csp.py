"""Cross-stage-partial stages: some branches, a chain of units on one of them, one concat, a closing 1×1 conv.

What tells C2f, C3, ELAN and their kin apart is which tensors meet in the concat, and in which order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import keras

from keras_yolo_backbones.blocks.conv import conv, split_conv
from keras_yolo_backbones.blocks.style import Style

Unit = Callable[..., keras.KerasTensor]
"""One link of a chain: `(x, channels, *, style, name) -> tensor`."""


def add(a: keras.KerasTensor, b: keras.KerasTensor, *, style: Style, name: str) -> keras.KerasTensor:
    """Elementwise sum of two tensors of one shape."""
    return keras.layers.Add(name=f"{name}.add", dtype=style.dtype)([a, b])


def concat(tensors: Iterable[keras.KerasTensor], *, style: Style, name: str) -> keras.KerasTensor:
    """Concatenation along the channels, first tensor first."""
    return keras.layers.Concatenate(axis=-1, name=f"{name}.cat", dtype=style.dtype)(list(tensors))


def merge(
    tensors: Iterable[keras.KerasTensor], channels: int, *, close: str, style: Style, name: str
) -> keras.KerasTensor:
    """The end of a stage: concatenate, then the 1×1 conv unit `name.close` to `channels`."""
    return conv(concat(tensors, style=style, name=name), channels, style=style, name=f"{name}.{close}")


def chain(
    x: keras.KerasTensor, channels: int, repeats: int, *, unit: Unit, style: Style, name: str
) -> list[keras.KerasTensor]:
    """`repeats` units in sequence, `name.0`, `name.1`, …; returns `x` and the output of each."""
    outputs = [x]
    for i in range(repeats):
        outputs.append(unit(outputs[-1], channels, style=style, name=f"{name}.{i}"))
    return outputs


def two_convs(
    x: keras.KerasTensor,
    channels: int,
    *,
    kernels: tuple[int, int] = (3, 3),
    expansion: float = 1.0,
    style: Style,
    name: str,
) -> keras.KerasTensor:
    """A conv unit of `channels * expansion` filters, then one of `channels`: a bottleneck without its shortcut."""
    y = conv(x, int(channels * expansion), kernels[0], style=style, name=f"{name}.cv1")
    return conv(y, channels, kernels[1], style=style, name=f"{name}.cv2")


def bottleneck(
    x: keras.KerasTensor,
    channels: int,
    *,
    kernels: tuple[int, int] = (3, 3),
    expansion: float = 1.0,
    style: Style,
    name: str,
) -> keras.KerasTensor:
    """`two_convs` around a shortcut, added after the second activation; shape stays."""
    y = two_convs(x, channels, kernels=kernels, expansion=expansion, style=style, name=name)
    return add(x, y, style=style, name=name)


def c2f(
    x: keras.KerasTensor,
    channels: int,
    repeats: int,
    *,
    hidden: int | None = None,
    unit: Unit = bottleneck,
    style: Style,
    name: str,
) -> keras.KerasTensor:
    """Two halves of one conv, a chain from the second; everything meets (YOLOv8's C2f).

    Args:
        x: (batch, height, width, any).
        channels: output channels.
        repeats: length of the chain.
        hidden: channels of each half, `channels // 2` by default.
        unit: its links; they keep the half's shape.

    Returns:
        (batch, height, width, channels).
    """
    links = c2f_links(x, hidden or channels // 2, repeats, unit=unit, style=style, name=name)
    return merge(links, channels, close="cv2", style=style, name=name)


def c2f_links(
    x: keras.KerasTensor, hidden: int, repeats: int, *, unit: Unit, style: Style, name: str
) -> list[keras.KerasTensor]:
    """What meets in a `c2f`: two halves of `hidden` channels, and every link of the chain from the second."""
    first, second = split_conv(x, 2 * hidden, style=style, name=f"{name}.cv1")
    return [first, *chain(second, hidden, repeats, unit=unit, style=style, name=f"{name}.m")]


def c3(
    x: keras.KerasTensor,
    channels: int,
    repeats: int,
    *,
    hidden: int | None = None,
    unit: Unit,
    style: Style,
    name: str,
) -> keras.KerasTensor:
    """Two convs, a chain from the first; its end meets the second conv (YOLOv5's C3).

    Args:
        x: (batch, height, width, any).
        channels: output channels.
        repeats: length of the chain.
        hidden: channels of each branch, `channels // 2` by default.
        unit: its links; they keep the branch's shape.

    Returns:
        (batch, height, width, channels).
    """
    hidden = hidden or channels // 2
    deep = conv(x, hidden, style=style, name=f"{name}.cv1")
    skip = conv(x, hidden, style=style, name=f"{name}.cv2")
    deep = chain(deep, hidden, repeats, unit=unit, style=style, name=f"{name}.m")[-1]
    return merge([deep, skip], channels, close="cv3", style=style, name=name)


def cross_stage(
    x: keras.KerasTensor,
    channels: int,
    repeats: int,
    *,
    hidden: int | None = None,
    unit: Unit,
    style: Style,
    name: str,
) -> keras.KerasTensor:
    """`c3` with one more conv after the chain (the stages of CSPDarknet53).

    Args:
        x: (batch, height, width, any).
        channels: output channels.
        repeats: length of the chain.
        hidden: channels of each branch, `channels // 2` by default.
        unit: links of the chain; they keep the branch's shape.

    Returns:
        (batch, height, width, channels).
    """
    hidden = hidden or channels // 2
    skip = conv(x, hidden, style=style, name=f"{name}.cv2")
    deep = conv(x, hidden, style=style, name=f"{name}.cv1")
    deep = chain(deep, hidden, repeats, unit=unit, style=style, name=f"{name}.m")[-1]
    deep = conv(deep, hidden, style=style, name=f"{name}.cv3")
    return merge([deep, skip], channels, close="cv4", style=style, name=name)

"""Multi-head attention over the cells of a feature map, written flat: every tensor in it is the output of a layer.

The originals compute q, k and v by one conv and cut it up; here they are three convs with the same numbers. All
tensors have at most four axes, and no operator is left that int8 files would have to keep in float.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import keras

from keras_yolo_backbones.blocks.conv import conv, depthwise, split_conv
from keras_yolo_backbones.blocks.csp import add, chain, merge
from keras_yolo_backbones.blocks.layers import LearnedScale, MatMul, ReshapeLike, SplitAreas
from keras_yolo_backbones.blocks.style import Style
from keras_yolo_backbones.errors import ArgumentError

AREA_HEAD = 32
"""Channels of q, k and v in each head of area attention."""


def attention(
    x: keras.KerasTensor, *, heads: int, key: int, areas: int = 1, position: int = 3, style: Style, name: str
) -> keras.KerasTensor:
    """Softmax(q·kᵀ / √key)·v among all cells, a depthwise conv of v added for the position, a 1×1 conv. No activation.

    Args:
        x: (batch, height, width, channels).
        heads: how many attentions run side by side, each on `channels // heads` channels of v.
        key: channels of q and k in each head.
        areas: cells attend to those of their own area only: the map in row-major order, cut into `areas` equal runs.
        position: kernel side of the depthwise conv.

    Returns:
        A tensor shaped like `x`.
    """
    channels = x.shape[-1]
    q = conv(x, heads * key, activate=False, style=style, name=f"{name}.q")
    k = conv(x, heads * key, activate=False, style=style, name=f"{name}.k")
    v = conv(x, channels, activate=False, style=style, name=f"{name}.v")
    q = keras.layers.Rescaling(key**-0.5, name=f"{name}.q.scale", dtype=style.dtype)(q)
    split = [
        _split_heads(tensor, heads, areas, style=style, name=f"{name}.{part}")
        for tensor, part in ((q, "q"), (k, "k"), (v, "v"))
    ]
    y = _attend(*split, style=style, name=name)
    y = _join_heads(y, v, heads, areas, style=style, name=name)
    y = add(y, depthwise(v, position, activate=False, style=style, name=f"{name}.pe"), style=style, name=f"{name}.pe")
    return conv(y, channels, activate=False, style=style, name=f"{name}.proj")


def _split_heads(x: keras.KerasTensor, heads: int, areas: int, *, style: Style, name: str) -> keras.KerasTensor:
    """(batch, height, width, channels) -> (batch, heads · areas, cells of an area, channels of a head)."""
    width = x.shape[-1] // heads
    x = keras.layers.Reshape((-1, heads, width), name=f"{name}.cells", dtype=style.dtype)(x)
    x = keras.layers.Permute((2, 1, 3), name=f"{name}.heads", dtype=style.dtype)(x)
    if areas > 1 and x.shape[2] is None:
        x = SplitAreas(areas, name=f"{name}.areas", dtype=style.dtype)(x)
    elif areas > 1:
        x = keras.layers.Reshape((heads * areas, -1, width), name=f"{name}.areas", dtype=style.dtype)(x)
    return x


def _attend(
    q: keras.KerasTensor, k: keras.KerasTensor, v: keras.KerasTensor, *, style: Style, name: str
) -> keras.KerasTensor:
    scores = MatMul(transpose=True, name=f"{name}.scores", dtype=style.dtype)([q, k])
    weights = keras.layers.Softmax(name=f"{name}.softmax", dtype=style.dtype)(scores)
    return MatMul(name=f"{name}.values", dtype=style.dtype)([weights, v])


def _join_heads(
    x: keras.KerasTensor, like: keras.KerasTensor, heads: int, areas: int, *, style: Style, name: str
) -> keras.KerasTensor:
    """The way back of `_split_heads`, to the shape of `like`."""
    if areas > 1:
        x = keras.layers.Reshape((heads, -1, x.shape[-1]), name=f"{name}.runs", dtype=style.dtype)(x)
    x = keras.layers.Permute((2, 1, 3), name=f"{name}.cells", dtype=style.dtype)(x)
    shape = like.shape[1:]
    if None in shape:
        return ReshapeLike(name=f"{name}.map", dtype=style.dtype)([x, like])
    return keras.layers.Reshape(shape, name=f"{name}.map", dtype=style.dtype)(x)


def feed_forward(x: keras.KerasTensor, hidden: int, *, style: Style, name: str) -> keras.KerasTensor:
    """x + two 1×1 convs, `hidden` channels between them, no activation after the second."""
    y = conv(x, hidden, style=style, name=f"{name}.0")
    y = conv(y, x.shape[-1], activate=False, style=style, name=f"{name}.1")
    return add(x, y, style=style, name=name)


def psa_unit(x: keras.KerasTensor, channels: int, *, style: Style, name: str) -> keras.KerasTensor:
    """x + attention, then x + feed-forward; heads of about 64 channels, q and k half as wide."""
    heads = max(channels // 64, 1)
    if channels % heads or channels // heads % 2:
        raise ArgumentError(f"attention on {channels} channels: they do not divide among {heads} heads; change width.")
    y = attention(x, heads=heads, key=channels // heads // 2, style=style, name=f"{name}.attn")
    x = add(x, y, style=style, name=f"{name}.attn")
    return feed_forward(x, 2 * channels, style=style, name=f"{name}.ffn")


def psa(x: keras.KerasTensor, repeats: int = 1, *, style: Style, name: str) -> keras.KerasTensor:
    """Two halves of one conv, `repeats` attention units on the second; its end meets the first (PSA, C2PSA).

    Args:
        x: (batch, height, width, channels).
        repeats: length of the chain.

    Returns:
        A tensor shaped like `x`.
    """
    channels = x.shape[-1]
    first, second = split_conv(x, channels, style=style, name=f"{name}.cv1")
    deep = chain(second, channels // 2, repeats, unit=psa_unit, style=style, name=f"{name}.m")[-1]
    return merge([first, deep], channels, close="cv2", style=style, name=name)


def area_unit(
    x: keras.KerasTensor, channels: int, *, areas: int, ratio: float, position: int, style: Style, name: str
) -> keras.KerasTensor:
    """x + attention within areas, then x + feed-forward of `ratio` times the channels."""
    heads = channels // AREA_HEAD
    if not heads or channels % AREA_HEAD:
        raise ArgumentError(
            f"area attention on {channels} channels: expected a multiple of {AREA_HEAD}; change width or max_channels."
        )
    y = attention(x, heads=heads, key=AREA_HEAD, areas=areas, position=position, style=style, name=f"{name}.attn")
    x = add(x, y, style=style, name=f"{name}.attn")
    return feed_forward(x, int(channels * ratio), style=style, name=f"{name}.mlp")


def area_pair(x: keras.KerasTensor, channels: int, *, style: Style, name: str, **options: Any) -> keras.KerasTensor:
    """Two `area_unit` in sequence."""
    return chain(x, channels, 2, unit=partial(area_unit, **options), style=style, name=name)[-1]


def a2c2f(
    x: keras.KerasTensor,
    channels: int,
    repeats: int,
    *,
    areas: int,
    ratio: float = 2.0,
    position: int,
    style: Style,
    name: str,
) -> keras.KerasTensor:
    """A 1×1 conv to half the channels, a chain of pairs of attention units from it; everything meets (A2C2f).

    Args:
        x: (batch, height, width, any).
        channels: output channels.
        repeats: pairs of units.
        areas: into how many runs of cells the map is cut.
        ratio: width of the feed-forward, relative to its input.
        position: kernel side of the depthwise conv beside the attention.

    Returns:
        (batch, height, width, channels).
    """
    unit = partial(area_pair, areas=areas, ratio=ratio, position=position)
    x = conv(x, channels // 2, style=style, name=f"{name}.cv1")
    links = chain(x, channels // 2, repeats, unit=unit, style=style, name=f"{name}.m")
    return merge(links, channels, close="cv2", style=style, name=name)


def scaled_a2c2f(
    x: keras.KerasTensor, channels: int, repeats: int, *, style: Style, name: str, **options: Any
) -> keras.KerasTensor:
    """x + gamma · `a2c2f`, gamma trained for every channel."""
    y = a2c2f(x, channels, repeats, style=style, name=name, **options)
    y = LearnedScale(channels=channels, initial=0.01, name=f"{name}.gamma", dtype=style.dtype)(y)
    return add(x, y, style=style, name=name)

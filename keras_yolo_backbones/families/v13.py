"""YOLOv13 backbone: YOLOv12 turbo with depthwise-separable convs, in the links of C3k2 and before area attention.

Input: RGB in [0, 1], (batch, height, width, 3). Levels: P2 … P5 at strides 4 … 32. There is no context block: `spp`
changes nothing. On P4 every cell attends to a quarter of the map, as in YOLOv12.

Between a depthwise conv and its 1×1 conv is nothing: neither batch norm nor activation.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import keras

from keras_yolo_backbones.blocks import Style, add, c3, grouped_trunk, pad
from keras_yolo_backbones.families.frame import origins
from keras_yolo_backbones.families.frame.family import Family, Release
from keras_yolo_backbones.families.v12 import SIZES_TURBO, layout_turbo
from keras_yolo_backbones.families.v12 import network as area_network


def linked_conv(
    x: keras.KerasTensor, channels: int, kernel: int = 3, *, stride: int = 1, style: Style, name: str
) -> keras.KerasTensor:
    """A depthwise and a 1×1 conv, then one batch norm and one activation (DSConv).

    Returns:
        (batch, ⌈height / stride⌉, ⌈width / stride⌉, channels).
    """
    x, padding = pad(x, kernel, stride, style=style, name=name)
    bare = {"use_bias": False, "data_format": "channels_last", "dtype": style.dtype}
    x = keras.layers.DepthwiseConv2D(kernel, strides=stride, padding=padding, name=f"{name}.dw", **bare)(x)
    x = keras.layers.Conv2D(channels, 1, name=f"{name}.pw", **bare)(x)
    return style.activate(style.normalize(x, name=f"{name}.bn"), name=f"{name}.act")


def linked_bottleneck(x: keras.KerasTensor, channels: int, *, style: Style, name: str) -> keras.KerasTensor:
    """x + (a 3×3, then a 7×7 `linked_conv`)."""
    y = linked_conv(x, channels, 3, style=style, name=f"{name}.cv1")
    y = linked_conv(y, channels, 7, style=style, name=f"{name}.cv2")
    return add(x, y, style=style, name=name)


def linked_c3k(x: keras.KerasTensor, channels: int, *, style: Style, name: str) -> keras.KerasTensor:
    """A C3 of two `linked_bottleneck`, both branches as wide as `x`."""
    return c3(x, channels, 2, hidden=channels, unit=linked_bottleneck, style=style, name=name)


STYLE = Style(activation="silu", epsilon=1e-3, momentum=0.97)

LINKS = {"n": linked_bottleneck, "s": linked_bottleneck, "l": linked_c3k, "x": linked_c3k}
"""Size -> the links of P2 and P3."""

SIZES = {size: dataclasses.replace(SIZES_TURBO[size], early=link) for size, link in LINKS.items()}

network = partial(area_network, lower=grouped_trunk, position=5, down=partial(linked_conv, stride=2))

v13 = Family(
    "v13",
    Release(
        network=network,
        sizes=SIZES,
        style=STYLE,
        origin=origins.V13,
        layout=layout_turbo,
        published=origins.V13_NETWORKS,
    ),
    default_size="s",
    doc=__doc__,
)

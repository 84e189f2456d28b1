"""RTMDet backbone (CSPNeXt): stages of large depthwise convs with channel attention; SPPF before the last stage.

Input: RGB in [0, 1], (batch, height, width, 3). Levels: P2 … P5 at strides 4 … 32. The SPPF is a part of the last
level: `spp=False` leaves it out and keeps the stage after it.
"""

from __future__ import annotations

import keras

from keras_yolo_backbones.blocks import (
    SPPF,
    Style,
    Unit,
    add,
    chain,
    channel_attention,
    concat,
    conv,
    conv_down,
    separable,
)
from keras_yolo_backbones.families.frame import origins
from keras_yolo_backbones.families.frame.family import Family, Release
from keras_yolo_backbones.families.frame.layout import Layout
from keras_yolo_backbones.families.frame.scale import PlainScale

STYLE = Style(activation="silu", epsilon=1e-5, momentum=0.9)

SIZES = {
    "tiny": PlainScale(depth=0.167, width=0.375),
    "s": PlainScale(depth=0.33, width=0.50),
    "m": PlainScale(depth=0.67, width=0.75),
    "l": PlainScale(depth=1.00, width=1.00),
    "x": PlainScale(depth=1.33, width=1.25),
}

STAGES = {2: (128, 3), 3: (256, 6), 4: (512, 6), 5: (1024, 3)}
"""Level -> (channels, units) at width and depth 1."""


def pair(x: keras.KerasTensor, channels: int, *, style: Style, name: str) -> keras.KerasTensor:
    """A 3×3 conv, then a 5×5 depthwise and a 1×1 one."""
    y = conv(x, channels, 3, style=style, name=f"{name}.conv1")
    return separable(y, channels, 5, style=style, name=f"{name}.conv2")


def residual(x: keras.KerasTensor, channels: int, *, style: Style, name: str) -> keras.KerasTensor:
    """`pair` around a shortcut."""
    return add(x, pair(x, channels, style=style, name=name), style=style, name=name)


def csp_next(
    x: keras.KerasTensor, channels: int, repeats: int, *, unit: Unit, style: Style, name: str
) -> keras.KerasTensor:
    """C3 with channel attention on its concat, before the closing conv."""
    hidden = channels // 2
    deep = conv(x, hidden, style=style, name=f"{name}.main_conv")
    skip = conv(x, hidden, style=style, name=f"{name}.short_conv")
    deep = chain(deep, hidden, repeats, unit=unit, style=style, name=f"{name}.blocks")[-1]
    x = channel_attention(concat([deep, skip], style=style, name=name), style=style, name=f"{name}.attention")
    return conv(x, channels, style=style, name=f"{name}.final_conv")


def network(
    images: keras.KerasTensor, scale: PlainScale, style: Style, *, spp: bool | str
) -> dict[str, keras.KerasTensor]:
    """All levels of one RTMDet backbone."""
    levels = {}
    width = scale.channels(64)
    x = conv(images, width // 2, 3, stride=style.stem_stride, style=style, name="stem.0")
    x = conv(x, width // 2, 3, style=style, name="stem.1")
    x = conv(x, width, 3, style=style, name="stem.2")
    for level, (base, repeats) in STAGES.items():
        channels, unit = scale.channels(base), residual
        x = conv_down(x, channels, style=style, name=f"down{level}")
        if level == scale.top:
            unit = pair
            x = SPPF[spp](x, channels, style=style, name="spp") if spp else x
        x = csp_next(x, channels, scale.repeats(repeats), unit=unit, style=style, name=f"stage{level}")
        levels[f"P{level}"] = x
    return levels


def layout(_: PlainScale) -> Layout:
    """`stageN` is level N + 1: the stride-2 conv, on top the SPPF, the stage."""
    prefixes = {"stem": "backbone.stem", "spp": "backbone.stage4.1"}
    for level in STAGES:
        prefixes[f"down{level}"] = f"backbone.stage{level - 1}.0"
        prefixes[f"stage{level}"] = f"backbone.stage{level - 1}.{2 if level == 5 else 1}"
    names = {"cv1": "conv1", "cv2": "conv2", "dconv": "depthwise_conv", "pconv": "pointwise_conv"}
    return Layout(prefixes, names=names)


rtmdet = Family(
    "rtmdet",
    Release(
        network=network,
        sizes=SIZES,
        style=STYLE,
        origin=origins.RTMDET,
        layout=layout,
        published=origins.RTMDET_NETWORKS,
        preprocessing=origins.RTMDET_PIXELS,
        linear_spp=SIZES,
    ),
    default_size="s",
    doc=__doc__,
)

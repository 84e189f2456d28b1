"""YOLOv5 backbone: stages of C3, a spatial pyramid pooling on top.

Input: RGB in [0, 1], (batch, height, width, 3). Levels: P2 … P5 at strides 4 … 32, P6 at 64 in the sizes ending in 6.

Release 5.0 differs in three places: its stem is Focus (written here as the 6×6 conv that it is equal to), P3 has more
units, and the pooling comes before the last C3 instead of after it; `spp=False` leaves out both.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import keras

from keras_yolo_backbones.blocks import SPPF, Pooling, Style, bottleneck, c3, conv, pools, two_convs
from keras_yolo_backbones.families.frame import origins
from keras_yolo_backbones.families.frame.family import Family, Release
from keras_yolo_backbones.families.frame.layout import FOCUS, Layout, paired
from keras_yolo_backbones.families.frame.scale import Scale

STYLE = Style(activation="silu", epsilon=1e-3, momentum=0.97)

SIZES = {
    "n": Scale(depth=0.33, width=0.25),
    "s": Scale(depth=0.33, width=0.50),
    "m": Scale(depth=0.67, width=0.75),
    "l": Scale(depth=1.00, width=1.00),
    "x": Scale(depth=1.33, width=1.25),
}
SIZES |= {f"{size}6": dataclasses.replace(scale, top=6) for size, scale in SIZES.items()}

SIZES_5_0 = {size: scale for size, scale in SIZES.items() if size not in ("n", "n6")}

STAGES = {
    5: {2: (128, 3), 3: (256, 6), 4: (512, 9), 5: (1024, 3)},
    6: {2: (128, 3), 3: (256, 6), 4: (512, 9), 5: (768, 3), 6: (1024, 3)},
}
"""Top level -> level -> (channels, units) at width and depth 1."""


UNIT = partial(bottleneck, kernels=(1, 3))
PLAIN_UNIT = partial(two_convs, kernels=(1, 3))

POOLING_5_0: dict[int, Pooling] = {5: pools, 6: partial(pools, size=3)}
"""Top level -> pooling: windows of 5, 9 and 13 on P5, of 3, 5 and 7 on P6."""


def network(images: keras.KerasTensor, scale: Scale, style: Style, *, spp: bool | str) -> dict[str, keras.KerasTensor]:
    """All levels of one YOLOv5 7.0 backbone."""
    levels = {}
    x = conv(images, scale.channels(64), 6, stride=style.stem_stride, style=style, name="stem")
    for level, (base, repeats) in STAGES[scale.top].items():
        channels = scale.channels(base)
        x = conv(x, channels, 3, stride=2, style=style, name=f"down{level}")
        x = c3(x, channels, scale.repeats(repeats), unit=UNIT, style=style, name=f"stage{level}")
        if spp and level == scale.top:
            x = SPPF[spp](x, channels, style=style, name="spp")
        levels[f"P{level}"] = x
    return levels


def network_5_0(
    images: keras.KerasTensor, scale: Scale, style: Style, *, spp: bool | str
) -> dict[str, keras.KerasTensor]:
    """All levels of one YOLOv5 5.0 backbone."""
    levels = {}
    x = conv(images, scale.channels(64), 6, stride=style.stem_stride, style=style, name="stem")
    for level, (base, repeats) in (STAGES[scale.top] | {3: (256, 9)}).items():
        channels, repeats = scale.channels(base), scale.repeats(repeats)
        x = conv(x, channels, 3, stride=2, style=style, name=f"down{level}")
        if level < scale.top:
            x = c3(x, channels, repeats, unit=UNIT, style=style, name=f"stage{level}")
        elif spp:
            x = SPPF[spp](x, channels, pooling=POOLING_5_0[scale.top], style=style, name="spp")
            x = c3(x, channels, repeats, unit=PLAIN_UNIT, style=style, name=f"stage{level}")
        levels[f"P{level}"] = x
    return levels


def layout(scale: Scale) -> Layout:
    """Ultralytics numbers the layers of its YAML file: stem 0, then two a stage, SPPF last."""
    return Layout(paired(scale.top, "spp"))


def layout_5_0(scale: Scale) -> Layout:
    """As 7.0, but the stem is Focus and the last C3 comes after the pooling."""
    prefixes = dict(layout(scale).prefixes)
    last = f"stage{scale.top}"
    prefixes["spp"], prefixes[last] = prefixes[last], prefixes["spp"]
    return Layout(prefixes | {"stem": "model.0.conv"}, pieces={"stem": FOCUS})


v5 = Family(
    "v5",
    {
        "7.0": Release(
            network=network,
            sizes=SIZES,
            style=STYLE,
            origin=origins.V5,
            layout=layout,
            published=origins.V5_NETWORKS,
            linear_spp=SIZES,
        ),
        "5.0": Release(
            network=network_5_0,
            sizes=SIZES_5_0,
            style=STYLE,
            origin=origins.V5_5_0,
            layout=layout_5_0,
            published=origins.V5_NETWORKS,
            linear_spp=SIZES_5_0,
        ),
    },
    default_size="s",
    doc=__doc__,
)

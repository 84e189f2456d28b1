"""YOLOv8 backbone: stages of C2f, an SPPF on top.

Input: RGB in [0, 1], (batch, height, width, 3). Levels: P2 … P5 at strides 4 … 32, P6 at 64 in the sizes ending in 6.
Release cls is the backbone of the classifiers: no SPPF, and more channels on P5 in m, l and x.
"""

from __future__ import annotations

import dataclasses

import keras

from keras_yolo_backbones.blocks import SPPF, Style, c2f, conv
from keras_yolo_backbones.families.frame import origins
from keras_yolo_backbones.families.frame.family import Family, Release
from keras_yolo_backbones.families.frame.layout import Layout, paired
from keras_yolo_backbones.families.frame.scale import Scale

STYLE = Style(activation="silu", epsilon=1e-3, momentum=0.97)

SIZES = {
    "n": Scale(depth=0.33, width=0.25, max_channels=1024),
    "s": Scale(depth=0.33, width=0.50, max_channels=1024),
    "m": Scale(depth=0.67, width=0.75, max_channels=768),
    "l": Scale(depth=1.00, width=1.00, max_channels=512),
    "x": Scale(depth=1.00, width=1.25, max_channels=512),
    "n6": Scale(depth=0.33, width=0.25, max_channels=1024, top=6),
    "s6": Scale(depth=0.33, width=0.50, max_channels=1024, top=6),
    "m6": Scale(depth=0.67, width=0.75, max_channels=768, top=6),
    "l6": Scale(depth=1.00, width=1.00, max_channels=512, top=6),
    "x6": Scale(depth=1.00, width=1.25, max_channels=512, top=6),
}

CLS_STYLE = Style(activation="silu", epsilon=1e-5, momentum=0.9)

CLS_SIZES = {size: dataclasses.replace(SIZES[size], max_channels=1024) for size in ("n", "s", "m", "l", "x")}
"""A classifier's channels are capped at 1024 in every size."""

STAGES = {
    5: {2: (128, 3), 3: (256, 6), 4: (512, 6), 5: (1024, 3)},
    6: {2: (128, 3), 3: (256, 6), 4: (512, 6), 5: (768, 3), 6: (1024, 3)},
}
"""Top level -> level -> (channels, units) at width and depth 1."""


def network(images: keras.KerasTensor, scale: Scale, style: Style, *, spp: bool | str) -> dict[str, keras.KerasTensor]:
    """All levels of one YOLOv8 backbone."""
    levels = {}
    x = conv(images, scale.channels(64), 3, stride=style.stem_stride, style=style, name="stem")
    for level, (base, repeats) in STAGES[scale.top].items():
        channels = scale.channels(base)
        x = conv(x, channels, 3, stride=2, style=style, name=f"down{level}")
        x = c2f(x, channels, scale.repeats(repeats), style=style, name=f"stage{level}")
        if spp and level == scale.top:
            x = SPPF[spp](x, channels, style=style, name="spp")
        levels[f"P{level}"] = x
    return levels


def classifier(
    images: keras.KerasTensor, scale: Scale, style: Style, *, spp: bool | str
) -> dict[str, keras.KerasTensor]:
    """All levels of one YOLOv8-cls backbone: there is no context block."""
    del spp
    return network(images, scale, style, spp=False)


def layout(scale: Scale) -> Layout:
    """Ultralytics numbers the layers of its YAML file: stem 0, then two a stage, SPPF last."""
    return Layout(paired(scale.top, "spp"))


def classifier_layout(scale: Scale) -> Layout:
    """The same without the SPPF; its number is the head's."""
    return Layout(paired(scale.top))


v8 = Family(
    "v8",
    {
        "detect": Release(
            network=network,
            sizes=SIZES,
            style=STYLE,
            origin=origins.V8,
            layout=layout,
            published=origins.V8_NETWORKS,
            linear_spp=SIZES,
        ),
        "cls": Release(
            network=classifier,
            sizes=CLS_SIZES,
            style=CLS_STYLE,
            origin=origins.V8,
            layout=classifier_layout,
            published=origins.V8_CLS_NETWORKS,
        ),
    },
    default_size="s",
    doc=__doc__,
)

"""YOLOv8 backbone: stages of C2f, an SPPF on top.

Input: RGB in [0, 1], (batch, height, width, 3). Levels: P2 … P5 at strides 4 … 32, P6 at 64 in the sizes ending in 6.
Source: Ultralytics YOLOv8, pip package `ultralytics` 8.4.190 (AGPL-3.0); no paper. SiLU, batch norm epsilon 1e-3.
"""

from __future__ import annotations

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

STAGES = {
    5: {2: (128, 3), 3: (256, 6), 4: (512, 6), 5: (1024, 3)},
    6: {2: (128, 3), 3: (256, 6), 4: (512, 6), 5: (768, 3), 6: (1024, 3)},
}
"""Top level -> level -> (channels, units) at width and depth 1."""


def network(images: keras.KerasTensor, scale: Scale, style: Style, *, spp: bool | str) -> dict[str, keras.KerasTensor]:
    """All levels of one YOLOv8 backbone."""
    levels = {}
    x = conv(images, scale.channels(64), 3, stride=2, style=style, name="stem")
    for level, (base, repeats) in STAGES[scale.top].items():
        channels = scale.channels(base)
        x = conv(x, channels, 3, stride=2, style=style, name=f"down{level}")
        x = c2f(x, channels, scale.repeats(repeats), style=style, name=f"stage{level}")
        if spp and level == scale.top:
            x = SPPF[spp](x, channels, style=style, name="spp")
        levels[f"P{level}"] = x
    return levels


def layout(scale: Scale) -> Layout:
    """Ultralytics numbers the layers of its YAML file: stem 0, then two a stage, SPPF last."""
    return Layout(paired(scale.top, "spp"))


v8 = Family(
    "v8",
    Release(
        network=network,
        sizes=SIZES,
        style=STYLE,
        origin=origins.V8,
        layout=layout,
        published=origins.V8_NETWORKS,
        linear_spp=SIZES,
    ),
    default_size="s",
    doc=__doc__,
)

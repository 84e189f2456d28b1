"""YOLO26 backbone: YOLO11's stages of C3k2 and its attention on top; between them an SPPF of its own.

Input: RGB in [0, 1], (batch, height, width, 3). Levels: P2 … P5 at strides 4 … 32, P6 at 64 in the sizes ending in 6.

The first conv of its SPPF has no activation, whatever the network's is. The backbone of its classifier is YOLO11's.
"""

from __future__ import annotations

import dataclasses

import keras

from keras_yolo_backbones.blocks import Style, add, c3k2_trunk, linear_sppf, psa
from keras_yolo_backbones.families.frame import origins
from keras_yolo_backbones.families.frame.c3k2 import SIZES as SIZES_11
from keras_yolo_backbones.families.frame.c3k2 import UNITS, C3k2Scale
from keras_yolo_backbones.families.frame.family import Family, Release
from keras_yolo_backbones.families.frame.layout import Layout, paired, psa_pieces
from keras_yolo_backbones.families.v11 import CLS_STYLE, classifier, classifier_layout

STYLE = Style(activation="silu", epsilon=1e-3, momentum=0.97)

SIZES = SIZES_11 | {f"{size}6": dataclasses.replace(scale, top=6) for size, scale in SIZES_11.items()}

STAGES = {
    5: {2: (128, 256, 0.25), 3: (256, 512, 0.25), 4: (512, 512, 0.5), 5: (1024, 1024, 0.5)},
    6: {2: (128, 256, 0.25), 3: (256, 512, 0.25), 4: (512, 512, 0.5), 5: (768, 768, 0.5), 6: (1024, 1024, 0.5)},
}
"""Top level -> level -> (channels of the conv, channels of the stage, share of them in each half), at width 1."""


def network(images: keras.KerasTensor, scale: C3k2Scale, style: Style, *, spp: bool) -> dict[str, keras.KerasTensor]:
    """All levels of one YOLO26 backbone."""
    levels = c3k2_trunk(images, scale.channels(64), scale.stages(STAGES[scale.top]), style=style)
    if spp:
        top = f"P{scale.top}"
        context = residual_sppf if scale.top == 5 else linear_sppf
        x = context(levels[top], scale.channels(1024), style=style, name="spp")
        levels[top] = psa(x, scale.repeats(UNITS), style=style, name="psa")
    return levels


def residual_sppf(x: keras.KerasTensor, channels: int, *, style: Style, name: str) -> keras.KerasTensor:
    """x + `linear_sppf`."""
    return add(x, linear_sppf(x, channels, style=style, name=name), style=style, name=name)


def layout(scale: C3k2Scale) -> Layout:
    """Ultralytics numbers the layers of its YAML file: stem 0, then two a stage, SPPF and C2PSA last."""
    return Layout(paired(scale.top, "spp", "psa"), pieces=psa_pieces(scale.channels(1024) // 2))


v26 = Family(
    "v26",
    {
        "detect": Release(
            network=network,
            sizes=SIZES,
            style=STYLE,
            origin=origins.V26,
            layout=layout,
            published=origins.V26_NETWORKS,
        ),
        "cls": Release(
            network=classifier,
            sizes=SIZES_11,
            style=CLS_STYLE,
            origin=origins.V26,
            layout=classifier_layout,
            published=origins.V26_CLS_NETWORKS,
        ),
    },
    default_size="s",
    doc=__doc__,
)

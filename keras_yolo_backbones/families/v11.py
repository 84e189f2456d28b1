"""YOLO11 backbone: stages of C3k2, SPPF and attention (C2PSA) on top.

Input: RGB in [0, 1], (batch, height, width, 3). Levels: P2 … P5 at strides 4 … 32.
Release cls is the backbone of the classifiers: no SPPF before the attention.
"""

from __future__ import annotations

import keras

from keras_yolo_backbones.blocks import SPPF, Style, c3k2_trunk, psa
from keras_yolo_backbones.families.frame import origins
from keras_yolo_backbones.families.frame.c3k2 import SIZES, UNITS, C3k2Scale
from keras_yolo_backbones.families.frame.family import Family, Release
from keras_yolo_backbones.families.frame.layout import Layout, paired, psa_pieces

STYLE = Style(activation="silu", epsilon=1e-3, momentum=0.97)

CLS_STYLE = Style(activation="silu", epsilon=1e-5, momentum=0.9)

STAGES = {2: (128, 256, 0.25), 3: (256, 512, 0.25), 4: (512, 512, 0.5), 5: (1024, 1024, 0.5)}
"""Level -> (channels of the conv, channels of the stage, share of them in each of its halves), at width 1."""


def network(
    images: keras.KerasTensor, scale: C3k2Scale, style: Style, *, spp: bool | str
) -> dict[str, keras.KerasTensor]:
    """All levels of one YOLO11 backbone."""
    levels = c3k2_trunk(images, scale.channels(64), scale.stages(STAGES), style=style)
    if spp:
        x = SPPF[spp](levels["P5"], scale.channels(1024), style=style, name="spp")
        levels["P5"] = psa(x, scale.repeats(UNITS), style=style, name="psa")
    return levels


def classifier(
    images: keras.KerasTensor, scale: C3k2Scale, style: Style, *, spp: bool | str
) -> dict[str, keras.KerasTensor]:
    """All levels of one YOLO11-cls backbone: attention without the SPPF before it."""
    levels = c3k2_trunk(images, scale.channels(64), scale.stages(STAGES), style=style)
    if spp:
        levels["P5"] = psa(levels["P5"], scale.repeats(UNITS), style=style, name="psa")
    return levels


def layout(scale: C3k2Scale) -> Layout:
    """Ultralytics numbers the layers of its YAML file: stem 0, then two a stage, SPPF and C2PSA last."""
    return Layout(paired(5, "spp", "psa"), pieces=psa_pieces(scale.channels(1024) // 2))


def classifier_layout(scale: C3k2Scale) -> Layout:
    """The same without the SPPF."""
    return Layout(paired(5, "psa"), pieces=psa_pieces(scale.channels(1024) // 2))


v11 = Family(
    "v11",
    {
        "detect": Release(
            network=network,
            sizes=SIZES,
            style=STYLE,
            origin=origins.V11,
            layout=layout,
            published=origins.V11_NETWORKS,
            linear_spp=SIZES,
        ),
        "cls": Release(
            network=classifier,
            sizes=SIZES,
            style=CLS_STYLE,
            origin=origins.V11,
            layout=classifier_layout,
            published=origins.V11_CLS_NETWORKS,
        ),
    },
    default_size="s",
    doc=__doc__,
)

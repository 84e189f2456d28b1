"""YOLOv9 backbone: GELAN stages with re-parameterizable convs, SPPELAN on top; size e runs over the image twice.

Input: RGB in [0, 1], (batch, height, width, 3). Levels: P2 … P5 at strides 4 … 32.

MultimediaTechLab's implementation under the MIT licence is the same network: its files of t, s, m and c fit too.
Where the original cuts the channels of a map in two (ADown), the conv before it makes two halves here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial

import keras

from keras_yolo_backbones.blocks import (
    Style,
    average_down,
    conv,
    conv_down,
    gelan,
    rep_csp,
    spp_elan,
)
from keras_yolo_backbones.families.frame import origins
from keras_yolo_backbones.families.frame.family import Family, Release
from keras_yolo_backbones.families.frame.layout import Layout, numbered, paired
from keras_yolo_backbones.families.v9_heavy import LINKS, Heavy, once, twice


@dataclasses.dataclass(frozen=True)
class Light:
    """Sizes t, s and m, which average before they halve.

    Attributes:
        stem: channels of the first conv; the second has twice as many.
        stages: level -> channels.
        repeats: units in each link of a GELAN.
        first: the links of P2.
    """

    stem: int
    stages: Mapping[int, int]
    repeats: int
    first: Callable[..., keras.KerasTensor]
    top: int = 5


STYLE = Style(activation="silu", epsilon=1e-3, momentum=0.97)


def light(images: keras.KerasTensor, spec: Light, style: Style) -> dict[str, keras.KerasTensor]:
    """Sizes t, s and m."""
    levels = {}
    x = conv(images, spec.stem, 3, stride=style.stem_stride, style=style, name="stem")
    for level, channels in spec.stages.items():
        if level == 2:
            x = conv_down(x, 2 * spec.stem, style=style, name="down2")
        else:
            x = average_down(x, channels, style=style, name=f"down{level}")
        link = spec.first if level == 2 else partial(rep_csp, repeats=spec.repeats)
        x = gelan(x, channels, link=link, style=style, name=f"stage{level}")
        x = levels[f"P{level}"] = conv(x, channels, style=style, name=f"stage{level}.cv4")
    return levels


SIZES = {
    "t": Light(stem=16, stages={2: 32, 3: 64, 4: 96, 5: 128}, repeats=3, first=partial(conv, kernel=3)),
    "s": Light(stem=32, stages={2: 64, 3: 128, 4: 192, 5: 256}, repeats=3, first=partial(conv, kernel=3)),
    "m": Light(stem=32, stages={2: 128, 3: 240, 4: 360, 5: 480}, repeats=1, first=partial(rep_csp, repeats=1)),
    "c": Heavy(stages={2: (128, 256), 3: (256, 512), 4: (512, 512), 5: (512, 512)}, repeats=1, run=once),
    "e": Heavy(stages={2: (128, 256), 3: (256, 512), 4: (512, 1024), 5: (512, 1024)}, repeats=2, run=twice),
}


def network(images: keras.KerasTensor, spec: Light | Heavy, style: Style, *, spp: bool) -> dict[str, keras.KerasTensor]:
    """All levels of one YOLOv9 backbone."""
    if isinstance(spec, Light):
        levels, channels = light(images, spec, style), spec.stages[5]
    else:
        levels, channels = spec.run(images, spec, style), 512
    if spp:
        levels["P5"] = spp_elan(levels["P5"], channels, style=style, name="spp")
    return levels


def layout(spec: Light | Heavy) -> Layout:
    """Layer numbers of the YAML file; size e has the first pass, the convs between, and a sum after each halving."""
    if isinstance(spec, Light) or spec.run is once:
        return Layout(paired(5, "spp"))
    modules = [None, "pre.stem", *(f"pre.{module}{level}" for level in range(2, 6) for module in ("down", "stage"))]
    modules += [*(f"link{level}" for level in LINKS), "stem", None]
    for level in range(2, 6):
        modules += [f"down{level}", None, f"stage{level}"]
    return Layout(numbered([*modules, "spp"], "model."))


def mit_layouts(spec: Light | Heavy) -> list[Layout]:
    """The files of MultimediaTechLab: the layer list itself, in checkpoints of a training below `model.`."""
    names = {f"cv{i}": f"conv{i}" for i in range(1, 6)} | {"m": "bottleneck"}
    below = dict(layout(spec).prefixes)
    if isinstance(spec, Light):
        below |= {f"down{level}.cv1": f"{below[f'down{level}']}.conv" for level in (3, 4, 5)}
    bare = {ours: original.removeprefix("model.") for ours, original in below.items()}
    return [Layout(prefixes, names=names, origin=origins.V9_MIT) for prefixes in (bare, below)]


def other_layouts(spec: Light | Heavy) -> list[Layout]:
    """The authors' own files of the networks that are trained with an auxiliary branch, and `mit_layouts`.

    yolov9-m and yolov9-c begin with an empty layer; in yolov9-e the number of the SPPELAN is the auxiliary branch's.
    Their other files, also the converted ones, are numbered as above.
    """
    prefixes = layout(spec).prefixes
    if "pre.stem" in prefixes:
        return [Layout({**prefixes, "spp": "model.36"})]
    shifted = {ours: f"model.{int(original.removeprefix('model.')) + 1}" for ours, original in prefixes.items()}
    return [Layout(shifted), *mit_layouts(spec)]


v9 = Family(
    "v9",
    Release(
        network=network,
        sizes=SIZES,
        style=STYLE,
        origin=origins.V9,
        layout=layout,
        published=origins.V9_NETWORKS,
        other_layouts=other_layouts,
    ),
    default_size="s",
    doc=__doc__,
)

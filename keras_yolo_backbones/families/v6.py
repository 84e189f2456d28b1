"""YOLOv6 backbone: plain chains of RepVGG blocks in n and s (EfficientRep), inside a C3 in m and l (CSPBepBackbone).

Input: RGB in [0, 1], (batch, height, width, 3). Levels: P2 … P5 at strides 4 … 32, P6 at 64 in the sizes ending in 6.
ReLU; SiLU in sizes l and l6 and in release mbla, hard swish in release lite.

Release mbla has plain 3×3 convs, in chains of several lengths that start from parts of one conv. Release lite is a
network of its own for phones, of ShuffleNet's blocks with squeeze-and-excitation, without a context block.

Sizes n, s and m are in the form they are trained in, with three branches a block; `fuse` makes one conv of each.
To train n or n6 on a CPU, set TF_ENABLE_ONEDNN_OPTS=0: oneDNN in TensorFlow 2.21 crashes the process on the gradient of
a 1×1 convolution with stride 2, few channels and 16 filters, which is what the stem has.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial

import keras

from keras_yolo_backbones.blocks import (
    Style,
    Unit,
    rep_vgg,
    sppf,
)
from keras_yolo_backbones.families import v6_lite, v6_mbla
from keras_yolo_backbones.families.frame import origins
from keras_yolo_backbones.families.frame.family import Family, Release
from keras_yolo_backbones.families.frame.layout import Layout
from keras_yolo_backbones.families.frame.scale import Scale
from keras_yolo_backbones.families.v6_stages import bep_c3, blocks, csp_sppf, plain

UNITS = {2: 6, 3: 12, 4: 18, 5: 6, 6: 6}
"""Level -> blocks at depth 1, outside release mbla."""


@dataclasses.dataclass(frozen=True)
class V6Scale(Scale):
    """A scale and the parts of the network.

    Attributes:
        block: its 3×3 convs.
        stage: what follows the stride-2 block of a level.
        context: the block on top.
        units: level -> blocks at depth 1.
        activation: of the original.
    """

    block: Unit = rep_vgg
    stage: Callable[..., keras.KerasTensor] = blocks
    context: Callable[..., keras.KerasTensor] = csp_sppf
    units: Mapping[int, int] = dataclasses.field(default_factory=lambda: UNITS)
    activation: str = "relu"


STYLE = Style(activation="relu", epsilon=1e-3, momentum=0.97)

SIZES = {
    "n": V6Scale(depth=0.33, width=0.25),
    "s": V6Scale(depth=0.33, width=0.50),
    "m": V6Scale(depth=0.60, width=0.75, stage=partial(bep_c3, share=2 / 3), context=sppf),
    "l": V6Scale(
        depth=1.00, width=1.00, block=plain, stage=partial(bep_c3, share=1 / 2), context=sppf, activation="silu"
    ),
}
SIZES |= {f"{size}6": dataclasses.replace(scale, top=6) for size, scale in SIZES.items()}

mbla_scale = partial(
    V6Scale, block=plain, stage=v6_mbla.mbla, context=sppf, units={2: 4, 3: 8, 4: 8, 5: 4}, activation="silu"
)

MBLA_SIZES = {
    "s": mbla_scale(depth=0.50, width=0.50),
    "m": mbla_scale(depth=0.50, width=0.75),
    "l": mbla_scale(depth=0.50, width=1.00),
    "x": mbla_scale(depth=1.00, width=1.00),
}

CHANNELS = {
    5: {2: 128, 3: 256, 4: 512, 5: 1024},
    6: {2: 128, 3: 256, 4: 512, 5: 768, 6: 1024},
}
"""Top level -> level -> channels at width 1."""


def network(images: keras.KerasTensor, scale: V6Scale, style: Style, *, spp: bool) -> dict[str, keras.KerasTensor]:
    """All levels of one YOLOv6 backbone."""
    style = style.activated(scale.activation)
    levels = {}
    x = scale.block(images, scale.channels(64), stride=style.stem_stride, style=style, name="stem")
    for level, base in CHANNELS[scale.top].items():
        channels, repeats = scale.channels(base), scale.repeats(scale.units[level])
        x = scale.block(x, channels, stride=2, style=style, name=f"down{level}")
        x = scale.stage(x, channels, repeats, block=scale.block, style=style, name=f"stage{level}")
        if spp and level == scale.top:
            x = scale.context(x, channels, style=style, name="spp")
        levels[f"P{level}"] = x
    return levels


def layout(scale: V6Scale) -> Layout:
    """`ERBlock_n` holds level n: stride-2 block, stage, context block; the first of a chain has a name of its own."""
    context = "cspsppf" if scale.context is csp_sppf else "sppf"
    prefixes = {"stem": "backbone.stem", "spp": f"backbone.ERBlock_{scale.top}.2.{context}"}
    for level in CHANNELS[scale.top]:
        stage = f"backbone.ERBlock_{level}.1"
        prefixes |= {f"down{level}": f"backbone.ERBlock_{level}.0", f"stage{level}": stage}
        for i in range(scale.repeats(scale.units[level])):
            link = "conv1" if i == 0 else f"block.{i - 1}"
            prefixes |= {f"stage{level}.{i}": f"{stage}.{link}", f"stage{level}.m.{i}": f"{stage}.m.{link}"}
    return Layout(prefixes, names={f"cv{i}": f"cv{i}.block" for i in range(1, 8)})


v6 = Family(
    "v6",
    {
        "3.0": Release(
            network=network,
            sizes=SIZES,
            style=STYLE,
            origin=origins.V6,
            layout=layout,
            published=origins.V6_NETWORKS,
        ),
        "mbla": Release(
            network=network,
            sizes=MBLA_SIZES,
            style=STYLE,
            origin=origins.V6,
            layout=v6_mbla.layout,
            published=origins.V6_MBLA_NETWORKS,
        ),
        "lite": Release(
            network=v6_lite.network,
            sizes=v6_lite.SIZES,
            style=v6_lite.STYLE,
            origin=origins.V6,
            layout=v6_lite.layout,
            published=origins.V6_LITE_NETWORKS,
        ),
    },
    default_size="s",
    doc=__doc__,
)

"""YOLO-NAS backbone: stages of QARepVGG blocks, made to be quantized; SPP on top.

Input: RGB in [0, 1], (batch, height, width, 3). Levels: P2 … P5 at strides 4 … 32. The last stage alone is an output
only with `spp=False`.

The code of the original is free; its trained weights are for non-commercial use only and may not be passed on.
It is in the form it is trained in, with up to three branches and two batch norms a block; `fuse` makes one conv of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import keras

from keras_yolo_backbones.blocks import LearnedScale, Style, add, chain, conv, merge, sppf
from keras_yolo_backbones.families.frame import origins
from keras_yolo_backbones.families.frame.family import Family, Release
from keras_yolo_backbones.families.frame.layout import Layout


@dataclasses.dataclass(frozen=True)
class Nas:
    """What tells the sizes apart.

    Attributes:
        hidden: level -> channels of a stage's branches.
        dense: the levels whose concat takes every link of the chain, not only its end.
    """

    hidden: Mapping[int, int]
    dense: tuple[int, ...] = ()
    top: int = 5


STYLE = Style(activation="relu", epsilon=1e-3, momentum=0.97)

SIZES = {
    "s": Nas(hidden={2: 32, 3: 64, 4: 96, 5: 192}),
    "m": Nas(hidden={2: 64, 3: 128, 4: 256, 5: 384}, dense=(2, 3, 4)),
    "l": Nas(hidden={2: 96, 3: 128, 4: 256, 5: 512}, dense=(2, 3, 4, 5)),
}

STAGES = {2: (96, 2), 3: (192, 3), 4: (384, 5), 5: (768, 2)}
"""Level -> (channels, bottlenecks)."""


def qa_rep(x: keras.KerasTensor, channels: int, *, stride: int = 1, style: Style, name: str) -> keras.KerasTensor:
    """A normalized 3×3 conv, a bare 1×1 conv and, where the shape stays, `x` itself; the sum is normalized (QARepVGG).

    Returns:
        (batch, ⌈height / stride⌉, ⌈width / stride⌉, channels).
    """
    branches = [
        conv(x, channels, 3, stride=stride, activate=False, style=style, name=f"{name}.branch_3x3"),
        keras.layers.Conv2D(
            channels, 1, strides=stride, data_format="channels_last", name=f"{name}.branch_1x1", dtype=style.dtype
        )(x),
    ]
    if stride == 1 and x.shape[-1] == channels:
        branches.append(x)
    y = keras.layers.Add(name=f"{name}.add", dtype=style.dtype)(branches)
    return style.activate(style.normalize(y, name=f"{name}.post_bn"), name=f"{name}.act")


def bottleneck(x: keras.KerasTensor, channels: int, *, style: Style, name: str) -> keras.KerasTensor:
    """A trained number times x, plus two `qa_rep`."""
    y = qa_rep(x, channels, style=style, name=f"{name}.cv1")
    y = qa_rep(y, channels, style=style, name=f"{name}.cv2")
    return add(LearnedScale(name=f"{name}.alpha", dtype=style.dtype)(x), y, style=style, name=name)


def stage(
    x: keras.KerasTensor, channels: int, repeats: int, *, hidden: int, dense: bool, style: Style, name: str
) -> keras.KerasTensor:
    """Two convs, a chain from the first; its end, or all of its links, meet the second."""
    links = chain(
        conv(x, hidden, style=style, name=f"{name}.conv1"),
        hidden,
        repeats,
        unit=bottleneck,
        style=style,
        name=f"{name}.bottlenecks",
    )
    skip = conv(x, hidden, style=style, name=f"{name}.conv2")
    return merge([*(links if dense else links[-1:]), skip], channels, close="conv3", style=style, name=name)


def network(images: keras.KerasTensor, spec: Nas, style: Style, *, spp: bool | str) -> dict[str, keras.KerasTensor]:
    """All levels of one YOLO-NAS backbone."""
    levels = {}
    x = qa_rep(images, 48, stride=style.stem_stride, style=style, name="stem")
    for level, (channels, repeats) in STAGES.items():
        x = qa_rep(x, channels, stride=2, style=style, name=f"down{level}")
        hidden, dense = spec.hidden[level], level in spec.dense
        x = stage(x, channels, repeats, hidden=hidden, dense=dense, style=style, name=f"stage{level}")
        levels[f"P{level}"] = x
    return levels | {"P5": sppf(x, 768, style=style, name="spp")} if spp else levels


def layout(_: Nas) -> Layout:
    """`stageN` is level N + 1. A block keeps a place for its fused form, also while that is not computed yet."""
    prefixes = {"stem": "backbone.stem.conv", "spp": "backbone.context_module"}
    for level in STAGES:
        prefixes[f"down{level}"] = f"backbone.stage{level - 1}.downsample"
        prefixes[f"stage{level}"] = f"backbone.stage{level - 1}.blocks"
    return Layout(prefixes, unused=("rbr_reparam", "id_tensor"))


nas = Family(
    "nas",
    Release(
        network=network,
        sizes=SIZES,
        style=STYLE,
        origin=origins.NAS,
        layout=layout,
        published=origins.NAS_NETWORKS,
    ),
    default_size="s",
    doc=__doc__,
)

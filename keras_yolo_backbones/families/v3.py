"""YOLOv3 backbone: Darknet-53, stages of residuals; `spp` with a pyramid pooling on top; `tiny`, convs and max pools.

Input: RGB in [0, 1], (batch, height, width, 3). Levels: P2 … P5 at strides 4 … 32.

Release darknet is the original, with LeakyReLU of slope 0.1. Release torch is the same in PyTorch, with SiLU. In
release u, both convs of a residual are 3×3.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

import keras

from keras_yolo_backbones.blocks import (
    DARKNET53,
    SPPF,
    Pooling,
    Style,
    bottleneck,
    darknet_trunk,
    largest_first,
    pools,
    residuals,
    two_convs,
)
from keras_yolo_backbones.families import v3_tiny
from keras_yolo_backbones.families.frame import origins
from keras_yolo_backbones.families.frame.family import Family, Release
from keras_yolo_backbones.families.frame.layout import Layout, numbered
from keras_yolo_backbones.families.v3_tiny import Tiny, last_pool_darknet, last_pool_torch


@dataclasses.dataclass(frozen=True)
class Darknet:
    """Darknet-53, with or without a context block."""

    context: bool = False
    top: int = 5


SIZES = {"base": Darknet(), "spp": Darknet(context=True), "tiny": Tiny()}

LEAKY = Style(activation="leaky_relu", epsilon=1e-5, momentum=0.95)
SILU = Style(activation="silu", epsilon=1e-3, momentum=0.97)


def network(
    images: keras.KerasTensor,
    spec: Darknet | Tiny,
    style: Style,
    *,
    spp: bool | str,
    kernels: tuple[int, int] = (1, 3),
    pooling: Pooling = pools,
    last_pool: Callable[..., keras.KerasTensor] = last_pool_torch,
) -> dict[str, keras.KerasTensor]:
    """All levels of one YOLOv3 backbone; the last three arguments are what tells the releases apart."""
    if isinstance(spec, Tiny):
        return v3_tiny.network(images, style, last_pool)
    unit = partial(bottleneck, kernels=kernels, expansion=0.5)
    levels = darknet_trunk(images, 32, DARKNET53, stage=partial(residuals, unit=unit), style=style)
    if spp and spec.context:
        x = two_convs(levels["P5"], 1024, kernels=kernels, expansion=0.5, style=style, name="top")
        levels["P5"] = SPPF[spp](x, 512, pooling=pooling, style=style, name="spp")
    return levels


def darknet_layout(spec: Darknet | Tiny) -> Layout:
    """The cfg's layer numbers; pools, routes and shortcuts count."""
    if isinstance(spec, Tiny):
        return Layout({f"stage{level}": f"{2 * level}" for level in v3_tiny.STAGES})
    modules: list[str | None] = ["stem"]
    for level, (_, repeats) in DARKNET53.items():
        modules.append(f"down{level}")
        for i in range(repeats):
            modules += [f"stage{level}.{i}.cv1", f"stage{level}.{i}.cv2", None]
    modules += ["top.cv1", "top.cv2", "spp.cv1", *[None] * 6, "spp.cv2"]
    return Layout(numbered(modules))


def torch_layout(spec: Darknet | Tiny) -> Layout:
    """The YAML file's layer numbers; a stage is one layer, a list unless it has only one unit."""
    if isinstance(spec, Tiny):
        return Layout({f"stage{level}": f"model.{2 * level}" for level in v3_tiny.STAGES})
    prefixes = {"stem": "model.0", "top": "model.11", "spp": "model.12"}
    for level in DARKNET53:
        prefixes[f"down{level}"] = f"model.{2 * level - 1}"
        prefixes[f"stage{level}"] = f"model.{2 * level}"
    return Layout(prefixes | {"stage1.0": "model.2"})


darknet = partial(network, pooling=largest_first, last_pool=last_pool_darknet)
v3 = Family(
    "v3",
    {
        "darknet": Release(
            network=darknet,
            sizes=SIZES,
            style=LEAKY,
            origin=origins.DARKNET_V3,
            layout=darknet_layout,
            published=origins.DARKNET_V3_NETWORKS,
            linear_spp=("spp",),
        ),
        "torch": Release(
            network=network,
            sizes=SIZES,
            style=SILU,
            origin=origins.TORCH_V3,
            layout=torch_layout,
            published=origins.TORCH_V3_NETWORKS,
            linear_spp=("spp",),
        ),
        "u": Release(
            network=partial(network, kernels=(3, 3)),
            sizes=SIZES,
            style=SILU,
            origin=origins.V3U,
            layout=torch_layout,
            published=origins.V3U_NETWORKS,
            linear_spp=("spp",),
        ),
    },
    default_size="tiny",
    doc=__doc__,
)

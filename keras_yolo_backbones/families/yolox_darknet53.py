"""YOLOX on Darknet-53, with a longer top."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

import keras

from keras_yolo_backbones.blocks import (
    DARKNET53,
    Style,
    bottleneck,
    conv,
    darknet_trunk,
    residuals,
    two_convs,
)
from keras_yolo_backbones.families.frame.layout import Layout


@dataclasses.dataclass(frozen=True)
class Darknet:
    """Darknet-53 has one size."""

    top: int = 5


def network(
    images: keras.KerasTensor, style: Style, context: Callable[..., keras.KerasTensor]
) -> dict[str, keras.KerasTensor]:
    """All levels of size darknet53."""
    unit = partial(bottleneck, kernels=(1, 3), expansion=0.5)
    levels = darknet_trunk(images, 32, DARKNET53, stage=partial(residuals, unit=unit), style=style)
    x = two_convs(levels["P5"], 1024, kernels=(1, 3), expansion=0.5, style=style, name="top1")
    x = context(x, 512, style=style, name="spp")
    x = conv(x, 1024, 3, style=style, name="top2")
    return levels | {"P5": conv(x, 512, style=style, name="top3")}


def layout() -> Layout:
    """Below `backbone.backbone` every stage is a list: conv of stride 2 first, then residuals."""
    prefixes = {"stem": "stem.0", "down1": "stem.1", "stage1.0": "stem.2"}
    for level in (2, 3, 4, 5):
        prefixes[f"down{level}"] = f"dark{level}.0"
        prefixes |= {f"stage{level}.{i}": f"dark{level}.{i + 1}" for i in range(DARKNET53[level][1])}
    prefixes |= {"top1.cv1": "dark5.5", "top1.cv2": "dark5.6", "top2": "dark5.8", "top3": "dark5.9"}
    prefixes |= {"spp.cv1": "dark5.7.conv1", "spp.cv2": "dark5.7.conv2"}
    return Layout(below_backbone(prefixes), names={"cv1": "layer1", "cv2": "layer2"})


def below_backbone(prefixes: dict[str, str]) -> dict[str, str]:
    """Our modules -> the original's, whole."""
    return {ours: f"backbone.backbone.{original}" for ours, original in prefixes.items()}

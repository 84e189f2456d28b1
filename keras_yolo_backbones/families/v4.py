"""YOLOv4 backbone: CSPDarknet53 with a context block on top; `tiny`, a small net of one-shot aggregations.

Input: RGB in [0, 1], (batch, height, width, 3). Levels: P2 … P5 at strides 4 … 32; scaled p6 also P6, p7 P6 and P7.

Release darknet has Mish, and LeakyReLU of slope 0.1 in the context block of base and in tiny. P4 of tiny is the tensor
that its neck takes: the last block's 1×1 conv, before the concat.

Release scaled has Mish. A stage ends in two convs without batch norm of their own: one batch norm and one Mish act on
their concat.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial

import keras

from keras_yolo_backbones.blocks import (
    DARKNET53,
    Stage,
    Style,
    bottleneck,
    bottleneck_csp,
    conv,
    cross_stage,
    darknet_trunk,
    largest_first,
    residuals,
    sppcsp,
    sppcspc,
    sppf,
    two_convs,
)
from keras_yolo_backbones.families import v4_scaled, v4_tiny
from keras_yolo_backbones.families.frame import origins
from keras_yolo_backbones.families.frame.family import Family, Release
from keras_yolo_backbones.families.frame.layout import Layout, numbered
from keras_yolo_backbones.families.v4_tiny import Tiny

UNIT = partial(bottleneck, kernels=(1, 3))
NARROW_UNIT = partial(bottleneck, kernels=(1, 3), expansion=0.5)

plain = partial(residuals, unit=NARROW_UNIT)
full_width = partial(cross_stage, hidden=64, unit=NARROW_UNIT)


def leaky_spp(x: keras.KerasTensor, channels: int, *, style: Style, name: str) -> keras.KerasTensor:
    """Convs, pyramid pooling, convs, all LeakyReLU: the top of base."""
    style = style.activated("leaky_relu")
    x = two_convs(x, 1024, kernels=(1, 3), expansion=0.5, style=style, name=f"{name}.before")
    x = sppf(x, channels, pooling=largest_first, style=style, name=name)
    x = conv(x, 1024, 3, style=style, name=f"{name}.after.cv1")
    return conv(x, channels, style=style, name=f"{name}.after.cv2")


@dataclasses.dataclass(frozen=True)
class Csp:
    """A CSPDarknet: the kind of its stages, of the first one and of its top; level -> (channels, units) at width 1."""

    stage: Stage
    first: Stage
    context: Callable[..., keras.KerasTensor]
    stages: Mapping[int, tuple[int, int]]
    width: float = 1.0

    @property
    def top(self) -> int:
        return max(self.stages)


csp_darknet53 = partial(Csp, stage=partial(cross_stage, unit=UNIT), stages=DARKNET53)

SIZES = {
    "base": csp_darknet53(first=full_width, context=leaky_spp),
    "tiny": Tiny(),
    "csp": csp_darknet53(first=plain, context=partial(sppcspc, pooling=largest_first)),
}

scaled_stage = partial(bottleneck_csp, unit=UNIT)
scaled = partial(Csp, stage=scaled_stage, first=scaled_stage, context=sppcsp)
SCALED_SIZES = {
    "csp": scaled(first=plain, stages=DARKNET53),
    "p5": scaled(stages=v4_scaled.P5),
    "p6": scaled(stages=v4_scaled.P6),
    "p7": scaled(stages=v4_scaled.P7, width=1.25),
}

STYLE = Style(activation="mish", epsilon=1e-5, momentum=0.95)


def network(images: keras.KerasTensor, spec: Csp | Tiny, style: Style, *, spp: bool) -> dict[str, keras.KerasTensor]:
    """All levels of one YOLOv4 backbone."""
    if isinstance(spec, Tiny):
        return v4_tiny.network(images, style.activated("leaky_relu"))
    stages = {level: (int(channels * spec.width), repeats) for level, (channels, repeats) in spec.stages.items()}
    levels = darknet_trunk(images, int(32 * spec.width), stages, stage=spec.stage, first=spec.first, style=style)
    if spp:
        top = f"P{spec.top}"
        levels[top] = spec.context(levels[top], int(512 * spec.width), style=style, name="spp")
    return levels


def layout(spec: Csp | Tiny) -> Layout:
    """The cfg's layer numbers; pools, routes and shortcuts count."""
    if isinstance(spec, Tiny):
        return v4_tiny.layout()
    modules: list[str | None] = ["stem"]
    for level, (_, repeats) in spec.stages.items():
        s, crossed = f"stage{level}", level > 1 or spec.first is not plain
        links = f"{s}.m" if crossed else s
        body = [module for i in range(repeats) for module in (f"{links}.{i}.cv1", f"{links}.{i}.cv2", None)]
        if crossed:
            body = [f"{s}.cv2", None, f"{s}.cv1", *body, f"{s}.cv3", None, f"{s}.cv4"]
        modules += [f"down{level}", *body]
    pools = [None] * 6
    if spec.context is leaky_spp:
        modules += ["spp.before.cv1", "spp.before.cv2", "spp.cv1", *pools, "spp.cv2", "spp.after.cv1", "spp.after.cv2"]
    else:
        modules += ["spp.cv2", None, "spp.cv1", "spp.cv3", "spp.cv4", *pools, "spp.cv5", "spp.cv6", None, "spp.cv7"]
    return Layout(numbered(modules))


v4 = Family(
    "v4",
    {
        "darknet": Release(
            network=network,
            sizes=SIZES,
            style=STYLE,
            origin=origins.DARKNET_V4,
            layout=layout,
            published=origins.DARKNET_V4_NETWORKS,
        ),
        "scaled": Release(
            network=network,
            sizes=SCALED_SIZES,
            style=v4_scaled.STYLE,
            origin=origins.SCALED_V4,
            layout=v4_scaled.layout,
            published=origins.SCALED_V4_NETWORKS,
        ),
    },
    default_size="tiny",
    doc=__doc__,
)

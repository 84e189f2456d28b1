"""Compound scaling: depth multiple, width multiple, channel cap."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from keras_yolo_backbones.errors import ArgumentError
from keras_yolo_backbones.multiples import Multiples


@dataclasses.dataclass(frozen=True)
class Scale:
    """One row of a family's size table.

    Attributes:
        depth: multiplies the number of units in a stage.
        width: multiplies channels.
        max_channels: channels are capped here before they are multiplied.
        top: the highest level, 5 for P5 (stride 32) or 6 for P6 (stride 64).
    """

    depth: float
    width: float
    max_channels: int = 1 << 16
    top: int = 5

    def channels(self, base: int) -> int:
        """Channels of a layer that has `base` at width 1: capped, scaled, rounded up to a multiple of 8."""
        return math.ceil(min(base, self.max_channels) * self.width / 8) * 8

    def repeats(self, base: int) -> int:
        """Units of a stage that has `base` at depth 1; halves round to even, as in the originals."""
        return max(round(base * self.depth), 1)


@dataclasses.dataclass(frozen=True)
class PlainScale(Scale):
    """A scale whose channels are cut to whole numbers, not rounded to multiples of 8."""

    def channels(self, base: int) -> int:
        """Channels of a layer that has `base` at width 1: capped, scaled, rounded down."""
        return int(min(base, self.max_channels) * self.width)


def scaled(spec: Any, multiples: Multiples, network: str) -> Any:
    """A size's row with `multiples` in it; `ArgumentError` if the network, so called, has a table of its own."""
    given = multiples.given()
    if given and not isinstance(spec, Scale):
        raise ArgumentError(
            f"{', '.join(given)}: {network} has a table of its own, no multiples; "
            "v5, v6, v8, v10, v11, v12, v13, v26, yolox, rtmdet and ppyoloe have."
        )
    return dataclasses.replace(spec, **given) if given else spec

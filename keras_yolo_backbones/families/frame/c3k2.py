"""The scales of YOLO11, YOLO12, YOLO13 and YOLO26."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from keras_yolo_backbones.blocks import C3K, SLIM, C3k2Stage, Unit
from keras_yolo_backbones.families.frame.scale import Scale

UNITS = 2
"""Links of every stage at depth 1."""


@dataclasses.dataclass(frozen=True)
class C3k2Scale(Scale):
    """A scale, and the links of P2 and P3; those of the levels above are always `C3K`."""

    early: Unit = C3K

    def stages(self, rows: Mapping[int, tuple[int, int, float]]) -> dict[int, C3k2Stage]:
        """Level -> (channels of the conv, channels of the stage, share of them in each half), at width 1 -> scaled."""
        return {level: self._stage(level, *row) for level, row in rows.items()}

    def _stage(self, level: int, down: int, base: int, share: float) -> C3k2Stage:
        channels = self.channels(base)
        unit = self.early if level <= 3 else C3K
        return C3k2Stage(self.channels(down), channels, int(channels * share), self.repeats(UNITS), unit)


SIZES = {
    "n": C3k2Scale(depth=0.50, width=0.25, max_channels=1024, early=SLIM),
    "s": C3k2Scale(depth=0.50, width=0.50, max_channels=1024, early=SLIM),
    "m": C3k2Scale(depth=0.50, width=1.00, max_channels=512),
    "l": C3k2Scale(depth=1.00, width=1.00, max_channels=512),
    "x": C3k2Scale(depth=1.00, width=1.50, max_channels=512),
}

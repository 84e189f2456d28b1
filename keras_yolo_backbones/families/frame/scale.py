"""Compound scaling: depth multiple, width multiple, channel cap."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any, NamedTuple

from keras_yolo_backbones.errors import ArgumentError


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


class Multiples(NamedTuple):
    """Width, depth and channel cap that a user asks for in place of those of a size; `None` keeps the size's own."""

    width: float | None = None
    depth: float | None = None
    max_channels: int | None = None

    @classmethod
    def checked(cls, width: Any, depth: Any, max_channels: Any) -> Multiples:
        """The three arguments of the builders; `ArgumentError` for a value that is not allowed."""
        for name, value in (("width", width), ("depth", depth)):
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if value is not None and not (number and 0 < value < 100):
                raise ArgumentError(f"{name} must be a positive number such as 0.25, or None, not {value!r}.")
        whole = isinstance(max_channels, int) and not isinstance(max_channels, bool)
        if max_channels is not None and not (whole and max_channels > 0):
            raise ArgumentError(f"max_channels must be a positive integer or None, not {max_channels!r}.")
        return cls(width and float(width), depth and float(depth), max_channels)

    @classmethod
    def of(cls, name: str) -> tuple[str, Multiples]:
        """A network's name without its last part, and that part: `"v8-s-w0.125-d0.33"` -> `"v8-s"` and the two."""
        match = _PARTS.fullmatch(name)
        if not match or match[0] == match[1]:
            return name, cls()
        width, depth, cap = match.group("w", "d", "c")
        found = cls(float(width) if width else None, float(depth) if depth else None, int(cap) if cap else None)
        return match[1], found

    def __str__(self) -> str:
        """What they add to a network's name, such as `"-w0.125-d0.33-c512"`."""
        parts = (("w", self.width), ("d", self.depth), ("c", self.max_channels))
        return "".join(f"-{letter}{value}" for letter, value in parts if value is not None)

    def scaled(self, spec: Any, network: str) -> Any:
        """A size's row with these in it; `ArgumentError` if the network, so called, has a table of its own."""
        given = {name: value for name, value in self._asdict().items() if value is not None}
        if given and not isinstance(spec, Scale):
            raise ArgumentError(
                f"{', '.join(given)}: {network} has a table of its own, no multiples; "
                "v5, v6, v8, v10, v11, v12, v13, v26, yolox, rtmdet and ppyoloe have."
            )
        return dataclasses.replace(spec, **given) if given else spec


_NUMBER = r"\d+(?:\.\d+)?(?:e-?\d+)?"
_PARTS = re.compile(rf"(.+?)(?:-w(?P<w>{_NUMBER}))?(?:-d(?P<d>{_NUMBER}))?(?:-c(?P<c>\d+))?")

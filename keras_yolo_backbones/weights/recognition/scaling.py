"""How the channels and the units of a network follow from its multiples: the arithmetic, without the network."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Mapping

RULES: dict[str, Callable[[float, float], int]] = {
    "eights": lambda base, width: math.ceil(base * width / 8) * 8,
    "whole": lambda base, width: int(base * width),
    "stem": lambda base, width: int(64 * width) * int(base) // 64,
}
"""Ways of rounding channels. In the last, all channels are multiples of a stem that is rounded down."""

NO_CAP = 1 << 16

_LINK = re.compile(r"(.*?\.(?:m|blocks?)\.)(\d+)(?=\.|$)(.*)")
"""Of a path: the first list of units, a place in it, the rest."""


@dataclasses.dataclass(frozen=True)
class Scaling:
    """Multiples of a network, and what they multiply.

    Attributes:
        width: its own, as are `depth` and `max_channels`.
        rule: key of `RULES`.
        channels: kernel -> output channels at width 1, for those kernels that have them rounded so.
        units: list of units, such as `"model.2.m."` -> their number at depth 1.
        hidden: list of units -> how many more there are, which are not in the list.
    """

    width: float
    depth: float
    max_channels: int
    rule: str
    channels: Mapping[str, int]
    units: Mapping[str, int]
    hidden: Mapping[str, int]

    def fits_width(self, found: Mapping[str, int], width: float, cap: int) -> bool:
        """Whether kernels have so many output channels at a width and a cap."""
        rule = RULES[self.rule]
        return all(rule(min(base, cap), width) == found[key] for key, base in self.channels.items())

    def fits_depth(self, found: Mapping[str, int], depth: float) -> bool:
        """Whether lists have so many units at a depth."""
        return all(repeats(base, depth) - self.hidden[at] == found.get(at, 0) for at, base in self.units.items())


def repeats(base: int, depth: float) -> int:
    """Units of a stage that has `base` at depth 1."""
    return max(round(base * depth), 1)


def link(path: str) -> tuple[str, int | None]:
    """A path with its place in the first list of units taken out, and the place; `None` outside of lists."""
    match = _LINK.fullmatch(path)
    if not match or len(match[2]) > 4:
        return path, None
    return f"{match[1]}*{match[3]}", int(match[2])


def list_of(path: str) -> str:
    """The list of units that a path without its place is in, such as `"model.2.m."`; "" outside of lists."""
    return path.partition("*")[0] if "*" in path else ""


def expanded(entries: Mapping[str, str], counts: Mapping[str, int]) -> dict[str, str]:
    """Entries of a network for other numbers of units: in the lists of `counts`, every unit is as the first.

    Args:
        entries: path -> a value, in which a place in a list is replaced too.
        counts: list of units -> how many there are; other lists stay as they are.
    """
    found = {}
    for path, value in entries.items():
        (bare, place), (other, _) = link(path), link(value)
        count = counts.get(list_of(bare), counts.get(list_of(other)))
        if place is None or count is None:
            found[path] = value
        elif place == 0:
            found |= {bare.replace("*", str(at), 1): other.replace("*", str(at), 1) for at in range(count)}
    return found


def counted(paths: Iterable[str]) -> dict[str, int]:
    """List of units -> how many are in it, if they are numbered through from 0; 0 if not."""
    places: dict[str, set[int]] = {}
    for path in paths:
        bare, place = link(path)
        if place is not None:
            places.setdefault(list_of(bare), set()).add(place)
    return {at: len(found) if found == set(range(len(found))) else 0 for at, found in places.items()}

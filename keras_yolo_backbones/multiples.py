"""Width, depth and channel cap that a user, or a file, has in place of those of a published size."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from keras_yolo_backbones.errors import ArgumentError

_NUMBER = r"\d+(?:\.\d+)?(?:e-?\d+)?"
_PARTS = re.compile(rf"(.+?)(?:-w(?P<w>{_NUMBER}))?(?:-d(?P<d>{_NUMBER}))?(?:-c(?P<c>\d+))?")


class Multiples(NamedTuple):
    """What replaces a size's own multiples; `None` keeps the size's own.

    Attributes:
        width: multiplies channels.
        depth: multiplies the units of each stage.
        max_channels: caps channels before they are multiplied.
    """

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

    def given(self) -> dict[str, Any]:
        """Those that are not `None`, as the builders' arguments."""
        return {name: value for name, value in self._asdict().items() if value is not None}

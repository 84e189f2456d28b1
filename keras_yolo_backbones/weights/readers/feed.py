"""The bytes of a structure (a pickle, a graph), front to back. Long values are passed over and stay in the file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from keras_yolo_backbones.weights.readers.budget import Budget

MAX_BYTES = 16 << 20
"""Of a structure, without its long values."""

_LONG = 1 << 16
_CHUNK = 1 << 16


class MalformedError(ValueError):
    """Why a structure is not read; the reader of the file turns it into a `CheckpointError`."""


@dataclasses.dataclass(slots=True, eq=False)
class Span:
    """A long value, left in the file.

    Attributes:
        offset: of the first byte in the file.
        size: bytes.
        latin: the bytes are a UTF-8 text, and each of its characters means one byte: Python 3 writes bytes so in
            protocol 2.
    """

    offset: int
    size: int
    latin: bool = False


class Feed:
    """A region of a file that holds a structure.

    Args:
        read: bytes of the file, from offset and count.
        start: offset of the structure's first byte in the file.
        end: where the region ends; the structure may end before.
        budget: of the file; bytes that are read here add to it.
    """

    def __init__(self, read: Callable[[int, int], bytes], start: int, end: int, budget: Budget):
        self._read, self._end, self._budget = read, end, budget
        self._buffer, self._at, self._base = b"", 0, start
        self._start, self._skipped = start, 0

    @property
    def position(self) -> int:
        """Offset in the file of the byte that comes next."""
        return self._base + self._at

    @property
    def length(self) -> int:
        """Bytes of the region."""
        return self._end - self._start

    def byte(self) -> int:
        """The next byte."""
        if self._at >= len(self._buffer):
            self._fill(1)
        self._at += 1
        return self._buffer[self._at - 1]

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        end = self._at + count
        if end > len(self._buffer):
            self._fill(count)
            end = count
        data = self._buffer[self._at : end]
        self._at = end
        return bytes(data)

    def number(self, count: int, *, signed: bool = False) -> int:
        """The next `count` bytes as a little-endian number."""
        return int.from_bytes(self.take(count), "little", signed=signed)

    def line(self, most: int = 256) -> str:
        """The text up to the next line feed, which is passed over."""
        found = bytearray()
        while (byte := self.byte()) != 10:
            found.append(byte)
            if len(found) > most:
                raise MalformedError(f"holds a name of more than {most} characters")
        return found.decode(errors="replace")

    def value(self, count: int) -> bytes | Span:
        """The next `count` bytes, or where they are if they are many."""
        return self.take(count) if count <= _LONG else self.span(count)

    def span(self, count: int) -> Span:
        """Where the next `count` bytes are, which are passed over."""
        span = Span(self.position, count)
        if count > self._end - span.offset:
            raise MalformedError("is cut off: it ends in the middle of a value")
        if count <= len(self._buffer) - self._at:
            self._at += count
        else:
            self._base, self._at, self._buffer = span.offset + count, 0, b""
        self._skipped += count
        return span

    def _fill(self, count: int) -> None:
        """Make the buffer begin at the next byte and hold at least `count` bytes."""
        position = self.position
        left = self._end - position
        if count > left:
            raise MalformedError("is cut off: it ends in the middle of a value")
        if position + count - self._start - self._skipped > MAX_BYTES:
            raise MalformedError(f"has more than {MAX_BYTES} bytes, tensors not counted")
        self._base, self._at = position, 0
        self._buffer = self._read(position, min(left, max(count, _CHUNK)))
        self._budget.allow(len(self._buffer))

"""Where the directory of a zip archive lies, from the records at the archive's end."""

from __future__ import annotations

import struct

from keras_yolo_backbones.weights.readers.source import Source

_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")


def read_end(source: Source) -> tuple[int, int, int]:
    """Offset, size and number of entries of the central directory, which ends where the end record begins.

    Raises:
        CheckpointError: the file does not end with an end record, or what it says does not fit the file.
    """
    at = source.size - _END.size
    if at < 0 or source.read(at, 4) != b"PK\5\6":
        raise source.error("the archive has no end: the file is truncated, or bytes follow it; download it again.")
    _, disk, first, here, count, size, start, comment = _END.unpack(source.read(at, _END.size))
    if disk or first or here != count or comment:
        raise source.error("the archive is split or commented; torch and Keras write neither.")
    locator = at - _LOCATOR.size
    if locator >= 0 and source.read(locator, 4) == b"PK\6\7":
        at, (start, size, count) = _end64(source, locator, (start, size, count))
    if start + size != at:
        raise source.error("there are foreign bytes in or around the archive.")
    return start, size, count


def _end64(source: Source, locator: int, short: tuple[int, int, int]) -> tuple[int, tuple[int, int, int]]:
    """The same from the 64-bit end record, and where that begins; it must agree with the `short` one."""
    _, _, at, disks = _LOCATOR.unpack(source.read(locator, _LOCATOR.size))
    if disks != 1 or at != locator - _END64.size:
        raise source.error("the archive's end record is not where it should be.")
    record = _END64.unpack(source.read(at, _END64.size))
    signature, length, _, _, disk, first, here, count, size, start = record
    if signature != b"PK\6\6" or length != _END64.size - 12 or disk or first or here != count:
        raise source.error("the archive's end record is damaged.")
    full = (start, size, count)
    for value, wide, most in zip(short, full, (0xFFFFFFFF, 0xFFFFFFFF, 0xFFFF), strict=True):
        if value not in (wide, most):
            raise source.error("the archive's two end records contradict each other.")
    return at, full

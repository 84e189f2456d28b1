"""What stands in a WebP file beside its pixels: how many there are, and the EXIF data."""

from __future__ import annotations

from collections.abc import Iterator

_ANIMATED = 0x02


def webp_size(content: bytes) -> tuple[int, int]:
    """Width and height of a WebP file, from its header.

    Raises:
        ValueError: no size is there, or it is an animation, of which all frames would be decoded.
    """
    for kind, chunk in _chunks(content):
        if kind == b"VP8X" and len(chunk) >= 10:
            if chunk[0] & _ANIMATED:
                raise ValueError("animated WebP files are not read; convert it to PNG or JPEG")
            return _number(chunk[4:7]) + 1, _number(chunk[7:10]) + 1
        if kind == b"VP8L" and len(chunk) >= 5:
            bits = _number(chunk[1:5])
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        if kind == b"VP8 " and len(chunk) >= 10:
            return _number(chunk[6:8]) & 0x3FFF, _number(chunk[8:10]) & 0x3FFF
    raise ValueError("the WebP file says no size")


def webp_exif(content: bytes) -> bytes:
    """The EXIF data of a WebP file, b"" if it has none."""
    return next((chunk for kind, chunk in _chunks(content) if kind == b"EXIF"), b"")


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """A RIFF file is chunks: four letters, a size, and so many bytes, padded to an even number."""
    at = 12
    while at + 8 <= len(content):
        size = _number(content[at + 4 : at + 8])
        yield content[at : at + 4], content[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def _number(part: bytes) -> int:
    return int.from_bytes(part, "little")

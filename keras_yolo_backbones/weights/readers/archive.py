"""The zip archives that torch and Keras write, read defensively: stored entries, nothing hidden, nothing doubled."""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

from keras_yolo_backbones.weights.readers.source import Source

MAX_RECORDS = 50_000
"""A checkpoint has one record a tensor; the largest of the zoo has 3,000."""

_CHUNK = 1 << 20
_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")

_ENCRYPTED = 1
_DESCRIPTOR = 1 << 3
_UTF8 = 1 << 11


class Record(NamedTuple):
    """One stored file of an archive: where its bytes lie in the archive, and their checksum.

    Attributes:
        name: path inside the archive.
        offset: of the first byte.
        size: bytes.
        crc: CRC-32 as the directory states it.
    """

    name: str
    offset: int
    size: int
    crc: int


def read_archive(source: Source) -> dict[str, Record]:
    """The records of a zip archive by name, in the directory's order.

    Accepts what torch and Keras write and nothing beyond: the archive is the whole file, records are stored (not
    compressed, not encrypted), names are relative and unique, and both of an archive's directories agree.

    Raises:
        CheckpointError: anything else.
    """
    start, size, count = _end(source)
    if count > MAX_RECORDS:
        raise source.error(f"the archive lists {count} records; a checkpoint has at most {MAX_RECORDS}.")
    directory, at = source.read(start, size), 0
    records: dict[str, Record] = {}
    headers: list[tuple[int, int]] = []
    for _ in range(count):
        record, header, at = _record(source, directory, at)
        if record.name in records:
            raise source.error(f"the archive holds {record.name!r} twice.")
        records[record.name] = record
        headers.append((header, record.offset + record.size))
    if at != size:
        raise source.error("the archive's directory is longer than its entries.")
    headers.sort()
    if not headers or headers[0][0] != 0:
        raise source.error("there are foreign bytes in front of the archive.")
    for (_, end), (following, _) in zip(headers, [*headers[1:], (start, 0)], strict=True):
        if end > following:
            raise source.error("records of the archive overlap.")
    return records


def read_record(source: Source, record: Record) -> bytes:
    """All bytes of a record, its checksum verified."""
    data = source.read(record.offset, record.size)
    if zlib.crc32(data) != record.crc:
        raise _wrong_crc(source, record)
    return data


def verify(source: Source, record: Record) -> None:
    """Check a record's CRC without holding the record in memory."""
    crc = 0
    for start in range(0, record.size, _CHUNK):
        crc = zlib.crc32(source.read(record.offset + start, min(_CHUNK, record.size - start)), crc)
    if crc != record.crc:
        raise _wrong_crc(source, record)


def _wrong_crc(source: Source, record: Record) -> Exception:
    return source.error(f"the checksum of {record.name!r} is wrong: the file is damaged; download it again.")


def _end(source: Source) -> tuple[int, int, int]:
    """Offset, size and number of entries of the central directory, which ends where the end record begins."""
    at = source.size - _END.size
    if at < 0 or source.read(at, 4) != b"PK\5\6":
        raise source.error("the archive has no end: the file is truncated, or bytes follow it; download it again.")
    _, disk, first, here, count, size, start, comment = _END.unpack(source.read(at, _END.size))
    if disk or first or here != count or comment:
        raise source.error("the archive is split or commented; torch and Keras write neither.")
    locator = at - _LOCATOR.size
    if locator >= 0 and source.read(locator, 4) == b"PK\6\7":
        _, _, at, disks = _LOCATOR.unpack(source.read(locator, _LOCATOR.size))
        if disks != 1 or at != locator - _END64.size:
            raise source.error("the archive's end record is not where it should be.")
        signature, length, _, _, disk, first, here64, count64, size64, start64 = _END64.unpack(
            source.read(at, _END64.size)
        )
        if signature != b"PK\6\6" or length != _END64.size - 12 or disk or first or here64 != count64:
            raise source.error("the archive's end record is damaged.")
        for short, full, most in ((count, count64, 0xFFFF), (size, size64, 0xFFFFFFFF), (start, start64, 0xFFFFFFFF)):
            if short not in (full, most):
                raise source.error("the archive's two end records contradict each other.")
        count, size, start = count64, size64, start64
    if start + size != at:
        raise source.error("there are foreign bytes in or around the archive.")
    return start, size, count


def _record(source: Source, directory: bytes, at: int) -> tuple[Record, int, int]:
    """The entry at `at` of the central directory, the offset of its local header, and where the next entry begins."""
    if at + _CENTRAL.size > len(directory):
        raise source.error("the archive's directory is cut off.")
    entry = _CENTRAL.unpack_from(directory, at)
    signature, _, _, flags, method, _, _, crc, packed, size, named, extra, comment, disk, _, _, header = entry
    end = at + _CENTRAL.size + named + extra + comment
    if signature != b"PK\1\2" or end > len(directory) or disk:
        raise source.error("the archive's directory is damaged.")
    raw = directory[at + _CENTRAL.size :][:named]
    name = _name(source, raw)
    if flags & _ENCRYPTED:
        raise source.error(f"{name!r} is encrypted.")
    if flags & ~(_DESCRIPTOR | _UTF8):
        raise source.error(f"{name!r} has unknown zip flags.")
    if method:
        raise source.error(f"{name!r} is compressed; torch and Keras store their records as they are.")
    packed, size, header = _wide(source, directory[at + _CENTRAL.size + named :][:extra], packed, size, header)
    if packed != size:
        raise source.error(f"{name!r} states two sizes, {packed} and {size} bytes.")
    local = _LOCAL.unpack(source.read(header, _LOCAL.size))
    if local[0] != b"PK\3\4" or local[3] != method or local[2] != flags:
        raise source.error(f"the header of {name!r} contradicts the archive's directory.")
    if source.read(header + _LOCAL.size, local[9]) != raw:
        raise source.error(f"{name!r} has another name in its own header.")
    offset = header + _LOCAL.size + local[9] + local[10]
    if offset + size > source.size:
        raise source.error(f"{name!r} reaches past the end of the file: it is truncated; download it again.")
    return Record(name, offset, size, crc), header, end


def _wide(source: Source, extra: bytes, packed: int, size: int, header: int) -> tuple[int, int, int]:
    """Sizes and offset of an entry, the 64-bit ones taken from its extra field."""
    values = [size, packed, header]
    wide = [i for i, value in enumerate(values) if value == 0xFFFFFFFF]
    while wide and len(extra) >= 4:
        kind, length = struct.unpack_from("<2H", extra)
        if kind == 1 and length >= 8 * len(wide) and len(extra) >= 4 + length:
            for i, value in zip(wide, struct.unpack_from(f"<{len(wide)}Q", extra, 4), strict=True):
                values[i] = value
            wide = []
        extra = extra[4 + length :]
    if wide:
        raise source.error("the archive lacks the 64-bit sizes of an entry.")
    return values[1], values[0], values[2]


def _name(source: Source, raw: bytes) -> str:
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        raise source.error("the archive holds a name that is no UTF-8.") from None
    parts = name.split("/")
    if not name or "\\" in name or ":" in name or not name.isprintable() or {"", ".", ".."} & set(parts):
        raise source.error(f"the archive holds the name {name[:80]!r}; relative paths only.")
    return name

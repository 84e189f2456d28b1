"""The zip archives that torch and Keras write, read defensively: stored entries, no hidden bytes, every name once."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from keras_yolo_backbones.errors import shown
from keras_yolo_backbones.weights.readers.mistaken import explain_archive
from keras_yolo_backbones.weights.readers.source import Source
from keras_yolo_backbones.weights.readers.zip_end import read_end

MAX_RECORDS = 50_000
"""A checkpoint has one record a tensor; the largest of the zoo has 3,000."""

MAX_DIRECTORY = 16 << 20
"""Bytes of the archive's directory: 300 an entry."""

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")

_ENCRYPTED = 1
_DESCRIPTOR = 1 << 3
_UTF8 = 1 << 11


class Record(NamedTuple):
    """One stored file of an archive: where its bytes lie in the archive, and their checksum.

    Attributes:
        name: path inside the archive.
        offset: of the first byte.
        size: bytes.
        crc: CRC-32 as the directory states it; `None` in an archive without checksums, an option of torch.
    """

    name: str
    offset: int
    size: int
    crc: int | None


class _Entry(NamedTuple):
    """What the directory says of one record, unchecked."""

    name: bytes
    extra: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    header: int


def read_archive(source: Source) -> dict[str, Record]:
    """The records of a zip archive by name, in the directory's order.

    Accepts what torch and Keras write and nothing beyond: the archive is the whole file, records are stored (not
    compressed, not encrypted), names are relative and unique, and both of an archive's directories agree.

    Raises:
        CheckpointError: anything else.
    """
    start, size, count = read_end(source)
    if count > MAX_RECORDS:
        raise source.error(f"the archive lists {count} records; {MAX_RECORDS} are the limit.")
    if size > MAX_DIRECTORY:
        raise source.error(f"the archive's directory has {size} bytes; {MAX_DIRECTORY} are the limit.")
    entries = {}
    for entry in _entries(source, source.read(start, size), count):
        name = _name(source, entry.name)
        if name in entries:
            raise source.error(f"the archive holds {shown(name)!r} twice.")
        entries[name] = entry
    foreign = explain_archive(entries)
    if foreign:
        raise source.error(foreign)
    records, spans = {}, []
    checked = any(entry.crc for entry in entries.values())
    for name, entry in entries.items():
        record, header = _record(source, name, entry)
        records[name] = record if checked else record._replace(crc=None)
        spans.append((header, records[name].offset + records[name].size))
    _check_spans(source, spans, start)
    return records


def read_record(source: Source, record: Record) -> bytes:
    """All bytes of a record, its checksum verified."""
    data = source.read(record.offset, record.size)
    if record.crc is not None and zlib.crc32(data) != record.crc:
        raise _wrong_crc(source, record)
    return data


def verify(source: Source, record: Record) -> None:
    """Check a record's CRC without holding the record in memory."""
    if record.crc is None:
        return
    crc = 0
    for chunk in source.chunks(record.offset, record.size):
        crc = zlib.crc32(chunk, crc)
    if crc != record.crc:
        raise _wrong_crc(source, record)


def _wrong_crc(source: Source, record: Record) -> Exception:
    return source.error(f"the checksum of {shown(record.name)!r} is wrong: the file is damaged; download it again.")


def _entries(source: Source, directory: bytes, count: int) -> Iterator[_Entry]:
    """The entries of the central directory, which they must fill."""
    at = 0
    for _ in range(count):
        if at + _CENTRAL.size > len(directory):
            raise source.error("the archive's directory is cut off.")
        fields = _CENTRAL.unpack_from(directory, at)
        signature, _, _, flags, method, _, _, crc, packed, size, named, extra, comment, disk, _, _, header = fields
        names = at + _CENTRAL.size
        at = names + named + extra + comment
        if signature != b"PK\1\2" or at > len(directory) or disk:
            raise source.error("the archive's directory is damaged.")
        text = directory[names + named : names + named + extra]
        yield _Entry(directory[names : names + named], text, flags, method, crc, packed, size, header)
    if at != len(directory):
        raise source.error("the archive's directory is longer than its entries.")


def _record(source: Source, name: str, entry: _Entry) -> tuple[Record, int]:
    """A record that the archive's directory and the record's own header describe alike, and the header's offset."""
    said = repr(shown(name))
    if entry.flags & _ENCRYPTED:
        raise source.error(f"{said} is encrypted.")
    if entry.flags & ~(_DESCRIPTOR | _UTF8):
        raise source.error(f"{said} has unknown zip flags.")
    if entry.method:
        raise source.error(f"{said} is compressed; torch and Keras store their records as they are.")
    packed, size, header = _wide(source, entry)
    if packed != size:
        raise source.error(f"{said} states two sizes, {packed} and {size} bytes.")
    local = _LOCAL.unpack(source.read(header, _LOCAL.size))
    if local[0] != b"PK\3\4" or local[3] != entry.method or local[2] != entry.flags:
        raise source.error(f"the header of {said} contradicts the archive's directory.")
    if local[9] != len(entry.name) or source.read(header + _LOCAL.size, local[9]) != entry.name:
        raise source.error(f"{said} has a different name in its own header.")
    offset = header + _LOCAL.size + local[9] + local[10]
    if offset + size > source.size:
        raise source.error(f"{said} reaches past the end of the file: it is truncated; download it again.")
    return Record(name, offset, size, entry.crc), header


def _wide(source: Source, entry: _Entry) -> tuple[int, int, int]:
    """Sizes and offset of an entry, the 64-bit ones taken from its extra field."""
    values = [entry.size, entry.packed, entry.header]
    wide = [i for i, value in enumerate(values) if value == 0xFFFFFFFF]
    at = 0
    while wide and at + 4 <= len(entry.extra):
        kind, length = struct.unpack_from("<2H", entry.extra, at)
        if kind == 1 and length >= 8 * len(wide) and at + 4 + length <= len(entry.extra):
            for i, value in zip(wide, struct.unpack_from(f"<{len(wide)}Q", entry.extra, at + 4), strict=True):
                values[i] = value
            wide = []
        at += 4 + length
    if wide:
        raise source.error("the archive lacks the 64-bit sizes of an entry.")
    return values[1], values[0], values[2]


def _check_spans(source: Source, spans: list[tuple[int, int]], directory: int) -> None:
    """The records begin at the file's first byte and do not overlap, nor reach into the directory."""
    spans.sort()
    if not spans or spans[0][0] != 0:
        raise source.error("there are foreign bytes in front of the archive.")
    for (_, end), (following, _) in zip(spans, [*spans[1:], (directory, 0)], strict=True):
        if end > following:
            raise source.error("records of the archive overlap.")


def _name(source: Source, raw: bytes) -> str:
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        raise source.error("the archive holds a name that is no UTF-8.") from None
    parts = name.split("/")
    if not name or "\\" in name or ":" in name or not name.isprintable() or {"", ".", ".."} & set(parts):
        raise source.error(f"the archive holds the name {shown(name)!r}; relative paths only.")
    return name

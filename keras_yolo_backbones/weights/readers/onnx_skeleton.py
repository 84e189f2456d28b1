"""An ONNX file without the values of its initializers: small enough for the onnx package, whatever the file is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from keras_yolo_backbones.weights.readers.budget import Budget
from keras_yolo_backbones.weights.readers.feed import Feed, MalformedError, Span

MAX_SKELETON = 4 << 20
"""Bytes beside the values; the largest network of the zoo takes 200,000."""

_GRAPH, _INITIALIZER = 7, 5
_VALUES = (4, 5, 7, 9, 10, 11)
"""Fields of a tensor that hold its values: float_data, int32_data, int64_data, raw_data, double_data, uint64_data."""

_PLAIN = (4, 9, 10)
"""Those whose bytes are the elements, little-endian."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class _Field(NamedTuple):
    """A field of a message: its number, its wire type, its tag as written, and for bytes their length."""

    number: int
    wire: int
    tag: bytes
    length: int


def skeleton(feed: Feed, budget: Budget) -> tuple[bytes, list[Span | None]]:
    """The model without the values of its initializers, and where those are, in the order of the initializers.

    Raises:
        MalformedError: no protocol buffer, or one that is too large without the values.
    """
    values: list[Span | None] = []
    left = [MAX_SKELETON]
    model = []
    for field in _fields(feed, feed.position + feed.length, budget):
        if (field.number, field.wire) == (_GRAPH, _BYTES):
            graph = _graph(feed, feed.position + field.length, budget, values, left)
            model.append(field.tag + _varint(len(graph)) + graph)
        else:
            model.append(_copied(feed, field, left))
    return b"".join(model), values


def _graph(feed: Feed, end: int, budget: Budget, values: list[Span | None], left: list[int]) -> bytes:
    parts = []
    for field in _fields(feed, end, budget):
        if (field.number, field.wire) == (_INITIALIZER, _BYTES):
            tensor, value = _initializer(feed, feed.position + field.length, budget, left)
            parts.append(field.tag + _varint(len(tensor)) + tensor)
            values.append(value)
        else:
            parts.append(_copied(feed, field, left))
    return b"".join(parts)


def _initializer(feed: Feed, end: int, budget: Budget, left: list[int]) -> tuple[bytes, Span | None]:
    parts, value = [], None
    for field in _fields(feed, end, budget):
        if field.number in _VALUES and field.wire == _BYTES:
            span = feed.span(field.length)
            if value is not None:
                raise MalformedError("one of its tensors has two values")
            value = span if field.number in _PLAIN else None
        else:
            parts.append(_copied(feed, field, left))
    return b"".join(parts), value


def _fields(feed: Feed, end: int, budget: Budget) -> Iterator[_Field]:
    """The fields of a message that ends at `end`; the caller consumes what each of them holds."""
    while feed.position < end:
        budget.spend()
        key, tag = _number(feed)
        wire = key & 7
        length = _number(feed)[0] if wire == _BYTES else 0
        if feed.position + length > end:
            raise MalformedError("a part of it reaches past its end")
        yield _Field(key >> 3, wire, tag, length)
    if feed.position != end:
        raise MalformedError("a part of it reaches past its end")


def _copied(feed: Feed, field: _Field, left: list[int]) -> bytes:
    """A field as it was written."""
    left[0] -= field.length + 16
    if left[0] < 0:
        raise MalformedError(f"it has more than {MAX_SKELETON} bytes beside the values of its tensors")
    if field.wire == _BYTES:
        return field.tag + _varint(field.length) + feed.take(field.length)
    if field.wire == _VARINT:
        return field.tag + _number(feed)[1]
    if field.wire in (_FIXED32, _FIXED64):
        return field.tag + feed.take(4 if field.wire == _FIXED32 else 8)
    raise MalformedError("it is no protocol buffer")


def _number(feed: Feed) -> tuple[int, bytes]:
    """A variable-length number, and its bytes."""
    value, raw = 0, bytearray()
    while len(raw) < 10:
        byte = feed.byte()
        value |= (byte & 0x7F) << (7 * len(raw))
        raw.append(byte)
        if byte < 0x80:
            return value, bytes(raw)
    raise MalformedError("it is no protocol buffer")


def _varint(value: int) -> bytes:
    raw = bytearray()
    while value >= 0x80:
        raw.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*raw, value])

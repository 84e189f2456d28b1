"""safetensors files: a JSON table of names, types, shapes and offsets, then the values."""

from __future__ import annotations

import json
import struct
from typing import Any

from keras_yolo_backbones.errors import CheckpointError, shown
from keras_yolo_backbones.weights.readers.source import Source
from keras_yolo_backbones.weights.readers.tensors import DTYPES, Tensor, is_count, is_shape

MAX_HEADER = 4 << 20
"""Bytes; 100 a tensor are usual."""

_TYPES = {
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "U8": "uint8",
    "I8": "int8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
    "BOOL": "bool",
}


def read_safetensors(source: Source) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file by name, and its metadata.

    The rules of the format are checked here, on the bytes that were read.

    Raises:
        CheckpointError: a header that is too large, cut off, no JSON, names a tensor twice, or does not cover the file
            exactly; an element type that is not read.
    """
    header, start = _header(source)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise source.error("its metadata are no table of texts: it is damaged.")
    tensors, spans = {}, []
    for name, entry in header.items():
        tensors[name], span = _tensor(source, name, entry, start)
        spans.append(span)
    _check_spans(source, spans, source.size - start)
    return tensors, metadata


def _tensor(source: Source, name: str, entry: Any, start: int) -> tuple[Tensor, tuple[int, int]]:
    """One entry of the header as a tensor, and where its values begin and end after the header."""
    said = repr(shown(name))
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise source.error(f"its header describes {said} by other things than type, shape and offsets.")
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    dtype = _TYPES.get(kind) if isinstance(kind, str) else None
    if dtype is None:
        raise source.error(f"{said} is {shown(kind)!r}; floating point and integers are read.")
    if not is_shape(shape) or not isinstance(offsets, list) or len(offsets) != 2 or not all(map(is_count, offsets)):
        raise source.error(f"{said} has an impossible shape or place in the file: it is damaged.")
    begin, end = offsets
    tensor = Tensor(tuple(shape), dtype, lambda: source.read(start + begin, end - begin))
    if tensor.size * DTYPES[dtype].itemsize != end - begin:
        raise source.error(f"{said} has {end - begin} bytes, which its shape does not take.")
    return tensor, (begin, end)


def _check_spans(source: Source, spans: list[tuple[int, int]], size: int) -> None:
    """The tensors lie one after the other and fill the file."""
    at = 0
    for begin, end in sorted(spans):
        if begin != at:
            raise source.error("its tensors overlap or leave a hole: it is damaged.")
        at = end
    if at != size:
        raise source.error(
            f"its tensors have {at} bytes, but {size} follow the header: it is truncated, or has foreign bytes at its "
            "end; download it again."
        )


def _header(source: Source) -> tuple[dict[str, Any], int]:
    """The header, and where the values begin."""
    (size,) = struct.unpack("<Q", source.read(0, 8))
    if size > MAX_HEADER:
        raise source.error(f"its header states {size} bytes; {MAX_HEADER} are the limit.")
    if size > source.size - 8:
        raise source.error(f"its header states {size} bytes, more than the file has: it is truncated.")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise source.error(f"its header names {shown(key)!r} twice.")
            found[key] = value
        return found

    try:
        header = json.loads(bytes(source.read(8, size)), object_pairs_hook=unique)
    except CheckpointError:
        raise
    except (ValueError, RecursionError):
        raise source.error("its header is no JSON.") from None
    if not isinstance(header, dict):
        raise source.error("its header is no table of tensors.")
    return header, 8 + size

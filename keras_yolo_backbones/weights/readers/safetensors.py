"""safetensors files. The safetensors library checks the header; values are read through our own file handle."""

from __future__ import annotations

import json
import struct
from typing import Any

from keras_yolo_backbones.errors import CheckpointError
from keras_yolo_backbones.weights.readers.source import Source
from keras_yolo_backbones.weights.readers.tensors import DTYPES, MAX_TENSORS, Tensor

MAX_HEADER = 16 << 20

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

    Raises:
        CheckpointError: a header that is too large, cut off, no JSON, names a tensor twice, or does not cover the file
            exactly; an element type that is not read.
    """
    header, start = _header(source)
    _library_check(source)
    metadata = header.pop("__metadata__", {})
    if len(header) > MAX_TENSORS:
        raise source.error(f"holds {len(header)} tensors; {MAX_TENSORS} are the limit.")
    tensors = {}
    for name, entry in header.items():
        dtype = _TYPES.get(entry["dtype"])
        if dtype is None:
            raise source.error(f"{name[:80]!r} is {entry['dtype']!r}; floating point and integers are read.")
        begin, end = entry["data_offsets"]
        tensor = Tensor(tuple(entry["shape"]), dtype, _reader(source, start + begin, end - begin))
        if tensor.size * DTYPES[dtype].itemsize != end - begin:
            raise source.error(f"{name[:80]!r} has {end - begin} bytes, which its shape does not take.")
        tensors[name] = tensor
    return tensors, dict(metadata)


def _reader(source: Source, offset: int, count: int) -> Any:
    return lambda: source.read(offset, count)


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
                raise source.error(f"its header names {key[:80]!r} twice.")
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


def _library_check(source: Source) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(source.path, framework="numpy"):
            pass
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise source.error(f"is no valid safetensors file: {str(error)[:200]}.") from None

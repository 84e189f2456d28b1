"""Tensors that stay in their file until they are asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from keras_yolo_backbones.weights.readers.source import Source

MAX_TENSORS = 100_000
MAX_RANK = 8
_MAX_SIDE = 1 << 40
_MAX_REPEATS = 64

DTYPES = {
    "float16": np.dtype("<f2"),
    "bfloat16": np.dtype("<u2"),  # read as bits: numpy has no such type
    "float32": np.dtype("<f4"),
    "float64": np.dtype("<f8"),
    "uint8": np.dtype("u1"),
    "int8": np.dtype("i1"),
    "int16": np.dtype("<i2"),
    "int32": np.dtype("<i4"),
    "int64": np.dtype("<i8"),
    "bool": np.dtype("?"),
}
"""The element types that are read, and how their bytes are."""


class Tensor(NamedTuple):
    """One tensor of a file.

    Attributes:
        shape: its sides, in the file's own layout; one that `is_shape` accepts.
        dtype: key of `DTYPES`.
        read: its bytes, checked, in row-major order of `shape`.
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], bytes]

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.size * DTYPES[self.dtype].itemsize

    def array(self) -> np.ndarray:
        """The values, read now: bfloat16 widened to float32, everything else in the file's own type."""
        values = np.frombuffer(self.read(), DTYPES[self.dtype]).reshape(self.shape)
        if self.dtype == "bfloat16":
            return (values.astype("<u4") << 16).view("<f4")
        return values


class Tensors(Mapping[str, np.ndarray]):
    """Name -> array, each array is read from the file when it is asked for, and not kept.

    Args:
        entries: name -> `Tensor`: shapes and types without reading a value.
        source: the file, whose error is raised if a value cannot be read.
    """

    def __init__(self, entries: Mapping[str, Tensor], source: Source | None = None):
        self.entries = dict(entries)
        self._source = source

    def __getitem__(self, name: str) -> np.ndarray:
        if self._source is None:
            return self.entries[name].array()
        entry = self.entries[name]
        with self._source.guarded():
            return entry.array()

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape."""
        return {name: tensor.shape for name, tensor in self.entries.items()}


def is_count(value: Any) -> bool:
    """Whether a value of a file is a whole number that may be an offset, a size or a stride."""
    return type(value) is int and 0 <= value < 1 << 62


def is_shape(sides: Any) -> bool:
    """Whether a list or tuple of a file is a shape that numpy can have."""
    if not isinstance(sides, (list, tuple)) or len(sides) > MAX_RANK:
        return False
    return all(map(is_count, sides)) and math.prod(max(side, 1) for side in sides) < _MAX_SIDE


def check_amount(source: Source, entries: Mapping[str, Tensor]) -> None:
    """Raise if the tensors are too many, or are together so large that parts of the file are read again and again."""
    if len(entries) > MAX_TENSORS:
        raise source.error(f"holds {len(entries)} tensors; {MAX_TENSORS} are the limit.")
    total = sum(tensor.nbytes for tensor in entries.values())
    if total > _MAX_REPEATS * source.size:
        raise source.error(f"describes {total} bytes of tensors, but the file has only {source.size}: it is damaged.")

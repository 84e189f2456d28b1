"""Tensors that stay in their file until they are asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

MAX_TENSORS = 100_000
MAX_RANK = 8

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
        shape: its sides, in the file's own layout.
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

    def array(self) -> np.ndarray:
        """The values, read now: bfloat16 widened to float32, everything else in the file's own type."""
        values = np.frombuffer(self.read(), DTYPES[self.dtype]).reshape(self.shape)
        if self.dtype == "bfloat16":
            return (values.astype("<u4") << 16).view("<f4")
        return values


class Tensors(Mapping[str, np.ndarray]):
    """Name -> array, each array read from the file when it is asked for and kept by nobody.

    Attributes:
        entries: name -> `Tensor`: shapes and types without reading a value.
    """

    def __init__(self, entries: Mapping[str, Tensor]):
        self.entries = dict(entries)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.entries[name].array()

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape."""
        return {name: tensor.shape for name, tensor in self.entries.items()}

"""NumPy's arrays as they are pickled: what Paddle writes, and some projects of their own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_yolo_backbones.weights.readers.feed import Span
from keras_yolo_backbones.weights.readers.pickles.values import Built, PickleError, Unreadable
from keras_yolo_backbones.weights.readers.source import Source
from keras_yolo_backbones.weights.readers.tensors import DTYPES, Tensor, is_shape

_TYPES = {
    "f2": "float16",
    "f4": "float32",
    "f8": "float64",
    "u1": "uint8",
    "i1": "int8",
    "i2": "int16",
    "i4": "int32",
    "i8": "int64",
    "b1": "bool",
    "u2": "bfloat16",  # NumPy has no such type: Paddle keeps its bits in whole numbers
}


class NumpyType(Built):
    """A dtype: its code, and the byte order that its state adds."""

    __slots__ = ("code", "little")

    def __init__(self, code: Any = None, *_: Any):
        self.code = code if isinstance(code, str) else ""
        self.little = True

    def build(self, state: Any) -> None:
        """(version, byte order, …)"""
        if not isinstance(state, tuple) or len(state) < 2:
            raise PickleError("describes an element type in a way that NumPy does not")
        self.little = state[1] in ("<", "|", "=")


class NumpyArray(Built):
    """An array: a tensor once its state is set."""

    __slots__ = ("source", "tensor")

    def __init__(self, source: Source):
        self.source = source
        self.tensor: Tensor | Unreadable = Unreadable("is an array without values")

    def build(self, state: Any) -> None:
        """(version, shape, dtype, columns first, bytes)"""
        if not isinstance(state, tuple) or len(state) != 5:
            raise PickleError("describes an array in a way that NumPy does not")
        self.fill(*state[1:])

    def fill(self, shape: Any, kind: Any, columns_first: Any, data: Any) -> NumpyArray:
        """Take the content; what is no array of numbers stays unreadable."""
        dtype = _TYPES.get(kind.code) if isinstance(kind, NumpyType) and kind.little else None
        data = _latin(data) if isinstance(data, str) else data  # Python 2 had no bytes
        if dtype is None or not isinstance(data, (bytes, Span)):
            self.tensor = Unreadable("is an array of something else than little-endian numbers")
            return self
        if not isinstance(shape, tuple) or not is_shape(shape):
            raise PickleError("describes an array of an impossible shape")
        size = math.prod(shape) * DTYPES[dtype].itemsize
        exact = len(data) if isinstance(data, bytes) else data.size
        if exact != size and not (isinstance(data, Span) and data.latin and exact >= size):
            raise PickleError(f"describes an array of {size} bytes, but holds {exact} for it")
        self.tensor = Tensor(shape, dtype, lambda: _row_major(self._read(data, size), shape, dtype, columns_first))
        return self

    def _read(self, data: bytes | Span, size: int) -> bytes:
        if isinstance(data, bytes):
            return data
        read = self.source.read(data.offset, data.size)
        if data.latin:
            try:
                read = bytes(read).decode().encode("latin1")
            except UnicodeError:
                read = b""
            if len(read) != size:
                raise self.source.error("holds an array whose bytes are damaged; download it again.")
        return read


def functions(source: Source) -> dict[str, Callable[..., Any]]:
    """Calls that make arrays, by the name of what is called."""
    made: dict[str, Callable[..., Any]] = {"numpy.dtype": NumpyType, "_codecs.encode": _encode}
    for package in ("numpy.core", "numpy._core"):
        made[f"{package}.multiarray._reconstruct"] = lambda *_: NumpyArray(source)
        made[f"{package}.numeric._frombuffer"] = lambda *args: _of_buffer(source, *args)
    return made


def _of_buffer(
    source: Source, data: Any = None, kind: Any = None, shape: Any = None, order: Any = None, *_: Any
) -> Any:
    """How NumPy writes arrays in protocol 5."""
    return NumpyArray(source).fill(shape, kind, order == "F", data)


def _encode(text: Any = None, encoding: Any = None, *_: Any) -> Any:
    """How Python 3 writes bytes in protocol 2: as the text of the same code points."""
    if encoding == "latin1" and isinstance(text, Span):
        return Span(text.offset, text.size, latin=True)
    if encoding == "latin1" and isinstance(text, str):
        return _latin(text)
    return Unreadable("is a text in an encoding that is not read")


def _latin(text: str) -> bytes:
    """One byte for each character of a text."""
    try:
        return text.encode("latin1")
    except UnicodeEncodeError:
        raise PickleError("holds bytes that are none") from None


def _row_major(data: bytes, shape: tuple[int, ...], dtype: str, columns_first: Any) -> bytes:
    if columns_first is not True or len(shape) < 2:
        return data
    return np.frombuffer(data, DTYPES[dtype]).reshape(shape, order="F").tobytes()

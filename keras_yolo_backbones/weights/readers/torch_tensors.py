"""torch's tensors as they are pickled: windows on storages, whose bytes lie elsewhere in the file."""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_yolo_backbones.errors import shown
from keras_yolo_backbones.weights.readers.numpy_arrays import functions as numpy_functions
from keras_yolo_backbones.weights.readers.pickles.values import Global, PickleError, Unreadable
from keras_yolo_backbones.weights.readers.source import Source
from keras_yolo_backbones.weights.readers.tensors import DTYPES, Tensor, is_count, is_shape

STORAGES = {
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "ByteStorage": "uint8",
    "CharStorage": "int8",
    "ShortStorage": "int16",
    "IntStorage": "int32",
    "LongStorage": "int64",
    "BoolStorage": "bool",
}
"""torch's storage classes -> element type. No complex, quantized or 8-bit float: no checkpoint of the zoo has any."""


@dataclasses.dataclass(slots=True, eq=False)
class Storage:
    """A run of `count` elements of a type, which begins `start` elements into the storage called `key`."""

    key: str
    dtype: str
    start: int
    count: int


class TorchTensors(abc.ABC):
    """Makes tensors of the calls in a torch pickle. Where storages lie is the file format's matter.

    Attributes:
        source: the file.
    """

    source: Source

    @abc.abstractmethod
    def check(self, storage: Storage) -> None:
        """Raise `PickleError` if the file has no such storage."""

    @abc.abstractmethod
    def read(self, key: str, offset: int, count: int) -> bytes:
        """Bytes of a storage, checked."""

    @property
    def functions(self) -> dict[str, Callable[..., Any]]:
        """Calls that make tensors, by the name of what is called."""
        return {
            **numpy_functions(self.source),
            "torch._utils._rebuild_tensor_v2": self._tensor,
            "torch._utils._rebuild_tensor": self._tensor,
            "torch._utils._rebuild_parameter": _first,
            "torch._utils._rebuild_parameter_with_state": _first,
            "torch.nn.parameter.Parameter": _first,
            "torch._tensor._rebuild_from_type_v2": self._of_type,
            "torch._utils._rebuild_qtensor": _unread("a quantized tensor"),
            "torch._utils._rebuild_sparse_tensor": _unread("a sparse tensor"),
        }

    def persistent(self, identifier: Any) -> Any:
        """What a persistent id names: a storage, or in old files a class with its source code, which is dropped."""
        if isinstance(identifier, tuple) and len(identifier) == 4 and identifier[0] == "module":
            return identifier[1]
        return self.storage(identifier)

    def storage(self, identifier: Any) -> Storage | Unreadable:
        """The storage of the id ("storage", class, key, device, elements[, view])."""
        if not isinstance(identifier, tuple) or len(identifier) not in (5, 6) or identifier[0] != "storage":
            raise PickleError("refers to something that is no storage")
        _, kind, key, _, count, *view = identifier
        if not isinstance(key, str) or not 0 < len(key) <= 40 or not (key.isascii() and key.isdigit()):
            raise PickleError("refers to a storage by no number")
        if not is_count(count):
            raise PickleError("refers to a storage of no number of elements")
        if not isinstance(kind, Global) or kind.module != "torch" or kind.name not in STORAGES:
            named = shown(kind) if isinstance(kind, Global) else "no class"
            return Unreadable(f"is kept in a storage of {named}; floating point and integers are read")
        whole = Storage(key, STORAGES[kind.name], 0, count)
        self.check(whole)
        return _view(whole, view[0]) if view and view[0] is not None else whole

    def _of_type(self, function: Any = None, _type: Any = None, arguments: Any = (), *_: Any) -> Any:
        """A tensor of a subclass, or one with attributes of its own."""
        known = self.functions.get(str(function)) if isinstance(function, Global) else None
        return known(*arguments) if known and isinstance(arguments, tuple) else Unreadable("is no plain tensor")

    def _tensor(
        self, storage: Any = None, offset: Any = None, shape: Any = None, strides: Any = None, *_: Any
    ) -> Tensor | Unreadable:
        if isinstance(storage, Unreadable):
            return storage
        if not isinstance(storage, Storage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
            raise PickleError("makes a tensor of something that is no storage")
        if len(shape) != len(strides):
            raise PickleError("makes a tensor whose shape and strides do not fit")
        if not all(map(is_count, (offset, *strides))) or not is_shape(shape):
            # The shape is not shown: the text of what is in it may be far longer than the file.
            raise PickleError("makes a tensor with an impossible offset, shape or stride")
        count = math.prod(shape)
        # A side of 1 is never stepped along, whatever its stride says.
        steps = tuple(stride if side > 1 else 0 for side, stride in zip(shape, strides, strict=True))
        extent = sum((side - 1) * step for side, step in zip(shape, steps, strict=True)) + 1 if count else 0
        if count > storage.count or offset + extent > storage.count:
            raise PickleError(f"makes a tensor that reaches past the {storage.count} elements of its storage")
        return Tensor(shape, storage.dtype, lambda: self._bytes(storage, offset, shape, steps, extent))

    def _bytes(
        self, storage: Storage, offset: int, shape: tuple[int, ...], steps: tuple[int, ...], extent: int
    ) -> bytes:
        size = DTYPES[storage.dtype].itemsize
        data = self.read(storage.key, size * (storage.start + offset), size * extent)
        if not extent or steps == _row_major(shape):
            return data
        values = np.frombuffer(data, DTYPES[storage.dtype])
        return np.lib.stride_tricks.as_strided(
            values, shape, [step * size for step in steps], writeable=False
        ).tobytes()


def _view(storage: Storage, view: Any) -> Storage:
    """A part of a storage, as torch before 0.4 wrote it: (key, offset, elements)."""
    if not isinstance(view, tuple) or len(view) != 3 or not is_count(view[1]) or not is_count(view[2]):
        raise PickleError("refers to a part of a storage that is none")
    if view[1] + view[2] > storage.count:
        raise PickleError("refers to a part of a storage that reaches past its end")
    return Storage(storage.key, storage.dtype, view[1], view[2])


def _first(data: Any = None, *_: Any) -> Any:
    return data


def _unread(what: str) -> Callable[..., Unreadable]:
    return lambda *_: Unreadable(f"is {what}; dense ones are read")


def _row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Steps of an array without gaps; 0 along sides of 1."""
    return tuple(math.prod(shape[i + 1 :]) if shape[i] > 1 else 0 for i in range(len(shape)))

"""torch checkpoints: a zip archive of one pickle and one record a tensor storage."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from keras_yolo_backbones.weights.readers import unpickle
from keras_yolo_backbones.weights.readers.archive import Record, read_record
from keras_yolo_backbones.weights.readers.facts import Facts
from keras_yolo_backbones.weights.readers.source import Source
from keras_yolo_backbones.weights.readers.state_dict import state_dict
from keras_yolo_backbones.weights.readers.tensors import DTYPES, MAX_RANK, Tensor

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
    """One record of the archive, seen as `count` elements of a type."""

    record: Record
    dtype: str
    count: int


class TorchZip:
    """The tensors of one torch archive.

    Args:
        source: the file.
        records: of its archive.

    Raises:
        CheckpointError: not an archive that `torch.save` writes, or one that is damaged or hostile.
    """

    def __init__(self, source: Source, records: dict[str, Record]):
        self.source = source
        pickles = [name for name in records if name.endswith("data.pkl")]
        if len(pickles) != 1 or pickles[0].count("/") != 1:
            raise source.error(f"the archive holds {len(pickles)} data.pkl; torch writes one, in one folder.")
        self.root = pickles[0].removesuffix("data.pkl")
        self.records = records
        for name in records:
            if not name.startswith(self.root):
                raise source.error(f"the archive holds {name[:80]!r} outside of {self.root!r}.")
            if name == f"{self.root}constants.pkl" or name.startswith(f"{self.root}code/"):
                raise source.error("is a TorchScript archive, which is code; get the checkpoint it was made from.")
        self._check_byte_order()

    def _check_byte_order(self) -> None:
        record = self.records.get(f"{self.root}byteorder")
        if record is None:  # before torch 2.1: always little
            return
        order = read_record(self.source, record) if record.size < 16 else b""
        if order != b"little":
            raise self.source.error(f"its byte order is {order!r}; only little endian is read.")

    def tensors(self) -> tuple[dict[str, Tensor], str, Facts]:
        """State-dict key -> tensor; which part of the checkpoint that is (`"ema"`); what it says of itself."""
        record = self.records[f"{self.root}data.pkl"]
        if record.size > unpickle.MAX_BYTES:
            raise self.source.error(f"its data.pkl has {record.size} bytes; {unpickle.MAX_BYTES} are the limit.")
        data = read_record(self.source, record)
        functions = {
            "torch._utils._rebuild_tensor_v2": self._tensor,
            "torch._utils._rebuild_tensor": self._tensor,
            "torch._utils._rebuild_parameter": lambda data, *_: data,
            "torch._utils._rebuild_parameter_with_state": lambda data, *_: data,
        }
        try:
            content = unpickle.interpret(data, self._storage, functions)
            return state_dict(content)
        except unpickle.PickleError as error:
            raise self.source.error(f"its pickle {error}; no file of torch.save does.") from None
        except TypeError:
            raise self.source.error("its pickle describes a tensor in a way that torch does not.") from None

    def _storage(self, identifier: Any) -> Storage:
        if not isinstance(identifier, tuple) or len(identifier) != 5 or identifier[0] != "storage":
            raise unpickle.PickleError("refers to something that is no storage")
        _, kind, key, _, count = identifier
        if not isinstance(kind, unpickle.Global) or kind.module != "torch" or kind.name not in STORAGES:
            named = str(kind) if isinstance(kind, unpickle.Global) else "no class"
            raise unpickle.PickleError(f"holds a storage of {named}; floating point or integers are read")
        if not isinstance(key, str) or len(key) > 20 or not key.isdigit() or not _is_count(count):
            raise unpickle.PickleError("refers to a storage by no number")
        record = self.records.get(f"{self.root}data/{key}")
        if record is None:
            raise unpickle.PickleError(f"refers to the storage {key}, which the archive lacks")
        dtype = STORAGES[kind.name]
        if count * DTYPES[dtype].itemsize != record.size:
            raise unpickle.PickleError(
                f"states {count} elements of {dtype} for the storage {key}, whose record has {record.size} bytes"
            )
        return Storage(record, dtype, count)

    def _tensor(self, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
        if not isinstance(storage, Storage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
            raise unpickle.PickleError("makes a tensor of something that is no storage")
        if len(shape) > MAX_RANK or len(shape) != len(strides):
            raise unpickle.PickleError("makes a tensor whose shape and strides do not fit")
        if not all(map(_is_count, (offset, *shape, *strides))):
            raise unpickle.PickleError("makes a tensor with a negative offset, side or stride")
        count = math.prod(shape)
        last = sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True)) if count else -1
        if count > storage.count or offset + last + 1 > storage.count:
            raise unpickle.PickleError(f"makes a tensor that reaches past the {storage.count} elements of its storage")
        return Tensor(shape, storage.dtype, lambda: self._read(storage, offset, shape, strides, last + 1))

    def _read(
        self, storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], extent: int
    ) -> bytes:
        # The checksum is over the whole record, and a record is one tensor in all but strange files.
        size = DTYPES[storage.dtype].itemsize
        data = read_record(self.source, storage.record)
        if extent == storage.count and strides == _row_major(shape):
            return data
        values = np.frombuffer(data, DTYPES[storage.dtype])[offset : offset + extent]
        return np.lib.stride_tricks.as_strided(
            values, shape, [stride * size for stride in strides], writeable=False
        ).tobytes()


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 62


def _row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))

"""torch checkpoints: a zip archive of one pickle and one record a tensor storage."""

from __future__ import annotations

from typing import Any

from keras_yolo_backbones.errors import shown
from keras_yolo_backbones.weights.readers.archive import Record, read_record, verify
from keras_yolo_backbones.weights.readers.feed import MAX_BYTES, Feed
from keras_yolo_backbones.weights.readers.pickles.unpickle import interpret
from keras_yolo_backbones.weights.readers.pickles.values import PickleError
from keras_yolo_backbones.weights.readers.source import Source
from keras_yolo_backbones.weights.readers.tensors import DTYPES
from keras_yolo_backbones.weights.readers.torch_tensors import Storage, TorchTensors


class TorchZip(TorchTensors):
    """The content of one torch archive.

    Args:
        source: the file.
        records: of its archive.

    Raises:
        CheckpointError: not an archive that `torch.save` writes, or one that is damaged.
    """

    def __init__(self, source: Source, records: dict[str, Record]):
        self.source = source
        pickles = [name for name in records if name.endswith("data.pkl")]
        if len(pickles) != 1 or pickles[0].count("/") != 1:
            raise source.error(f"the archive holds {len(pickles)} data.pkl; torch writes one, in one folder.")
        self.root = pickles[0].removesuffix("data.pkl")
        self.records = records
        self.verified: set[str] = set()
        for name in records:
            if not name.startswith(self.root):
                raise source.error(f"the archive holds {shown(name)!r} outside of {shown(self.root)!r}.")
        self._check_byte_order()

    def _check_byte_order(self) -> None:
        record = self.records.get(f"{self.root}byteorder")
        if record is None:  # before torch 2.1: always little
            return
        order = read_record(self.source, record) if record.size < 16 else b""
        if order != b"little":
            raise self.source.error(f"its byte order is {shown(order)!r}; only little endian is read.")

    def content(self) -> Any:
        """What the pickle holds; `PickleError` if it is not read."""
        record = self.records[f"{self.root}data.pkl"]
        if record.size > MAX_BYTES:
            raise self.source.error(f"its data.pkl has {record.size} bytes; {MAX_BYTES} are the limit.")
        verify(self.source, record)
        end = record.offset + record.size
        feed = Feed(self.source.read, record.offset, end, self.source.budget)
        found = interpret(feed, self.persistent, self.functions, self.source.budget)
        if feed.position != end:
            raise PickleError("has bytes after its end")
        return found

    def check(self, storage: Storage) -> None:
        """Raise unless the archive has a record of the storage's size."""
        record = self.records.get(f"{self.root}data/{storage.key}")
        if record is None:
            raise PickleError(f"refers to the storage {storage.key}, which the archive lacks")
        if storage.count * DTYPES[storage.dtype].itemsize != record.size:
            raise PickleError(
                f"states {storage.count} elements of {storage.dtype} for the storage {storage.key}, whose record has "
                f"{record.size} bytes"
            )

    def read(self, key: str, offset: int, count: int) -> bytes:
        """Bytes of a record, whose checksum is verified once: at the first read."""
        record = self.records[f"{self.root}data/{key}"]
        if key in self.verified:
            return self.source.read(record.offset + offset, count)
        if count == record.size:
            data = read_record(self.source, record)
        else:
            verify(self.source, record)
            data = self.source.read(record.offset + offset, count)
        self.verified.add(key)
        return data

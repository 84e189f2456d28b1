"""torch checkpoints before version 1.6, and of `_use_new_zipfile_serialization=False`: pickles, then the storages.

The file holds a magic number, a version, facts of the machine, the content, and the list of storage keys, a pickle
each; then for every storage in that list the number of its elements, 8 bytes, and the elements.
"""

from __future__ import annotations

from typing import Any

from keras_yolo_backbones.errors import shown
from keras_yolo_backbones.weights.readers.feed import Feed
from keras_yolo_backbones.weights.readers.pickles.unpickle import interpret
from keras_yolo_backbones.weights.readers.pickles.values import PickleError
from keras_yolo_backbones.weights.readers.source import Source
from keras_yolo_backbones.weights.readers.tensors import DTYPES
from keras_yolo_backbones.weights.readers.torch_tensors import Storage, TorchTensors

MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The first pickle of every such file."""

_VERSION = 1001


class TorchLegacy(TorchTensors):
    """The content of one such file."""

    def __init__(self, source: Source):
        self.source = source
        self.storages: dict[str, Storage] = {}
        self.offsets: dict[str, int] = {}

    def content(self) -> Any:
        """What the content's pickle holds; `PickleError` if it is not read."""
        feed = Feed(self.source.read, len(MAGIC), self.source.size, self.source.budget)
        if self._plain(feed) != _VERSION:
            raise PickleError(f"is of no known version; {_VERSION} was expected")
        machine = self._plain(feed)
        if not isinstance(machine, dict) or machine.get("little_endian") is not True:
            raise self.source.error("was written on a big-endian machine; only little endian is read.")
        found = interpret(feed, self.persistent, self.functions, self.source.budget)
        self._locate(self._plain(feed), feed.position)
        return found

    def _plain(self, feed: Feed) -> Any:
        return interpret(feed, _no_storage, {}, self.source.budget)

    def check(self, storage: Storage) -> None:
        """Remember the storage; raise if it had a different type or size before."""
        known = self.storages.setdefault(storage.key, storage)
        if (known.dtype, known.count) != (storage.dtype, storage.count):
            raise PickleError(f"refers to the storage {storage.key} in two ways")

    def _locate(self, keys: Any, position: int) -> None:
        """Find every storage; they fill the rest of the file."""
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise PickleError("lists its storages by no names")
        self.source.budget.spend(len(keys))
        for key in keys:
            storage = self.storages.get(key)
            if storage is None or key in self.offsets:
                raise PickleError(f"lists a storage {shown(key, 40)!r} that nothing refers to, or lists it twice")
            if int.from_bytes(self.source.read(position, 8), "little") != storage.count:
                raise PickleError(f"states two sizes for the storage {key}")
            self.offsets[key] = position + 8
            position += 8 + storage.count * DTYPES[storage.dtype].itemsize
        if len(self.offsets) != len(self.storages):
            raise PickleError(f"lacks {len(self.storages) - len(self.offsets)} storages that it refers to")
        if position != self.source.size:
            raise self.source.error(
                f"its storages end at byte {position}, but it has {self.source.size}: it is truncated or has foreign "
                "bytes at its end; download it again."
            )

    def read(self, key: str, offset: int, count: int) -> bytes:
        """Bytes of a storage; this format has no checksums."""
        return self.source.read(self.offsets[key] + offset, count)


def _no_storage(_: Any) -> Any:
    raise PickleError("refers to a storage where none can be")

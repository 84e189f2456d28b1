"""Checkpoints that are pickles: torch's in both of its formats, and Paddle's."""

from __future__ import annotations

from typing import Any

from keras_yolo_backbones.errors import shown
from keras_yolo_backbones.weights.readers.feed import Feed, MalformedError
from keras_yolo_backbones.weights.readers.numpy_arrays import functions
from keras_yolo_backbones.weights.readers.pickles.unpickle import interpret
from keras_yolo_backbones.weights.readers.pickles.values import PickleError, as_dict
from keras_yolo_backbones.weights.readers.source import Source
from keras_yolo_backbones.weights.readers.state_dict import Found, state_dict
from keras_yolo_backbones.weights.readers.torch_legacy import TorchLegacy
from keras_yolo_backbones.weights.readers.torch_zip import TorchZip

_CUT = "UnpackBigParamInfor@@"
"""Where Paddle lists arrays of more than 1 GiB, which it cuts in parts."""


_STATISTICS = {"_mean": "running_mean", "_variance": "running_var"}
"""Paddle's name -> torch's."""


def read_torch(source: Source, file: TorchZip | TorchLegacy) -> Found:
    """The state dict of a torch checkpoint.

    Raises:
        CheckpointError: its pickle is broken, names what is not read, or holds no network.
    """
    try:
        return state_dict(file.content(), source.budget)
    except MalformedError as error:
        raise source.error(f"its pickle {error}.") from None


def read_pickle(source: Source) -> Found:
    """The state dict of a bare pickle of NumPy arrays, such as Paddle's `.pdparams`.

    Raises:
        CheckpointError: as in `read_torch`.
    """
    feed = Feed(source.read, 0, source.size, source.budget)
    try:
        content = interpret(feed, _no_storage, functions(source), source.budget)
        if feed.position != source.size:
            raise PickleError("has bytes after its end")
        items = as_dict(content)
        if _CUT in items:
            raise PickleError(f"cuts {shown(list(as_dict(items[_CUT])), 60)} in parts, for they have more than 1 GiB")
        for key in list(items):
            tensor = items.pop(key)
            if not (isinstance(key, str) and "@@" in key):
                items[_torch_name(key)] = tensor
        return state_dict(content, source.budget)
    except MalformedError as error:
        raise source.error(f"its pickle {error}.") from None


def _torch_name(key: Any) -> Any:
    """Paddle's key with torch's name of a batch norm's statistics."""
    if not isinstance(key, str):
        return key
    module, _, name = key.rpartition(".")
    return f"{module}.{_STATISTICS[name]}" if name in _STATISTICS else key


def _no_storage(_: object) -> object:
    raise PickleError("refers to something outside of itself")

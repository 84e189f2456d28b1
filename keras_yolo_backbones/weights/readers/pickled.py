"""Checkpoints that are pickles: torch's in both of its formats, and Paddle's."""

from __future__ import annotations

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
        for key in [key for key in items if "@@" in key]:
            del items[key]
        return state_dict(content, source.budget)
    except MalformedError as error:
        raise source.error(f"its pickle {error}.") from None


def _no_storage(_: object) -> object:
    raise PickleError("refers to something outside of itself")

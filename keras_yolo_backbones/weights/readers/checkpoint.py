"""Opening a weight file of any format. Which one it is follows from the content, never from the name."""

from __future__ import annotations

import dataclasses
import functools
import os
import struct
from typing import Any

from keras_yolo_backbones.weights.readers import darknet
from keras_yolo_backbones.weights.readers.archive import read_archive
from keras_yolo_backbones.weights.readers.facts import Facts, of_shapes
from keras_yolo_backbones.weights.readers.keras_file import read_h5, read_keras
from keras_yolo_backbones.weights.readers.mistaken import explain
from keras_yolo_backbones.weights.readers.onnx_file import is_onnx, read_onnx
from keras_yolo_backbones.weights.readers.pickled import read_pickle, read_torch
from keras_yolo_backbones.weights.readers.safetensors import read_safetensors
from keras_yolo_backbones.weights.readers.source import Source
from keras_yolo_backbones.weights.readers.tensors import Tensor, Tensors, check_amount
from keras_yolo_backbones.weights.readers.torch_legacy import MAGIC, TorchLegacy
from keras_yolo_backbones.weights.readers.torch_zip import TorchZip

_HEAD = 512


@dataclasses.dataclass
class Checkpoint:
    """An open weight file. Use it as a context manager; values can be read as long as it is open.

    Attributes:
        source: the file.
        format: `"torch"`, `"safetensors"`, `"onnx"`, `"pickle"` (Paddle), `"darknet"` or `"keras"`.
        tensors: name -> array, read when asked for. The original's state-dict keys; `"<layer>/<index>"` for Keras'
            own files; empty for darknet, whose files name nothing (see `darknet.place`).
        part: of a wrapped torch checkpoint, what was taken: `"ema"`, `"model"`, ….
        facts: what the file says of its network.
    """

    source: Source
    format: str
    tensors: Tensors
    part: str = ""
    facts: Facts = dataclasses.field(default_factory=Facts)

    @functools.cached_property
    def sha256(self) -> str:
        """SHA-256 of the file, 64 hexadecimal digits."""
        return self.source.sha256()

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self.source.close()


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Open a weight file: its tensors by name, and what it says of its network. No value is read yet.

        with kyb.read_checkpoint("yolov8n.pt") as checkpoint:
            checkpoint.facts.activations["model.9.cv1"]          # "silu"
            checkpoint.tensors["model.0.conv.weight"]            # read now: an array, (16, 3, 3, 3)

    Nothing in the file is executed, whatever it says; time and memory are bounded. A symbolic link is followed, and
    the given name kept.

    Raises:
        CheckpointError: not a weight file, or one that is damaged or hostile; the message says how.
    """
    source = Source(path)
    try:
        with source.guarded():
            return _read(source)
    except BaseException:
        source.close()
        raise


def _read(source: Source) -> Checkpoint:
    head = source.read(0, min(source.size, _HEAD))
    if head.startswith(b"PK\3\4"):
        return _archive(source)
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        variables, provenance = read_h5(source)
        return _checkpoint(source, "keras", variables, facts=Facts(provenance=provenance))
    if len(head) > 8 and head[8:9] == b"{" and struct.unpack_from("<Q", head)[0] < 1 << 40:
        entries, metadata = read_safetensors(source)
        facts = Facts(provenance=metadata.get("provenance", ""), **_shapes(entries))
        return _checkpoint(source, "safetensors", entries, facts=facts)
    if head.startswith(MAGIC):
        return _checkpoint(source, "torch", *read_torch(source, TorchLegacy(source)))
    if head.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        return _checkpoint(source, "pickle", *read_pickle(source))
    if is_onnx(head):
        entries, facts = read_onnx(source)
        return _checkpoint(source, "onnx", entries, facts=facts)
    if darknet.is_darknet(head):
        darknet.floats(source)
        return Checkpoint(source, "darknet", Tensors({}, source))
    raise source.error(explain(source, head))


def _archive(source: Source) -> Checkpoint:
    records = read_archive(source)
    if "model.weights.h5" in records:
        variables, facts = read_keras(source, records)
        return _checkpoint(source, "keras", variables, facts=facts)
    return _checkpoint(source, "torch", *read_torch(source, TorchZip(source, records)))


def _checkpoint(
    source: Source, format: str, entries: dict[str, Tensor], part: str = "", facts: Facts | None = None
) -> Checkpoint:
    check_amount(source, entries)
    return Checkpoint(source, format, Tensors(entries, source), part, facts or Facts())


def _shapes(entries: dict[str, Tensor]) -> dict[str, Any]:
    return of_shapes({name: tensor.shape for name, tensor in entries.items()})

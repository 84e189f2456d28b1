"""Opening a weight file of any format. Which one it is follows from the content, never from the name."""

from __future__ import annotations

import dataclasses
import functools
import os
import struct

from keras_yolo_backbones.weights.readers import darknet
from keras_yolo_backbones.weights.readers.archive import read_archive
from keras_yolo_backbones.weights.readers.facts import Facts, of_shapes
from keras_yolo_backbones.weights.readers.keras_file import read_h5, read_keras
from keras_yolo_backbones.weights.readers.safetensors import read_safetensors
from keras_yolo_backbones.weights.readers.source import Source
from keras_yolo_backbones.weights.readers.tensors import Tensors
from keras_yolo_backbones.weights.readers.torch_zip import TorchZip

_MISTAKEN = {
    b"version https://git-lfs": "is a git-LFS pointer, not the file itself; run `git lfs pull`.",
    b"<": "is a web page, not a weight file; download it again.",
    b"\x80\x02": "is a pickle without an archive, as torch before 1.6 wrote; save it again with a newer torch.",
    b"\x80": "is a bare pickle, which is code; weights in torch's archive format are read.",
    b"\x1f\x8b": "is compressed; unpack it first.",
}
"""How files begin that people take for checkpoints -> what they are."""


@dataclasses.dataclass
class Checkpoint:
    """An open weight file. Use it as a context manager; values can be read as long as it is open.

    Attributes:
        source: the file.
        format: `"torch"`, `"safetensors"`, `"darknet"` or `"keras"`.
        tensors: name -> array, read when asked for. The original's state-dict keys; `"<layer>/<index>"` for Keras'
            own files; empty for darknet, whose files name nothing (see `darknet.place`).
        part: of a wrapped torch checkpoint, what was taken: `"ema"`, `"model"`, ….
        facts: what the file says of itself.
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

    Nothing in the file is executed, whatever it says; time and memory are bounded.

    Raises:
        CheckpointError: not a weight file, or one that is damaged or hostile; the message says how.
    """
    source = Source(path)
    try:
        return _read(source)
    except BaseException:
        source.close()
        raise


open_checkpoint = read_checkpoint


def _read(source: Source) -> Checkpoint:
    head = source.read(0, min(source.size, 64))
    if head.startswith(b"PK\3\4"):
        return _archive(source)
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        variables, provenance = read_h5(source)
        return Checkpoint(source, "keras", Tensors(variables), facts=Facts(provenance=provenance))
    if len(head) > 8 and head[8:9] == b"{" and struct.unpack_from("<Q", head)[0] < 1 << 40:
        entries, metadata = read_safetensors(source)
        tensors = Tensors(entries)
        facts = Facts(provenance=metadata.get("provenance", ""), **of_shapes(tensors.shapes))
        return Checkpoint(source, "safetensors", tensors, facts=facts)
    for start, meaning in _MISTAKEN.items():
        if head.lstrip().startswith(start):
            raise source.error(meaning)
    if darknet.is_darknet(head):
        darknet.floats(source)
        return Checkpoint(source, "darknet", Tensors({}))
    raise source.error("is none of: torch checkpoint (.pt, .pth), safetensors, darknet .weights, Keras .weights.h5.")


def _archive(source: Source) -> Checkpoint:
    records = read_archive(source)
    if "model.weights.h5" in records:
        tensors, provenance = read_keras(source, records)
        return Checkpoint(source, "keras", Tensors(tensors), facts=Facts(provenance=provenance))
    entries, part, facts = TorchZip(source, records).tensors()
    return Checkpoint(source, "torch", Tensors(entries), part, facts)

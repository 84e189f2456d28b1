"""Writing files as torch writes them, without torch: an assembler for pickles and the archive around them."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from conftest import DATA

from keras_yolo_backbones.weights.readers import torch_tensors
from keras_yolo_backbones.weights.readers.budget import Budget
from keras_yolo_backbones.weights.readers.feed import Feed
from keras_yolo_backbones.weights.readers.pickles.unpickle import interpret
from keras_yolo_backbones.weights.readers.tensors import DTYPES

STORAGES = {"float16": "HalfStorage", "float32": "FloatStorage", "float64": "DoubleStorage", "int64": "LongStorage"}


class Raw(NamedTuple):
    """Opcodes as they are."""

    data: bytes


class Name(NamedTuple):
    """A class or function."""

    module: str
    name: str


class Call(NamedTuple):
    """REDUCE: a function called."""

    function: Name
    arguments: tuple


class Instance(NamedTuple):
    """NEWOBJ and BUILD: an object with attributes."""

    kind: Name
    attributes: dict


class Reference(NamedTuple):
    """A persistent id."""

    identifier: tuple


class Bits(NamedTuple):
    """bfloat16 as its bits, which numpy cannot say otherwise."""

    values: np.ndarray


ORDERED_DICT = Name("collections", "OrderedDict")
REBUILD = Name("torch._utils", "_rebuild_tensor_v2")


def encode(value: Any) -> bytes:
    """The opcodes that make `value`, protocol 2."""
    match value:
        case Raw(data):
            return data
        case Name(module, name):
            return b"c" + module.encode() + b"\n" + name.encode() + b"\n"
        case Call(function, arguments):
            return encode(function) + encode(tuple(arguments)) + b"R"
        case Instance(kind, attributes):
            return encode(kind) + b")\x81" + encode(attributes) + b"b"
        case Reference(identifier):
            return encode(tuple(identifier)) + b"Q"
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case int():
            wide = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            return b"J" + struct.pack("<i", value) if -(2**31) <= value < 2**31 else b"\x8a" + bytes([len(wide)]) + wide
        case float():
            return b"G" + struct.pack(">d", value)
        case str():
            return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
        case tuple():
            return b"(" + b"".join(map(encode, value)) + b"t"
        case list():
            return b"](" + b"".join(map(encode, value)) + b"e"
        case dict():
            return b"}(" + b"".join(encode(k) + encode(v) for k, v in value.items()) + b"u"
    raise TypeError(value)


class Writer:
    """Collects the records of an archive while tensors are turned into references to them."""

    def __init__(self, activations: dict[str, str] | None = None):
        """`activations`: path of a module -> class of `torch.nn` that is its activation."""
        self.records: dict[str, bytes] = {}
        self.counts: dict[str, int] = {}
        self.activations = activations or {}

    def tensor(self, values: np.ndarray | Bits, *, storage: str = "", count: int | None = None, **changed) -> Call:
        """The call that rebuilds a tensor; keywords replace what it is called with, for damaged files."""
        kind = storage or ("BFloat16Storage" if isinstance(values, Bits) else STORAGES[str(values.dtype)])
        values = np.ascontiguousarray(values.values if isinstance(values, Bits) else values)
        key = str(len(self.records))
        self.records[key] = values.tobytes()
        self.counts[key] = values.size
        strides = tuple(stride // values.itemsize for stride in values.strides)
        reference = Reference(("storage", Name("torch", kind), key, "cpu", values.size if count is None else count))
        made = {"offset": 0, "shape": values.shape, "strides": strides} | changed
        hooks = Call(ORDERED_DICT, ())
        return Call(REBUILD, (reference, made["offset"], tuple(made["shape"]), tuple(made["strides"]), False, hooks))

    def module(self, tensors: dict[str, np.ndarray], path: str = "") -> Instance:
        """A pickled `torch.nn.Module` whose state dict is `tensors`."""
        own = {key: values for key, values in tensors.items() if "." not in key}
        inner: dict[str, dict] = {}
        for key, values in tensors.items():
            if "." in key:
                head, _, tail = key.partition(".")
                inner.setdefault(head, {})[tail] = values
        buffers = {key: self.tensor(v) for key, v in own.items() if key.startswith(("running", "num"))}
        parameters = {
            key: Call(Name("torch._utils", "_rebuild_parameter"), (self.tensor(v), False, Call(ORDERED_DICT, ())))
            for key, v in own.items()
            if key not in buffers
        }
        modules = {name: self.module(below, f"{path}{name}.") for name, below in inner.items()}
        if kind := self.activations.get(path[:-1]):
            modules["act"] = Instance(Name("torch.nn.modules.activation", kind), {"training": False})
        state = {
            "_parameters": parameters,
            "_buffers": buffers,
            "_non_persistent_buffers_set": Call(Name("__builtin__", "set"), ([],)),
            "_modules": modules,
            "training": False,
        }
        return Instance(Name("some.project", "Module"), state)

    def state_dict(self, tensors: dict[str, Any]) -> Raw:
        """An OrderedDict of tensors."""
        made = b"".join(encode(key) + encode(self.tensor(values)) for key, values in tensors.items())
        return Raw(encode(Call(ORDERED_DICT, ())) + b"(" + made + b"u")

    def write(self, path: Path, content: Any, *, pickle: bytes | None = None, extra: dict[str, bytes] | None = None):
        """Write the archive; `pickle` replaces the whole pickle, `extra` adds records."""
        data = b"\x80\x02" + encode(content) + b"." if pickle is None else pickle
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", data)
            archive.writestr("archive/byteorder", "little")
            for key, record in self.records.items():
                archive.writestr(f"archive/data/{key}", record)
            archive.writestr("archive/version", "3\n")
            for name, record in (extra or {}).items():
                archive.writestr(name, record)
        return path


LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def write_legacy(path: Path, writer: Writer, content: Any, *, keys: list[str] | None = None, tail: bytes = b"") -> Path:
    """The format of torch before 1.6: five pickles, then the storages, each after the number of its elements."""
    machine = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    keys = list(writer.records) if keys is None else keys
    parts = [b"\x80\x02" + encode(value) + b"." for value in (1001, machine, content, keys)]
    stored = [struct.pack("<q", writer.counts[key]) + writer.records[key] for key in keys]
    path.write_bytes(b"".join([LEGACY, *parts, *stored, tail]))
    return path


def write_state_dict(path: Path, tensors: dict[str, Any], **wrapped: Any) -> Path:
    """A torch checkpoint `{"model": tensors, …}`."""
    writer = Writer()
    return writer.write(path, {**wrapped, "model": writer.state_dict(tensors)})


@cache
def pickle_of(name: str) -> bytes:
    """The pickle of a real checkpoint as the original project or its users write it."""
    return gzip.decompress((DATA / "pickles" / f"{name}.pkl.gz").read_bytes())


@cache
def records_of(name: str, *, zeros: bool = True) -> dict[str, bytes]:
    """Bytes for every storage that the pickle refers to: zeros, or small whole numbers that tell storages apart."""
    return storages_of(pickle_of(name), zeros=zeros)


def storages_of(pickle: bytes, *, zeros: bool) -> dict[str, bytes]:
    """The same for the pickle itself."""
    found: dict[str, bytes] = {}

    def storage(identifier):
        _, kind, key, _, count = identifier
        dtype = torch_tensors.STORAGES[kind.name]
        values = np.zeros(count) if zeros else (np.arange(count) + 7 * int(key)) % 97
        found[key] = values.astype(DTYPES[dtype]).tobytes()

    budget = Budget(RuntimeError)
    feed = Feed(lambda offset, count: pickle[offset : offset + count], 0, len(pickle), budget)
    interpret(feed, storage, {}, budget)
    return found


def archived(pickle: bytes, records: dict[str, bytes]) -> bytes:
    """A torch archive of a pickle and its storages."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle)
        for key, record in records.items():
            archive.writestr(f"archive/data/{key}", record)
    return file.getvalue()


def real_file(path: Path, name: str | bytes) -> Path:
    """A whole checkpoint around one of the real pickles, or around the pickle itself, with numbers in its storages."""
    pickle = name if isinstance(name, bytes) else pickle_of(name)
    path.write_bytes(archived(pickle, storages_of(pickle, zeros=False)))
    return path

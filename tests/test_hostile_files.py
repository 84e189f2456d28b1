"""Files that were made to do harm: each is refused with one typed error, in bounded time and memory, by a child process
that runs nothing of them and leaves nothing behind."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import zipfile

import h5py
import numpy as np
import pytest
from conftest import ROOT
from torchfile import ORDERED_DICT, Call, Instance, Name, Raw, Reference, Writer, encode

MEMORY = 600 << 20
SECONDS = 30

CHILD = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]), int(sys.argv[2])))
resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[3]), int(sys.argv[3])))
from keras_yolo_backbones.errors import CheckpointError
from keras_yolo_backbones.weights.readers.checkpoint import open_checkpoint
try:
    with open_checkpoint(sys.argv[1]) as checkpoint:
        for name in checkpoint.tensors:
            checkpoint.tensors[name]
    print("read", len(checkpoint.tensors))
except CheckpointError as error:
    assert str(error.path) == sys.argv[1], error.path
    print("refused", error.reason)
"""


def reading(path) -> str:
    """What a child process says of a file. It runs in an empty folder, which must stay empty."""
    work = path.parent / "work"
    work.mkdir(exist_ok=True)
    beside = set(path.parent.iterdir())
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", "TMPDIR": str(work)}
    command = [sys.executable, "-c", CHILD, str(path), str(MEMORY), str(SECONDS)]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, timeout=2 * SECONDS)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr == ""
    assert list(work.iterdir()) == []
    assert set(path.parent.iterdir()) == beside
    return done.stdout.strip()


def refused(path, reason: str) -> None:
    said = reading(path)
    assert said.startswith("refused "), said
    assert reason in said, said


VALUES = np.arange(8, dtype=np.float32)
SYSTEM = Name("os", "system")
PAYLOAD = Call(SYSTEM, ("touch PWNED",))


def archive(path, content=None, *, pickle: bytes | None = None, extra=None):
    """A checkpoint with one good tensor, and what else is wanted in it."""
    writer = Writer()
    good = writer.state_dict({"a.weight": VALUES})
    return writer.write(path, {"model": good, "more": content}, pickle=pickle, extra=extra)


def test_the_good_file_that_the_bad_ones_are_made_from_is_read(tmp_path):
    assert reading(archive(tmp_path / "good.pt")) == "read 1"


def stack(*parts: bytes) -> bytes:
    return b"\x80\x02" + b"".join(parts) + b"."


def deep(count: int) -> bytes:
    return b")" + b"\x85" * count


DAG = b")q\x00" + b"".join(b"h" + bytes([i]) + b"\x86q" + bytes([i + 1]) for i in range(100))

PICKLES = {
    "os.system": (stack(encode(PAYLOAD)), "asks for os.system"),
    "posix.system": (stack(encode(Call(Name("posix", "system"), ("touch PWNED",)))), "asks for posix.system"),
    "subprocess": (stack(encode(Call(Name("subprocess", "Popen"), (["touch"],)))), "asks for subprocess.Popen"),
    "builtins.eval": (stack(encode(Call(Name("builtins", "eval"), ("1",)))), "asks for builtins.eval"),
    "__builtin__.exec": (stack(encode(Call(Name("__builtin__", "exec"), ("1",)))), "asks for __builtin__.exec"),
    "stack_global": (stack(b"X\x02\0\0\0osq\x00", b"X\x06\0\0\0systemq\x01", b"h\x00h\x01\x93"), "STACK_GLOBAL"),
    "dotted name": (stack(b"ccollections\nOrderedDict.__class__\n"), "is no class or function"),
    "odd name": (stack(b"cos;x\nsystem\n"), "is no class or function"),
    "inst": (stack(b"(X\x01\0\0\0xios\nsystem\n"), "the opcode INST"),
    "obj": (stack(b"(cos\nsystem\nX\x01\0\0\0xo"), "asks for os.system"),
    "obj of a harmless class": (stack(b"(", encode(ORDERED_DICT), b"o"), "the opcode OBJ"),
    "ext1": (stack(b"\x82\x01"), "the opcode EXT1"),
    "newobj_ex": (stack(encode(ORDERED_DICT), b")}\x92"), "the opcode NEWOBJ_EX"),
    "build dunder": (
        stack(encode(Instance(Name("a.b", "C"), {"__class__": 1}))),
        "sets the attribute '__class__'",
    ),
    "build dunder in slots": (
        stack(encode(Name("a.b", "C")), b")\x81", encode(({}, {"__reduce__": 1})), b"b"),
        "sets the attribute '__reduce__'",
    ),
    "memo bomb": (stack(b"N", b"r" + struct.pack("<I", 1 << 27), b"0"), "at place 134217728 of its memo"),
    "nine bytes": (b"\x80\x02Nr\x00\x00\x00\x08.", "at place 134217728 of its memo"),
    "memo of nothing": (stack(b"h\x05"), "where nothing is"),
    "dag bomb": (stack(DAG), "holds no state dict"),
    "dag as a key": (stack(b"}", DAG, b"Ns"), "neither text nor a number"),
    "nesting": (stack(deep(500)), "more than 200 deep"),
    "deep nesting": (stack(deep(1_000_000)), "more than 200 deep"),
    "marks": (stack(b"(" * 100_000), "nests marks"),
    "giant long": (stack(b"\x8b" + struct.pack("<i", 1 << 20) + b"\x01" * (1 << 20)), "the opcode LONG4"),
    "long of 255 bytes": (stack(b"\x8a\xff" + b"\x01" * 255), "an integer of"),
    "decimal of a million digits": (stack(b"L" + b"9" * 1_000_000 + b"L\n"), "broken"),
    "binunicode8": (stack(b"\x8d" + struct.pack("<Q", 1 << 40)), "broken"),
    "binbytes8": (stack(b"\x8e" + struct.pack("<Q", 1 << 40)), "broken"),
    "bytearray8": (stack(b"\x96" + struct.pack("<Q", 1 << 40)), "broken"),
    "long string": (stack(b"X" + struct.pack("<I", 2 << 20) + b"x" * (2 << 20)), "a string of 2097152 characters"),
    "payload before corruption": (stack(encode(PAYLOAD), b"\xff"), "asks for os.system"),
    "corruption": (stack(b"}\xff"), "broken"),
    "two pickles": (stack(b"}") + stack(encode(PAYLOAD)), "bytes after its end"),
    "protocol 6": (b"\x80\x06}.", "protocol 6"),
    "protocol 4": (b"\x80\x04}.", "protocol 4"),
    "no end": (b"\x80\x02}", "broken"),
    "nothing": (b"\x80\x02.", "does not end with one value"),
    "empty stack": (stack(b"R"), "empty stack"),
    "many opcodes": (stack(b"]0" * 3_000_000), "the opcode POP"),
    "many lists": (stack(b"(" + b"]" * 3_000_000 + b"l"), "more than 2000000 opcodes"),
    "attributes of many": (
        stack(
            b"](" + b"}q\x00(" + b"".join(encode(str(i)) + b"N" for i in range(5_000)) + b"u",
            b"".join(b"ca.b\nC\n)\x81h\x00b" for _ in range(5_000)) + b"e",
        ),
        "more than 2000000 attributes",
    ),
    "a module in itself": (
        stack(b"ca.b\nC\n)\x81q\x00}(", encode("_modules"), b"}(", encode("again"), b"h\x00uub"),
        "a module that contains itself",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PICKLES)
def test_a_hostile_pickle_is_refused(tmp_path, case):
    pickle, reason = PICKLES[case]
    refused(archive(tmp_path / "bad.pt", pickle=pickle), reason)


def test_modules_that_double_at_every_level_end_at_a_limit(tmp_path):
    module = Instance(Name("a.b", "C"), {"_modules": {}})
    data = encode(module) + b"q\x00"
    for i in range(40):
        inner = {"a": Raw(b"h" + bytes([i])), "b": Raw(b"h" + bytes([i]))}
        data += encode(Instance(Name("a.b", "C"), {"_modules": inner})) + b"q" + bytes([i + 1])
    data = b"(" + data + b"t"
    pickle = b"\x80\x02}" + encode("all") + data + b"s" + encode("model") + b"h\x28s."
    refused(archive(tmp_path / "bad.pt", pickle=pickle), "more than 100000 tensors")


def test_code_beside_good_weights_is_refused_and_not_run(tmp_path):
    refused(archive(tmp_path / "bad.pt", PAYLOAD), "asks for os.system: code that no checkpoint needs")


def test_an_unknown_class_is_inert(tmp_path):
    content = Call(Name("ultralytics.nn.tasks", "system"), ("touch PWNED",))
    assert reading(archive(tmp_path / "odd.pt", content)) == "read 1"


def test_setting_an_item_of_a_tensor_is_refused(tmp_path):
    writer = Writer()
    tensor = encode(writer.tensor(VALUES))
    refused(writer.write(tmp_path / "bad.pt", Raw(tensor + b"NNs")), "sets an item of something")


def test_a_pickle_that_is_no_archive_is_refused(tmp_path):
    path = tmp_path / "legacy.pt"
    path.write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + stack(encode(PAYLOAD)))
    refused(path, "as torch before 1.6 wrote")


def zipped(path, edit) -> object:
    """A good checkpoint whose bytes were edited."""
    archive(path)
    path.write_bytes(edit(path.read_bytes()))
    return path


def flagged(data: bytes) -> bytes:
    """The encryption flag on every record."""
    data = bytearray(data)
    for signature, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = data.find(signature)
        while at >= 0:
            data[at + flags] |= 1
            at = data.find(signature, at + 4)
    return bytes(data)


def hidden_first(data: bytes) -> bytes:
    """A record in front that the directory does not list."""
    before = io.BytesIO()
    with zipfile.ZipFile(before, "w") as other:
        other.writestr("hidden", "#!/bin/sh")
    front = before.getvalue()[: before.getvalue().find(b"PK\1\2")]
    whole = io.BytesIO(front + data)
    with zipfile.ZipFile(whole, "a") as other:  # rewrites the directory with the right offsets
        other.writestr("archive/more", "")
    return whole.getvalue()


ARCHIVES = {
    "foreign bytes in front": (lambda d: b"#!/bin/sh\n" + d, "is none of"),
    "hidden record in front": (hidden_first, "foreign bytes"),
    "bytes behind": (lambda d: d + b"\0", "has no end"),
    "encrypted": (flagged, "is encrypted"),
    "wrong crc": (lambda d: d.replace(VALUES.tobytes(), (-VALUES).tobytes(), 1), "checksum of 'archive/data/0'"),
    "wrong crc of the pickle": (lambda d: d.replace(b"a.weight", b"b.weight", 1), "checksum of 'archive/data.pkl'"),
    "two names": (lambda d: d.replace(b"archive/data.pkl", b"archive/data.pkx", 1), "another name in its own header"),
    "half": (lambda d: d[: len(d) // 2], "has no end"),
    "only a header": (lambda d: d[:40], "has no end"),
    "only four bytes": (lambda d: d[:4], "has no end"),
    "offset past the end": (lambda d: d[:-6] + b"\xff\xff\xff\x7f" + d[-2:], "foreign bytes in or around"),
}  # fmt: skip


@pytest.mark.parametrize("case", ARCHIVES)
def test_a_hostile_archive_is_refused(tmp_path, case):
    edit, reason = ARCHIVES[case]
    refused(zipped(tmp_path / "bad.pt", edit), reason)


def test_a_zip_bomb_is_refused(tmp_path):
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("archive/data.pkl", bytes(200 << 20))
    assert path.stat().st_size < 300_000
    refused(path, "is compressed")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("archive/data.pkl", "holds 'archive/data.pkl' twice"),
        ("archive/data/0", "holds 'archive/data/0' twice"),
        ("other/data.pkl", "holds 2 data.pkl"),
        ("archive/../../PWNED", "relative paths only"),
        ("/etc/PWNED", "relative paths only"),
        ("archive\\PWNED", "relative paths only"),
        ("C:/PWNED", "relative paths only"),
        ("other/x", "outside of 'archive/'"),
        ("archive/code/model.py", "TorchScript"),
        ("archive/constants.pkl", "TorchScript"),
    ],
)
def test_a_hostile_name_in_an_archive_is_refused(tmp_path, name, reason):
    refused(archive(tmp_path / "bad.pt", extra={name: b"x"}), reason)


def test_a_million_entries_are_refused(tmp_path):
    name = b"archive/x"
    entry = struct.pack("<4s6H3I5H2I", b"PK\1\2", 0, 0, 0, 0, 0, 0, 0, 0, 0, len(name), 0, 0, 0, 0, 0, 0) + name
    front = struct.pack("<4s5H3I2H", b"PK\3\4", 0, 0, 0, 0, 0, 0, 0, 0, len(name), 0) + name
    size, start = len(entry) * 1_000_000, len(front)
    end64 = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 0, 0, 0, 0, 1_000_000, 1_000_000, size, start)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, start + size, 1)
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, size, start, 0)
    path = tmp_path / "many.pt"
    path.write_bytes(front + entry * 1_000_000 + end64 + locator + end)
    refused(path, "lists 1000000 records")


TENSORS = {
    "offset past the end": ({"offset": 5, "shape": (4,), "strides": (1,)}, "reaches past the 8 elements"),
    "negative offset": ({"offset": -1}, "negative offset, side or stride"),
    "negative stride": ({"strides": (-1,)}, "negative offset, side or stride"),
    "negative side": ({"shape": (-8,)}, "negative offset, side or stride"),
    "overflowing shape": ({"shape": (1 << 32, 1 << 32), "strides": (1, 1)}, "reaches past the 8 elements"),
    "shape beyond 64 bits": ({"shape": (1 << 63,)}, "negative offset, side or stride"),
    "repeated by a stride of zero": ({"shape": (1 << 40,), "strides": (0,)}, "reaches past the 8 elements"),
    "stride past the end": ({"shape": (2, 4), "strides": (5, 1)}, "reaches past the 8 elements"),
    "shape of another rank": ({"shape": (2, 4)}, "shape and strides do not fit"),
    "hundred sides": ({"shape": (1,) * 100, "strides": (1,) * 100}, "shape and strides do not fit"),
    "a side that is text": ({"shape": ("8",)}, "negative offset, side or stride"),
    "more elements than the record has": ({"count": 1 << 40}, "states 1099511627776 elements"),
    "fewer elements than the record has": ({"count": 4}, "states 4 elements"),
    "8-bit float": ({"storage": "Float8_e4m3fnStorage"}, "Float8_e4m3fnStorage"),
    "complex": ({"storage": "ComplexFloatStorage"}, "ComplexFloatStorage"),
    "quantized": ({"storage": "QInt8Storage"}, "QInt8Storage"),
}


@pytest.mark.parametrize("case", TENSORS)
def test_a_hostile_tensor_is_refused(tmp_path, case):
    changed, reason = TENSORS[case]
    writer = Writer()
    tensor = writer.tensor(VALUES, **changed)
    refused(writer.write(tmp_path / "bad.pt", {"model": {"a.weight": tensor}}), reason)


def test_a_missing_storage_is_refused(tmp_path):
    writer = Writer()
    tensor = writer.tensor(VALUES)
    writer.records.clear()
    refused(writer.write(tmp_path / "bad.pt", {"a.weight": tensor}), "which the archive lacks")


@pytest.mark.parametrize("key", ["../data.pkl", "0/../0", "²", 0])
def test_a_storage_of_no_number_is_refused(tmp_path, key):
    reference = Reference(("storage", Name("torch", "FloatStorage"), key, "cpu", 8))
    content = Call(Name("torch._utils", "_rebuild_tensor_v2"), (reference, 0, (8,), (1,), False, {}))
    refused(Writer().write(tmp_path / "bad.pt", {"a": content}), "by no number" if key != "²" else "storage")


def test_big_endian_is_refused(tmp_path):
    path = archive(tmp_path / "big.pt")
    data = path.read_bytes()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, b"big" if name.endswith("byteorder") else old.read(name))
    refused(path, "byte order is b'big'")


def safetensors(path, header, data: bytes = b"", *, size: int | None = None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if size is None else size) + text + data)
    return path


def entry(begin: int, end: int, shape=(2,), dtype: str = "F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


SAFETENSORS = {
    "oversized header": ((b"{", b"", 1 << 39), "its header states 549755813888 bytes"),
    "header past the end": ((b"{", b"", 1 << 20), "more than the file has"),
    "no json": ((b"{nonsense", b"", None), "is no JSON"),
    "nested json": ((b'{"a":' + b"[" * 100_000, b"", None), "is no JSON"),
    "overlap": (({"a": entry(0, 8), "b": entry(4, 12)}, bytes(12), None), "no valid safetensors"),
    "hole": (({"a": entry(0, 8), "b": entry(12, 20)}, bytes(20), None), "no valid safetensors"),
    "duplicate key": ((b'{"a":%b,"a":%b}' % ((json.dumps(entry(0, 8)).encode(),) * 2), bytes(8), None), "'a' twice"),
    "past the end": (({"a": entry(0, 800, (200,))}, bytes(8), None), "no valid safetensors"),
    "bytes behind": (({"a": entry(0, 8)}, bytes(12), None), "no valid safetensors"),
    "shape too large": (({"a": entry(0, 8, (1 << 40, 1 << 40))}, bytes(8), None), "no valid safetensors"),
    "negative side": (({"a": entry(0, 8, (-2,))}, bytes(8), None), "no valid safetensors"),
    "8-bit float": (({"a": entry(0, 2, (2,), "F8_E4M3")}, bytes(2), None), "F8_E4M3"),
}


@pytest.mark.parametrize("case", SAFETENSORS)
def test_a_hostile_safetensors_file_is_refused(tmp_path, case):
    (header, data, size), reason = SAFETENSORS[case]
    refused(safetensors(tmp_path / "bad.safetensors", header, data, size=size), reason)


OTHERS = {
    "an empty file": (b"", "is empty"),
    "a web page": (b"<!DOCTYPE html><html>404</html>", "is a web page"),
    "a web page after blanks": (b"\n  <html>404</html>", "is a web page"),
    "a git-lfs pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
    "text": (b"hello", "is none of"),
    "gzip": (b"\x1f\x8b\x08\x00" + bytes(60), "is compressed"),
    "one byte": (b"P", "is none of"),
    "darknet without numbers": (struct.pack("<3iQ", 0, 2, 5, 0), "no header and whole float32 numbers"),
    "darknet of half a number": (struct.pack("<3iQ", 0, 2, 5, 0) + bytes(6), "no header and whole float32 numbers"),
    "hdf5 signature only": (b"\x89HDF\r\n\x1a\n" + bytes(600), "no weight file that Keras 3 wrote"),
    "hdf5 truncated": (b"\x89HDF\r\n\x1a\n", "no weight file that Keras 3 wrote"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_what_is_no_weight_file_is_refused(tmp_path, case):
    content, reason = OTHERS[case]
    path = tmp_path / "yolov8s.pt"
    path.write_bytes(content)
    refused(path, reason)


def test_what_is_no_regular_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.pt")
    (tmp_path / "folder.pt").mkdir()
    (tmp_path / "link.pt").symlink_to(archive(tmp_path / "good.pt"))
    refused(tmp_path / "pipe.pt", "no regular file")
    refused(tmp_path / "folder.pt", "is a directory")
    refused(tmp_path / "link.pt", f"is a symbolic link; name the file itself: {tmp_path / 'good.pt'}")
    refused(tmp_path / "missing.pt", "no such file")


def keras_file(path):
    """What Keras writes for one conv, in small."""
    with h5py.File(path, "w") as file:
        group = file.create_group("layers/conv2d/vars")
        group.attrs["name"] = "stem.conv"
        group["0"] = VALUES
    return path


def test_the_good_hdf5_file_is_read(tmp_path):
    assert reading(keras_file(tmp_path / "good.weights.h5")) == "read 1"


def external(_, group):
    group.create_dataset("1", (4,), "f4", external=[("/etc/passwd", 0, 16)])


def virtual(_, group):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4,))
    group.create_virtual_dataset("1", layout)


def compressed(_, group):
    group.create_dataset("1", data=np.zeros(1 << 24, "f4"), compression="gzip")


def unallocated(_, group):
    group.create_dataset("1", (1 << 40,), "f4")


def linked(_, group):
    group["1"] = h5py.ExternalLink("/etc/passwd", "x")


def looping(file, group):
    group["again"] = file["layers"]


def soft(_, group):
    group["1"] = h5py.SoftLink("/layers/conv2d/vars/0")


def text(_, group):
    group["1"] = "text"


def nameless(_, group):
    del group.attrs["name"]


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (external, "outside of itself, or compressed"),
        (virtual, "outside of itself, or compressed"),
        (compressed, "outside of itself, or compressed"),
        (unallocated, "outside of itself, or compressed"),
        (linked, "links to somewhere else"),
        (looping, "nested too deep"),
        (soft, "links to somewhere else"),
        (text, "is of the type"),
        (nameless, "do not say which layer"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_hostile_hdf5_file_is_refused(tmp_path, edit, reason):
    path = keras_file(tmp_path / "bad.weights.h5")
    with h5py.File(path, "a") as file:
        edit(file, file["layers/conv2d/vars"])
    refused(path, reason)


def test_the_model_in_a_keras_archive_is_never_built(tmp_path):
    path = tmp_path / "lambda.keras"
    config = {"module": "keras.layers", "class_name": "Lambda", "config": {"function": "os.system('touch PWNED')"}}
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("metadata.json", "{}")
        file.writestr("config.json", json.dumps(config))
        file.writestr("model.weights.h5", keras_file(tmp_path / "inner.h5").read_bytes())
    assert reading(path) == "read 1"

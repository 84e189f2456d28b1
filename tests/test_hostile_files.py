"""Archives, tensors and headers that were made to do harm: each is refused with one typed error, and leaves nothing."""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile

import pytest
from hostile import VALUES, archive, refused
from torchfile import Call, Name, Reference, Writer


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
    "two names": (lambda d: d.replace(b"archive/data.pkl", b"archive/data.pkx", 1), "different name in its own header"),
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
    "negative offset": ({"offset": -1}, "impossible offset, shape or stride"),
    "negative stride": ({"strides": (-1,)}, "impossible offset, shape or stride"),
    "negative side": ({"shape": (-8,)}, "impossible offset, shape or stride"),
    "overflowing shape": ({"shape": (1 << 32, 1 << 32), "strides": (1, 1)}, "impossible offset, shape or stride"),
    "shape beyond 64 bits": ({"shape": (1 << 63,)}, "impossible offset, shape or stride"),
    "repeated by a stride of zero": ({"shape": (1 << 30,), "strides": (0,)}, "reaches past the 8 elements"),
    "stride past the end": ({"shape": (2, 4), "strides": (5, 1)}, "reaches past the 8 elements"),
    "shape of another rank": ({"shape": (2, 4)}, "shape and strides do not fit"),
    "hundred sides": ({"shape": (1,) * 100, "strides": (1,) * 100}, "impossible offset, shape or stride"),
    "a side that is text": ({"shape": ("8",)}, "impossible offset, shape or stride"),
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
    refused(path, "byte order is 'big'")


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
    "overlap": (({"a": entry(0, 8), "b": entry(4, 12)}, bytes(12), None), "overlap or leave a hole"),
    "hole": (({"a": entry(0, 8), "b": entry(12, 20)}, bytes(20), None), "overlap or leave a hole"),
    "duplicate key": ((b'{"a":%b,"a":%b}' % ((json.dumps(entry(0, 8)).encode(),) * 2), bytes(8), None), "'a' twice"),
    "past the end": (({"a": entry(0, 800, (200,))}, bytes(8), None), "have 800 bytes, but 8 follow"),
    "bytes behind": (({"a": entry(0, 8)}, bytes(12), None), "have 8 bytes, but 12 follow"),
    "shape too large": (({"a": entry(0, 8, (1 << 40, 1 << 40))}, bytes(8), None), "an impossible shape"),
    "negative side": (({"a": entry(0, 8, (-2,))}, bytes(8), None), "an impossible shape"),
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
    (tmp_path / "link.pt").symlink_to(tmp_path / "nowhere.pt")
    (tmp_path / "link_to_pipe.pt").symlink_to(tmp_path / "pipe.pt")
    refused(tmp_path / "pipe.pt", "no regular file")
    refused(tmp_path / "folder.pt", "is a directory")
    refused(tmp_path / "link_to_pipe.pt", "no regular file")
    refused(tmp_path / "link.pt", "is a link to a file that is not there")
    refused(tmp_path / "missing.pt", "no such file")

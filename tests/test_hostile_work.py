"""Small files that would keep a reader busy or fill its memory: both stay in proportion to the file's size."""

from __future__ import annotations

import struct
import zipfile

import h5py
import numpy as np
import onnx
import pytest
from bombs import MODULE, NEW, PICKLES, text, whole
from hostile import archive, observed
from torchfile import Call, Instance, Name, Raw, Reference, Writer, encode, write_legacy

SECONDS = 5.0
"""Of the processor, for files below a megabyte; larger ones may take as much for each."""

MEGABYTES = 300
"""Of memory beyond the file's own size."""


@pytest.mark.parametrize("case", PICKLES)
def test_a_small_pickle_takes_little_time_and_memory(tmp_path, case):
    path = archive(tmp_path / "bad.pt", pickle=PICKLES[case])
    assert path.stat().st_size < 1_200_000
    check(path)


def check(path, reason: str = "") -> str:
    """Refused in time, and in memory that is the file's size and a constant."""
    size = path.stat().st_size
    seen = observed(path)
    assert seen.said.startswith("refused "), seen
    assert reason in seen.said, seen
    assert seen.seconds < SECONDS * max(1, size / 1e6), seen
    assert seen.megabytes < MEGABYTES + size / 1e6, seen
    return seen.said


def test_the_largest_pickle_ends_at_a_limit(tmp_path):
    check(archive(tmp_path / "bad.pt", pickle=whole(b"(", b"}" * (15 << 20), b"t")), "more than 1000000 opcodes")


def directory(count: int, size: int = 0) -> bytes:
    """A zip archive of `count` empty records."""
    front, entries = bytearray(), bytearray()
    for i in range(count):
        name = b"archive/data/%d" % i
        header = len(front)
        front += struct.pack("<4s5H3I2H", b"PK\3\4", 0, 0, 0, 0, 0, 0, 0, 0, len(name), 0) + name
        entry = (b"PK\1\2", 0, 0, 0, 0, 0, 0, 0, 0, 0, len(name), 0, 0, 0, 0, 0, header)
        entries += struct.pack("<4s6H3I5H2I", *entry) + name
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, count, size or len(entries), len(front), 0)
    return bytes(front + entries + end)


def test_a_directory_is_read_in_linear_time(tmp_path):
    path = tmp_path / "many.pt"
    path.write_bytes(directory(50_000))
    check(path, "holds 0 data.pkl")


def sparse(path, size: int, front: bytes, end: bytes):
    with path.open("wb") as file:
        file.write(front)
        file.seek(size - len(end))
        file.write(end)
    return path


@pytest.mark.parametrize("size", [1 << 30, 1 << 40])
def test_a_directory_that_claims_all_of_a_huge_file_is_not_read(tmp_path, size):
    front = struct.pack("<4s5H3I2H", b"PK\3\4", 0, 0, 0, 0, 0, 0, 0, 0, 1, 0) + b"a"
    start = size - 98
    end64 = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 0, 0, 0, 0, 40_000, 40_000, start - 31, 31)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, start, 1)
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 40_000, 40_000, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    path = sparse(tmp_path / "sparse.pt", size, front, end64 + locator + end)
    seen = observed(path)
    assert "the archive's directory has" in seen.said
    assert seen.seconds < 1
    assert seen.megabytes < 50


def test_one_large_record_is_checked_once_for_all_tensors_in_it(tmp_path):
    writer = Writer()
    values = np.zeros(8 << 20, np.float32)
    whole_record = writer.tensor(values)
    (storage, *_) = whole_record.arguments
    rebuild = Name("torch._utils", "_rebuild_tensor_v2")
    views = {f"v{i}": Call(rebuild, (storage, i, (8,), (1,), False, {})) for i in range(2000)}
    seen = observed(writer.write(tmp_path / "views.pt", {"model": views}))
    assert seen.said == "read 2000"
    assert seen.seconds < 2
    assert seen.megabytes < 80


def test_windows_that_together_are_many_times_the_file_are_refused(tmp_path):
    writer = Writer()
    (storage, *_) = writer.tensor(np.zeros(100_000, np.float32)).arguments
    rebuild = Name("torch._utils", "_rebuild_tensor_v2")
    views = {f"v{i}": Call(rebuild, (storage, i, (90_000,), (1,), False, {})) for i in range(2000)}
    check(writer.write(tmp_path / "views.pt", {"model": views}), "bytes of tensors, but the file has only")


def test_a_stride_along_a_side_of_one_is_no_matter(tmp_path):
    writer = Writer()
    tensor = writer.tensor(np.arange(8, dtype=np.float32), shape=(8, 1, 1), strides=(1, 1 << 61, 1 << 61))
    assert observed(writer.write(tmp_path / "odd.pt", {"model": {"a": tensor}})).said == "read 1"


@pytest.mark.parametrize("shape", [(1,) * 65, (1 << 62, 0), (0, 1 << 62)])
def test_shapes_that_numpy_cannot_have_are_refused(tmp_path, shape):
    writer = Writer()
    tensor = writer.tensor(np.zeros(0, np.float32), shape=shape, strides=(1,) * len(shape))
    check(writer.write(tmp_path / "odd.pt", {"model": {"a": tensor}}), "impossible offset, shape or stride")


def hdf5(path, name: str, count: int):
    with h5py.File(path, "w") as file:
        shared = file.create_group("layers/x/vars")
        shared.attrs["name"] = name
        for i in range(count):
            shared[str(i)] = np.zeros(1, np.float32)
    return path


def test_long_names_in_hdf5_are_not_repeated(tmp_path):
    check(hdf5(tmp_path / "long.weights.h5", "n" * 60_000, 300), "is too long")


def test_an_hdf5_file_that_lists_itself_many_times_ends(tmp_path):
    path = tmp_path / "many.weights.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("layers/0")
        for level in range(6):
            inner = group.create_group("next")
            for i in range(200):
                group[f"again{level}_{i}"] = inner
            group = inner
    check(path, "too many groups")


def test_texts_of_a_file_are_cut_and_escaped_in_errors(tmp_path):
    names = [f"\x1b[31m{i}" + "x" * 900 for i in range(8)]
    path = archive(tmp_path / "bad.pt", pickle=whole(b"}(", *(text(name) + b"N" for name in names), b"u"))
    said = check(path, r"its keys are \x1b[31m0x")
    assert len(said) < 600


def test_the_older_format_is_bounded_too(tmp_path):
    writer = Writer()
    tensor = writer.tensor(np.zeros(8, np.float32), count=1 << 40)
    check(write_legacy(tmp_path / "old.pt", writer, {"a": tensor}), "two sizes for the storage 0")
    again = Writer()
    first = again.tensor(np.zeros(8, np.float32))
    other = Reference(("storage", Name("torch", "HalfStorage"), "0", "cpu", 16))
    content = {"a": first, "b": Raw(encode(other))}
    check(write_legacy(tmp_path / "two.pt", again, content), "refers to the storage 0 in two ways")


def test_a_graph_with_one_value_for_everybody_ends(tmp_path):
    helper, count = onnx.helper, 3_000
    copies = [helper.make_node("Identity", ["w"], [f"m.{i}.weight"]) for i in range(count)]
    convolutions = [helper.make_node("Conv", ["x", "w"], ["y"]) for _ in range(count)]
    kernel = onnx.numpy_helper.from_array(np.zeros((1, 1, 1, 1), np.float32), "w")
    graph = helper.make_graph([*copies, *convolutions], "g", [], [], [kernel])
    path = tmp_path / "bad.onnx"
    path.write_bytes(helper.make_model(graph, producer_name="x").SerializeToString())
    check(path)


def test_hostile_objects_are_torn_down_in_time(tmp_path):
    """Stubs in stubs, as deep as the limit on nesting allows nothing to be."""
    deep = b"".join(NEW + b"}" + text("x") for _ in range(3_000))
    path = archive(tmp_path / "deep.pt", pickle=whole(MODULE, b"0", deep, b"N", b"sb" * 3_000))
    check(path, "more than 200 deep")


def test_instances_of_real_classes_cost_what_they_are(tmp_path):
    """A network of 20,000 modules, each with its own dicts, is read: limits are for what no network is."""
    writer = Writer()
    layers = {str(i): Instance(Name("a.b", "C"), {"_modules": {}, "_parameters": {}}) for i in range(20_000)}
    root = Instance(
        Name("a.b", "Net"), {"_modules": layers, "_parameters": {"w": writer.tensor(np.zeros(4, np.float32))}}
    )
    assert observed(writer.write(tmp_path / "large.pt", {"model": root})).said == "read 1"


def test_bombs_in_zip_are_refused_by_their_directory(tmp_path):
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
        for i in range(20):
            bomb.writestr(f"archive/data/{i}", bytes(10 << 20))
        bomb.writestr("archive/data.pkl", b"")
    check(path, "is compressed")

"""Real checkpoints with random damage: whatever it is, they are read or refused with the one typed error.

`make fuzz` runs the same for longer.
"""

from __future__ import annotations

import io
import pickle
import tempfile
from functools import cache
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save
from test_load_weights import write_darknet
from test_onnx_reading import model as onnx_model
from torchfile import Name, Writer, archived, encode, pickle_of, records_of, write_legacy

from keras_yolo_backbones.errors import CheckpointError
from keras_yolo_backbones.weights.readers.checkpoint import read_checkpoint
from keras_yolo_backbones.weights.recognition.identify import recognise

TENSORS = {"model.0.conv.weight": np.ones((2, 3, 3, 3), np.float32), "model.0.bn.running_var": np.ones(2, np.float16)}

Damage = tuple[str, int, bytes]
damages = st.lists(
    st.tuples(
        st.sampled_from(["set"] * 6 + ["insert", "delete", "repeat", "cut"]),
        st.integers(0, 1 << 20),
        st.one_of(st.binary(min_size=1, max_size=9), st.sampled_from([b"\0" * 8, b"\xff" * 8, b"\x7f", b"\x80"])),
    ),
    min_size=1,
    max_size=3,
)


def damaged(data: bytes, damage: list[Damage]) -> bytes:
    for kind, position, with_ in damage:
        at = position % (len(data) + 1)
        end = at + len(with_)
        if kind == "set":
            data = data[:at] + with_ + data[end:]
        elif kind == "insert":
            data = data[:at] + with_ + data[at:]
        elif kind == "delete":
            data = data[:at] + data[end:]
        elif kind == "repeat":
            data = data[:end] + data[at : at + 50 * len(with_)] + data[end:]
        else:
            data = data[: max(at, 1)]
    return data


def outcome(path, data: bytes) -> str:
    """`"read"` or `"refused"`; anything else is raised."""
    path.write_bytes(data)
    try:
        with read_checkpoint(path) as checkpoint:
            recognise(checkpoint)
            for name in checkpoint.tensors:
                checkpoint.tensors[name]
        return "read"
    except CheckpointError as error:
        refusal = error
    assert refusal.__cause__ is None, f"only the outer guard saw it: {refusal}"
    assert refusal.path == path
    assert len(str(refusal)) < 2000
    return "refused"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "file"


@pytest.mark.parametrize(("name", "count"), [("v8_n", 355), ("v6_n", 756), ("yolox_nano", 642)])
def test_the_pickles_of_the_original_projects_are_read_whole(path, name, count):
    assert outcome(path, archived(pickle_of(name), records_of(name))) == "read"
    with read_checkpoint(path) as checkpoint:
        assert len(checkpoint.tensors) == count
        assert recognise(checkpoint).names == (name.replace("_", "-"),)


@settings(max_examples=settings.default.max_examples // 3)  # megabytes each
@given(st.sampled_from(["v8_n", "v6_n", "yolox_nano"]), damages)
def test_a_damaged_pickle_of_an_original_project(path, name, damage):
    """The pickle is damaged and the archive whole, so that the damage reaches the interpreter."""
    event(outcome(path, archived(damaged(pickle_of(name), damage), records_of(name))))


@cache
def small_pickle() -> tuple[bytes, dict[str, bytes]]:
    writer = Writer()
    content = {"epoch": 1, "ema": None, "model": writer.module(TENSORS), "more": [1.5, (2, "x"), {"a": True}]}
    return b"\x80\x02" + encode(content) + b".", dict(writer.records)


@given(damages)
def test_a_damaged_pickle_with_its_tensors(path, damage):
    whole, records = small_pickle()
    event(outcome(path, archived(damaged(whole, damage), records)))


WORDS = ("model", "_modules", "_parameters", "_buffers", "act", "eps", "names", "yaml", "storage", "0", "cpu")
NAMES = (
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
    "torch._tensor._rebuild_from_type_v2",
    "torch.FloatStorage",
    "torch.nn.modules.batchnorm.BatchNorm2d",
    "torch.nn.modules.activation.LeakyReLU",
    "numpy.dtype",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.numeric._frombuffer",
    "_codecs.encode",
    "collections.OrderedDict",
    "builtins.set",
    "argparse.Namespace",
    "copyreg._reconstructor",
)
PARTS = [
    *(bytes([code]) for code in b"N})](l1e0uasbR\x81\x85\x86\x87t\x88\x89\x8f\x90\x91\x94\x92Q\x93"),
    *(b"h" + bytes([i]) for i in range(8)),
    *(b"q" + bytes([i]) for i in range(8)),
    *map(encode, [*WORDS, 0, 1, 3, 1 << 61, -1, 0.1]),
    *(encode(Name(*name.rsplit(".", 1))) for name in NAMES),
    encode(("storage", Name("torch", "FloatStorage"), "0", "cpu", 2)) + b"Q",
    encode(Name("a.b", "C")) + b")\x81",
]
"""Opcodes with what they take, and names that mean something to the readers."""


@settings(max_examples=3 * settings.default.max_examples)
@given(st.lists(st.sampled_from(PARTS), max_size=40))
def test_a_pickle_of_random_opcodes(path, parts):
    made = b"".join(parts)
    event(outcome(path, archived(b"\x80\x02}(" + encode("model") + made + b"u.", {"0": bytes(8)})))
    event(outcome(path, b"\x80\x04" + made + b"."))


@given(damages)
def test_a_damaged_archive(path, damage):
    event(outcome(path, damaged(archived(*small_pickle()), damage)))


@given(damages)
def test_a_damaged_safetensors_file(path, damage):
    event(outcome(path, damaged(save(TENSORS, {"format": "pt"}), damage)))


@given(damages)
def test_a_damaged_darknet_file(path, damage):
    tensors = {"0.conv.weight": np.ones((2, 3, 3, 3)), **{f"0.bn.{k}": np.ones(2) for k in ("weight", "bias")}}
    event(outcome(path, damaged(write_darknet(path, tensors).read_bytes(), damage)))


@cache
def legacy_bytes() -> bytes:
    writer = Writer()
    content = {"epoch": 1, "model": writer.module(TENSORS)}
    with tempfile.TemporaryDirectory() as folder:
        return write_legacy(Path(folder) / "old.pt", writer, content).read_bytes()


@given(damages)
def test_a_damaged_file_of_torchs_older_format(path, damage):
    event(outcome(path, damaged(legacy_bytes(), damage)))


@given(st.sampled_from([2, 4, 5]), damages)
def test_a_damaged_pickle_of_arrays(path, protocol, damage):
    content = {**TENSORS, "StructuredToParameterName@@": dict.fromkeys(TENSORS, "conv2d_0.w_0")}
    event(outcome(path, damaged(pickle.dumps(content, protocol=protocol), damage)))


@cache
def onnx_bytes() -> bytes:
    kind = {"metadata": {"names": "{0: 'a'}", "imgsz": "[64, 64]"}}
    return onnx_model("relu6", **kind).SerializeToString()


@given(damages)
def test_a_damaged_onnx_file(path, damage):
    event(outcome(path, damaged(onnx_bytes(), damage)))


@cache
def keras_bytes() -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w") as written:
        for i in range(3):
            group = written.create_group(f"layers/conv2d_{i}/vars")
            group.attrs["name"] = f"stem.{i}"
            group["0"], group["1"] = np.ones((3, 3, 2, 2), np.float32), np.ones(2, np.float32)
    return file.getvalue()


@settings(max_examples=settings.default.max_examples // 6)  # a child process each
@given(damages)
def test_a_damaged_keras_file(path, damage):
    event(outcome(path, damaged(keras_bytes(), damage)))


def test_undamaged_they_are_all_read(path):
    arrays = pickle.dumps(TENSORS, protocol=4)
    for data in (archived(*small_pickle()), legacy_bytes(), arrays, onnx_bytes(), save(TENSORS), keras_bytes()):
        assert outcome(path, data) == "read"

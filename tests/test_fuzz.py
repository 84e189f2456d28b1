"""Real checkpoints with random damage: whatever it is, they are read or refused with the one typed error.

`make fuzz` runs the same for longer.
"""

from __future__ import annotations

import io
import json
import pickle
import tempfile
import zipfile
from functools import cache
from pathlib import Path

import h5py
import numpy as np
import opcodes
import pytest
from fuzzing import costed, damaged, damages
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save
from test_load_weights import write_darknet
from test_onnx_reading import model as onnx_model
from torchfile import LEGACY, Writer, archived, encode, pickle_of, records_of, write_legacy

from keras_yolo_backbones.errors import CheckpointError
from keras_yolo_backbones.weights.readers.checkpoint import read_checkpoint
from keras_yolo_backbones.weights.readers.pickles.opcodes import HANDLERS
from keras_yolo_backbones.weights.recognition.identify import recognise

TENSORS = {"model.0.conv.weight": np.ones((2, 3, 3, 3), np.float32), "model.0.bn.running_var": np.ones(2, np.float16)}


def outcome(path, data: bytes) -> str:
    """`"read"` or `"refused"`; anything else is raised."""
    return costed(len(data), lambda: read_or_refused(written(path, data)))


def written(path, data: bytes):
    path.write_bytes(data)
    return path


def read_or_refused(path) -> str:
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
    outcome(path, archived(damaged(pickle_of(name), damage), records_of(name)))


@cache
def small_pickle() -> tuple[bytes, dict[str, bytes]]:
    writer = Writer()
    content = {"epoch": 1, "ema": None, "model": writer.module(TENSORS), "more": [1.5, (2, "x"), {"a": True}]}
    return b"\x80\x02" + encode(content) + b".", dict(writer.records)


@given(damages)
def test_a_damaged_pickle_with_its_tensors(path, damage):
    whole, records = small_pickle()
    outcome(path, archived(damaged(whole, damage), records))


def tried_as_pickles(path, made: bytes) -> None:
    """Opcodes in a torch archive, in a bare pickle, and in torch's older format."""
    outcome(path, archived(b"\x80\x02}(" + encode("model") + made + b"u.", {"0": bytes(8)}))
    outcome(path, b"\x80\x04" + made + b".")
    outcome(path, LEGACY_HEAD + b"\x80\x02" + made + b"." + b"\x80\x02].")


@settings(max_examples=2 * settings.default.max_examples)
@given(st.lists(st.sampled_from(opcodes.PARTS), max_size=40))
def test_a_pickle_of_random_opcodes(path, parts):
    tried_as_pickles(path, b"".join(parts))


@settings(max_examples=2 * settings.default.max_examples)
@given(opcodes.values, st.just([]) | st.lists(st.tuples(st.integers(0, 1 << 20), st.sampled_from(opcodes.PARTS))))
def test_a_pickle_of_random_values(path, made, more):
    """Opcodes in an order that has a meaning, and some more in between."""
    for at, part in more:
        at %= len(made) + 1
        made = made[:at] + part + made[at:]
    tried_as_pickles(path, made)


def test_random_pickles_reach_all_opcodes(path, monkeypatch):
    reached = set()

    def noted(code, handler):
        def run(machine):
            handler(machine)
            reached.add(code)

        return run

    for code, handler in HANDLERS.items():
        monkeypatch.setitem(HANDLERS, code, noted(code, handler))

    @settings(max_examples=500)
    @given(opcodes.values)
    def run(made):
        read_or_refused(written(path, archived(b"\x80\x04" + made + b".", {"0": bytes(8)})))

    run()
    assert {chr(code) for code in HANDLERS} - {chr(code) for code in reached} == {chr(pickle.FRAME[0])}


@given(damages)
def test_a_damaged_archive(path, damage):
    outcome(path, damaged(archived(*small_pickle()), damage))


@given(damages)
def test_a_damaged_safetensors_file(path, damage):
    outcome(path, damaged(save(TENSORS, {"format": "pt"}), damage))


@given(damages)
def test_a_damaged_darknet_file(path, damage):
    tensors = {"0.conv.weight": np.ones((2, 3, 3, 3)), **{f"0.bn.{k}": np.ones(2) for k in ("weight", "bias")}}
    outcome(path, damaged(write_darknet(path, tensors).read_bytes(), damage))


@cache
def legacy_bytes() -> bytes:
    writer = Writer()
    content = {"epoch": 1, "model": writer.module(TENSORS)}
    with tempfile.TemporaryDirectory() as folder:
        return write_legacy(Path(folder) / "old.pt", writer, content).read_bytes()


LEGACY_HEAD = LEGACY + b"".join(b"\x80\x02" + encode(value) + b"." for value in (1001, {"little_endian": True}))


@given(damages)
def test_a_damaged_file_of_torchs_older_format(path, damage):
    outcome(path, damaged(legacy_bytes(), damage))


@given(st.sampled_from([2, 4, 5]), damages)
def test_a_damaged_pickle_of_arrays(path, protocol, damage):
    content = {**TENSORS, "StructuredToParameterName@@": dict.fromkeys(TENSORS, "conv2d_0.w_0")}
    outcome(path, damaged(pickle.dumps(content, protocol=protocol), damage))


@cache
def onnx_bytes() -> bytes:
    kind = {"metadata": {"names": "{0: 'a'}", "imgsz": "[64, 64]"}}
    return onnx_model("relu6", **kind).SerializeToString()


@given(damages)
def test_a_damaged_onnx_file(path, damage):
    outcome(path, damaged(onnx_bytes(), damage))


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
    outcome(path, damaged(keras_bytes(), damage))


@cache
def keras_archive(config: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", keras_bytes())
    return file.getvalue()


CONFIG = {"config": {"layers": [{"class_name": "ReLU", "config": {"name": "stem.0.act", "max_value": 6.0}}] * 2}}


@settings(max_examples=settings.default.max_examples // 6)  # a child process each
@given(st.booleans(), damages)
def test_a_damaged_keras_archive(path, inside, damage):
    """Damaged as a whole, or whole with a damaged config in it."""
    config = json.dumps(CONFIG).encode()
    outcome(path, keras_archive(damaged(config, damage)) if inside else damaged(keras_archive(config), damage))


def test_undamaged_they_are_all_read(path):
    arrays = pickle.dumps(TENSORS, protocol=4)
    keras = (keras_bytes(), keras_archive(json.dumps(CONFIG).encode()))
    for data in (archived(*small_pickle()), legacy_bytes(), arrays, onnx_bytes(), save(TENSORS), *keras):
        assert outcome(path, data) == "read"

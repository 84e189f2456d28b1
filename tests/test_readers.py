"""Reading every weight format: the same tensors, whatever the file is called and however it is wrapped."""

from __future__ import annotations

import json
import os
import struct
import time

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file
from torchfile import Bits, Name, Writer, write_state_dict

import keras_yolo_backbones as kyb
from keras_yolo_backbones.errors import CheckpointError, shown
from keras_yolo_backbones.weights.readers import darknet
from keras_yolo_backbones.weights.readers.checkpoint import read_checkpoint


@pytest.fixture
def tensors():
    random = np.random.default_rng(0)
    return {
        "model.0.conv.weight": random.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "model.0.bn.weight": random.normal(size=4).astype(np.float32),
        "model.0.bn.running_var": random.uniform(size=4).astype(np.float32),
        "model.0.bn.num_batches_tracked": np.array(7),
    }


def read(path):
    with read_checkpoint(path) as checkpoint:
        return checkpoint.format, checkpoint.part, {key: checkpoint.tensors[key] for key in checkpoint.tensors}


def same(found, expected):
    assert list(found) == list(expected)
    for key, value in expected.items():
        assert found[key].dtype == value.dtype
        np.testing.assert_array_equal(found[key], value)


@pytest.mark.parametrize("wrap", ["model", "ema", "state_dict", ""])
def test_a_state_dict_is_found_in_every_wrapper(tmp_path, tensors, wrap):
    writer = Writer()
    content = writer.state_dict(tensors)
    path = writer.write(tmp_path / "a.bin", {"epoch": 3, wrap: content} if wrap else content)
    format, part, found = read(path)
    assert (format, part) == ("torch", wrap)
    same(found, tensors)


def test_averaged_weights_are_preferred_when_they_are_set(tmp_path, tensors):
    writer = Writer()
    averaged = {key: value + 1 for key, value in tensors.items()}
    content = {"model": writer.state_dict(tensors), "ema": writer.state_dict(averaged)}
    same(read(writer.write(tmp_path / "both.pt", content))[2], averaged)
    content["ema"] = None
    _, part, found = read(writer.write(tmp_path / "stripped.pt", content))
    assert part == "model"
    same(found, tensors)


def test_a_pickled_module_gives_its_state_dict(tmp_path, tensors):
    writer = Writer()
    path = writer.write(tmp_path / "whole.pt", {"model": writer.module(tensors), "ema": None})
    same(read(path)[2], tensors)


def test_buffers_that_a_module_does_not_save_are_left_out(tmp_path, tensors):
    writer = Writer()
    module = writer.module({"weight": tensors["model.0.bn.weight"], "running_var": tensors["model.0.bn.running_var"]})
    from torchfile import Call

    module.attributes["_non_persistent_buffers_set"] = Call(Name("__builtin__", "set"), (["running_var"],))
    assert list(read(writer.write(tmp_path / "whole.pt", module))[2]) == ["weight"]


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_prefixes_of_torchs_wrappers_are_taken_off(tmp_path, tensors, prefix):
    path = write_state_dict(tmp_path / "parallel.pt", {prefix + key: value for key, value in tensors.items()})
    same(read(path)[2], tensors)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_element_types_are_kept(tmp_path, dtype):
    values = {"a.weight": np.arange(6, dtype=dtype).reshape(2, 3)}
    same(read(write_state_dict(tmp_path / "a.pt", values))[2], values)


def test_bfloat16_is_widened(tmp_path):
    exact = np.array([1.0, -2.5, 3.0e38, 2.0**-126], np.float32)
    bits = Bits((exact.view(np.uint32) >> 16).astype(np.uint16))
    found = read(write_state_dict(tmp_path / "a.pt", {"a.weight": bits}))[2]["a.weight"]
    np.testing.assert_array_equal(found, (bits.values.astype(np.uint32) << 16).view(np.float32))
    assert found[0] == 1.0
    assert found[1] == -2.5


def test_a_tensor_may_be_a_strided_part_of_its_storage(tmp_path):
    whole = np.arange(24, dtype=np.float32)
    writer = Writer()
    part = writer.tensor(whole, offset=2, shape=(2, 3), strides=(3, 1))
    last = writer.tensor(whole, offset=1, shape=(2, 3), strides=(1, 4))
    found = read(writer.write(tmp_path / "a.pt", {"model": {"part": part, "last": last}}))[2]
    np.testing.assert_array_equal(found["part"], [[2, 3, 4], [5, 6, 7]])
    np.testing.assert_array_equal(found["last"], [[1, 5, 9], [2, 6, 10]])


def test_safetensors(tmp_path, tensors):
    save_file(tensors, tmp_path / "weights.dat", {"format": "pt"})
    format, _, found = read(tmp_path / "weights.dat")
    assert format == "safetensors"
    same({key: found[key] for key in tensors}, tensors)


def test_keras_own_files_by_layer_and_place(tmp_path):
    model = kyb.v8("n", input_shape=(32, 32, 3))
    model.save_weights(tmp_path / "a.weights.h5")
    model.save(tmp_path / "a.keras")
    for name in ("a.weights.h5", "a.keras"):
        format, _, found = read(tmp_path / name)
        assert format == "keras"
        assert len(found) == 155
        for index, variable in enumerate(model.get_layer("stage3.cv1.at0.bn").weights):
            np.testing.assert_array_equal(found[f"stage3.cv1.at0.bn/{index}"], keras.ops.convert_to_numpy(variable))


@pytest.mark.parametrize(("minor", "header"), [(2, 20), (1, 16)])
def test_darknet_headers_of_both_lengths(tmp_path, minor, header):
    numbers = np.arange(4 * 2 + 2 * 27, dtype=np.float32)
    seen = struct.pack("<Q", 32000) if header == 20 else struct.pack("<I", 32000)
    path = tmp_path / "a.pt"
    path.write_bytes(struct.pack("<3i", 0, minor, 5) + seen + numbers.tobytes())
    assert path.stat().st_size == header + 4 * len(numbers)
    shapes = {"0.conv.weight": (2, 3, 3, 3)} | {
        f"0.bn.{part}": (2,) for part in ("weight", "bias", "running_mean", "running_var")
    }
    with read_checkpoint(path) as checkpoint:
        assert checkpoint.format == "darknet"
        entries, rest = darknet.place(checkpoint.source, shapes)
        found = {key: entry.array() for key, entry in entries.items()}
    assert rest == 0
    assert list(found) == ["0.bn.bias", "0.bn.weight", "0.bn.running_mean", "0.bn.running_var", "0.conv.weight"]
    np.testing.assert_array_equal(found["0.bn.bias"], [0, 1])
    np.testing.assert_array_equal(found["0.bn.running_var"], [6, 7])
    np.testing.assert_array_equal(found["0.conv.weight"].ravel(), np.arange(8, 62))


def test_values_are_read_only_when_asked_for(tmp_path, tensors):
    path = write_state_dict(tmp_path / "a.pt", tensors)
    with read_checkpoint(path) as checkpoint:
        assert checkpoint.tensors.shapes["model.0.conv.weight"] == (4, 3, 3, 3)
    with pytest.raises(ValueError, match="was closed"):
        checkpoint.tensors["model.0.conv.weight"]


def test_a_file_is_opened_once_whatever_happens_to_its_name(tmp_path, tensors):
    """Its name becomes a pipe, which a second opening would wait for."""
    path = tmp_path / "a.safetensors"
    save_file(tensors, path, {"format": "pt"})
    with read_checkpoint(path) as checkpoint:
        path.unlink()
        os.mkfifo(path)
        found = {key: checkpoint.tensors[key] for key in tensors}
    same(found, tensors)


@pytest.mark.parametrize("metadata", ["null", "[]", '{"a": 1}', '{"a": null}', '"text"'])
def test_metadata_that_are_no_texts_are_refused(tmp_path, metadata):
    header = b'{"__metadata__": %b}' % metadata.encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(CheckpointError, match="its metadata are no table of texts"):
        read(path)


def test_what_no_reader_foresaw_is_the_same_error_with_its_cause(tmp_path, tensors, monkeypatch):
    path = write_state_dict(tmp_path / "a.pt", tensors)
    monkeypatch.setattr("keras_yolo_backbones.weights.readers.checkpoint.read_archive", lambda _: {}["missing"])
    with pytest.raises(CheckpointError, match=r"cannot be read \(KeyError: 'missing'\)") as caught:
        read_checkpoint(path)
    assert isinstance(caught.value.__cause__, KeyError)


def test_identifying_reads_no_more_than_it_needs(tmp_path):
    """A file of 64 GB, nearly all of it a hole: its header says what it is."""
    kernel = {"dtype": "F32", "shape": [16, 3, 3, 3], "data_offsets": [0, 1728]}
    rest = {"dtype": "U8", "shape": [1 << 36], "data_offsets": [1728, 1728 + (1 << 36)]}
    header = json.dumps({"model.0.conv.weight": kernel, "rest": rest}).encode()
    path = tmp_path / "large.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + 1728 + (1 << 36))
    start = time.process_time()
    with read_checkpoint(path) as checkpoint:
        assert checkpoint.facts.channels == 3
        assert not checkpoint.tensors["model.0.conv.weight"].any()
    with pytest.raises(CheckpointError, match="no network of the zoo"):
        kyb.identify(path)
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("text", "most", "said"),
    [
        ("model.0.conv", 80, "model.0.conv"),
        ("x" * 81, 80, "x" * 80 + "…"),
        ("\x1b[31mred\x07", 80, "\\x1b[31mred\\x07"),
        ("two\nlines", 80, "two\\nlines"),
        ("\u202etxt", 80, "\\u202etxt"),
        ("\x00" * 50, 80, "\\x00" * 20 + "…"),
        ("große Äpfel", 80, "große Äpfel"),
        (b"\xffbytes", 80, "\ufffdbytes"),
        (7, 80, "7"),
    ],
)
def test_texts_of_strangers_are_cut_and_escaped(text, most, said):
    assert shown(text, most) == said

"""Checkpoints in all the ways that people save them: the same tensors, or a word on what the file is instead."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from torchfile import Call, Instance, Name, Raw, Writer, encode, real_file, write_legacy, write_state_dict

import keras_yolo_backbones as kyb
from keras_yolo_backbones.errors import CheckpointError
from keras_yolo_backbones.weights.readers.checkpoint import Checkpoint

FIRST = (np.arange(16 * 27) % 97).astype(np.float32).reshape(16, 3, 3, 3)
"""The first kernel of a v8-n whose storage 0 is filled by `real_file`."""


def read(path) -> tuple[Checkpoint, dict[str, np.ndarray]]:
    with kyb.read_checkpoint(path) as checkpoint:
        return checkpoint, {key: checkpoint.tensors[key] for key in checkpoint.tensors}


@pytest.mark.parametrize(
    ("name", "part", "count", "fused", "activation"),
    [
        ("g_fused_save", "model", 127, True, "silu"),
        ("g_fused_module", "", 127, True, "silu"),
        ("g_fused_sd", "", 127, True, None),
        ("j_proto4", "", 355, False, None),
        ("m_yolov8n-cls", "model", 158, False, "silu"),
        ("m_yolo11n-cls", "model", 236, False, "silu"),
        ("m_yolov8n-p2", "model", 437, False, "silu"),
        ("m_yolov8n-ghost", "model", 559, False, "silu"),
        ("n_ch4", "model", 355, False, "silu"),
        ("p_customwidth", "model", 355, False, "silu"),
        ("r_hook", "", 355, False, "silu"),
        ("v_dp_module", "model", 355, False, "silu"),
        ("v_ema_sd", "ema_state_dict", 355, False, "silu"),
        ("v_model_is_name", "state_dict", 355, False, None),
        ("v_model_state_dict", "model_state_dict", 355, False, None),
        ("v_relu6", "model", 355, False, "relu6"),
        ("v_thop", "model", 355, False, None),
        ("v_tuple", "0", 355, False, "silu"),
    ],
)
def test_checkpoints_as_people_save_them(tmp_path, name, part, count, fused, activation):
    checkpoint, found = read(real_file(tmp_path / "best.pt", name))
    facts = checkpoint.facts
    assert (checkpoint.format, checkpoint.part, len(found), facts.fused) == ("torch", part, count, fused)
    assert next(iter(found)) == "model.0.conv.weight"
    np.testing.assert_array_equal(found["model.0.conv.weight"].ravel()[:27], FIRST.ravel()[:27])
    assert facts.activations.get("model.0") == activation
    assert facts.channels == found["model.0.conv.weight"].shape[1] == (4 if name == "n_ch4" else 3)
    assert facts.averaged == (name == "v_ema_sd")


def test_classification_networks_say_their_epsilon_and_class(tmp_path):
    facts = read(real_file(tmp_path / "cls.pt", "m_yolov8n-cls"))[0].facts
    assert set(facts.epsilons.values()) == {1e-5}
    assert facts.network_class == "ultralytics.nn.tasks.ClassificationModel"
    assert (facts.task, len(facts.classes)) == ("classify", 1000)


def test_an_averaged_model_is_the_network_in_it(tmp_path):
    checkpoint, found = read(real_file(tmp_path / "swa.pt", "t_swa"))
    assert (len(found), checkpoint.facts.averaged) == (355, True)
    assert not [key for key in found if "n_averaged" in key or key.startswith("module.")]


def test_a_pruned_network_is_multiplied_out(tmp_path):
    writer = Writer()
    weights, mask = np.arange(1, 13, dtype=np.float16).reshape(4, 3, 1, 1), np.tile([1.0, 0.0, 1.0], 4)
    state = {"model.0.conv.weight_orig": weights, "model.0.conv.weight_mask": mask.reshape(4, 3, 1, 1)}
    state["model.0.bn.bias"] = np.ones(4, np.float32)
    _, found = read(writer.write(tmp_path / "pruned.pt", writer.state_dict(state)))
    assert list(found) == ["model.0.conv.weight", "model.0.bn.bias"]
    assert found["model.0.conv.weight"].dtype == np.float16
    assert found["model.0.conv.weight"].ravel().tolist() == [1, 0, 3, 4, 0, 6, 7, 0, 9, 10, 0, 12]
    _, real = read(real_file(tmp_path / "real.pt", "o_pruned_sd"))
    assert (len(real), real["model.0.conv.weight"].shape) == (355, (16, 3, 3, 3))


TENSORS = {
    "model.0.conv.weight": np.arange(54, dtype=np.float32).reshape(2, 3, 3, 3),
    "model.0.bn.running_var": np.array([0.5, 2.0], np.float32),
}


def assert_same(found, expected=TENSORS):
    assert list(found) == list(expected)
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value)
        assert found[key].dtype == value.dtype


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "net.", "model.", "ema.", "module._orig_mod."])
def test_prefixes_are_taken_off_beside_counters(tmp_path, prefix):
    prefixed = {prefix + key: value for key, value in TENSORS.items()}
    state = {"n_averaged": np.array(3), **prefixed, f"{prefix}model.0.total_ops": np.array(7.0)}
    assert_same(read(write_state_dict(tmp_path / "a.pt", state))[1])


def test_the_class_around_a_network_without_a_list_is_taken_off(tmp_path):
    inner = {key.replace("model.0", "backbone.stem"): value for key, value in TENSORS.items()}
    state = {f"model.{key}": value for key, value in inner.items()}
    assert_same(read(write_state_dict(tmp_path / "a.pt", state))[1], inner)


def test_lightning_keeps_two_copies_and_the_averaged_one_is_read(tmp_path):
    writer = Writer()
    state = {f"model.{key}": value for key, value in TENSORS.items()}
    state |= {f"ema.{key}": value + 1 for key, value in TENSORS.items()}
    checkpoint, found = read(
        writer.write(tmp_path / "last.ckpt", {"state_dict": writer.state_dict(state), "loops": {}})
    )
    assert_same(found, {key: value + 1 for key, value in TENSORS.items()})
    assert checkpoint.facts.averaged is True


def test_mmengine_has_swapped_the_averaged_weights_into_the_state_dict(tmp_path):
    writer = Writer()
    raw = {f"module.{key}": value + 1 for key, value in TENSORS.items()} | {"steps": np.array(5)}
    content = {"meta": {}, "state_dict": writer.state_dict(TENSORS), "ema_state_dict": writer.state_dict(raw)}
    checkpoint, found = read(writer.write(tmp_path / "epoch_300.pth", content))
    assert_same(found)
    assert (checkpoint.part, checkpoint.facts.averaged) == ("state_dict", True)


def test_super_gradients_prefers_its_averaged_network(tmp_path):
    writer = Writer()
    averaged = {key: value + 1 for key, value in TENSORS.items()}
    content = {"net": writer.state_dict(TENSORS), "acc": 0.5, "ema_net": writer.state_dict(averaged)}
    checkpoint, found = read(writer.write(tmp_path / "ckpt_best.pth", content))
    assert_same(found, averaged)
    assert (checkpoint.part, checkpoint.facts.averaged) == ("ema_net", True)


def test_a_number_beside_the_weights_is_no_state_dict(tmp_path):
    writer = Writer()
    content = {"loss": writer.tensor(np.array(1.0)), "model": writer.state_dict(TENSORS)}
    assert_same(read(writer.write(tmp_path / "a.pt", content))[1])


def test_what_users_keep_beside_their_weights_stays_inert(tmp_path):
    writer = Writer()
    paths = Call(Name("pathlib._local", "PosixPath"), ("runs", "train"))
    hook = Call(Name("__builtin__", "getattr"), (Name("my.hooks", "Hook"), "forward"))
    others = {"save_dir": paths, "hook": hook, "config": Instance(Name("my.config", "Config"), {"lr": 0.1})}
    odd_key = Raw(b"}" + encode(("a", 1)) + encode(2) + b"s")
    content = {"model": writer.state_dict(TENSORS), **others, "odd": odd_key}
    assert_same(read(writer.write(tmp_path / "a.pt", content))[1])


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_newer_protocols_are_read(tmp_path, protocol):
    writer = Writer()
    content = encode({"model": writer.state_dict(TENSORS)})
    assert_same(read(writer.write(tmp_path / "a.pt", None, pickle=b"\x80" + bytes([protocol]) + content + b"."))[1])


def test_an_archive_without_checksums_is_read(tmp_path):
    """torch leaves them out when it is told to."""
    path = write_state_dict(tmp_path / "a.pt", TENSORS)
    data = bytearray(path.read_bytes())
    for signature, place in ((b"PK\3\4", 14), (b"PK\1\2", 16)):
        at = data.find(signature)
        while at >= 0:
            data[at + place : at + place + 4] = bytes(4)
            at = data.find(signature, at + 4)
    path.write_bytes(data)
    assert_same(read(path)[1])


def test_the_older_format_of_torch(tmp_path):
    writer = Writer()
    content = {"model": writer.state_dict(TENSORS), "epoch": 3}
    path = write_legacy(tmp_path / "old.pt", writer, content)
    checkpoint, found = read(path)
    assert_same(found)
    assert (checkpoint.format, checkpoint.part) == ("torch", "model")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="is truncated or has foreign bytes at its end"):
        read(path)
    with pytest.raises(CheckpointError, match="lacks 1 storages"):
        read(write_legacy(path, writer, content, keys=["0"]))
    with pytest.raises(CheckpointError, match="foreign bytes"):
        read(write_legacy(path, writer, content, tail=b"\0"))


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_pickles_of_arrays(tmp_path, protocol):
    """Paddle's; the statistics of a batch norm get torch's names."""
    kernel = np.random.default_rng(0).normal(size=(64, 64, 3, 3)).astype(np.float32)
    variance = np.asfortranarray(np.arange(6, dtype=np.float16).reshape(2, 3))
    content = {"stem.conv.weight": kernel, "stem.bn._variance": variance, "StructuredToParameterName@@": {"a": "b"}}
    path = tmp_path / "model.pdparams"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    checkpoint, found = read(path)
    assert checkpoint.format == "pickle"
    assert_same(found, {"stem.conv.weight": kernel, "stem.bn.running_var": variance})


def test_pairs_of_name_and_array_are_arrays(tmp_path):
    path = tmp_path / "model.pdparams"
    path.write_bytes(pickle.dumps({key: ("conv2d_0.w_0", value) for key, value in TENSORS.items()}, protocol=4))
    assert_same(read(path)[1])


def test_arrays_that_python_2_wrote(tmp_path):
    """Its texts are bytes, read as Latin-1: keys, type codes and the values themselves."""
    values = np.array([1.5, -2.0, 1e30], np.float32)

    def old(data: bytes) -> bytes:
        return b"U" + bytes([len(data)]) + data

    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + old(b"b") + b"\x87R"
    kind = (
        b"cnumpy\ndtype\n"
        + old(b"f4")
        + b"K\x00K\x01\x87R(K\x03"
        + old(b"<")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    state = b"(K\x01K\x03\x85" + kind + b"\x89" + old(values.tobytes()) + b"tb"
    path = tmp_path / "old.pdparams"
    path.write_bytes(b"\x80\x02}" + old(b"a.w_0") + array + state + b"s.")
    assert_same(read(path)[1], {"a.w_0": values})


def test_a_link_is_followed_and_its_name_kept(tmp_path):
    blob = write_state_dict(tmp_path / "blob", TENSORS)
    link = tmp_path / "snapshots" / "best.pt"
    link.parent.mkdir()
    link.symlink_to("../blob")
    checkpoint, found = read(link)
    assert_same(found)
    assert checkpoint.source.path == link
    with kyb.read_checkpoint(blob) as one, kyb.read_checkpoint(link) as other:
        assert one.sha256 == other.sha256

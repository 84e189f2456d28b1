"""What files say of their network: activations, epsilons, channels, classes, task, description."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from safetensors.numpy import save_file
from torchfile import Call, Instance, Name, Writer, real_file, write_state_dict

import keras_yolo_backbones as kyb
from keras_yolo_backbones.weights.readers.facts import Facts
from keras_yolo_backbones.weights.readers.modules import activation_of
from keras_yolo_backbones.weights.readers.pickles.values import Global, Stub


def facts_of(path) -> Facts:
    with kyb.read_checkpoint(path) as checkpoint:
        return checkpoint.facts


def facts_of_pickle(tmp_path, name: str) -> Facts:
    return facts_of(real_file(tmp_path / name, name))


def test_a_pickled_network_says_what_it_is(tmp_path):
    facts = facts_of_pickle(tmp_path, "v8_n")
    assert Counter(facts.activations.values()) == {"silu": 57}
    assert facts.activations["model.9.cv1"] == "silu"
    assert set(facts.epsilons.values()) == {0.001}
    assert facts.epsilons["model.0.bn"] == 0.001
    assert (facts.fused, facts.channels, facts.averaged) == (False, 3, False)
    assert (facts.task, len(facts.classes)) == ("detect", 80)
    assert facts.network_class == "ultralytics.nn.tasks.DetectionModel"
    assert facts.description["backbone"][0] == [-1, 1, "Conv", [64, 3, 2]]


def test_activations_are_found_whatever_the_attribute_is_called(tmp_path):
    facts = facts_of_pickle(tmp_path, "v6_n")
    assert Counter(facts.activations.values()) == {"relu": 54, "silu": 9}
    assert facts.activations["backbone.stem"] == "relu"


def test_a_state_dict_says_little(tmp_path):
    facts = facts_of_pickle(tmp_path, "yolox_nano")
    assert facts == Facts(fused=False, channels=12)


def module(kind: str, **attributes) -> Stub:
    return Stub(Global(*kind.rsplit(".", 1)), (), attributes)


@pytest.mark.parametrize(
    ("attribute", "value", "name"),
    [
        ("act", module("torch.nn.modules.activation.SiLU", inplace=True), "silu"),
        ("act", module("yolox.models.network_blocks.SiLU"), "silu"),
        ("nonlinearity", module("torch.nn.modules.activation.ReLU"), "relu"),
        ("2", module("torch.nn.modules.activation.ReLU6"), "relu6"),
        ("act", module("torch.nn.modules.linear.Identity"), "linear"),
        ("shortcut", module("torch.nn.modules.linear.Identity"), ""),
        ("act", module("torch.nn.modules.activation.LeakyReLU", negative_slope=0.1), "leaky_relu"),
        (
            "act",
            module("torch.nn.modules.activation.LeakyReLU", negative_slope=0.01),
            "torch.nn.modules.activation.LeakyReLU(0.01)",
        ),
        ("act", module("torch.nn.modules.activation.GELU", approximate="none"), "gelu"),
        (
            "act",
            module("torch.nn.modules.activation.GELU", approximate="tanh"),
            "torch.nn.modules.activation.GELU('tanh')",
        ),
        ("act", module("torch.nn.modules.activation.ELU"), "torch.nn.modules.activation.ELU"),
        ("conv", module("torch.nn.modules.conv.Conv2d"), ""),
        ("act", None, ""),
    ],
)
def test_names_of_activations(attribute, value, name):
    assert activation_of(attribute, value) == name


def test_a_module_with_two_activations_tells_both(tmp_path):
    writer = Writer()
    network = writer.module({"a.weight": np.ones((4, 3, 1, 1), np.float32)})
    inner = network.attributes["_modules"]["a"].attributes["_modules"]
    inner["act"] = Instance(Name("torch.nn.modules.activation", "SiLU"), {})
    inner["act2"] = Instance(Name("torch.nn.modules.activation", "Mish"), {})
    facts = facts_of(writer.write(tmp_path / "two.pt", {"model": network}))
    assert facts.activations == {"a": "silu", "a.act2": "mish"}


def test_words_beside_the_weights(tmp_path):
    writer = Writer()
    arguments = Call(Name("argparse", "Namespace"), ())
    content = {"ema": writer.module({"stem.weight": np.ones((4, 1, 3, 3), np.float32)}), "date": "2026-01-02"}
    content |= {"version": "8.4.7", "license": "AGPL-3.0", "train_args": {"imgsz": [320, 640], "task": "obb"}}
    content |= {"opt": arguments}
    facts = facts_of(writer.write(tmp_path / "words.pt", content))
    assert (facts.version, facts.date, facts.licence) == ("8.4.7", "2026-01-02", "AGPL-3.0")
    assert (facts.image_size, facts.task, facts.channels, facts.averaged) == ((320, 640), "obb", 1, True)


def test_words_are_cut_and_hold_no_control_characters(tmp_path):
    writer = Writer()
    network = writer.module({"a.weight": np.ones((4, 3, 1, 1), np.float32)})
    network.attributes["names"] = {0: "car\x1b[2J", 1: "x" * 300}
    network.attributes["task"] = "\x07detect"
    facts = facts_of(writer.write(tmp_path / "words.pt", {"model": network, "version": "8\n9"}))
    assert facts.classes == ("car\\x1b[2J", "x" * 200 + "…")
    assert (facts.task, facts.version) == ("\\x07detect", "8\\n9")


def test_folded_batch_norms_are_seen_in_every_format(tmp_path):
    folded = {f"model.{i}.conv.{part}": np.ones((8, 4, 3, 3)[: 4 if part == "weight" else 1], np.float32)
              for i in (10, 2, 0) for part in ("bias", "weight")}  # fmt: skip
    folded["model.0.conv.weight"] = np.ones((8, 3, 3, 3), np.float32)
    save_file(folded, tmp_path / "folded.safetensors")
    for path in (tmp_path / "folded.safetensors", write_state_dict(tmp_path / "folded.pt", folded)):
        assert (facts_of(path).fused, facts_of(path).channels) == (True, 3)
    head_only = {"model.0.conv.weight": folded["model.0.conv.weight"], "model.0.bn.running_var": np.ones(8, np.float32)}
    path = write_state_dict(tmp_path / "normed.pt", head_only | {"model.22.cv3.2.bias": np.ones(8, np.float32)})
    assert facts_of(path).fused is False

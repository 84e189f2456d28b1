"""The zoo against the package: every family has a card, every network is what was measured on its original."""

from __future__ import annotations

import json
import math
import sys

import golden
import keras
import pytest
from conftest import ROOT

import keras_yolo_backbones as kyb
from keras_yolo_backbones.cli import main
from keras_yolo_backbones.families import FAMILIES
from keras_yolo_backbones.fragile import without_values

sys.path.insert(0, str(ROOT / "zoo"))
sys.path.insert(0, str(ROOT / "zoo" / "site"))

import catalogue_data
import pages

ORIGINALS = json.loads((golden.DATA / "originals.json").read_text())
CARDS = {card["family"]: card for card in pages.cards()}
RELEASES = [(family, release) for family, card in CARDS.items() for release in card["release"]]
NETWORKS = {
    network["name"]: (family, release, network) for family, release in RELEASES for network in release["network"]
}

KINDS = {"ReLU": "relu", "LeakyReLU": "leaky_relu", "hard_silu": "hard_swish"}


def test_every_network_has_a_card_and_every_card_a_network():
    assert list(NETWORKS) == kyb.list_models() == list(ORIGINALS)
    assert {path.stem for path in (ROOT / "zoo" / "cards").iterdir()} == set(FAMILIES)


@pytest.mark.parametrize("family", CARDS)
def test_a_summary_has_two_sentences(family):
    assert CARDS[family]["summary"].count(". ") == 1


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_was_trained_at_the_size_of_the_original(name):
    assert NETWORKS[name][2]["image_size"] == ORIGINALS[name]["image_size"]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_what_was_measured(name):
    card = NETWORKS[name][2]
    levels = [f"P{n}" for n in range(2, 2 + len(card["channels"]))]
    with without_values():
        model = kyb.create(name, levels=levels)
        bare = kyb.create(name, levels=levels, spp=False)
    assert (parameters(model), parameters(bare)) == (card["parameters"], card["without_context"])
    assert kyb.macs(model) == card["macs"]
    strides = [2**n for n in range(2, 2 + len(card["channels"]))]
    assert [(level.stride, level.channels) for level in kyb.pyramid(model)] == list(
        zip(strides, card["channels"], strict=True)
    )
    assert activations(model) == set(card["activations"])
    assert any(type(layer).__name__ == "MatMul" for layer in model.layers) == catalogue_data.has_attention(name)


def test_info_and_list_say_what_the_card_says(capsys):
    card, (_, release, _) = NETWORKS["v4-tiny"][2], NETWORKS["v4-tiny"]
    assert main(["info", "v4-tiny", "--levels", "P2,P3,P4,P5", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["parameters"], facts["macs"]) == (card["parameters"], card["macs"])
    assert [level["channels"] for level in facts["levels"]] == card["channels"]
    assert (facts["activation"], facts["epsilon"]) == ("leaky_relu", release["epsilon"])
    assert (facts["trained_size"], facts["files"]) == (card["image_size"], list(card["files"]))
    assert facts["origin"] == {key: release[key] for key in facts["origin"]}
    assert main(["list", "v4-tiny"]) == 0
    row = capsys.readouterr().out
    assert all(word in row for word in ("v4-tiny", "leaky_relu", "416", "Darknet", "yolov4-tiny"))


def test_the_pages_are_made_from_the_cards():
    assert (ROOT / "zoo" / "README.md").read_text(encoding="utf-8") == pages.page()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme == pages.readme(readme)


def parameters(model: keras.Model) -> int:
    return sum(math.prod(variable.shape) for variable in model.trainable_variables)


def activations(model: keras.Model) -> set[str]:
    acts = [layer for layer in model.layers if layer.name.endswith(".act")]
    kinds = [layer.get_config().get("activation", type(layer).__name__) for layer in acts]
    return {KINDS.get(kind, kind) for kind in kinds}

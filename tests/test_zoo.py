"""The cards of the zoo against the package: every network has a card, every line of a card is true."""

from __future__ import annotations

import json
import sys

import golden
import keras
import pytest
from conftest import ROOT

import keras_yolo_backbones as kyb
from keras_yolo_backbones.cli import main
from keras_yolo_backbones.families import FAMILIES

sys.path.insert(0, str(ROOT / "zoo"))

import catalogue

ORIGINALS = json.loads((golden.DATA / "originals.json").read_text())
CARDS = {card["family"]: card for card in catalogue.cards()}
RELEASES = [(family, release) for family, card in CARDS.items() for release in card["release"]]
NETWORKS = {
    network["name"]: (family, release, network) for family, release in RELEASES for network in release["network"]
}

KINDS = {"ReLU": "relu", "LeakyReLU": "leaky_relu"}


def test_every_network_has_a_card_and_every_card_a_network():
    assert list(CARDS) == list(FAMILIES)
    assert list(NETWORKS) == kyb.list_models()
    assert {path.stem for path in (ROOT / "zoo" / "cards").iterdir()} == set(FAMILIES)
    for family, card in CARDS.items():
        assert [release.get("name", "") for release in card["release"]] == list(FAMILIES[family].releases)


@pytest.mark.parametrize("family", CARDS)
def test_a_summary_has_two_sentences(family):
    assert CARDS[family]["summary"].count(". ") == 1


@pytest.mark.parametrize(("family", "card"), RELEASES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_release_says_where_it_comes_from(family, card):
    release = FAMILIES[family].releases[card.get("name", "")]
    facts = {key: card[key] for key in card if key not in ("name", "network", "epsilon")}
    assert facts == vars(release.origin)
    assert card["epsilon"] == release.style.epsilon


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_says_what_is_published(name):
    family, release, card = NETWORKS[name]
    size = FAMILIES[family].variants()[name][1]
    facts = FAMILIES[family].releases[release.get("name", "")].facts(size)
    assert card["files"] == list(facts.files)
    assert card["image_size"] == facts.image_size == ORIGINALS[name]["image_size"]
    assert card["activations"] == list(facts.activations)
    measured = {key: card[key] for key in ("parameters", "without_context", "macs", "channels")}
    assert measured == {key: ORIGINALS[name][key] for key in measured}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_what_its_card_says(name):
    card = NETWORKS[name][2]
    levels = [f"P{n}" for n in range(2, 2 + len(card["channels"]))]
    with keras.StatelessScope():  # variables without values: nothing to initialize
        model = kyb.create(name, levels=levels)
        bare = kyb.create(name, levels=levels, spp=False)
    assert (parameters(model), parameters(bare)) == (card["parameters"], card["without_context"])
    assert kyb.macs(model) == card["macs"]
    assert [(level.stride, level.channels) for level in kyb.pyramid(model)] == list(
        zip(card["strides"], card["channels"], strict=True)
    )
    assert activations(model) == set(card["activations"])


def test_info_and_list_say_what_the_card_says(capsys):
    card, (_, release, _) = NETWORKS["v4-tiny"][2], NETWORKS["v4-tiny"]
    assert main(["info", "v4-tiny", "--levels", "P2,P3,P4,P5", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["parameters"], facts["macs"]) == (card["parameters"], card["macs"])
    assert [level["channels"] for level in facts["levels"]] == card["channels"]
    assert (facts["activation"], facts["epsilon"]) == ("leaky_relu", release["epsilon"])
    assert (facts["trained_size"], facts["files"]) == (card["image_size"], card["files"])
    assert facts["origin"] == {key: release[key] for key in facts["origin"]}
    assert main(["list", "v4-tiny"]) == 0
    row = capsys.readouterr().out
    assert all(word in row for word in ("v4-tiny", "leaky_relu", "416", "Darknet", "yolov4-tiny"))


def test_the_pages_are_made_from_the_cards():
    assert (ROOT / "zoo" / "README.md").read_text(encoding="utf-8") == catalogue.page()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme == catalogue.readme(readme)


def parameters(model: keras.Model) -> int:
    return sum(int(keras.ops.prod(variable.shape)) for variable in model.trainable_variables)


def activations(model: keras.Model) -> set[str]:
    return {
        KINDS.get(type(layer).__name__) or layer.get_config()["activation"]
        for layer in model.layers
        if type(layer).__name__ in KINDS or isinstance(layer, keras.layers.Activation)
    }

"""Freezing parts of a network by name."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from conftest import SIDE

import keras_yolo_backbones as kyb


def detector(*, nested: bool) -> tuple[keras.Model, keras.Model]:
    backbone = kyb.v8("n", input_shape=(SIDE, SIDE, 3))
    images = keras.Input((SIDE, SIDE, 3)) if nested else backbone.input
    levels = backbone(images) if nested else backbone.output
    head = keras.layers.Conv2D(4, 1, name="head")
    return backbone, keras.Model(images, {name: head(levels["P5"]) for name in ("scores",)})


def trainable(model: keras.Model) -> set[str]:
    """First parts of the names of all layers whose weights training changes."""
    return {variable.path.split("/")[-2].split(".")[0] for variable in model.trainable_variables}


@pytest.mark.parametrize("nested", [False, True])
def test_until_a_stage_and_back(nested):
    _, model = detector(nested=nested)
    everything = trainable(model)
    frozen = kyb.freeze(model, until="stage3")
    assert trainable(model) == {"down4", "stage4", "down5", "stage5", "spp", "head"}
    assert len(frozen) == len(set(frozen)) == 2 * (1 + 1 + 5 + 1 + 7)  # conv and batch norm of each unit
    kyb.unfreeze(model)
    assert trainable(model) == everything


def test_a_frozen_backbone_does_not_change_and_the_head_does(photographs):
    backbone, model = detector(nested=True)
    kyb.freeze(backbone)
    assert trainable(model) == {"head"}
    before = [value.copy() for value in backbone.get_weights()]
    head = model.get_layer("head").get_weights()[0].copy()
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.fit(np.float32(photographs[:4]) / 255, {"scores": np.ones((4, 2, 2, 4))}, verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(before, backbone.get_weights(), strict=True))
    assert not np.array_equal(head, model.get_layer("head").get_weights()[0])


def test_until_follows_the_graph_not_the_order_of_names():
    """A wildcard, and a layer on top: all that it depends on is frozen, its neighbours are not."""
    _, model = detector(nested=False)
    kyb.freeze(model, until="stage5.m.*")
    assert trainable(model) == {"stage5", "spp", "head"}


def test_an_unknown_name_is_told_with_the_nearest():
    _, model = detector(nested=True)
    with pytest.raises(kyb.ArgumentError, match=r"until: no layer is called 'stag3'; model .* has stage3"):
        kyb.freeze(model, until="stag3")

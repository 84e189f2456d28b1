"""Placing an original's tensors: what is missing or has the wrong shape is listed, and then nothing is changed."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import DATA
from golden import load

import keras_yolo_backbones as kyb
from keras_yolo_backbones.weights.mapping import assign, slots

LAYOUT = kyb.v8.release(None).layout(kyb.v8.spec("n"))


@pytest.fixture
def tensors():
    return load(DATA / "golden" / "v8_n.npz").tensors


@pytest.fixture
def small():
    return kyb.v8("n", input_shape=(32, 32, 3))


def test_every_variable_has_a_place_and_every_tensor_is_used(small, tensors):
    found, foreign = slots(small, LAYOUT)
    assert len(found) == len(small.weights) == 155
    assert foreign == []
    assert {slot.key for slot in found} == set(tensors)


def test_a_neck_of_the_users_is_foreign():
    model = kyb.v8("n", neck_channels=8, input_shape=(32, 32, 3))
    assert slots(model, LAYOUT)[1][:2] == ["neck.P3.conv.kernel", "neck.P4.conv.kernel"]


def test_tensors_without_a_place_are_returned(small, tensors):
    assert assign(small, LAYOUT, tensors | {"model.22.cv2.0.bias": np.zeros(3)}, source="a file") == [
        "model.22.cv2.0.bias"
    ]


def test_missing_tensors_are_listed_and_nothing_is_changed(small, tensors):
    before = small.get_weights()
    del tensors["model.2.cv1.conv.weight"], tensors["model.9.cv2.bn.bias"]
    with pytest.raises(kyb.CheckpointError) as caught:
        assign(small, LAYOUT, tensors, source="some.pt")
    assert str(caught.value).startswith("some.pt: 3 tensors are missing: model.2.cv1.conv.weight (for stage2.cv1.at")
    assert "model.9.cv2.bn.bias (for spp.cv2.bn.beta)" in str(caught.value)
    for a, b in zip(small.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_another_size_is_an_error(tensors):
    model = kyb.v8("s", input_shape=(32, 32, 3))
    with pytest.raises(kyb.CheckpointError, match=r"tensors have another shape .* model.0.conv.weight \(16, 3, 3, 3\)"):
        assign(model, LAYOUT, tensors, source="some.pt")

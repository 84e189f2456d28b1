"""Which tensor of an original belongs into which variable."""

from __future__ import annotations

import pytest
from conftest import DATA
from golden import load

import keras_yolo_backbones as kyb
from keras_yolo_backbones.weights.mapping import slots

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

"""Attention: its numbers against the formula, its operators in int8, open image sizes, where its weights come from."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from conftest import DATA, disturbed

import keras_yolo_backbones as kyb
from keras_yolo_backbones.blocks import LearnedScale, MatMul, ReshapeLike, SplitAreas, Style, attention
from keras_yolo_backbones.fragile import without_values
from keras_yolo_backbones.litert import inventory, operators
from keras_yolo_backbones.registry import find
from keras_yolo_backbones.weights.mapping import slots

ORIGINALS = json.loads((DATA / "originals.json").read_text())


def softmax(x: np.ndarray) -> np.ndarray:
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


@pytest.mark.parametrize(("heads", "key", "areas"), [(1, 8, 1), (2, 4, 1), (2, 8, 4)])
@pytest.mark.parametrize("shape", [(4, 6, 16), (None, None, 16)])
def test_attention_is_the_formula(heads, key, areas, shape):
    """With convs that pass their input on, cell by cell: softmax(q·k / √key)·v within each area and head."""
    images = keras.Input(shape, dtype="float64")
    y = attention(images, heads=heads, key=key, areas=areas, style=Style(dtype="float64", epsilon=0.0), name="attn")
    model = keras.Model(images, y)
    random = np.random.default_rng(0)
    q, k, v = (random.normal(size=(16, width)) for width in (heads * key, heads * key, 16))
    for part, kernel in {"q": q, "k": k, "v": v, "proj": np.eye(16)}.items():
        model.get_layer(f"attn.{part}.conv").set_weights([kernel[None, None]])
    model.get_layer("attn.pe.conv").set_weights([np.zeros((3, 3, 16, 1))])
    x = random.normal(size=(2, 4, 6, 16))
    cells = x.reshape(2, areas, 24 // areas, 16)
    expected = np.zeros_like(cells)
    for head in range(heads):
        mine, out = slice(head * key, (head + 1) * key), slice(head * 16 // heads, (head + 1) * 16 // heads)
        weights = softmax((cells @ q[:, mine]) @ (cells @ k[:, mine]).swapaxes(-1, -2) / np.sqrt(key))
        expected[..., out] = weights @ (cells @ v[:, out])
    np.testing.assert_allclose(model(x), expected.reshape(x.shape), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["v10-n", "v11-n", "v12-n"])
def test_multiply_accumulates_count_the_matrix_products(name):
    assert kyb.macs(kyb.create(name)) == ORIGINALS[name]["macs"]


PSA = {"RESHAPE": 4, "TRANSPOSE": 4, "BATCH_MATMUL": 2, "SOFTMAX": 1}
INT8 = {
    "v10-n": PSA | {"CONV_2D": 40, "ADD": 9, "CONCATENATION": 6, "PAD": 5, "DEPTHWISE_CONV_2D": 3, "MAX_POOL_2D": 3},
    "v11-n": PSA | {"CONV_2D": 46, "ADD": 9, "CONCATENATION": 8, "PAD": 5, "DEPTHWISE_CONV_2D": 1, "MAX_POOL_2D": 3},
    "v12-n": {
        "CONV_2D": 67,
        "RESHAPE": 48,
        "TRANSPOSE": 32,
        "ADD": 26,
        "BATCH_MATMUL": 16,
        "DEPTHWISE_CONV_2D": 8,
        "SOFTMAX": 8,
        "PAD": 5,
        "CONCATENATION": 4,
    },
}


@pytest.mark.parametrize("name", ["v11-n", "v12-n", pytest.param("v10-n", marks=pytest.mark.slow)])
def test_int8_has_no_float_island(name, tmp_path, photographs):
    """Also from a model of open image size, which the file gets a fixed one of."""
    shape = (None, None, 3) if name == "v12-n" else (64, 64, 3)
    model = disturbed(kyb.create(name, activation="relu6", input_shape=shape))
    file = kyb.export_tflite(
        model, tmp_path / "net.tflite", precision="int8", calibration=photographs, method="minmax", image_size=64
    )
    assert inventory(file.path) == INT8[name]
    kinds = {kind for operator in operators(file.path) for kind in operator.kinds}
    assert kinds == {"INT8", "INT32"}
    assert {"P3", "P4", "P5"} <= set(file.manifest["agreement"])


@pytest.mark.parametrize("name", ["v10-n", "v12-turbo-n"])
def test_open_image_size(name):
    fixed, open_ = (kyb.create(name, input_shape=shape) for shape in ((64, 96, 3), (None, None, 3)))
    open_.set_weights(fixed.get_weights())
    images = np.random.default_rng(0).random((2, 64, 96, 3), np.float32)
    for level, expected in fixed(images).items():
        np.testing.assert_array_equal(open_(images)[level], expected)
    assert open_(images[:, :, :32])["P5"].shape == (2, 2, 1, fixed.output["P5"].shape[-1])


def test_area_attention_says_which_sizes_it_takes():
    model = kyb.v12("n", input_shape=(None, None, 3))
    with pytest.raises(ValueError, match="a multiple of 32"):
        model(np.zeros((1, 80, 80, 3), np.float32))
    with pytest.raises(kyb.ArgumentError, match="height 80 is no multiple of 32"):
        kyb.v12("n", input_shape=(80, 80, 3))


def test_our_own_layers_survive_a_file(tmp_path):
    model = kyb.v12("l", input_shape=(None, None, 3), levels=("P4",))
    assert {MatMul, ReshapeLike, SplitAreas, LearnedScale} <= {type(layer) for layer in model.layers}
    model.save(tmp_path / "v12.keras")
    again = keras.models.load_model(tmp_path / "v12.keras")
    images = np.random.default_rng(0).random((1, 64, 64, 3), np.float32)
    np.testing.assert_array_equal(again(images)["P4"], model(images)["P4"])


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("v6-m", ["backbone.ERBlock_2.1.m.conv1.alpha", "backbone.ERBlock_2.1.m.block.0.alpha"]),
        ("v12-l", ["model.6.gamma", "model.8.gamma"]),
    ],
)
def test_trained_scales_have_keys_of_their_own(name, keys):
    variant = find(name)
    release = variant.family.release(variant.release)
    with without_values():
        model = kyb.create(name, input_shape=(64, 64, 3))
    found = {slot.key for slot in slots(model, release.layout(release.sizes[variant.size]))[0]}
    assert set(keys) <= found


def test_q_k_and_v_are_all_of_the_original_s_rows():
    """Every row of the joint conv goes to exactly one of ours, so that an import can be run backwards."""
    for name, joint, rows in (("v10-m", "qkv", 576), ("v12-n", "qkv", 192), ("v12-turbo-n", "qk", 128)):
        variant = find(name)
        release = variant.family.release(variant.release)
        pieces = release.layout(release.sizes[variant.size]).pieces
        taken = [piece.take(np.arange(rows)) for piece in pieces.values() if piece.original == f"attn.{joint}"]
        assert sorted(np.concatenate(taken)) == list(range(rows))
        assert len(taken) == len(joint)

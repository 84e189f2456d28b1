"""Attention and shuffles that compute channels-first: the same numbers, no Transposes in ONNX files."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import keras_yolo_backbones as kyb
from keras_yolo_backbones.blocks import MatMul, Style, attention, halves, interleaved
from keras_yolo_backbones.export.onnx.channels_first import ChannelsFirstAttention, attention_channels_first
from keras_yolo_backbones.export.onnx.running import run_onnx
from keras_yolo_backbones.export.onnx.shuffles import ChannelsFirstInterleave, shuffles_channels_first
from keras_yolo_backbones.litert import operators

FIXED, OPEN = (64, 96, 3), (None, None, 3)
IMAGES = np.random.default_rng(0).random((3, *FIXED), np.float32)


def attending(shape: tuple, areas: int, dtype: str = "float32") -> keras.Model:
    """Attention over 8 × 12 cells, two heads, q and k half as wide as v."""
    keras.utils.set_random_seed(0)
    images = keras.Input(shape, name="images", dtype=dtype)
    x = keras.layers.Conv2D(16, 8, 8, name="stem", dtype=dtype)(images)
    y = attention(x, heads=2, key=4, areas=areas, style=Style(dtype=dtype), name="attn")
    return keras.Model(images, {"y": y})


@pytest.mark.parametrize("areas", [1, 4])
@pytest.mark.parametrize("shape", [FIXED, OPEN, (64, None, 3)])
def test_the_numbers_stay_the_same(shape, areas):
    model = attending(shape, areas, "float64")
    turned = attention_channels_first(model)
    kinds = [type(layer) for layer in turned.layers]
    assert (kinds.count(ChannelsFirstAttention), kinds.count(MatMul), kinds.count(keras.layers.Permute)) == (1, 0, 0)
    assert turned.output["y"].shape == model.output["y"].shape
    images = IMAGES.astype("float64")
    np.testing.assert_allclose(turned(images)["y"], model(images)["y"], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("opset", "layout", "transposes"), [(13, "nhwc", 2), (18, "nchw", 0)])
@pytest.mark.parametrize("areas", [1, 4])
@pytest.mark.parametrize("shape", [FIXED, OPEN])
def test_onnx_files_have_transposes_only_at_the_borders(tmp_path, shape, areas, opset, layout, transposes):
    model = attending(shape, areas)
    file = kyb.export_onnx(model, tmp_path / "m.onnx", opset=opset, layout=layout)
    operators = file.manifest["operators"]
    assert operators.get("Transpose", 0) == transposes
    assert (operators["Einsum"], operators["Softmax"], operators.get("Split", 0)) == (2 * areas, areas, 3 * (areas > 1))
    if shape == FIXED:
        assert operators["Reshape"] == 4
        assert not {"Shape", "Gather", "Slice", "Cast"} & set(operators)
    for images in [IMAGES] if shape == FIXED else [IMAGES, IMAGES[:1, :32, :80]]:
        found, expected = run_onnx(file.path, "images", images, layout)["y"], model(images)["y"].numpy()
        assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("opset", [17, 18])
def test_cells_that_cannot_be_dealt_out_evenly_are_an_error_of_the_runtime(tmp_path, opset):
    """Also for twelve images, whose cells together can be."""
    file = kyb.export_onnx(attending(OPEN, areas=4), tmp_path / "m.onnx", opset=opset)
    for batch in (1, 12):
        with pytest.raises(Exception, match="cannot be reshaped"):
            run_onnx(file.path, "images", np.zeros((batch, 40, 40, 3), np.float32))


def by_hand(change: str = "") -> keras.Model:
    """Attention over 4 × 6 cells, two heads of four channels, written as in `blocks.attention` but for one thing."""
    images = keras.Input((4, 6, 8), name="images")
    heads = [keras.layers.Reshape((-1, 2, 4))(keras.layers.Conv2D(8, 1)(images)) for _ in "qkv"]
    q, k, v = (keras.layers.Permute((2, 1, 3))(head) for head in heads)
    scores = MatMul(transpose=True)([q, q if change == "one factor twice" else k])
    if change == "another step":
        scores = keras.layers.Rescaling(0.5)(scores)
    weights = keras.layers.Softmax(axis=-2 if change == "softmax over q" else -1)(scores)
    y = keras.layers.Permute((2, 1, 3))(MatMul()([weights, v]))
    y = keras.layers.Reshape((6, 4, 8) if change == "another map" else (4, 6, 8))(y)
    more = {"returns weights": weights, "returns q": q, "returns cells": heads[2]}
    return keras.Model(images, {"y": y} | ({"more": more[change]} if change in more else {}))


CHANGES = ["one factor twice", "another step", "softmax over q", "another map"]
CHANGES += ["returns weights", "returns q", "returns cells"]


def test_attention_by_hand_is_recognised():
    model = by_hand()
    images = np.random.default_rng(0).random((2, 4, 6, 8), np.float32)
    np.testing.assert_allclose(attention_channels_first(model)(images)["y"], model(images)["y"], atol=1e-6)
    assert attention_channels_first(model) is not model


@pytest.mark.parametrize("change", CHANGES)
def test_other_attention_is_left_alone(change):
    model = by_hand(change)
    assert attention_channels_first(model) is model


def test_a_user_s_own_products_are_converted_as_ever(tmp_path):
    """Keras' attention is Einsums of other equations, which tf2onnx takes to pieces."""
    images = keras.Input((8, 8, 3), name="images")
    x = keras.layers.Reshape((64, 8))(keras.layers.Conv2D(8, 1)(images))
    x = keras.layers.MultiHeadAttention(num_heads=2, key_dim=4, flash_attention=False)(x, x)
    model = keras.Model(images, {"y": keras.layers.Reshape((8, 8, 8))(x)})
    operators = kyb.export_onnx(model, tmp_path / "m.onnx").manifest["operators"]
    assert "Einsum" not in operators
    assert operators["Softmax"] == 1


def shuffling(shape: tuple) -> keras.Model:
    """Hard swish, the two halves of its channels, a conv on the upper one, both by turns, a conv."""
    keras.utils.set_random_seed(0)
    images, style = keras.Input(shape, name="images"), Style()
    x = keras.layers.Activation("hard_swish", name="act")(keras.layers.Conv2D(8, 4, 4, name="stem")(images))
    low, high = halves(x, style=style, name="unit")
    high = keras.layers.Conv2D(4, 3, padding="same", name="conv")(high)
    high = keras.layers.Activation("hard_sigmoid", name="deep")(high)
    x = interleaved(low, high, style=style, name="unit")
    return keras.Model(images, {"x": x, "y": keras.layers.Conv2D(4, 1, name="end")(x)})


@pytest.mark.parametrize("shape", [FIXED, OPEN])
def test_halves_come_back_by_turns(shape):
    model = shuffling(shape)
    act, deep = (keras.Model(model.input, model.get_layer(name).output)(IMAGES).numpy() for name in ("act", "deep"))
    mixed = model(IMAGES)["x"].numpy()
    np.testing.assert_array_equal(mixed[..., ::2], act[..., :4])
    np.testing.assert_array_equal(mixed[..., 1::2], deep)
    turned = shuffles_channels_first(model)
    assert [type(layer) for layer in turned.layers].count(ChannelsFirstInterleave) == 1
    assert not any(isinstance(layer, keras.layers.Permute) for layer in turned.layers)
    np.testing.assert_allclose(turned(IMAGES)["y"], model(IMAGES)["y"], rtol=1e-5, atol=1e-6)
    assert shuffles_channels_first(turned) is turned


@pytest.mark.parametrize("shape", [FIXED, OPEN])
def test_hard_activations_and_shuffles_turn_nothing_in_onnx(tmp_path, shape):
    """One Transpose at the input, one at each output."""
    model = shuffling(shape)
    file = kyb.export_onnx(model, tmp_path / "m.onnx")
    found = file.manifest["operators"]
    assert (found["Transpose"], found["Clip"]) == (3, 2)
    expected = model(IMAGES)
    for name, value in run_onnx(file.path, "images", IMAGES).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-6)


def test_a_shuffle_in_int8_has_one_scale(tmp_path):
    file = kyb.export_tflite(
        shuffling(FIXED), tmp_path / "m.tflite", precision="int8", calibration=IMAGES.repeat(3, 0), method="minmax"
    )
    assert {kind for operator in operators(file.path) for kind in operator.kinds} == {"INT8", "INT32"}
    assert (file.manifest["operators"]["STRIDED_SLICE"], file.manifest["operators"]["TRANSPOSE"]) == (2, 1)
    assert min(result["snr_db"] for result in file.manifest["agreement"].values() if isinstance(result, dict)) >= 30

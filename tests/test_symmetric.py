"""Symmetric plans: zero points of 0 wherever TFLite lets them be."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from quantized import small

import keras_yolo_backbones as kyb
from keras_yolo_backbones.blocks import MatMul
from keras_yolo_backbones.litert import LiteModel, operators
from keras_yolo_backbones.quantization.layers import FakeQuant
from keras_yolo_backbones.quantization.ranges import balanced


@pytest.fixture(scope="module")
def silu(photographs):
    return small("v8-n", "silu", photographs)


@pytest.fixture(scope="module")
def attention():
    """softmax(q·kᵀ)·v."""
    keras.utils.set_random_seed(1)
    images = keras.Input((16, 16, 3), name="images")
    convs = [keras.layers.Conv2D(8, 3, padding="same", name=name)(images) for name in "qkv"]
    q, k, v = (keras.layers.Reshape((256, 8), name=f"{x.name}.cells")(x) for x in convs)
    weights = keras.layers.Softmax(name="weights")(MatMul(transpose=True, name="scores")([q, k]))
    return keras.Model(images, {"P3": MatMul(name="values")([weights, v])}, name="attention")


@pytest.fixture(scope="module")
def plan(silu, photographs):
    return kyb.quantization.plan(silu, photographs, symmetric=True, method="minmax")


def test_zero_is_in_the_middle_of_every_range_but_that_of_sigmoid(plan, silu, photographs):
    usual = kyb.quantization.plan(silu, photographs, method="minmax")
    assert plan.range("stem.act.sigmoid") == (0.0, 255 / 256)
    assert plan.range("images") == (-128 / 127, 1.0)
    for group, (low, high) in plan.ranges.items():
        if not group.endswith(".sigmoid"):
            assert low * 127 == pytest.approx(-high * 128)
            assert (low, high) == pytest.approx(balanced(usual.ranges[group]))


@pytest.mark.parametrize(
    ("bounds", "wanted"), [((-1, 127), (-128, 127)), ((-256, 1), (-256, 254)), ((0, 1), (-128 / 127, 1))]
)
def test_balanced(bounds, wanted):
    assert balanced(bounds) == pytest.approx(wanted)


@pytest.mark.parametrize("method", ["percentile", "mse", "auto"])
def test_narrowed_ranges_stay_symmetric(silu, photographs, method):
    narrow = kyb.quantization.plan(silu, photographs, symmetric=True, method=method)
    for group, bounds in narrow.ranges.items():
        if not group.endswith(".sigmoid"):
            assert bounds == pytest.approx(balanced(bounds))


def test_a_symmetric_model_becomes_a_tflite_file_with_zero_points_of_0(silu, plan, tmp_path):
    aware = kyb.quantize_aware(silu, plan, symmetric=True)
    file = kyb.export_tflite(aware, tmp_path / "s.tflite")
    points = {tensor.zero_point for operator in operators(file.path) for tensor in operator.activations}
    assert points == {0, -128}  # -128 is that of LOGISTIC alone
    assert {tensor["zero_point"] for tensor in LiteModel(file.path).tensors().values()} == {0}
    assert "QUANTIZE" not in file.manifest["operators"]


def test_training_moves_both_ends_together():
    quant = FakeQuant(-128.0, 127.0, learn=True, symmetric=True)
    quant.shift.assign([0.3, 0.01])  # a hundredth moves an end by the whole width
    np.testing.assert_allclose(quant.range, [-(127 + 255) * 128 / 127, 127 + 255], rtol=1e-6)
    quant.shift.assign([0.0, -1.0])
    low, high = np.asarray(quant.range)
    assert high > 0
    assert low * 127 == pytest.approx(-high * 128)


@pytest.mark.parametrize("method", ["minmax", "auto"])
def test_second_factors_of_products_have_their_zero_in_the_middle(attention, method):
    """XNNPACK multiplies such tensors only, and rounds once as every runtime for ONNX does."""
    images = np.random.default_rng(0).random((8, 16, 16, 3), np.float32)
    plan = kyb.quantization.plan(attention, images, method=method)
    for factor in ("k", "v"):
        low, high = plan.range(factor)
        assert low * 127 == pytest.approx(-high * 128)
    low, high = plan.range("q")
    assert abs(low + high) > 0.02 * high
    learned = kyb.quantize_aware(attention, plan, learn_ranges=True)
    assert [learned.get_layer(f"{name}.quant").symmetric for name in "qkv"] == [False, True, True]


def test_an_asymmetric_plan_is_no_symmetric_one(silu, photographs):
    with pytest.raises(kyb.ArgumentError, match=r"is not symmetric; make it by plan\(…, symmetric=True\)"):
        kyb.quantize_aware(silu, kyb.quantization.plan(silu, photographs, method="minmax"), symmetric=True)

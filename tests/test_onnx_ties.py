"""Sums of integers whose steps are multiples of each other: every pair of values, against integer arithmetic."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from keras_yolo_backbones.export.onnx.agreeing import product_as_in_xnnpack, sum_as_in_xnnpack
from keras_yolo_backbones.export.onnx.averages import averages_away_from_zero
from keras_yolo_backbones.export.onnx.editing import Editing
from keras_yolo_backbones.export.onnx.products import products_as_in_tflite
from keras_yolo_backbones.export.onnx.slopes import slopes_in_256ths
from keras_yolo_backbones.export.onnx.ties import sums_as_in_tflite

LEVELS = onnxruntime.GraphOptimizationLevel


def edited(name, nodes, inputs, outputs, constants, change) -> onnx.ModelProto:
    """A model of these nodes and named constants after `change` has edited its graph."""
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, name, inputs, outputs, tensors)
    edit = Editing(graph)
    change(edit)
    edit.finish()
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def opened(proto, level=LEVELS.ORT_ENABLE_ALL) -> onnxruntime.InferenceSession:
    """The model in onnxruntime."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def summed(steps: tuple[float, float, float], zero_point: np.generic) -> onnx.ModelProto:
    """Integers `a` and `b` in, and the integer of their sum out; steps of the three."""
    kind = helper.np_dtype_to_tensor_dtype(zero_point.dtype)
    values = [helper.make_tensor_value_info(name, kind, [None]) for name in ("a", "b", "sum")]
    nodes = [
        helper.make_node("DequantizeLinear", ["a", "a.scale", "zero"], ["a.real"]),
        helper.make_node("DequantizeLinear", ["b", "b.scale", "zero"], ["b.real"]),
        helper.make_node("Add", ["a.real", "b.real"], ["y"]),
        helper.make_node("QuantizeLinear", ["y", "y.scale", "zero"], ["sum"]),
    ]
    constants = {f"{name}.scale": np.float32(step / 255) for name, step in zip("aby", steps, strict=True)}
    return edited("sums", nodes, values[:2], values[2:], constants | {"zero": zero_point}, sums_as_in_tflite)


@pytest.mark.parametrize("level", [LEVELS.ORT_ENABLE_ALL, LEVELS.ORT_DISABLE_ALL])
@pytest.mark.parametrize("zero_point", [np.uint8(0), np.uint8(128), np.int8(0)])
@pytest.mark.parametrize("halves", [(1, 1), (1, 2), (2, 1), (3, 2), (1, 4)])
def test_ties_go_up_as_in_tflite(level, zero_point, halves):
    """`halves`: how many halves of the sum's step the steps of a and b are, as ReLU6 makes them."""
    session = opened(summed((3.0 * halves[0], 3.0 * halves[1], 6.0), zero_point), level)
    most, zero = int(np.iinfo(zero_point.dtype).max), int(zero_point)
    a, b = np.array(list(itertools.product(range(most - zero + 1), repeat=2))).T
    wanted = np.minimum((halves[0] * a + halves[1] * b + 1) // 2 + zero, most)
    fed = {name: (value + zero).astype(zero_point.dtype) for name, value in (("a", a), ("b", b))}
    (given,) = session.run(None, fed)
    assert np.array_equal(given, wanted)


@pytest.mark.parametrize("zero_point", [np.uint8(0), np.uint8(128)])
def test_other_sums_are_rounded_as_ever(zero_point):
    """Only one of two steps is half of the sum's: ties are where the other is zero, and nothing else changes sides."""
    session = opened(summed((3.0, 3.33, 6.0), zero_point))
    a, b = np.array(list(itertools.product(range(128), repeat=2))).T
    fed = {name: (value + int(zero_point)).astype(np.uint8) for name, value in (("a", a), ("b", b))}
    (given,) = session.run(None, fed)
    exact = np.minimum((300 * a + 333 * b) / 600, 255 - float(zero_point))
    error = given - float(zero_point) - exact
    assert error.min() > -0.5
    assert error.max() < 0.5 + 128 * 2.0**-14
    assert (error[(b == 0) & (a % 2 == 1)] == 0.5).all()


@pytest.mark.parametrize("level", [LEVELS.ORT_ENABLE_ALL, LEVELS.ORT_DISABLE_ALL])
@pytest.mark.parametrize("zero_point", [np.uint8(0), np.uint8(77), np.int8(0)])
def test_ties_of_averages_go_away_from_the_integer_0_of_tflite(level, zero_point):
    kind = helper.np_dtype_to_tensor_dtype(zero_point.dtype)
    given = helper.make_tensor_value_info("a", kind, [1, 1, None, None])
    made = helper.make_tensor_value_info("average", kind, [1, 1, None, None])
    nodes = [
        helper.make_node("DequantizeLinear", ["a", "scale", "zero"], ["a.real"]),
        helper.make_node("AveragePool", ["a.real"], ["y"], kernel_shape=[2, 2], name="pool/AvgPool"),
        helper.make_node("QuantizeLinear", ["y", "scale", "zero"], ["average"]),
    ]
    constants = {"scale": np.float32(0.0173), "zero": zero_point}
    session = opened(edited("averages", nodes, [given], [made], constants, averages_away_from_zero), level)
    limits = np.iinfo(zero_point.dtype)
    image = np.random.default_rng(0).integers(limits.min, limits.max + 1, (1, 1, 65, 65), zero_point.dtype)
    signed = np.int32(image) - (128 if zero_point.dtype == np.uint8 else 0)
    total = sum(signed[:, :, i : i + 64, j : j + 64] for i in (0, 1) for j in (0, 1))
    wanted = np.where(total > 0, (total + 2) // 4, -((2 - total) // 4))
    found = np.int32(session.run(None, {"a": image})[0]) - (128 if zero_point.dtype == np.uint8 else 0)
    assert np.count_nonzero(total % 4 == 2) > 900
    assert np.array_equal(found, wanted)


@pytest.mark.parametrize("level", [LEVELS.ORT_ENABLE_ALL, LEVELS.ORT_DISABLE_ALL])
@pytest.mark.parametrize("zero_points", [(np.uint8(128), np.uint8(27)), (np.uint8(3), np.uint8(0)), (np.int8(0),) * 2])
@pytest.mark.parametrize(("ratio", "factors"), [(1.9396788, (497, 50)), (1.0, (256, 26)), (0.5, (128, 13))])
def test_a_leaky_relu_multiplies_by_256ths(level, zero_points, ratio, factors):
    kind = helper.np_dtype_to_tensor_dtype(zero_points[0].dtype)
    values = [helper.make_tensor_value_info(name, kind, [None]) for name in ("a", "b")]
    nodes = [
        helper.make_node("DequantizeLinear", ["a", "a.scale", "a.zero"], ["a.real"]),
        helper.make_node("LeakyRelu", ["a.real"], ["y"], alpha=0.1),
        helper.make_node("QuantizeLinear", ["y", "b.scale", "b.zero"], ["b"]),
    ]
    constants = {"a.scale": np.float32(0.01), "b.scale": np.float32(0.01 / ratio)}
    constants |= dict(zip(("a.zero", "b.zero"), zero_points, strict=True))
    session = opened(edited("slopes", nodes, values[:1], values[1:], constants, slopes_in_256ths), level)
    limits = np.iinfo(zero_points[0].dtype)
    a = np.arange(limits.min, limits.max + 1, dtype=zero_points[0].dtype)
    first, second = map(int, zero_points)
    centred = np.int32(a) - first
    product = (centred * np.where(centred > 0, *factors) + 128) >> 8
    assert np.array_equal(session.run(None, {"a": a})[0], np.clip(product + second, limits.min, limits.max))


@pytest.mark.parametrize("level", [LEVELS.ORT_ENABLE_ALL, LEVELS.ORT_DISABLE_ALL])
def test_sums_that_float32_hardly_tells_from_ties(level):
    """26 steps of the second are 16.4999991 of the sum: XNNPACK, with factors of 21 bits, has 17 and onnxruntime 16."""
    steps = [np.float32(step) * 255 for step in (0.005355907, 0.0038524796, 0.0060705743)]
    session = opened(summed(steps, np.uint8(0)), level)
    a, b = np.array(list(itertools.product(range(256), repeat=2))).T
    wanted = sum_as_in_xnnpack(a, b, (steps[0] / steps[2], steps[1] / steps[2]))
    given = np.float64(session.run(None, {"a": a.astype(np.uint8), "b": b.astype(np.uint8)})[0])
    differ = given != np.minimum(wanted, 255)
    assert np.mean(differ) < 5e-4
    assert not differ[(a == 0) | (b == 0)].any()
    (given,) = session.run(None, {"a": np.uint8([0]), "b": np.uint8([26])})
    assert given.tolist() == [17]


@pytest.mark.parametrize("level", [LEVELS.ORT_ENABLE_ALL, LEVELS.ORT_DISABLE_ALL])
def test_silu_where_float32_hardly_tells_a_tie(level):
    """105 · 169 is 139.49999 steps: XNNPACK has 140, onnxruntime 139. It was one value of a thousand in a network."""
    values = [helper.make_tensor_value_info(name, TensorProto.UINT8, [None]) for name in ("a", "y")]
    nodes = [
        helper.make_node("DequantizeLinear", ["a", "a.scale", "a.zero"], ["a.real"]),
        helper.make_node("Sigmoid", ["a.real"], ["g"]),
        helper.make_node("QuantizeLinear", ["g", "g.scale", "g.zero"], ["g.int"]),
        helper.make_node("DequantizeLinear", ["g.int", "g.scale", "g.zero"], ["g.real"]),
        helper.make_node("Mul", ["a.real", "g.real"], ["p"]),
        helper.make_node("QuantizeLinear", ["p", "y.scale", "y.zero"], ["y"]),
    ]
    scales = {"a": np.float32(0.0063364976), "g": np.float32(1 / 256), "y": np.float32(0.003148554)}
    constants = {f"{name}.scale": scale for name, scale in scales.items()}
    constants |= {"a.zero": np.uint8(129), "g.zero": np.uint8(0), "y.zero": np.uint8(79)}
    session = opened(edited("silu", nodes, values[:1], values[1:], constants, products_as_in_tflite), level)
    a = np.arange(256)
    gates = np.clip(np.rint(256 / (1 + np.exp(-(a - 129.0) * scales["a"]))), 0, 255)
    wanted = product_as_in_xnnpack((a - 129) * gates, scales["a"] * scales["g"] / scales["y"])
    assert wanted[129 + 105] == 140
    assert gates[129 + 105] == 169
    (given,) = session.run(None, {"a": a.astype(np.uint8)})
    assert np.array_equal(given, np.clip(wanted + 79, 0, 255))

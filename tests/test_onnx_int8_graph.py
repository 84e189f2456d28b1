"""How kernels, biases and activations of an ONNX graph become integers, on graphs of a few operators."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxfiles import UINT8, Graph

from keras_yolo_backbones.export.onnx.activations import absorb_activations
from keras_yolo_backbones.export.onnx.editing import Editing
from keras_yolo_backbones.export.onnx.weights import quantize_weights


def convolution(kernel, bias, behind=()) -> onnx.ModelProto:
    """A rounded input of step 1/16, a convolution, and operators behind it."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["r"]),
        helper.make_node("Conv", ["r", "w", "b"], ["y"], name="stem/Conv"),
        *behind,
    ]
    constants = {"s": np.float32(1 / 16), "z": np.uint8(0), "w": kernel, "b": bias}
    constants |= {"t": np.float32(12 / 255), "zero": np.float32(0), "six": np.float32(6)}
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y")]
    if behind:
        values[1].name = behind[-1].output[0]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    return helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:], tensors))


def test_a_bias_that_no_int32_could_hold_makes_its_kernel_coarser():
    kernel = np.float32([1e-12, 0.5]).reshape(2, 1, 1, 1)
    proto = convolution(kernel, np.float32([3.0, 3.0]))
    edit = Editing(proto.graph)
    quantize_weights(edit, UINT8)
    edit.finish()
    graph = Graph(proto.graph)
    scales, biases = graph.constants["stem.bias.scales"], graph.constants["stem.bias.int32"]
    np.testing.assert_allclose(biases * scales, [3.0, 3.0], rtol=1e-4)
    assert np.abs(biases).max() <= 2**30
    assert graph.constants["stem.kernel.int8"].ravel().tolist() == [0, 127]


def test_biases_are_rounded_in_double_precision_as_tflite_does():
    """Divided by the file's scales, which are float32, large ones were an integer away."""
    random = np.random.default_rng(0)
    kernel = np.float32(random.uniform(0.1, 0.3, (64, 1, 1, 1)))
    bias = np.float32(random.uniform(3, 30, 64))
    proto = convolution(kernel, bias)
    for tensor in proto.graph.initializer:
        if tensor.name == "s":
            tensor.CopyFrom(numpy_helper.from_array(np.float32(1 / 255), "s"))
    edit = Editing(proto.graph)
    quantize_weights(edit, UINT8, {float(np.float32(1 / 255)): 1 / 255})
    edit.finish()
    found = Graph(proto.graph).constants["stem.bias.int32"]
    exact = np.float64(bias) / (1 / 255 * np.float64(kernel.ravel()) / 127)
    assert np.array_equal(found, np.rint(exact))
    rounded = np.float64(np.float32(1 / 255)) * np.float64(kernel.ravel() / np.float32(127))
    assert not np.array_equal(found, np.rint(np.float64(bias) / rounded))


def test_relu6_in_a_wider_range_becomes_a_limit_of_integers():
    behind = [
        helper.make_node("Clip", ["y", "zero", "six"], ["c"]),
        helper.make_node("QuantizeLinear", ["c", "t", "z"], ["i"]),
        helper.make_node("DequantizeLinear", ["i", "t", "z"], ["o"]),
    ]
    proto = convolution(np.ones((1, 1, 1, 1), np.float32), np.zeros(1, np.float32), behind)
    edit = Editing(proto.graph)
    absorb_activations(edit)
    edit.finish()
    graph = Graph(proto.graph)
    assert [node.op_type for node in graph.nodes[-4:]] == ["Conv", "QuantizeLinear", "Clip", "DequantizeLinear"]
    # 6 is 127.5 steps of 12/255, and ties go up.
    assert [int(graph.value(graph.nodes[-2], position)) for position in (1, 2)] == [0, 128]

"""What runtimes ask of a quantized ONNX file, by their published rules; `RULES` names the source of each.

Of onnxruntime and OpenVINO it was also seen which operators they compute in integers. TensorRT has not been run, nor
has QNN. For TensorRT biases have to be float: its Dequantize has no int32, and a parser that meets one says "only
activation types allowed as input to this layer".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_yolo_backbones.errors import one_of
from keras_yolo_backbones.export.onnx.editing import Editing, attribute
from keras_yolo_backbones.strangers import read_onnx
from keras_yolo_backbones.targets.refusals import Refusal

_SYMMETRIC = 'export with scheme="symmetric", from a plan or model with symmetric=True'
_ASYMMETRIC = 'export with scheme="asymmetric"'
_WHOLE = "export without keep_float, or accept that this layer is computed in float"
_FIXED = "fix the batch: python -m onnxruntime.tools.make_dynamic_shape_fixed --dim_param batch --dim_value 1"
_KERNELS = ("Conv", "ConvTranspose", "Gemm")
_FUSED = {
    *("Conv", "Add", "Mul", "Concat", "Sigmoid", "LeakyRelu", "Softmax", "MatMul", "MaxPool", "AveragePool", "Resize"),
    *("GlobalAveragePool", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Split", "Gather", "Flatten", "Gemm"),
}
"""What onnxruntime computes in integers between a DequantizeLinear and a QuantizeLinear."""

_SHAPES = {"Shape", "Cast", "Slice", "Constant", "Identity"}

Found = Iterator[tuple[str, str, str]]
"""(operator, reason, what to change), one for each operator that a rule refuses."""


class File(NamedTuple):
    """An ONNX file that is checked."""

    graph: Any
    edit: Editing
    nodes: list[Any]

    def of(self, *kinds: str) -> list[Any]:
        """Its operators of some kinds."""
        return [node for node in self.nodes if node.op_type in kinds]

    def source(self, node: Any, position: int) -> str:
        """What makes an input of an operator; empty for constants and the graph's inputs."""
        maker = self.edit.maker(node.input[position]) if position < len(node.input) else None
        return "" if maker is None else maker.op_type

    def parameter(self, node: Any, position: int) -> np.ndarray:
        """Scale (1) or zero point (2) of a QuantizeLinear or DequantizeLinear."""
        value = self.edit.constant(node.input[position]) if position < len(node.input) else None
        return np.zeros((), np.uint8) if value is None else value


def onnx_refusals(path: Path, target: str) -> list[Refusal]:
    """What in an ONNX file a runtime refuses, or computes in float.

    Args:
        path: the file.
        target: key of `RULES`.

    Raises:
        ArgumentError: an unknown target.
        ExportError: the file is no ONNX file.
    """
    if target not in RULES:
        raise one_of("target for an ONNX file", target, RULES)
    file = _opened(path)
    counts: dict[tuple[str, str, str], int] = {}
    for rule in (_quantized, *RULES[target]):
        for found in rule(file):
            counts[found] = counts.get(found, 0) + 1
    return [Refusal(name, count, reason, advice) for (name, reason, advice), count in counts.items()]


def _opened(path: Path) -> File:
    proto = read_onnx(path)
    edit = Editing(proto.graph)
    return File(proto.graph, edit, edit.ordered())


def _quantized(file: File) -> Found:
    """Something is quantized at all."""
    if not file.of("QuantizeLinear", "DequantizeLinear"):
        yield from (
            (node.op_type, "nothing in the file is quantized", 'export with precision="int8"')
            for node in file.of(*_KERNELS)
        )


def _signed_and_symmetric(file: File) -> Found:
    """Every zero point is 0, in int8."""
    for node in file.of("QuantizeLinear", "DequantizeLinear"):
        zero_point = file.parameter(node, 2)
        if zero_point.dtype == np.uint8:
            yield node.op_type, "takes signed 8-bit integers only", _SYMMETRIC
        elif zero_point.any():
            yield node.op_type, "takes zero points of 0 only", _SYMMETRIC


def _no_wide_integers(file: File) -> Found:
    """Biases are float."""
    for node in file.of("DequantizeLinear"):
        if file.parameter(node, 2).dtype == np.int32:
            yield node.op_type, "does not dequantize int32 (biases)", _SYMMETRIC


def _one_scale_for_activations(file: File) -> Found:
    """Only constants have a scale a channel."""
    for node in file.of("QuantizeLinear"):
        if file.parameter(node, 1).size > 1:
            yield node.op_type, "takes one scale for an activation", "quantize activations per tensor"


def _symmetric_kernels(file: File) -> Found:
    """Kernels are int8, with zero points of 0, and channels along the output axis."""
    axes = {"Conv": 0, "ConvTranspose": 1}
    for node in file.of(*axes):
        kernel = file.edit.maker(node.input[1])
        if kernel is None or kernel.op_type != "DequantizeLinear":
            continue
        zero_points = file.parameter(kernel, 2)
        if zero_points.dtype != np.int8 or zero_points.any():
            yield node.op_type, "takes int8 kernels with zero points of 0", "quantize kernels symmetrically"
        elif file.parameter(kernel, 1).size > 1 and attribute(kernel, "axis", 1) != axes[node.op_type]:
            yield node.op_type, "takes one scale for each output channel of a kernel", "quantize along output channels"


def _integer_kernels(file: File) -> Found:
    """A layer with a kernel has integers on both sides."""
    for node in file.of(*_KERNELS):
        if file.source(node, 0) != "DequantizeLinear" or file.source(node, 1) != "DequantizeLinear":
            yield node.op_type, "computes it in float: input or kernel is not quantized", _WHOLE


def _unsigned_activations(file: File) -> Found:
    """uint8, or onnxruntime's CPU kernels for x86 are float."""
    for node in file.of("QuantizeLinear"):
        if file.parameter(node, 2).dtype == np.int8:
            yield node.op_type, "computes in float on x86 where activations are int8", _ASYMMETRIC


def _fused(file: File) -> Found:
    """Every operator stands between a DequantizeLinear and a QuantizeLinear, and has an integer form."""
    for node in file.nodes:
        ends = node.op_type in ("QuantizeLinear", "DequantizeLinear", "Clip") or node.op_type in _SHAPES
        if ends or file.source(node, 0) == "Shape":
            continue
        behind = [taker.op_type for name in node.output for taker in file.edit.takers(name)]
        if node.op_type not in _FUSED:
            yield node.op_type, "has no integer form of it", 'build the network with activation="relu6"'
        elif file.source(node, 0) == "DequantizeLinear" and set(behind) != {"QuantizeLinear"}:
            yield node.op_type, "computes it in float: its output is not quantized", _WHOLE


def _fixed_shapes(file: File) -> Found:
    """No axis of the input is open."""
    for entry in file.graph.input:
        if any(not axis.HasField("dim_value") for axis in entry.type.tensor_type.shape.dim):
            yield "input", "takes fixed shapes only", _FIXED


_NVIDIA = "docs.nvidia.com/deeplearning/tensorrt/"
_TYPES = _NVIDIA + "latest/inference-library/work-quantized-types.html"
_EXPLICIT = _NVIDIA + "latest/inference-library/quantized-types-explicit-quantization.html"
_DEQUANTIZE = _NVIDIA + "operators/docs/Dequantize.html"
_ORT = "onnxruntime.ai/docs/performance/model-optimizations/quantization.html"
_SEEN = "seen in the graphs that onnxruntime 1.32.0 optimizes for the CPU"
_OPENVINO = "docs.openvino.ai/2023.3/openvino_docs_OV_UG_lpt_ConvolutionTransformation.html"
_OPENVINO_INT8 = (
    "docs.openvino.ai/2024/documentation/openvino-ir-format/intermediate-representation-int8-inference.html"
)
_QNN = "onnxruntime.ai/docs/execution-providers/QNN-ExecutionProvider.html"
_PULLS = "github.com/microsoft/onnxruntime/pull/"

RULES: dict[str, dict[Callable[[File], Found], str]] = {
    "tensorrt": {
        _signed_and_symmetric: f"{_TYPES}: symmetric, signed INT8",
        _no_wide_integers: f"{_DEQUANTIZE}: no int32 among the types; github.com/microsoft/onnxruntime/issues/14229",
        _one_scale_for_activations: f"{_TYPES}: activations per tensor",
        _symmetric_kernels: f"{_TYPES}: symmetric, kernels per channel",
        _integer_kernels: f"{_EXPLICIT}: a DequantizeLinear between weights and the operator that uses them",
    },
    "onnxruntime": {
        _unsigned_activations: f"{_ORT}: U8S8 is the fast form on x86; {_SEEN}",
        _symmetric_kernels: f"{_ORT}: WeightSymmetric is the default for int8 weights",
        _integer_kernels: f"{_ORT}: QDQ around the operator; {_SEEN}",
        _fused: _SEEN,
    },
    "openvino": {
        _one_scale_for_activations: f"{_OPENVINO}: dequantization on activations must be per tensor",
        _symmetric_kernels: f"{_OPENVINO}: weights in low precision; seen in the executed graph of 2026.4",
        _integer_kernels: f"{_OPENVINO_INT8}: data and weights are both quantized",
    },
    "qnn": {
        _fixed_shapes: f"{_QNN}: fixed shapes only; {_PULLS}22066",
        _one_scale_for_activations: f"{_PULLS}20154: a scale a channel for constant inputs only",
        _symmetric_kernels: f"{_PULLS}20154: Conv with int8 weights, a scale a channel",
        _integer_kernels: f"{_QNN}: the HTP backend takes quantized models",
    },
}
"""Runtime -> its rules, each with its source."""

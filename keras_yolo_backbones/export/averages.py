"""Average pooling as a depthwise convolution: the same integers, in a form that XNNPACK computes in int8.

AVERAGE_POOL_2D divides the sum of k int8 numbers by k and rounds halves away from 0. A convolution whose kernel is 1/k
rounds the same sums, but XNNPACK rounds halves to even. So the convolution is made to have no halves: its kernel is
larger by a factor 1 + e, and its bias moves the result so that an average of 0 stays 0. Every average is then off by e
times itself, which takes halves away from 0 and is too little for anything else. LiteRT's own kernels round twice and
do not see so little: there about one value in a hundred is a step off.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import numpy as np

from keras_yolo_backbones.fragile import lite_schema

_MOST_CELLS = 9
"""Of a window. In larger ones e is so small that float32, in which XNNPACK scales its sums, does not see it."""

_WEIGHT = 127
"""The int8 value of every weight: the larger it is, the finer is the bias."""

_VALID = 1


class Kernel(NamedTuple):
    """The convolution that averages.

    Attributes:
        scale: of its weights, which are all 127.
        bias: in int32, for every channel.
    """

    scale: float
    bias: int


def kernel_for(cells: int, zero_point: int) -> Kernel | None:
    """The convolution that averages windows of so many cells, or None if none has the same integers.

    Args:
        cells: of a window, at least 1.
        zero_point: of the tensor, -128 … 127.
    """
    most = 1 / (2 * cells * 128)  # moves an average of 128 by half of what lies between it and the nearest half
    bias = round(_WEIGHT * cells * zero_point * most / 2) or int(np.sign(zero_point))
    excess = bias / (_WEIGHT * cells * zero_point - bias) if zero_point else most / 2
    if cells > _MOST_CELLS or excess > most:
        return None
    return Kernel((1 + excess) / (_WEIGHT * cells), bias)


def averages_as_convolutions(model: Any, names: list[str]) -> bool:
    """Replace the int8 averages of a TFLite model that have an equal convolution; returns whether there was one.

    Args:
        model: a TFLite file with one subgraph, as objects; changed in place.
        names: of its operators.
    """
    graph, schema, changed = model.subgraphs[0], lite_schema(), False
    for operator, name in zip(graph.operators, names, strict=True):
        if name != "AVERAGE_POOL_2D":
            continue
        pool = operator.builtinOptions
        given, made = (graph.tensors[int(index)] for index in (operator.inputs[0], operator.outputs[0]))
        kernel = _fitting(schema, pool, given, made)
        if kernel is None:
            continue
        weights, bias = _constants(schema, model, given, pool, kernel)
        options = schema.DepthwiseConv2DOptionsT()
        options.padding, options.strideH, options.strideW = pool.padding, pool.strideH, pool.strideW
        options.depthMultiplier, options.fusedActivationFunction = 1, pool.fusedActivationFunction
        operator.opcodeIndex = _opcode(schema, model)
        operator.inputs = [int(operator.inputs[0]), weights, bias]
        operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.DepthwiseConv2DOptions, options
        changed = True
    return changed


def _fitting(schema: Any, pool: Any, given: Any, made: Any) -> Kernel | None:
    """The convolution for one average, if the tensors and the padding allow one."""
    same = given.quantization is not None and given.type == made.type == schema.TensorType.INT8
    if not same or pool.padding != _VALID or pool.fusedActivationFunction:
        return None
    ranges = [(float(tensor.quantization.scale[0]), int(tensor.quantization.zeroPoint[0])) for tensor in (given, made)]
    return kernel_for(pool.filterHeight * pool.filterWidth, ranges[0][1]) if ranges[0] == ranges[1] else None


def _constants(schema: Any, model: Any, given: Any, pool: Any, kernel: Kernel) -> tuple[int, int]:
    """Add the weights and the bias; returns their indices."""
    channels, step = int(given.shape[-1]), float(given.quantization.scale[0])
    shape = (1, pool.filterHeight, pool.filterWidth, channels)
    weights = np.full(shape, _WEIGHT, np.int8)
    bias: np.ndarray = np.full(channels, kernel.bias, np.int32)
    return (
        _constant(schema, model, given, ".weights", weights, kernel.scale, schema.TensorType.INT8),
        _constant(schema, model, given, ".bias", bias, kernel.scale * step, schema.TensorType.INT32),
    )


def _constant(schema: Any, model: Any, like: Any, name: str, values: np.ndarray, scale: float, kind: int) -> int:
    graph = model.subgraphs[0]
    tensor, buffer = copy.deepcopy(like), schema.BufferT()
    buffer.data = np.frombuffer(values.tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor.name = (like.name if isinstance(like.name, bytes) else str(like.name).encode()) + b".average" + name.encode()
    tensor.shape, tensor.shapeSignature = np.array(values.shape, np.int32), None
    tensor.type, tensor.buffer = kind, len(model.buffers) - 1
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale, tensor.quantization.zeroPoint = np.float32([scale]), np.int64([0])
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _opcode(schema: Any, model: Any) -> int:
    """The index of the depthwise convolution among the operators that the model uses."""
    wanted = schema.BuiltinOperator.DEPTHWISE_CONV_2D
    for index, code in enumerate(model.operatorCodes):
        if wanted in (code.builtinCode, code.deprecatedBuiltinCode) and code.version >= 3:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = wanted
    code.version = 3  # the first in int8
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1

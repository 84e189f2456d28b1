"""Lowering: a float model in the operators that TFLite has, so that every tensor between them can be given a range."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_yolo_backbones.errors import GraphError
from keras_yolo_backbones.graph.arithmetic import Affine, affine_of
from keras_yolo_backbones.graph.copies import OnePerLayer, copied, is_known
from keras_yolo_backbones.graph.factors import factors_after_convs
from keras_yolo_backbones.graph.fold import affine
from keras_yolo_backbones.graph.fuse import fuse, fused_unchecked, replacing
from keras_yolo_backbones.graph.ir import Graph, Node
from keras_yolo_backbones.graph.read import read
from keras_yolo_backbones.graph.rewrite import rebuild, recast
from keras_yolo_backbones.quantization.layers import Log

KERNELS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Conv2DTranspose, keras.layers.Dense)
"""Layers with a kernel, which is quantized per output channel."""


def lower(model: keras.Model, *, checked: bool = True) -> keras.Model:
    """Fuse a model and take it apart into the operators of TFLite; same output names and numbers, inputs in float32.

    SiLU becomes a sigmoid and a product; a hard sigmoid a ReLU6 between a sum and a product; Mish a sigmoid, a
    logarithm, a tanh and a product; a batch norm that no convolution can absorb, a 1×1 depthwise convolution; an
    activation inside a convolution, a layer of its own; a sum of many, sums of two. A convolution absorbs the constant
    factor after it.

    Args:
        model: float, functional; left untouched.
        checked: whether the fused model is run against `model`.

    Raises:
        GraphError: the model is not functional, or holds a layer that cannot be rebuilt.
    """
    model = recast(model, "float32")
    graph = read(fuse(model) if checked else fused_unchecked(model))
    primitive = rebuild(graph, _Primitives(graph), takes="float32")
    graph = read(primitive)
    factors = factors_after_convs(graph)
    return rebuild(graph, replacing(factors)) if factors else primitive


def tensor_names(graph: Graph) -> dict[Node, str]:
    """A unique name for the output of each node: its own, with `.call1`, `.call2`, … when a layer is called again."""
    names: dict[Node, str] = {}
    calls: dict[str, int] = {}
    for node in graph.nodes:
        name = graph.label(node)
        count = calls[name] = calls.get(name, -1) + 1
        names[node] = f"{name}.call{count}" if count else name
    return names


def activation_of(layer: Any) -> str | None:
    """What an activation layer (or operation) computes: `"silu"`, `"relu6"`, …; `None` for any other layer."""
    if isinstance(layer, keras.layers.Activation):
        return _ALIASES.get(layer.activation.__name__, layer.activation.__name__)
    if isinstance(layer, keras.layers.ReLU):
        if layer.negative_slope or layer.threshold:
            return "leaky_relu"
        return {None: "relu", 6.0: "relu6"}.get(layer.max_value, "clipped_relu")
    name = type(layer).__name__
    return _OPERATIONS.get(name) if is_known(layer) else None


_ALIASES = {"swish": "silu", "hard_silu": "hard_swish"}
_OPERATIONS = {
    "LeakyReLU": "leaky_relu",
    "LeakyRelu": "leaky_relu",
    "Softmax": "softmax",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Relu": "relu",
    "Relu6": "relu6",
    "Silu": "silu",
    "HardSilu": "hard_swish",
    "HardSigmoid": "hard_sigmoid",
    "Gelu": "gelu",
    "ELU": "elu",
}


class _Primitives:
    """The rule: replaces what TFLite has no operator for by operators that it has; keeps everything else."""

    def __init__(self, graph: Graph) -> None:
        self._names = tensor_names(graph)
        self._once = OnePerLayer()

    def __call__(self, node: Node, args: tuple[Any, ...], _: dict[str, Any]) -> Any:
        layer, name = node.layer, self._names[node]
        if _changes_nothing(layer, args):
            return args[0]
        if isinstance(layer, keras.layers.BatchNormalization) and len(args[0].shape) == 4 and layer.axis in (-1, 3):
            return self._once(layer, lambda: _depthwise(name, *affine(layer), args[0]))(args[0])
        if scaled := affine_of(layer, args):
            return self._scaled(layer, name, scaled, next(x for x in args if isinstance(x, keras.KerasTensor)))
        if type(layer) in _PAIRWISE and len(args[0]) > 2:
            return _in_pairs(type(layer), args[0], name)
        activation = activation_of(layer)
        if activation in _PRIMITIVES:
            return _PRIMITIVES[activation](args[0], name)
        if isinstance(layer, KERNELS) and layer.activation is not keras.activations.linear:
            y = self._once(layer, lambda: copied(layer, activation="linear"))(args[0])
            function = _ALIASES.get(layer.activation.__name__, layer.activation.__name__)
            name = f"{name}.{function}"
            build = _PRIMITIVES.get(function)
            return build(y, name) if build else keras.layers.Activation(layer.activation, name=name)(y)
        return NotImplemented

    def _scaled(self, layer: Any, name: str, by: Affine, x: Any) -> Any:
        """TFLite has one operator for a factor, and two for all else, where a depthwise convolution is one."""
        if not isinstance(layer, keras.Layer) and "int" in layer.output.dtype:
            raise GraphError(
                f"{name!r} computes in {layer.output.dtype}, where large values wrap; cast the images to float32 first."
            )
        if len(x.shape) != 4 or not {by.scale.size, by.shift.size} <= {1, x.shape[-1]}:
            return NotImplemented
        if by.is_factor:
            return keras.layers.Rescaling(by.scale.item(), name=name)(x)
        return _depthwise(name, *by, x)(x)


_PAIRWISE = (keras.layers.Add, keras.layers.Multiply)


def _in_pairs(kind: type, tensors: list[Any], name: str) -> Any:
    """The sum or product of more than two tensors, two at a time: the tensors in between have ranges too."""
    y = tensors[0]
    for position, tensor in enumerate(tensors[1:], start=2):
        y = kind(name=name if position == len(tensors) else f"{name}.of{position}")([y, tensor])
    return y


def _silu(x: Any, name: str) -> Any:
    gate = keras.layers.Activation("sigmoid", name=f"{name}.sigmoid")(x)
    return keras.layers.Multiply(name=name)([x, gate])


def _mish(x: Any, name: str) -> Any:
    # x · tanh(softplus(x)) with softplus(x) = −log σ(−x): no exponential, whose steps int8 could not hold.
    x = keras.layers.Rescaling(-1.0, name=f"{name}.minus")(x)
    y = keras.layers.Activation("sigmoid", name=f"{name}.sigmoid")(x)
    y = keras.layers.Activation("tanh", name=f"{name}.tanh")(Log(name=f"{name}.log")(y))
    return keras.layers.Multiply(name=name)([x, y])


def _hard_sigmoid(x: Any, name: str) -> Any:
    # relu6(x + 3) / 6; a convolution before it absorbs the sum.
    x = keras.layers.Rescaling(1.0, 3.0, name=f"{name}.plus")(x)
    x = keras.layers.ReLU(max_value=6.0, name=f"{name}.relu6")(x)
    return keras.layers.Rescaling(1 / 6, name=name)(x)


_PRIMITIVES: dict[str | None, Callable[[Any, str], Any]] = {
    "silu": _silu,
    "mish": _mish,
    "hard_sigmoid": _hard_sigmoid,
}


def _changes_nothing(layer: Any, args: tuple[Any, ...]) -> bool:
    """Whether it is a cast to the dtype that its input has: integer images become float32 once more."""
    return type(layer).__name__ == "Cast" and is_known(layer) and layer.dtype == args[0].dtype


def _depthwise(name: str, scale: Any, shift: Any, x: Any) -> keras.Layer:
    """A 1×1 depthwise convolution that computes scale · x + shift, one entry a channel or one for all."""
    layer = keras.layers.DepthwiseConv2D(1, name=name)
    layer.build(x.shape)
    scale, shift = (np.broadcast_to(np.float32(part), x.shape[-1]) for part in (scale, shift))
    layer.set_weights([scale.reshape(1, 1, -1, 1), shift])
    return layer

"""Lowering: a float model in the operators that TFLite has, so that every tensor between them can be given a range."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_yolo_backbones.blocks.layers import LearnedScale
from keras_yolo_backbones.graph.fold import affine
from keras_yolo_backbones.graph.fuse import fuse
from keras_yolo_backbones.graph.ir import Graph, Node
from keras_yolo_backbones.graph.read import read
from keras_yolo_backbones.graph.rewrite import rebuild, recast
from keras_yolo_backbones.marks import unmarked
from keras_yolo_backbones.quantization.layers import Log

KERNELS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Conv2DTranspose, keras.layers.Dense)
"""Layers with a kernel, which is quantized per output channel."""


def lower(model: keras.Model) -> keras.Model:
    """Fuse a model and take it apart into the operators of TFLite; same inputs, output names and numbers.

    SiLU becomes a sigmoid and a product, Mish a sigmoid, a logarithm, a tanh and a product, a batch norm that no
    convolution can take up a 1×1 depthwise convolution, and an activation inside a convolution a layer of its own;
    sums of many become sums of two. A convolution takes up the constant factor behind it.

    Args:
        model: float, functional; left untouched.

    Raises:
        GraphError: the model is not functional, or holds a layer that cannot be rebuilt.
    """
    graph = read(fuse(recast(model, "float32")))
    graph = read(rebuild(graph, _Primitives(graph)))
    return rebuild(graph, _Factors(graph))


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


def is_known(layer: Any) -> bool:
    """Whether a layer is one of Keras' or of this package's own."""
    return type(layer).__module__.split(".")[0] in ("keras", "keras_yolo_backbones")


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
    """The rule: operators of TFLite for what it has none for; keeps everything else."""

    def __init__(self, graph: Graph) -> None:
        self._names = tensor_names(graph)
        self._layers: dict[int, keras.Layer] = {}

    def __call__(self, node: Node, args: tuple[Any, ...], _: dict[str, Any]) -> Any:
        layer, name = node.layer, self._names[node]
        if isinstance(layer, keras.layers.BatchNormalization) and len(args[0].shape) == 4 and layer.axis in (-1, 3):
            return self._once(layer, lambda: _depthwise(layer, args[0]))(args[0])
        if type(layer) in _PAIRWISE and len(args[0]) > 2:
            return _in_pairs(type(layer), args[0], name)
        activation = activation_of(layer)
        if activation in _PRIMITIVES:
            return _PRIMITIVES[activation](args[0], name)
        if isinstance(layer, KERNELS) and layer.activation is not keras.activations.linear:
            y = self._once(layer, lambda: _linear(layer))(args[0])
            function = _ALIASES.get(layer.activation.__name__, layer.activation.__name__)
            name = f"{name}.{function}"
            build = _PRIMITIVES.get(function)
            return build(y, name) if build else keras.layers.Activation(layer.activation, name=name)(y)
        return NotImplemented

    def _once(self, layer: Any, make: Callable[[], keras.Layer]) -> keras.Layer:
        """The layer that stands for `layer` in all its calls."""
        if id(layer) not in self._layers:
            self._layers[id(layer)] = make()
        return self._layers[id(layer)]


class _Factors:
    """The rule: constant factors go into the convolutions before them."""

    def __init__(self, graph: Graph) -> None:
        self._conv_of = {node: conv for node in graph.nodes if (conv := _scaled(graph, node))}
        self._factor_of = {conv: node for node, conv in self._conv_of.items()}

    def __call__(self, node: Node, args: tuple[Any, ...], _: dict[str, Any]) -> Any:
        if node in self._conv_of:
            return args[0]
        if node in self._factor_of:
            return _times(node.layer, self._factor_of[node].layer)(args[0])
        return NotImplemented


_PAIRWISE = (keras.layers.Add, keras.layers.Multiply)


def _in_pairs(kind: type, tensors: list[Any], name: str) -> Any:
    """The sum or product of more than two tensors, two at a time: what lies between has a range too."""
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


_PRIMITIVES: dict[str | None, Callable[[Any, str], Any]] = {"silu": _silu, "mish": _mish}


def _linear(layer: keras.Layer) -> keras.Layer:
    """A copy of a convolution or dense layer without its activation."""
    copy = type(layer).from_config(layer.get_config() | {"activation": "linear"})
    copy.build(layer.input.shape)
    copy.set_weights(layer.get_weights())
    return copy


_TAKE_FACTORS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)


def _scaled(graph: Graph, node: Node) -> Node | None:
    """The convolution that can take up the factor `node`, `None` if there is none."""
    if not isinstance(node.layer, (keras.layers.Rescaling, LearnedScale)):
        return None
    conv = node.inputs[0].node
    plain = type(conv.layer) in _TAKE_FACTORS and graph.only_consumer(conv) is node
    alone = graph.called_once(conv.layer) and graph.called_once(node.layer)
    return conv if plain and alone and conv.layer.activation is keras.activations.linear else None


def _times(conv: keras.Layer, factor: keras.Layer) -> keras.Layer:
    """A copy of `conv` that has `factor` in its kernel and bias."""
    learned = isinstance(factor, LearnedScale)
    scale, shift = (factor.get_weights()[0], 0.0) if learned else (np.float32(factor.scale), factor.offset)
    kernel, *rest = conv.get_weights()
    wide = isinstance(conv, keras.layers.DepthwiseConv2D) and np.size(scale) > 1
    copy = type(conv).from_config(unmarked(conv.get_config()) | {"use_bias": True})
    copy.build(conv.input.shape)
    bias = rest[0] if rest else np.zeros(copy.bias.shape)
    copy.set_weights([kernel * (np.reshape(scale, kernel.shape[-2:]) if wide else scale), bias * scale + shift])
    return copy


def _depthwise(norm: keras.layers.BatchNormalization, x: Any) -> keras.Layer:
    """A 1×1 depthwise convolution that does what a batch norm does."""
    scale, shift = affine(norm)
    layer = keras.layers.DepthwiseConv2D(1, name=norm.name)
    layer.build(x.shape)
    layer.set_weights([scale.astype(np.float32).reshape(1, 1, -1, 1), shift.astype(np.float32)])
    return layer

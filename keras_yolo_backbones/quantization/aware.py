"""Quantization-aware training: a plan put into a model as fake quantization."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import tree

from keras_yolo_backbones.errors import ArgumentError, CalibrationError, GraphError, one_of
from keras_yolo_backbones.graph.ir import Graph, Node, Value
from keras_yolo_backbones.graph.read import read
from keras_yolo_backbones.graph.rewrite import rebuild
from keras_yolo_backbones.graph.signature import image_input
from keras_yolo_backbones.quantization.layers import FLOAT, QUANTIZED, FakeQuant, Log, fake_quantized
from keras_yolo_backbones.quantization.lower import KERNELS, tensor_names
from keras_yolo_backbones.quantization.planning import lowered, plan_lowered
from keras_yolo_backbones.quantization.ranges import Plan, as_plan
from keras_yolo_backbones.quantization.scales import Scales

ENGINES = ("keras", "tfmot")


def quantize_aware(
    model: keras.Model,
    calibration: Any,
    *,
    engine: str = "keras",
    method: str = "minmax",
    image_size: int | tuple[int, int] | None = None,
    learn_ranges: bool = False,
) -> Any:
    """A model that computes as the int8 file will, and that can be trained.

    Batch norms are folded, kernels are rounded per channel and activations per tensor, in the ranges of a plan; before
    any training it is as accurate as post-training quantization. Train it with `fit` or any loop, save and load it,
    hand it to `export_tflite`.

    Args:
        model: a float functional model with one image input; left untouched.
        calibration: representative images (see `plan`), or a `Plan`, or the `.json` file of one.
        engine: `"keras"` gives a `keras.Model`; `"tfmot"` a `tf_keras.Model` made by tensorflow-model-optimization,
            with the same ranges and the same int8 file, for networks without attention.
        method: of the ranges, see `plan`.
        image_size: side or (height, width), for a model that leaves them open.
        learn_ranges: whether training also moves the ranges of activations; engine `"keras"` only.

    Raises:
        ArgumentError: an option that is not allowed.
        CalibrationError: images that cannot be used, or a plan for another model.
        GraphError: a layer that quantization, or the engine, does not know, named.
    """
    if engine not in ENGINES:
        raise one_of("engine", engine, ENGINES)
    if learn_ranges and engine != "keras":
        raise ArgumentError(f'learn_ranges goes with engine="keras", not {engine!r}.')
    primitive = lowered(model)
    ready = as_plan(calibration)
    if ready is None:
        ready = plan_lowered(primitive, model, calibration, method=method, image_size=image_size)
    largest = image_input(model).largest
    if engine == "tfmot":
        from keras_yolo_backbones.quantization.tfmot import apply_tfmot

        return apply_tfmot(ready, primitive, largest)
    return apply(ready, primitive, largest, learn_ranges=learn_ranges)


def apply(plan: Plan, primitive: keras.Model, largest: float, *, learn_ranges: bool = False) -> keras.Model:
    """Put a plan into a lowered model.

    Args:
        plan: made for this model.
        primitive: from `lower`.
        largest: the largest pixel value that the model takes.
        learn_ranges: whether ranges are trainable.

    Raises:
        CalibrationError: the plan lacks a tensor or kernel of the model.
    """
    graph = read(primitive)
    return rebuild(graph, _FakeQuantization(graph, Scales(graph, largest), plan, learn_ranges))


class _FakeQuantization:
    """The rule: every kernel and every tensor that int8 rounds goes through fake quantization."""

    def __init__(self, graph: Graph, scales: Scales, plan: Plan, learn_ranges: bool) -> None:
        self._graph, self._scales, self._plan, self._learn = graph, scales, plan, learn_ranges
        self._names = tensor_names(graph)
        self._layers: dict[int, Any] = {}
        self._quants: dict[str, FakeQuant] = {}
        self._inputs: dict[Node, Any] = {}

    def __call__(self, node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        converts = iter(self._scales.converts(node))

        def enter(old: Any, new: Any) -> Any:
            return self._entering(old, new, node, next(converts)) if isinstance(old, Value) else new

        args, kwargs = tree.map_structure(enter, (node.args, node.kwargs), (args, kwargs))
        result = self._layer(node)(*args, **kwargs)
        if self._scales.absorbed(node) or not self._scales.rounds(node):
            return result
        return self._quant(node)(result)

    def _entering(self, value: Value, tensor: Any, node: Node, converts: bool) -> Any:
        """What `node` takes in place of `tensor`."""
        source = value.node
        if isinstance(source.layer, keras.layers.InputLayer):
            if source not in self._inputs:
                self._inputs[source] = self._quant(source)(tensor)
            tensor = self._inputs[source]
        return self._quant(node)(tensor) if converts else tensor

    def _quant(self, node: Node) -> FakeQuant:
        """The layer that rounds the output of `node`: one for all tensors of its group."""
        name = self._names[self._scales.group(node)]
        if name not in self._quants:
            low, high = self._plan.range(self._names[node])
            learn = self._learn and self._scales.fixed(node) is None
            self._quants[name] = FakeQuant(low, high, learn=learn, name=f"{name}.quant")
        return self._quants[name]

    def _layer(self, node: Node) -> Any:
        """A copy of the node's layer, with a fake-quantized kernel if it has one."""
        if id(node.layer) not in self._layers:
            self._layers[id(node.layer)] = self._quantized(node.layer) if self._has_kernel(node) else _copy(node.layer)
        return self._layers[id(node.layer)]

    def _has_kernel(self, node: Node) -> bool:
        if type(node.layer) in QUANTIZED:
            return True
        if isinstance(node.layer, KERNELS):
            raise GraphError(f"layer {node.name!r}: quantization does not know {type(node.layer).__name__}.")
        return False

    def _quantized(self, layer: keras.Layer) -> keras.Layer:
        kind, _ = QUANTIZED[type(layer)]
        config = layer.get_config() | {"input_step": self._input_step(layer)}
        return _copy(layer, kind, config=config, weights=clipped(self._plan, layer))

    def _input_step(self, layer: keras.Layer) -> float | None:
        """The step of what a layer takes, `None` if its calls differ or training moves it."""
        sources = [node.inputs[0].node for node in self._graph.nodes if node.layer is layer]
        steps = {self._plan.scale(self._names[source]) for source in sources}
        fixed = not self._learn or all(self._scales.fixed(source) is not None for source in sources)
        return steps.pop() if fixed and len(steps) == 1 else None


def clipped(plan: Plan, layer: keras.Layer) -> list[np.ndarray]:
    """The weights of a layer of a lowered model, its kernel cut off where the plan says.

    Raises:
        CalibrationError: the plan has no such kernel.
    """
    if type(layer) not in QUANTIZED:
        return layer.get_weights()
    kernel, *rest = layer.get_weights()
    _, axes = QUANTIZED[type(layer)]
    shape = [side if axis - kernel.ndim in axes else 1 for axis, side in enumerate(kernel.shape)]
    limits = np.float32(plan.kernels.get(layer.name, ()))
    if limits.size != np.prod(shape):
        raise CalibrationError(f"the plan for {plan.model!r} has no kernel {layer.name!r} of this size.")
    bounds = limits.reshape(shape)
    return [np.clip(kernel, -bounds, bounds), *rest]


def _copy(layer: Any, kind: Any = None, *, config: Any = None, weights: Any = None) -> Any:
    """A copy of a layer, its type, config and weights the same where no others are given."""
    copy = (kind or type(layer)).from_config(config or layer.get_config())
    if isinstance(layer, keras.Layer) and layer.weights:
        copy.build(layer.input.shape if not isinstance(layer.input, list) else [t.shape for t in layer.input])
        copy.set_weights(layer.get_weights() if weights is None else weights)
    return copy


def integer_form(model: keras.Model) -> keras.Model:
    """What converters get of a lowered or fake-quantized model: rounded kernels in plain layers, no floor under Log."""
    layers: dict[int, Any] = {}

    def rule(node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if isinstance(node.layer, Log):
            return Log(floor=0.0, name=node.layer.name)(args[0])
        if type(node.layer) not in FLOAT:
            return NotImplemented
        if id(node.layer) not in layers:
            kind, axes = FLOAT[type(node.layer)]
            kernel, *rest = node.layer.get_weights()
            rounded = np.asarray(fake_quantized(keras.ops.convert_to_tensor(kernel), axes))
            layers[id(node.layer)] = _copy(node.layer, kind, config=node.layer.plain_config(), weights=[rounded, *rest])
        return layers[id(node.layer)](*args, **kwargs)

    return rebuild(read(model), rule)


def is_fake_quantized(model: Any) -> bool:
    """Whether the model came from `quantize_aware`."""
    return any(isinstance(layer, FakeQuant) for layer in getattr(model, "layers", ()))

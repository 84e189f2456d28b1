"""Putting a plan into a lowered model: every kernel and tensor that int8 rounds goes through fake quantization."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import tree

from keras_yolo_backbones.errors import CalibrationError, GraphError
from keras_yolo_backbones.fragile import call_number, maker_of
from keras_yolo_backbones.graph.copies import OnePerLayer, copied
from keras_yolo_backbones.graph.ir import Graph, Node, Value
from keras_yolo_backbones.graph.read import read
from keras_yolo_backbones.graph.rewrite import rebuild
from keras_yolo_backbones.quantization.keeping import float_nodes
from keras_yolo_backbones.quantization.kernels import QUANTIZED
from keras_yolo_backbones.quantization.layers import Converted, FakeQuant
from keras_yolo_backbones.quantization.lower import KERNELS, tensor_names
from keras_yolo_backbones.quantization.ranges import Plan
from keras_yolo_backbones.quantization.scales import Scales, carried, is_symmetric
from keras_yolo_backbones.quantization.simulated import (
    SIMULATED,
    RoundedAdd,
    RoundedAveragePooling2D,
    RoundedMatMul,
)


def apply(
    plan: Plan,
    primitive: keras.Model,
    images: tuple[float, float],
    *,
    learn_ranges: bool = False,
    keep_float: Sequence[str] = (),
) -> keras.Model:
    """Put a plan into a lowered model.

    Args:
        plan: made for this model.
        primitive: from `lower`.
        images: the smallest and the largest value that an image can hold.
        learn_ranges: whether ranges are trainable.
        keep_float: layers that are computed in float, see `float_nodes`.

    Raises:
        ArgumentError: `keep_float` names a layer that the model lacks.
        CalibrationError: the plan lacks a tensor or kernel of the model.
    """
    graph = read(primitive)
    scales = Scales(graph, images)
    floats = float_nodes(graph, scales, keep_float)
    aware = rebuild(graph, _FakeQuantization(graph, scales, plan, learn_ranges, floats))
    if not isinstance(aware.output, dict):
        _name_outputs(aware)
    return aware


def _name_outputs(aware: keras.Model) -> None:
    """Let the layers that round outputs know what those are called: a saved model forgets all names but its layers'."""
    for tensor, name in zip(aware.outputs, aware.output_names, strict=True):
        if isinstance(layer := maker_of(tensor), FakeQuant):
            layer.outputs[str(call_number(tensor))] = name


class _FakeQuantization:
    """The rule."""

    def __init__(self, graph: Graph, scales: Scales, plan: Plan, learn_ranges: bool, floats: set[Node]) -> None:
        self._graph, self._scales, self._plan, self._learn = graph, scales, plan, learn_ranges
        self._floats, self._returned = floats, set(tree.flatten(graph.outputs))
        self._symmetric = is_symmetric(plan.ranges.values())
        self._names = tensor_names(graph)
        self._once = OnePerLayer()
        self._quants: dict[str, FakeQuant] = {}
        self._raw: dict[Value, Any] = {}
        self._converted: dict[tuple[Value, str], Any] = {}

    def __call__(self, node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        converts = iter(self._scales.converts(node))

        def enter(old: Any, new: Any) -> Any:
            return self._entering(old, new, node, next(converts)) if isinstance(old, Value) else new

        args, kwargs = tree.map_structure(enter, (node.args, node.kwargs), (args, kwargs))
        result = self._once(node.layer, lambda: self._made(node))(*args, **kwargs)
        if node in self._floats:
            return self._kept(node, result)
        if self._scales.absorbed(node) or not self._scales.rounds(node):
            return result
        return self._quant(node)(result)

    def _kept(self, node: Node, result: Any) -> Any:
        """Keep the result of a float call; the outputs of the model are rounded to integers even then."""
        tensors = tree.flatten(result)
        values = [Value(node, index) for index in range(len(tensors))]
        self._raw |= dict(zip(values, tensors, strict=True))
        given = [self._to_integer(value, node) if value in self._returned else self._raw[value] for value in values]
        return tree.pack_sequence_as(result, given)

    def _entering(self, value: Value, tensor: Any, node: Node, converts: bool) -> Any:
        """The tensor that `node` is called on: `tensor`, or what it is after a conversion."""
        source = value.node
        if source in self._floats:
            if node in self._floats:
                return self._raw[value]
            return self._to_integer(value, node if converts else source)
        if isinstance(source.layer, keras.layers.InputLayer):
            tensor = self._mark(value, "quant", lambda: self._quant(source)(tensor))
        if node in self._floats and value in carried(node):
            marker = Converted("float32", name=f"{self._label(value)}.to_float")
            return self._mark(value, "float32", lambda: marker(tensor))
        return self._quant(node)(tensor) if converts else tensor

    def _to_integer(self, value: Value, like: Node) -> Any:
        """A float tensor rounded to the scale of `like`."""
        group = self._names[self._scales.group(like)]
        alone = self._scales.group(value.node) is self._scales.group(like)
        name = f"{self._label(value)}.to_int8" + ("" if alone else f".for.{self._names[like]}")
        return self._mark(value, group, lambda: self._quant(like)(Converted("int8", name=name)(self._raw[value])))

    def _mark(self, value: Value, what: str, make: Callable[[], Any]) -> Any:
        """What was made of a tensor before, or is made now."""
        if (value, what) not in self._converted:
            self._converted[value, what] = make()
        return self._converted[value, what]

    def _label(self, value: Value) -> str:
        return self._names[value.node] + (f".{value.index}" if value.index else "")

    def _quant(self, node: Node) -> FakeQuant:
        """The layer that rounds the output of `node`: one for all tensors of its group."""
        name = self._names[self._scales.group(node)]
        if name not in self._quants:
            low, high = self._plan.range(self._names[node])
            learn = self._learn and self._scales.fixed(node) is None
            symmetric = self._symmetric or (self._scales.centred(node) and is_symmetric([(low, high)]))
            self._quants[name] = FakeQuant(low, high, learn=learn, symmetric=symmetric, name=f"{name}.quant")
        return self._quants[name]

    def _made(self, node: Node) -> Any:
        """A copy of the node's layer, with a fake-quantized kernel if it has one."""
        has_kernel = self._has_kernel(node)
        if node in self._floats:
            return copied(node.layer)
        if has_kernel:
            return self._quantized(node.layer)
        kind = SIMULATED.get(type(node.layer))
        if kind and not self._learn and (steps := self._steps(node, kind)):
            return copied(node.layer, kind, **steps)
        return copied(node.layer)

    def _steps(self, node: Node, kind: type) -> dict[str, Any] | None:
        """What a layer of `simulated` has to know of its tensors; `None` if its calls have different ones."""
        nodes = [other for other in self._graph.nodes if other.layer is node.layer]
        given = [self._around(other, kind) for other in nodes]
        return given[0] if all(other == given[0] for other in given) else None

    def _around(self, node: Node, kind: type) -> dict[str, Any]:
        step = self._step(node)
        if kind is RoundedAdd:
            return {"step": step}
        if kind is RoundedAveragePooling2D:
            return {"step": step, "zero_point": self._plan.zero_point(self._names[node])}
        sources = [self._names[value.node] for value in node.inputs]
        inputs = [self._plan.scale(source) for source in sources]
        if kind is RoundedMatMul:
            return {"step": step, "input_steps": inputs, "zero_point": self._plan.zero_point(sources[1])}
        return {"step": step, "input_step": inputs[0]}

    def _step(self, node: Node) -> float:
        """The step that the output of `node` is rounded to; if its operator includes a ReLU, that of the ReLU."""
        relu = self._graph.only_consumer(node) if self._scales.absorbed(node) else None
        return self._plan.scale(self._names[relu or node])

    def _has_kernel(self, node: Node) -> bool:
        if type(node.layer) in QUANTIZED:
            return True
        if isinstance(node.layer, KERNELS):
            raise GraphError(f"layer {node.name!r}: quantization does not know {type(node.layer).__name__}.")
        return False

    def _quantized(self, layer: keras.Layer) -> keras.Layer:
        kind, _ = QUANTIZED[type(layer)]
        nodes = [node for node in self._graph.nodes if node.layer is layer]
        sources = [node.inputs[0].node for node in nodes]
        steps = {
            "input_step": self._one_step({self._plan.scale(self._names[source]) for source in sources}, sources),
            "output_step": self._one_step({self._step(node) for node in nodes}, nodes),
        }
        return copied(layer, kind, weights=planned(self._plan, layer), **steps)

    def _one_step(self, steps: set[float], nodes: list[Node]) -> float | None:
        """The step of all these tensors; `None` if they have different ones or training moves it."""
        fixed = not self._learn or all(self._scales.fixed(node) is not None for node in nodes)
        return steps.pop() if fixed and len(steps) == 1 else None


def planned(plan: Plan, layer: keras.Layer) -> list[np.ndarray]:
    """The weights of a layer of a lowered model: its kernel clipped, its bias shifted as the plan says.

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
    if layer.name in plan.biases:
        rest = [rest[0] + np.float32(plan.biases[layer.name])]
    return [np.clip(kernel, -bounds, bounds), *rest]

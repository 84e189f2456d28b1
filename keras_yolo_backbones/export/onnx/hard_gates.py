"""Hard sigmoid and hard swish in a form that tf2onnx can move Transposes through."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_yolo_backbones.graph.ir import Node
from keras_yolo_backbones.graph.read import read
from keras_yolo_backbones.graph.rewrite import rebuild
from keras_yolo_backbones.quantization.lower import activation_of

_MULTIPLIES = {"hard_sigmoid": False, "hard_swish": True}


class HardGate(keras.layers.Layer):
    """relu6(x + 3) / 6, times x if `multiplies`. No weights.

    Keras adds a number without axes; tf2onnx then gives up all of its work on Transposes. A vector of one it takes.
    """

    def __init__(self, multiplies: bool, **kwargs: Any):
        super().__init__(**kwargs)
        self.multiplies = multiplies

    def call(self, x: Any) -> Any:
        gate = ops.relu6(x + ops.convert_to_tensor([3.0], x.dtype)) * ops.convert_to_tensor([1 / 6], x.dtype)
        return x * gate if self.multiplies else gate

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"multiplies": self.multiplies}


def hard_gates(model: keras.Model) -> keras.Model:
    """The same model with a `HardGate` for each layer that is a hard sigmoid or a hard swish; the numbers stay."""
    graph = read(model)
    found = {node for node in graph.nodes if activation_of(node.layer) in _MULTIPLIES}

    def rule(node: Node, args: tuple[Any, ...], _: dict[str, Any]) -> Any:
        if node not in found:
            return NotImplemented
        multiplies = _MULTIPLIES[activation_of(node.layer) or ""]
        return HardGate(multiplies, name=graph.label(node), dtype=args[0].dtype)(args[0])

    return rebuild(graph, rule) if found else model

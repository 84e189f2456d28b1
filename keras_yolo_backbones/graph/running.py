"""Running a model on a batch, its outputs by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_yolo_backbones.errors import ExportError
from keras_yolo_backbones.graph.ir import Graph, Node, Value
from keras_yolo_backbones.graph.read import takes_training
from keras_yolo_backbones.graph.signature import named_outputs


def require_tensorflow() -> None:
    """Raise `ExportError` unless Keras runs on TensorFlow, which all converters start from."""
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise ExportError(f"exporting needs the TensorFlow backend, not {backend}; set KERAS_BACKEND=tensorflow.")


def run(model: keras.Model, images: Any) -> dict[str, Any]:
    """The model's outputs on a batch by name, as float32 arrays."""
    tensors = named_tensors(model, model(images, training=False))
    return {name: keras.ops.convert_to_numpy(tensor) for name, tensor in tensors.items()}


def named_tensors(model: keras.Model, outputs: Any) -> dict[str, Any]:
    """What a call of `model` returned, by name, as float32."""
    names = list(named_outputs(model))
    tensors = [outputs[name] for name in names] if isinstance(outputs, dict) else keras.tree.flatten(outputs)
    return {name: keras.ops.cast(tensor, "float32") for name, tensor in zip(names, tensors, strict=True)}


def watching(graph: Graph, wanted: Sequence[Value]) -> Callable[[Any], list[Any]]:
    """A function from images to tensors inside of a graph: its own layers are called, nothing is built.

    Args:
        graph: of a model with one input.
        wanted: the tensors.
    """
    needed = {value.node for value in wanted}
    for node in reversed(graph.nodes):
        if node in needed:
            needed |= {value.node for value in node.inputs}
    calls = [(node, _inference(node)) for node in graph.nodes if node in needed]

    def call(images: Any) -> list[Any]:
        found: dict[Value, Any] = {}

        def given(leaf: Any) -> Any:
            return found[leaf] if isinstance(leaf, Value) else leaf

        for node, options in calls:
            if isinstance(node.layer, keras.layers.InputLayer):
                results = keras.ops.cast(images, node.layer.dtype)
            else:
                args, kwargs = keras.tree.map_structure(given, (node.args, node.kwargs | options))
                results = node.layer(*args, **kwargs)
            found |= {Value(node, index): tensor for index, tensor in enumerate(keras.tree.flatten(results))}
        return [found[value] for value in wanted]

    return call


def _inference(node: Node) -> dict[str, Any]:
    """The argument that says that a call is not for training, where there is one."""
    return {"training": False} if takes_training(node.layer) else {}

"""Freezing the lower part of a network for the first epochs on a new task."""

from __future__ import annotations

import keras

from keras_yolo_backbones.arguments import check_model, is_functional
from keras_yolo_backbones.graph.ir import Graph, Node
from keras_yolo_backbones.graph.read import read
from keras_yolo_backbones.graph.select import select


def freeze(model: keras.Model, *, until: str | None = None) -> list[str]:
    """Let training leave layers as they are, their batch norms' statistics too.

        kyb.freeze(backbone)                       # all of it; a neck and head that are built on it still train
        kyb.freeze(detector, until="stage3")       # the stem and the stages up to the third, wherever they are nested
        kyb.unfreeze(detector)

    Compile the model after this, not before.

    Args:
        model: a functional model; changed in place. Layers are shared with the models it is built from and into.
        until: the last part that is frozen, with all that it depends on: a layer, or a stage such as `"stage3"` that
            `pyramid` names. `*` and `?` are wildcards, as in `keep_float`. `None` freezes everything.

    Returns:
        Names of the frozen layers that have weights.

    Raises:
        ArgumentError: `model` is no functional model, or no layer is called so.
    """
    graph = read(model)
    nodes = set(graph.nodes)
    if until is not None:
        called = {node: graph.label(node) for node in graph.nodes if node.inputs}
        if not any(name == until or name.startswith(f"{until}.") for name in called.values()):
            called = {node: node.layer.name for node in called}  # two nested models may have a layer of one name
        nodes = _with_sources(graph, select(called, until, argument="until", where=f"model {model.name!r}"))
    layers = {id(node.layer): node.layer for node in graph.nodes if node in nodes}
    weighted = [layer for layer in layers.values() if getattr(layer, "weights", None)]
    for layer in weighted:
        layer.trainable = False
    return [layer.name for layer in weighted]


def unfreeze(model: keras.Model) -> None:
    """Let training change every layer of `model` again, those of nested models too. Compile the model after this."""
    check_model(model)
    model.trainable = True
    for layer in model.layers:  # under TensorFlow, what is set already is not set again, nor for the layers inside
        if is_functional(layer):
            unfreeze(layer)
        layer.trainable = True


def _with_sources(graph: Graph, nodes: set[Node]) -> set[Node]:
    """`nodes`, and all that they take tensors from, however far back."""
    found = set(nodes)
    for node in reversed(graph.nodes):
        if node in found:
            found |= {value.node for value in node.inputs}
    return found

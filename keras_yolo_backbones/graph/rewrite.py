"""The engine of every pass: rebuild a graph, asking a rule what replaces each call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras import tree

from keras_yolo_backbones.fragile import maker_of
from keras_yolo_backbones.graph.copies import OnePerLayer, give_weights, unbuilt_copy, undrawn
from keras_yolo_backbones.graph.ir import Graph, Node, Value
from keras_yolo_backbones.graph.read import read
from keras_yolo_backbones.provenance import STEM, complete_provenance, provenance_of, write_provenance
from keras_yolo_backbones.sides import carry_sides

Rule = Callable[[Node, tuple[Any, ...], dict[str, Any]], Any]
"""`(node, args, kwargs) -> outputs`: builds what replaces `node`; `NotImplemented` keeps a copy of it."""


def rebuild(graph: Graph, rule: Rule, *, dtype: str | None = None, takes: str | None = None) -> keras.Model:
    """Build a new model, asking `rule` what replaces each call; weights are copied.

    Args:
        graph: from `read`.
        rule: gets the node and its arguments as tensors of the new model.
        dtype: a dtype policy for all copies, instead of their own.
        takes: the dtype of all inputs, instead of their own, and of arrays among arguments that are in float64.
    """
    built: dict[Value, Any] = {}
    made: list[tuple[Any, Any]] = []
    layers = OnePerLayer()

    def copy(node: Node) -> Any:
        return layers(node.layer, lambda: unbuilt_copy(node.layer, dtype=dtype, name=graph.label(node)))

    def new(leaf: Any) -> Any:
        if isinstance(leaf, Value):
            return built[leaf]
        return leaf.astype(takes) if takes and isinstance(leaf, np.ndarray) and leaf.dtype == np.float64 else leaf

    for node in graph.nodes:
        args, kwargs = tree.map_structure(new, (node.args, node.kwargs))
        if isinstance(node.layer, keras.layers.InputLayer):
            entry = node.layer
            results = keras.Input(batch_shape=entry.batch_shape, dtype=takes or entry.dtype, name=entry.name)
        else:
            with _precision_of(node.layer, args):
                if (results := rule(node, args, kwargs)) is NotImplemented:
                    layer = copy(node)
                    with undrawn(layer):
                        results = layer(*args, **kwargs)
        for index, tensor in enumerate(tree.flatten(results)):
            built[Value(node, index)] = tensor
            made.append((node.layer, maker_of(tensor)))
    for old, new_layer in layers.pairs:
        if isinstance(old, keras.Layer):
            give_weights(new_layer, old.get_weights())
    inputs, outputs = tree.map_structure(new, (graph.inputs, graph.outputs))
    model = keras.Model(inputs, outputs, name=graph.name)
    model.output_names = graph.output_names  # Keras would call them after the layers that a rule has made
    _carry_provenance(made)
    for old, new_layer in made:
        carry_sides(old, new_layer)
    complete_provenance(model)
    return model


@contextmanager
def _precision_of(layer: Any, args: tuple[Any, ...]) -> Iterator[None]:
    """Layers that a rule makes compute in the dtype of what they replace, whatever Keras' global policy is now."""
    before = keras.config.dtype_policy()
    kinds = [tensor.dtype for tensor in tree.flatten(args) if isinstance(tensor, keras.KerasTensor)]
    floats = [kind for kind in kinds if "float" in kind]
    keras.config.set_dtype_policy(layer.dtype_policy if isinstance(layer, keras.Layer) else [*floats, before][0])
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _carry_provenance(made: list[tuple[Any, Any]]) -> None:
    """Write on each new layer what is written on the one that it came from.

    Args:
        made: (layer of the old model, layer of the new one that its outputs come from).
    """
    for index, (old, new) in enumerate((old, new) for old, new in made if getattr(new, "weights", None)):
        found = provenance_of([old])
        if found and (provenance_of([new]) is None or new.name == old.name):
            write_provenance(new, found, whole=index < STEM)


def keep(*_: Any) -> Any:
    """The rule that changes nothing."""
    return NotImplemented


def recast(model: keras.Model, dtype: str) -> keras.Model:
    """The same model under another dtype policy, such as `"float32"`; itself if all layers have it."""
    if all(layer.dtype_policy.name == dtype for layer in model.layers):
        return model
    return rebuild(read(model), keep, dtype=dtype)

"""The one engine under every pass: rebuild a graph, asking a rule what to put in place of each call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import tree

from keras_yolo_backbones.errors import GraphError
from keras_yolo_backbones.fragile import maker_of
from keras_yolo_backbones.graph.ir import Graph, Node, Value
from keras_yolo_backbones.graph.read import read
from keras_yolo_backbones.provenance import STEM, complete_provenance, provenance_of, write_provenance

Rule = Callable[[Node, tuple[Any, ...], dict[str, Any]], Any]
"""`(node, args, kwargs) -> outputs`: builds what stands in place of `node`; `NotImplemented` keeps a copy of it."""


def rebuild(
    graph: Graph, rule: Rule, *, outputs: Any = None, name: str | None = None, dtype: str | None = None
) -> keras.Model:
    """Build a new model, asking `rule` what to put in place of each call; weights are copied.

    Args:
        graph: from `read`.
        rule: gets the node and its arguments as tensors of the new model.
        outputs: a structure of `Value` that the new model returns, the graph's own by default.
        name: of the new model, the old one's by default.
        dtype: a dtype policy for all copies in place of their own.
    """
    built: dict[Value, Any] = {}
    made: list[tuple[Any, Any]] = []
    copies = _Copies(graph, dtype)

    def new(leaf: Any) -> Any:
        return built[leaf] if isinstance(leaf, Value) else leaf

    for node in graph.nodes:
        args, kwargs = tree.map_structure(new, (node.args, node.kwargs))
        results = NotImplemented if _is_input(node.layer) else rule(node, args, kwargs)
        if results is NotImplemented:
            results = copies.call(node, args, kwargs)
        for index, tensor in enumerate(tree.flatten(results)):
            built[Value(node, index)] = tensor
            made.append((node.layer, maker_of(tensor)))
    copies.copy_weights()
    wanted = graph.outputs if outputs is None else outputs
    model = keras.Model(tree.map_structure(new, graph.inputs), tree.map_structure(new, wanted), name=name or graph.name)
    _carry_provenance(made)
    complete_provenance(model)
    return model


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
    """The same model under another dtype policy, such as `"float32"`; itself if no layer has another one."""
    if all(layer.dtype_policy.name == dtype for layer in model.layers):
        return model
    return rebuild(read(model), keep, dtype=dtype)


class _Copies:
    """Copies of layers, one for each original."""

    def __init__(self, graph: Graph, dtype: str | None) -> None:
        self._graph = graph
        self._dtype = dtype
        self._of: dict[int, tuple[Any, Any]] = {}

    def call(self, node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if _is_input(node.layer):
            layer = node.layer
            return keras.Input(batch_shape=layer.batch_shape, dtype=layer.dtype, name=layer.name)
        if id(node.layer) not in self._of:
            self._of[id(node.layer)] = node.layer, self._copy(node)
        return self._of[id(node.layer)][1](*args, **kwargs)

    def copy_weights(self) -> None:
        for old, new in self._of.values():
            if isinstance(old, keras.Layer):
                new.set_weights(old.get_weights())

    def _copy(self, node: Node) -> Any:
        try:
            config = node.layer.get_config() | {"name": self._graph.label(node)}
            if self._dtype is not None and "dtype" in config:
                config["dtype"] = self._dtype
            return type(node.layer).from_config(config)
        except Exception as error:
            reason = " ".join(str(error).split())[:160]
            raise GraphError(
                f"layer {node.name!r} ({type(node.layer).__name__}) cannot be rebuilt from its config; a layer of your "
                f"own needs a get_config() with all arguments of its __init__. Keras says: {reason}"
            ) from error


def _is_input(layer: Any) -> bool:
    return isinstance(layer, keras.layers.InputLayer)

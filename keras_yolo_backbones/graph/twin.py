"""The same network in tf_keras, which is what tensorflow-model-optimization works on."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import keras
from keras import tree

from keras_yolo_backbones.errors import GraphError
from keras_yolo_backbones.graph.copies import OnePerLayer
from keras_yolo_backbones.graph.ir import Graph, Node, Value
from keras_yolo_backbones.graph.read import functional, read
from keras_yolo_backbones.graph.rewrite import rebuild
from keras_yolo_backbones.provenance import get_provenance, set_provenance

_ACTIVATIONS = {"silu": "swish"}
"""Keras 3's name -> tf_keras' name, the one that tensorflow-model-optimization knows."""

_ARGUMENTS = {"LeakyReLU": {"negative_slope": "alpha"}}
"""Layer -> arguments that have a different name there."""

_LEFT_OUT = ("_initializer", "_regularizer", "_constraint")


def to_tf_keras(model: keras.Model) -> Any:
    """A `tf_keras.Model` with the same layers, names, weights and outputs.

    For the tools of tensorflow-model-optimization: pruning, clustering, its own quantization. Initializers,
    regularizers and constraints are dropped. A hard sigmoid or hard swish becomes a ReLU6 between two Rescaling layers.

    Args:
        model: a functional Keras 3 model; left untouched.

    Returns:
        A functional `tf_keras.Model`, float32, outputs under the same names.

    Raises:
        ArgumentError: `model` is no functional model.
        GraphError: a layer that tf_keras lacks, named.
    """
    import tf_keras

    graph = _without_hard_gates(read(functional(model)))
    twin = tf_keras.Model(*build_twin(graph), name=graph.name)
    set_provenance(twin, get_provenance(model))
    return twin


def _without_hard_gates(graph: Graph) -> Graph:
    """Hard sigmoid and hard swish in layers that tf_keras has too: relu6(x + 3) / 6, and x times that."""

    found = {
        node: node.layer.activation.__name__ for node in graph.nodes if isinstance(node.layer, keras.layers.Activation)
    }
    if not {"hard_sigmoid", "hard_silu"} & set(found.values()):
        return graph

    def rule(node: Node, args: tuple[Any, ...], _: dict[str, Any]) -> Any:
        function, name = found.get(node), graph.label(node)
        if function not in ("hard_sigmoid", "hard_silu"):
            return NotImplemented
        gate = keras.layers.Rescaling(1.0, 3.0, name=f"{name}.plus")(args[0])
        gate = keras.layers.ReLU(max_value=6.0, name=f"{name}.relu6")(gate)
        if function == "hard_sigmoid":
            return keras.layers.Rescaling(1 / 6, name=name)(gate)
        gate = keras.layers.Rescaling(1 / 6, name=f"{name}.gate")(gate)
        return keras.layers.Multiply(name=name)([args[0], gate])

    return read(rebuild(graph, rule))


def build_twin(
    graph: Graph,
    *,
    wrap: Callable[[Any, Node], Any] = lambda layer, _: layer,
    enter: Callable[[Node, Value, Any], Any] = lambda _node, _value, tensor: tensor,
    weights: Callable[[keras.Layer], list[Any]] = keras.Layer.get_weights,
) -> tuple[Any, Any]:
    """Inputs and outputs of a functional tf_keras model, in the structures of the graph's own.

    Args:
        graph: from `read`.
        wrap: `(tf_keras layer, node) -> layer` that is called in its place.
        enter: `(node, value, tensor) -> tensor` that the twin of `node` is called on for `value`.
        weights: of a layer, for its twin.
    """
    import tf_keras

    built: dict[Value, Any] = {}
    inner, wrapped = OnePerLayer(), OnePerLayer()
    for node in graph.nodes:
        if isinstance(node.layer, keras.layers.InputLayer):
            tensor = tf_keras.Input(node.layer.batch_shape[1:], node.layer.batch_shape[0], name=node.layer.name)
        else:
            plain = inner(node.layer, functools.partial(_translated, node, graph.label(node), tf_keras))
            layer = wrapped(node.layer, functools.partial(wrap, plain, node))
            tensor = layer(*_arguments(node, built, enter))
        built[Value(node, 0)] = tensor
    for original, twin in inner.pairs:
        twin.set_weights(weights(original))
    return tuple(tree.map_structure(lambda value: built[value], part) for part in (graph.inputs, graph.outputs))


def _arguments(node: Node, built: dict[Value, Any], enter: Callable[[Node, Value, Any], Any]) -> tuple[Any, ...]:
    given = {key: value for key, value in node.kwargs.items() if value is not None}
    if given or len(node.args) != 1:
        raise GraphError(
            f"layer {node.name!r} is called with {sorted(given) or 'several arguments'}; no twin for that."
        )

    return (tree.map_structure(lambda value: enter(node, value, built[value]), node.args[0]),)


def _translated(node: Node, name: str, tf_keras: Any) -> Any:
    """The layer of tf_keras that does what `node.layer` does, without its weights."""
    layer = node.layer
    kind = type(layer).__name__
    if type(layer).__module__.split(".")[0] != "keras" or not isinstance(layer, keras.Layer):
        raise _no_twin(node, "it is no layer of Keras' own")
    twin = getattr(tf_keras.layers, kind, None)
    if twin is None:
        raise _no_twin(node, "tf_keras has no such layer")
    if layer.get_config().get("activation") == "hard_sigmoid":
        raise _no_twin(node, "tf_keras computes a different function under the name of hard_sigmoid")
    known = {name for base in twin.__mro__ for name in inspect.signature(base.__init__).parameters}
    renamed = _ARGUMENTS.get(kind, {})
    config = {renamed.get(key, key): value for key, value in layer.get_config().items() if not key.endswith(_LEFT_OUT)}
    config = {key: value for key, value in config.items() if key in known} | {"name": name, "dtype": "float32"}
    if "activation" in config:
        config["activation"] = _ACTIVATIONS.get(config["activation"], config["activation"])
    try:
        return twin.from_config(config)
    except (TypeError, ValueError) as error:
        raise _no_twin(node, str(error).splitlines()[0]) from error


def _no_twin(node: Node, reason: str) -> GraphError:
    return GraphError(
        f"layer {node.name!r} ({type(node.layer).__name__}) has no twin in tf_keras: {reason}. "
        'Quantize such a model with engine="keras".'
    )

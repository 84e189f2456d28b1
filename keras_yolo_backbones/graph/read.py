"""Reading a functional model as a graph.

The graph is read from the model's public config, the same that a `.keras` file holds. Models nested in the model are
read through, so that a pass sees every layer of backbone, neck and head.
"""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import keras
from keras import tree

from keras_yolo_backbones.errors import GraphError
from keras_yolo_backbones.graph.ir import Graph, Node, Value


def read(model: keras.Model) -> Graph:
    """The graph of a functional or sequential model.

    Raises:
        GraphError: the model is subclassed or not built, or holds a layer that cannot give its config.
    """
    nodes: list[Node] = []
    inputs, outputs = _read(functional(model), nodes, prefix="", arguments=None, training=None)
    return Graph(model.name, nodes, inputs, outputs)


@dataclasses.dataclass(frozen=True)
class _Reference:
    """A tensor as a config names it: output `tensor` of call `call` of the layer `layer`."""

    layer: str
    call: int
    tensor: int


def _read(
    model: keras.Model, nodes: list[Node], *, prefix: str, arguments: Any, training: bool | None
) -> tuple[Any, Any]:
    """Append the calls of `model` to `nodes`; returns its inputs and outputs as structures of `Value`.

    `arguments` and `training` are what an outer model calls this one with; `arguments` is `None` for the outermost.
    """
    config = _config(model)
    operations = {operation.name: operation for operation in model.operations}
    calls: dict[tuple[str, int], Node | list[Value]] = {}

    def value(reference: _Reference) -> Value:
        call = calls[reference.layer, reference.call]
        return Value(call, reference.tensor) if isinstance(call, Node) else call[reference.tensor]

    entries = _endpoints(config["input_layers"])
    given = tree.flatten(arguments) if arguments is not None else None
    for position, entry in enumerate(tree.flatten(entries)):
        if given is not None:
            calls[entry.layer, entry.call] = [given[position]]
        else:
            nodes.append(Node(operations[entry.layer], (), {}, entry.layer))
            calls[entry.layer, entry.call] = nodes[-1]

    for layer, call, args, kwargs in _in_order(config, set(calls), model.name):
        args, kwargs = tree.map_structure(
            lambda leaf: value(leaf) if isinstance(leaf, _Reference) else leaf, (args, kwargs)
        )
        operation = operations[layer]
        if training is not None and kwargs.get("training") is None and _takes_training(operation):
            kwargs["training"] = training
        name = f"{prefix}{layer}"
        if _is_functional(operation):
            inner = functional(operation)
            _, outputs = _read(
                inner, nodes, prefix=f"{name}.", arguments=args, training=kwargs.get("training", training)
            )
            calls[layer, call] = tree.flatten(outputs)
        else:
            nodes.append(Node(operation, tuple(args), kwargs, name))
            calls[layer, call] = nodes[-1]

    def returned(reference: _Reference) -> Value:
        # Among outputs, and only there, Keras counts a functional submodel's calls from 1.
        shift = isinstance(operations[reference.layer], keras.Model) and not _is_sequential(operations[reference.layer])
        return value(dataclasses.replace(reference, call=reference.call - shift))

    return tree.map_structure(value, entries), tree.map_structure(returned, _endpoints(config["output_layers"]))


def _in_order(config: dict[str, Any], known: set[tuple[str, int]], name: str) -> list[tuple[str, int, Any, Any]]:
    """All calls as (layer, number of the call, args, kwargs), each after those that it takes tensors from."""
    waiting = [
        (layer["name"], number, _decode(call["args"]), _decode(call["kwargs"]))
        for layer in config["layers"]
        for number, call in enumerate(layer["inbound_nodes"])
    ]
    ordered: list[tuple[str, int, Any, Any]] = []
    known = set(known)
    while waiting:
        blocked = []
        for entry in waiting:
            leaves = [leaf for leaf in tree.flatten(entry[2:]) if isinstance(leaf, _Reference)]
            if all((leaf.layer, leaf.call) in known for leaf in leaves):
                ordered.append(entry)
                known.add(entry[:2])
            else:
                blocked.append(entry)
        if len(blocked) == len(waiting):
            raise GraphError(f"model {name!r}: the inputs of layer {blocked[0][0]!r} are no part of the model.")
        waiting = blocked
    return ordered


def _is_sequential(operation: Any) -> bool:
    return isinstance(operation, keras.Sequential)


def _is_functional(operation: Any) -> bool:
    return _is_sequential(operation) or (isinstance(operation, keras.Model) and hasattr(operation, "operations"))


def functional(model: keras.Model) -> keras.Model:
    """`model` in functional form: itself, or the same layers as a functional model if it is sequential.

    Raises:
        GraphError: the model is subclassed or not built.
    """
    if not _is_functional(model):
        raise GraphError(
            f"{getattr(model, 'name', model)!r} is a {type(model).__name__}, no functional model; "
            "build it as keras.Model(inputs, outputs)."
        )
    if not isinstance(model, keras.Sequential):
        return model
    if not model.built or not model.inputs:
        raise GraphError(f"{model.name!r} is not built yet; call it once or give it an input shape.")
    return keras.Model(model.inputs[0], model.outputs[0], name=model.name)


def _config(model: keras.Model) -> dict[str, Any]:
    try:
        return model.get_config()
    except Exception as error:
        raise GraphError(
            f"model {model.name!r} holds a layer that cannot give its config: {error} "
            "Implement get_config() in your own layers."
        ) from error


def _takes_training(operation: Any) -> bool:
    return isinstance(operation, keras.Layer) and "training" in inspect.signature(operation.call).parameters


def _endpoints(config: Any) -> Any:
    """The config's input or output layers with a `_Reference` in place of each [name, call, tensor]."""
    if isinstance(config, dict):
        return {name: _endpoints(entry) for name, entry in config.items()}
    if len(config) == 3 and isinstance(config[0], str):
        return _Reference(*config)
    return [_endpoints(entry) for entry in config]


def _decode(config: Any) -> Any:
    """Call arguments as a config holds them, with a `_Reference` in place of each tensor."""
    if isinstance(config, (list, tuple)):
        entries = [_decode(entry) for entry in config]
        # Configs hold tuples as lists; indexing is the one call that needs them back.
        return tuple(entries) if any(isinstance(entry, slice) for entry in entries) else entries
    if not isinstance(config, dict):
        return config
    kind = config.get("class_name")
    if kind == "__keras_tensor__":
        return _Reference(*config["config"]["keras_history"])
    if kind is not None:
        return keras.saving.deserialize_keras_object(config)
    return {name: _decode(entry) for name, entry in config.items()}

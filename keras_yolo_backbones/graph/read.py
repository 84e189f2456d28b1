"""Reading a functional model as a graph.

The graph is read from the live model: from the calls that Keras has noted on its layers. So it does not matter whether
the model can give its config. Models nested in the model are read through, so that a pass sees every layer of backbone,
neck and head.
"""

from __future__ import annotations

import inspect
from typing import Any

import keras
from keras import tree

from keras_yolo_backbones.arguments import check_model, is_functional
from keras_yolo_backbones.errors import GraphError
from keras_yolo_backbones.fragile import call_number, call_of, calls_of, maker_of
from keras_yolo_backbones.graph.copies import is_known
from keras_yolo_backbones.graph.ir import Graph, Node, Value


def read(model: keras.Model) -> Graph:
    """The graph of a functional or sequential model, or of a subclass of them that keeps their `call`.

    Raises:
        ArgumentError: the model is not functional, or not built.
        GraphError: it has a `call` of its own.
    """
    nodes: list[Node] = []
    own = functional(model)
    inputs, outputs = _read(own, nodes, prefix="", arguments=None, training=None)
    return Graph(model.name, nodes, inputs, outputs, output_names(own))


def output_names(model: keras.Model) -> list[str]:
    """What the outputs of a functional model are called, in flat order: after the layers that made them; or, where such
    a layer takes the place of others, as it was told (`outputs`, number of its call -> name)."""
    names = list(model.output_names)
    for place, tensor in enumerate(model.outputs):
        layer = maker_of(tensor)
        if is_known(layer) and isinstance(told := getattr(layer, "outputs", None), dict):
            names[place] = told.get(str(call_number(tensor)), names[place])
    return names


def _read(
    model: keras.Model, nodes: list[Node], *, prefix: str, arguments: Any, training: bool | None
) -> tuple[Any, Any]:
    """Append the calls of `model` to `nodes`; returns its inputs and outputs as structures of `Value`.

    `arguments` and `training` are what an outer model calls this one with; `arguments` is `None` for the outermost.
    """
    values: dict[int, Value] = {}

    def new(leaf: Any) -> Any:
        return values[id(leaf)] if isinstance(leaf, keras.KerasTensor) else leaf

    given = None if arguments is None else _given(model, arguments)
    for position, tensor in enumerate(model.inputs):
        if given is not None:
            values[id(tensor)] = given[position]
        else:
            layer = maker_of(tensor)
            nodes.append(Node(layer, (), {}, layer.name))
            values[id(tensor)] = Value(nodes[-1], 0)

    for call in _in_order(model):
        operation, arguments = call.operation, call.arguments
        args, kwargs = tree.map_structure(new, (tuple(arguments.args), dict(arguments.kwargs)))
        if training is not None and kwargs.get("training") is None and takes_training(operation):
            kwargs["training"] = training
        name = f"{prefix}{operation.name}"
        if is_functional(operation):
            inner = functional(operation)
            passed, training_inside = args[0] if args else kwargs["inputs"], kwargs.get("training", training)
            _, outputs = _read(inner, nodes, prefix=f"{name}.", arguments=passed, training=training_inside)
            results = tree.flatten(outputs)
        else:
            nodes.append(Node(operation, args, kwargs, name))
            results = [Value(nodes[-1], index) for index in range(len(call.outputs))]
        values |= {id(tensor): value for tensor, value in zip(call.outputs, results, strict=True)}

    return tree.map_structure(new, model.input), tree.map_structure(new, model.output)


def _given(model: keras.Model, arguments: Any) -> list[Value]:
    """What a nested model is called with, in the order of its inputs; a dict goes by their names, as in Keras."""
    if isinstance(arguments, dict) and not isinstance(model.input, dict):
        return [arguments[tensor.name] for tensor in model.inputs]
    return tree.flatten(arguments)


def _in_order(model: keras.Model) -> list[Any]:
    """Keras' notes of all calls that lead from the model's inputs to its outputs, each after those it depends on."""
    inputs = {id(tensor) for tensor in model.inputs}
    mine: set[int] = set()
    unseen = list(model.outputs)
    while unseen:
        tensor = unseen.pop()
        call = None if id(tensor) in inputs else call_of(tensor)
        if call is not None and id(call) not in mine:
            mine.add(id(call))
            unseen.extend(call.arguments.keras_tensors)

    waiting = [call for operation in model.operations for call in calls_of(operation) if id(call) in mine]
    known, ordered = set(inputs), []
    while waiting:
        blocked = []
        for call in waiting:
            if all(id(tensor) in known for tensor in call.arguments.keras_tensors):
                ordered.append(call)
                known |= {id(tensor) for tensor in call.outputs}
            else:
                blocked.append(call)
        if len(blocked) == len(waiting):
            name = blocked[0].operation.name
            raise GraphError(f"model {model.name!r}: the inputs of layer {name!r} are no part of the model.")
        waiting = blocked
    return ordered


def _is_sequential(operation: Any) -> bool:
    return isinstance(operation, keras.Sequential)


def functional(model: keras.Model) -> keras.Model:
    """`model` in functional form: itself, or the same layers as a functional model if it is sequential.

    A subclass that builds itself as a functional model (`super().__init__(inputs=…, outputs=…)`) is one.

    Raises:
        ArgumentError: the model is not functional, or not built.
        GraphError: it has a `call` of its own.
    """
    check_model(model)
    if type(model).call is not _stock(model).call:
        raise GraphError(
            f"{model.name!r} is a {type(model).__name__} with a call() of its own, which may differ from its graph; "
            "pass keras.Model(model.inputs, model.outputs) for what the graph says."
        )
    if not _is_sequential(model):
        return model
    return keras.Model(model.inputs[0], model.outputs[0], name=model.name)


def _stock(model: keras.Model) -> Any:
    """The class of Keras' own that a functional or sequential model is, or is derived from."""
    return next(kind for kind in type(model).__mro__ if kind.__module__.split(".")[0] == "keras")


def takes_training(operation: Any) -> bool:
    """Whether a layer's call can be told that it is for training."""
    return isinstance(operation, keras.Layer) and "training" in inspect.signature(operation.call).parameters

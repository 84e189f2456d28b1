"""What an ONNX graph says of its convolutions: which module each belongs to, and which activation follows it."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Mapping
from typing import Any

from keras_yolo_backbones.weights.readers.budget import Budget

_PARTS = ("weight", "bias")
_OPERATORS = {"Relu": "relu", "HardSwish": "hard_swish", "Mish": "mish", "Gelu": "gelu", "Swish": "silu"}
_GATES = {"Sigmoid": "silu", "HardSigmoid": "hard_swish", "Tanh": "mish", "Erf": "gelu"}
"""What a tensor is multiplied with, made of the tensor itself -> the activation."""

_MAX_STEPS = 6
_MAX_USERS = 16


def names_of(graph: Any) -> dict[str, list[str]]:
    """Initializer -> the original's names for it, of those that have others than their own.

    An exporter that renames a kernel still calls the node by its module: "/model.0/conv/Conv". And it keeps equal
    initializers once: the others are what an Identity makes of it.
    """
    origin: dict[str, str] = {}
    names: dict[str, list[str]] = {}
    for node in graph.node:
        if node.op_type == "Identity" and node.input and node.output:
            value, copy = node.input[0], node.output[0]
            origin[copy] = origin.get(value, value)
            if is_original(copy):
                names.setdefault(origin[copy], []).append(copy)
        elif node.op_type in ("Conv", "ConvTranspose") and node.name.startswith("/"):
            module = _module(node.name.strip("/").split("/")[:-1])
            if not module:  # a convolution of no module, as "/Conv"
                continue
            for value, part in zip(node.input[1:3], _PARTS, strict=False):
                if not is_original(value):
                    names.setdefault(origin.get(value, value), []).append(f"{module}.{part}")
    return {value: [value, *found] if is_original(value) else found for value, found in names.items()}


def is_original(name: str) -> bool:
    """Whether a value is called as in a state dict."""
    return "." in name and ":" not in name and "/" not in name


def _module(scopes: list[str]) -> str:
    """The module's path. A list that is called as a whole is in the scopes twice: "cv2", "cv2.0"."""
    inner = itertools.pairwise([*scopes, ""])
    return ".".join(scope for scope, next_ in inner if not next_.startswith(f"{scope}."))


def activations(
    graph: Any, names: Mapping[str, list[str]], scalars: Mapping[str, float], budget: Budget
) -> dict[str, str]:
    """Path of the module that a convolution is in -> name of the activation after it, "linear" if there is none.

    Args:
        graph: of the ONNX model.
        names: what `names_of` found.
        scalars: its initializers that are one number.
        budget: of the file.
    """
    users: dict[str, list[Any]] = {}
    for node in graph.node:
        for value in set(node.input):
            users.setdefault(value, []).append(node)
    limits = {**scalars, **_constants(graph)}
    found = {}
    for node in graph.node:
        if node.op_type != "Conv" or len(node.input) < 2:
            continue
        keys = names.get(node.input[1], [node.input[1]])
        budget.spend(len(keys))
        for key in keys:
            module = key.removesuffix(".weight").rpartition(".")[0]
            if key.endswith(".weight") and module:
                found[module] = _after(node.output[0], users, limits)
    return found


def _after(value: str, users: Mapping[str, list[Any]], limits: Mapping[str, float]) -> str:
    following = users.get(value, [])[:_MAX_USERS]
    if [node.op_type for node in following] == ["BatchNormalization"]:
        value = following[0].output[0]
        following = users.get(value, [])[:_MAX_USERS]
    for node in following:
        if node.op_type in _OPERATORS:
            return _OPERATORS[node.op_type]
        if node.op_type == "LeakyRelu":
            slope = _attribute(node, "alpha", 0.01)
            return "leaky_relu" if abs(slope - 0.1) < 1e-6 else f"LeakyRelu({slope:g})"
        if node.op_type == "Clip":
            return _clip(node, limits)
    return _gated(value, following, users)


def _gated(value: str, following: list[Any], users: Mapping[str, list[Any]]) -> str:
    """The activation if a chain of operators leads from `value` to its own factor."""
    for start in following:
        node, gate = start, ""
        for _ in range(_MAX_STEPS):
            if node.op_type == "Mul" and value in node.input and gate:
                return gate
            gate = _GATES.get(node.op_type, gate)
            inner = users.get(node.output[0], []) if node.output else []
            if len(inner) != 1:
                break
            node = inner[0]
    return "linear"


def _clip(node: Any, limits: Mapping[str, float]) -> str:
    bounds = [limits.get(name) for name in node.input[1:3]] or [
        _attribute(node, "min", None),
        _attribute(node, "max", None),
    ]
    return "relu6" if bounds == [0.0, 6.0] else f"Clip({bounds[0]}, {bounds[-1]})"


def _attribute(node: Any, name: str, default: Any) -> Any:
    return next((attribute.f for attribute in node.attribute if attribute.name == name), default)


def _constants(graph: Any) -> dict[str, float]:
    """The constants of the graph that are one float32 number."""
    found = {}
    for node in graph.node:
        if node.op_type == "Constant" and node.output:
            for attribute in node.attribute:
                tensor = attribute.t
                if attribute.name == "value" and tensor.data_type == 1 and len(tensor.raw_data) == 4:
                    (found[node.output[0]],) = struct.unpack("<f", tensor.raw_data)
    return found

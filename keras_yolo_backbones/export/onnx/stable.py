"""The same bytes for the same model: what tf2onnx numbers by chance in an ONNX file, named by place."""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Iterable
from typing import Any

_COUNTED = re.compile(r"__\d+")
_MERGED = ("Cast", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
"""Of these, where several do the same to the same tensor, tf2onnx keeps any one, with its name."""


def stabilize(graph: Any) -> None:
    """Name nodes, tensors and constants of an `onnx.GraphProto` by where they are, in place.

    tf2onnx numbers what it adds by a counter of the whole process, and lets constants of equal value share the name of
    any one of them. Names that the model gave stay, but those of `_MERGED`.
    """
    if any(attribute.HasField("g") for node in graph.node for attribute in node.attribute):
        return  # names within branches and loops refer to those outside
    graph.doc_string = ""  # says the name of a function that is numbered too
    names = {value.name: value.name for value in (*graph.input, *graph.output)}
    nodes, tensors = _Free(()), _Free(names)
    constants = {constant.name: copy.deepcopy(constant) for constant in graph.initializer}
    used = {name: constant for name, constant in constants.items() if name in names}
    for node in graph.node:
        merged = node.op_type in _MERGED
        node.name = nodes.name(node.op_type if merged else _COUNTED.sub("", node.name))
        for position, name in enumerate(node.input):
            if name in constants and name not in used:
                names[name] = tensors.name(f"{node.name}.{position}")
                used[name] = constants[name]
        for name in filter(None, node.output):
            if name not in names:
                names[name] = tensors.name(f"{node.name}:0" if merged else _COUNTED.sub("", name))
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in (*graph.value_info, *used.values()):
        value.name = names.get(value.name, value.name)
    del graph.initializer[:]
    graph.initializer.extend(used.values())
    graph.value_info.sort(key=lambda value: value.name)


class _Free:
    """Names that nothing has yet."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)

    def name(self, wanted: str) -> str:
        candidates = itertools.chain([wanted], (f"{wanted}_{count}" for count in itertools.count(1)))
        found = next(name for name in candidates if name not in self._taken)
        self._taken.add(found)
        return found

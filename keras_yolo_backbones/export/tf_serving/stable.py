"""The same bytes for the same model: what TensorFlow numbers by chance in a SavedModel, numbered by place.

TensorFlow names functions by a counter of the whole process and writes maps and lists of functions in no fixed order. A
file that can be made again byte by byte can be compared, cached and signed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

_COUNTED = re.compile(r"_\d+$")
_PLACEHOLDER = re.compile(r"_\d+(?=___redundant_placeholder)")
"""A counter within the names of arguments that a loop's condition does not use."""

_GRADIENT = "_gradient_op_type"
"""An attribute that names the process' own registry of gradients; nothing reads it in a file."""


def stabilize(folder: Path) -> bool:
    """Write `saved_model.pb` anew, with functions named and sorted by where they are first called.

    `fingerprint.pb` holds a random number and is removed; loaders do without it.

    Args:
        folder: a SavedModel.

    Returns:
        Whether XLA must compile one of its functions.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    path = folder / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    for graph in saved.meta_graphs:
        _rename(graph, _names(graph.graph_def))
        graph.graph_def.library.function.sort(key=lambda function: function.signature.name)
        graph.graph_def.library.gradient.sort(key=lambda gradient: gradient.function_name)
    path.write_bytes(saved.SerializeToString(deterministic=True))
    (folder / "fingerprint.pb").unlink(missing_ok=True)
    functions = (function for graph in saved.meta_graphs for function in graph.graph_def.library.function)
    return any(function.attr["_XlaMustCompile"].b for function in functions)


def _names(graph: Any) -> dict[str, str]:
    """Old name -> new name of every function, in the order in which calls lead to them."""
    functions = {function.signature.name: function for function in graph.library.function}
    found: dict[str, str] = {}

    def visit(nodes: Iterable[Any]) -> None:
        for node in nodes:
            for name in _called(node):
                if name in functions and name not in found:
                    found[name] = f"{_COUNTED.sub('', name)}_{len(found)}"
                    visit(functions[name].node_def)

    visit(graph.node)
    # Functions that no call leads to are sorted by name and size.
    rest = {name: function for name, function in functions.items() if name not in found}
    for name in sorted(rest, key=lambda name: (_COUNTED.sub("", name), len(rest[name].node_def))):
        found[name] = f"{_COUNTED.sub('', name)}_{len(found)}"
        visit(rest[name].node_def)
    return found


def _called(node: Any) -> Iterator[str]:
    """The functions that a node calls, in the order of its attributes' names."""
    yield node.op
    for key in sorted(node.attr):
        yield node.attr[key].func.name
        yield from (function.name for function in node.attr[key].list.func)


def _rename(message: Any, names: dict[str, str]) -> None:
    """Replace every string and every key in a message that is the name of a function."""
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            for old in [key for key in value if key in names or key == _GRADIENT]:
                if old in names:
                    value[names[old]].CopyFrom(value[old])
                del value[old]
            if field.message_type.fields_by_name["value"].message_type is not None:
                for key in value:
                    _rename(value[key], names)
        elif field.message_type is not None:
            for part in value if field.is_repeated else [value]:
                _rename(part, names)
        elif field.type == field.TYPE_STRING:
            if field.is_repeated:
                value[:] = [_new(text, names) for text in value]
            else:
                setattr(message, field.name, _new(value, names))


def _new(text: str, names: dict[str, str]) -> str:
    return names.get(text) or _PLACEHOLDER.sub("", text)

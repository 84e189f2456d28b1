"""Changing an ONNX graph: who makes a tensor, who takes it, and constants as arrays."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np


class Editing:
    """An `onnx.GraphProto` while it is changed; `finish` writes it back in order, without what nobody takes.

    Args:
        graph: changed in place by `finish`.

    Attributes:
        returned: names of the graph's outputs.
    """

    def __init__(self, graph: Any) -> None:
        from onnx import numpy_helper

        self._graph = graph
        nodes = list(graph.node)
        self._constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self._entries = {entry.name for entry in graph.input}
        self.returned = [output.name for output in graph.output]
        self._makers: dict[str, Any] = {name: node for node in nodes for name in node.output}
        self._takers: dict[str, list[Any]] = {}
        for node in nodes:
            self._note(node)

    def maker(self, name: str) -> Any:
        """The operator that makes a tensor; `None` for inputs and constants."""
        return self._makers.get(name)

    def takers(self, name: str) -> list[Any]:
        """The operators that take a tensor, each once."""
        return [node for node in self._takers.get(name, []) if name in node.input]

    def only_taker(self, name: str) -> Any:
        """The one operator that takes a tensor, `None` if there are others or the graph returns it."""
        takers = self.takers(name)
        return takers[0] if len(takers) == 1 and name not in self.returned else None

    def constant(self, name: str) -> np.ndarray | None:
        """The value of a constant; `None` for other tensors."""
        return self._constants.get(name)

    def add_constant(self, name: str, value: np.ndarray) -> str:
        """A new constant; returns the name that it was given, or that of an equal one of this name."""
        unique, count = name, 0
        while unique in self._constants and not _same(self._constants[unique], value):
            count += 1
            unique = f"{name}.{count}"
        self._constants[unique] = value
        return unique

    def add(self, kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> Any:
        """A new operator, called like its first output."""
        from onnx import helper

        node = helper.make_node(kind, list(inputs), list(outputs), name=f"{outputs[0]}/{kind}", **attributes)
        self._makers |= dict.fromkeys(node.output, node)
        self._note(node)
        return node

    def remove(self, node: Any) -> None:
        """Take an operator out; its outputs are to be made by others, or taken by nobody."""
        for name in node.output:
            self._forget(node, name)
        del node.input[:]

    def unique(self, name: str) -> str:
        """`name`, with a number after it if there is such a tensor."""
        count, unique = 0, name
        while unique in self._makers or unique in self._entries:
            count += 1
            unique = f"{name}.{count}"
        return unique

    def redirect(self, old: str, new: str) -> None:
        """Let all that take the tensor `old` take `new`."""
        for node in self.takers(old):
            self.put(node, [index for index, name in enumerate(node.input) if name == old], new)

    def put(self, node: Any, positions: Sequence[int], name: str) -> None:
        """Let an operator take the tensor `name` at these positions."""
        for position in positions:
            node.input[position] = name
        if not any(node is other for other in self._takers.setdefault(name, [])):
            self._takers[name].append(node)

    def rename_output(self, node: Any, name: str, position: int = 0) -> None:
        """Call what an operator makes by another name; those that take it still ask for the old one."""
        self._forget(node, node.output[position])
        node.output[position] = name
        self._makers[name] = node

    def rename(self, old: str, new: str) -> None:
        """Call a tensor that an operator makes by another name, everywhere."""
        node = self._makers[old]
        self.rename_output(node, new, list(node.output).index(old))
        self.redirect(old, new)

    def ordered(self) -> list[Any]:
        """The operators that the outputs need, each after those that it takes from."""
        found: dict[int, Any] = {}
        waiting = [(self._makers[name], False) for name in reversed(self.returned) if name in self._makers]
        while waiting:
            node, ready = waiting.pop()
            if ready:
                found[id(node)] = node
            elif id(node) not in found:
                waiting.append((node, True))
                waiting += [(self._makers[name], False) for name in reversed(node.input) if name in self._makers]
        return list(found.values())

    def finish(self) -> None:
        """Write the graph back: operators after those that they take from, and only what is needed."""
        from onnx import numpy_helper

        nodes = [_copy(node) for node in self.ordered()]
        needed = {name for node in nodes for name in node.input}
        constants = {name: value for name, value in self._constants.items() if name in needed}
        del self._graph.node[:], self._graph.initializer[:], self._graph.value_info[:]
        self._graph.node.extend(nodes)
        self._graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())

    def _forget(self, node: Any, name: str) -> None:
        """An operator makes this tensor no longer."""
        if self._makers.get(name) is node:
            del self._makers[name]

    def _note(self, node: Any) -> None:
        for name in dict.fromkeys(node.input):
            self._takers.setdefault(name, []).append(node)


def _copy(node: Any) -> Any:
    copy = type(node)()
    copy.CopyFrom(node)
    return copy


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and np.array_equal(a, b)


def attribute(node: Any, name: str, default: Any = None) -> Any:
    """An attribute of an operator, `default` where it has none."""
    from onnx import helper

    return next((helper.get_attribute_value(entry) for entry in node.attribute if entry.name == name), default)


def scope(node: Any) -> str:
    """The layer that a converted operator comes from, as its name tells; that name where it does not."""
    parts = node.name.split("/")
    return re.sub(r"_1$", "", parts[-2]) if len(parts) > 1 else node.name

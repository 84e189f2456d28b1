"""A functional model as plain data: calls of layers, in order, and the tensors between them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

from keras import tree


@dataclasses.dataclass(eq=False)
class Node:
    """One call of a layer (or of an operation such as `keras.ops.concatenate`).

    Attributes:
        layer: what is called; layers that are called several times have several nodes.
        args: its positional arguments, with a `Value` in place of each tensor.
        kwargs: its keyword arguments, likewise.
        name: unique in the graph: the layer's name, after that of the nested model it is in.
    """

    layer: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    name: str

    @property
    def inputs(self) -> list[Value]:
        """The tensors it is called on, in order."""
        return [leaf for leaf in tree.flatten((self.args, self.kwargs)) if isinstance(leaf, Value)]


@dataclasses.dataclass(frozen=True)
class Value:
    """One tensor of the graph: output number `index` of `node`."""

    node: Node
    index: int


class Graph:
    """A functional model as a list of calls.

    Attributes:
        name: the model's name.
        nodes: ordered: each after those whose tensors it uses.
        inputs: the model's inputs, a structure of `Value`.
        outputs: the model's outputs, a structure of `Value`.
        output_names: what they are called, in flat order, by the layers that made them.
    """

    def __init__(self, name: str, nodes: list[Node], inputs: Any, outputs: Any, output_names: list[str]):
        self.name = name
        self.nodes = nodes
        self.inputs = inputs
        self.outputs = outputs
        self.output_names = output_names
        self._consumers: dict[Node, list[Node]] = {}
        self._calls: dict[int, int] = {}
        for node in nodes:
            self._calls[id(node.layer)] = self._calls.get(id(node.layer), 0) + 1
            for value in node.inputs:
                self._consumers.setdefault(value.node, []).append(node)
        self._same_name = Counter(layer.name for layer in {id(node.layer): node.layer for node in nodes}.values())
        self._returned = {leaf.node for leaf in tree.flatten(outputs)}

    def consumers(self, node: Node) -> list[Node]:
        """The nodes that use a tensor of `node`, one entry for each tensor used."""
        return self._consumers.get(node, [])

    def only_consumer(self, node: Node) -> Node | None:
        """The single node that uses the output of `node`, `None` if there are others or the model returns it."""
        found = self.consumers(node)
        return found[0] if len(found) == 1 and node not in self._returned else None

    def label(self, node: Node) -> str:
        """The name of what replaces `node` in a new model: the layer's own if no other layer has it."""
        return node.layer.name if self._same_name[node.layer.name] == 1 else node.name

    def called_once(self, layer: Any) -> bool:
        """Whether the model calls `layer` exactly once."""
        return self._calls[id(layer)] == 1

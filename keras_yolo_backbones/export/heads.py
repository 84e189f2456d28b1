"""Attention in ONNX files without the way over NHWC: heads are cut out of channels-first maps directly.

Converted from NHWC, a map (b, c, h, w) is turned to (b, h, w, c), reshaped to (b, cells, heads, width) and turned
again. As c = heads · width, reshaping it to (b, heads, width, cells) comes to the same, and one turn at most is left.
"""

from __future__ import annotations

from typing import Any

LAST, FIRST = [0, 2, 3, 1], [0, 3, 1, 2]
"""Orders that turn channels-first into channels-last, and back."""


def split_heads_directly(proto: Any) -> int:
    """Rewrite the ways into attention and out of it, where all sizes are known; everything else stays.

    Args:
        proto: an `onnx.ModelProto`, changed in place.

    Returns:
        How many Transposes were removed.
    """
    before = _transposes(proto)
    graph = _Graph(proto)
    for node in list(graph.nodes("Reshape")):
        _into_heads(graph, node)
    graph = _Graph(proto)
    for node in list(graph.nodes("Reshape")):
        _out_of_heads(graph, node)
    graph.remove_unused()
    return before - _transposes(proto)


def _into_heads(graph: _Graph, reshape: Any) -> None:
    """(b, c, h, w) → Transpose → (b, h, w, c) → Reshape → (b, cells, heads, width) → Transpose."""
    turn, consumers = graph.maker(reshape.input[0], "Transpose"), graph.consumers(reshape.output[0])
    if turn is None or graph.order(turn) != LAST or reshape.output[0] in graph.returned:
        return
    if any(graph.order(node) is None for node in consumers):
        return
    size, target = graph.sizes(turn.input[0]), graph.target(reshape, (turn.input[0], turn.output[0]))
    if size is None or target is None or len(target) != 4:
        return
    _, channels, height, width = size
    _, cells, heads, part = target
    if cells != height * width or heads * part != channels:
        return
    reshape.input[0] = turn.input[0]
    graph.reshape_to(reshape, [0, heads, part, cells])
    for node in consumers:
        graph.turn(node, [FIRST[axis] for axis in graph.order(node)])


def _out_of_heads(graph: _Graph, reshape: Any) -> None:
    """(b, heads, cells, width) → Transpose → (b, cells, heads, width) → Reshape → (b, h, w, c) → Transpose."""
    turn, consumers = graph.maker(reshape.input[0], "Transpose"), graph.consumers(reshape.output[0])
    if turn is None or graph.order(turn) != [0, 2, 1, 3] or len(graph.consumers(turn.output[0])) != 1:
        return
    if reshape.output[0] in graph.returned or any(graph.order(node) != FIRST for node in consumers):
        return
    size, target = graph.sizes(turn.input[0]), graph.target(reshape, (turn.input[0], turn.output[0]))
    if size is None or target is None or len(target) != 4:
        return
    _, heads, cells, part = size
    _, height, width, channels = target
    if cells != height * width or channels != heads * part:
        return
    graph.turn(turn, [0, 1, 3, 2])
    graph.reshape_to(reshape, [0, channels, height, width])
    for node in consumers:
        graph.turn(node, [0, 1, 2, 3])


class _Graph:
    """Who makes and who takes each tensor of an ONNX graph, and what is known of its size."""

    def __init__(self, proto: Any):
        import onnx

        self._graph, self._tools = proto.graph, onnx
        self.returned = {output.name for output in self._graph.output}
        self._constants = {tensor.name: tensor for tensor in self._graph.initializer}
        self._makers = {name: node for node in self._graph.node for name in node.output}
        inferred = onnx.shape_inference.infer_shapes(proto).graph
        self._types = {value.name: value.type.tensor_type for value in [*inferred.value_info, *inferred.input]}

    def nodes(self, kind: str) -> list[Any]:
        return [node for node in self._graph.node if node.op_type == kind]

    def maker(self, name: str, kind: str) -> Any:
        node = self._makers.get(name)
        return node if node is not None and node.op_type == kind else None

    def consumers(self, name: str) -> list[Any]:
        return [node for node in self._graph.node if name in node.input]

    def order(self, node: Any) -> Any:
        """A Transpose's order; `None` for any other node."""
        if node.op_type != "Transpose":
            return None
        return next(list(attribute.ints) for attribute in node.attribute if attribute.name == "perm")

    def sizes(self, name: str) -> list[int] | None:
        """Of a tensor with four axes; 0 in place of what is open."""
        if name not in self._types or len(self._types[name].shape.dim) != 4:
            return None
        return [side.dim_value for side in self._types[name].shape.dim]

    def target(self, reshape: Any, same_batch: tuple[str, ...]) -> list[int] | None:
        """Where a Reshape goes to, if all but the batch is known: the batch of one of the tensors named."""
        name = self._uncast(reshape.input[1])
        if name in self._constants:
            sides = self._constant(name)
            return sides if min(sides[1:]) > 0 and sides[0] in (-1, 0) else None
        joined = self.maker(name, "Concat")
        if joined is None or any(part not in self._constants for part in joined.input[1:]):
            return None
        rest = [side for part in joined.input[1:] for side in self._constant(part)]
        return [0, *rest] if self._is_batch(joined.input[0], same_batch) and min(rest) > 0 else None

    def reshape_to(self, reshape: Any, sides: list[int]) -> None:
        import numpy as np

        name = f"{reshape.output[0]}_sides"
        self._graph.initializer.append(self._tools.numpy_helper.from_array(np.array(sides, np.int64), name))
        reshape.input[1] = name

    def turn(self, node: Any, order: list[int]) -> None:
        """Give a Transpose another order; one that changes nothing is passed by."""
        del node.attribute[:]
        node.attribute.append(self._tools.helper.make_attribute("perm", order))
        if order == sorted(order) and node.output[0] not in self.returned:
            for consumer in self.consumers(node.output[0]):
                for position, name in enumerate(consumer.input):
                    if name == node.output[0]:
                        consumer.input[position] = node.input[0]

    def remove_unused(self) -> None:
        """Remove nodes and constants that nothing takes."""
        while True:
            used = self.returned | {name for node in self._graph.node for name in node.input}
            unused = [node for node in self._graph.node if not used & set(node.output)]
            if not unused:
                break
            for node in unused:
                self._graph.node.remove(node)
        for tensor in [tensor for tensor in self._graph.initializer if tensor.name not in used]:
            self._graph.initializer.remove(tensor)

    def _is_batch(self, name: str, tensors: tuple[str, ...]) -> bool:
        """Whether a tensor is the first side of one of `tensors`: Shape, then perhaps Gather, then Slice [0:1]."""
        cut = self.maker(self._uncast(name), "Slice")
        if cut is None or [self._constant(part) for part in cut.input[1:3]] != [[0], [1]]:
            return False
        name = self._uncast(cut.input[0])
        gather = self.maker(name, "Gather")
        if gather is not None and self._constant(gather.input[1])[:1] == [0]:
            name = gather.input[0]
        shape = self.maker(name, "Shape")
        return shape is not None and shape.input[0] in tensors

    def _uncast(self, name: str) -> str:
        while (cast := self.maker(name, "Cast")) is not None:
            name = cast.input[0]
        return name

    def _constant(self, name: str) -> list[int]:
        if name not in self._constants:
            return []
        return [int(side) for side in self._tools.numpy_helper.to_array(self._constants[name]).ravel()]


def _transposes(proto: Any) -> int:
    return sum(node.op_type == "Transpose" for node in proto.graph.node)

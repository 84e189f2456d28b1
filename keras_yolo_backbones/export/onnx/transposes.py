"""Removing Transposes that undo each other from an ONNX graph."""

from __future__ import annotations

from typing import Any


def cancel_transposes(graph: Any) -> int:
    """Where a Transpose feeds one that restores the order, let the consumers read what came before both.

    An NHWC output that the network goes on from is turned to NHWC for the caller and back for the next convolution;
    the second turn is never needed.

    Args:
        graph: an `onnx.GraphProto`, changed in place.

    Returns:
        How many Transposes were removed.
    """
    made_by = {node.output[0]: node for node in graph.node if node.op_type == "Transpose"}
    before = {}
    for node in made_by.values():
        inner = made_by.get(node.input[0])
        if inner is not None and _undoes(_order(inner), _order(node)):
            before[node.output[0]] = inner.input[0]
    for node in graph.node:
        for position, name in enumerate(node.input):
            if name in before:
                node.input[position] = before[name]
    returned = {output.name for output in graph.output}
    unused = [node for node in made_by.values() if node.output[0] in before and node.output[0] not in returned]
    for node in unused:
        graph.node.remove(node)
    return len(unused)


def _order(node: Any) -> list[int]:
    return next(list(attribute.ints) for attribute in node.attribute if attribute.name == "perm")


def _undoes(first: list[int], second: list[int]) -> bool:
    return len(first) == len(second) and [first[axis] for axis in second] == sorted(first)

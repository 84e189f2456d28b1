"""Einsum as one operator of an ONNX file: tf2onnx takes every one to pieces, Transposes among them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

_KEPT = "KeptEinsum"
"""What an Einsum is called while tf2onnx' optimizers, which go by the name of an operator, are at work."""


def keeping_einsum(equations: Collection[str]) -> dict[str, Any]:
    """The `custom_op_handlers` for tf2onnx with which products of these equations stay whole; others are as ever.

    The converted graph has to go through `restore_einsum`.
    """
    from tf2onnx.onnx_opset.math import Einsum

    def convert(graph: Any, node: Any, *_: Any) -> None:
        Einsum.version_12(graph, node)
        if node.type == "Einsum" and node.get_attr_value("equation").decode() in equations:
            node.type = _KEPT

    return {"Einsum": (convert, [])}


def restore_einsum(graph: Any) -> int:
    """Give the operators of an `onnx.GraphProto` that were kept their name back, in place; returns how many."""
    kept = [node for node in graph.node if node.op_type == _KEPT]
    for node in kept:
        node.op_type = "Einsum"
    return len(kept)

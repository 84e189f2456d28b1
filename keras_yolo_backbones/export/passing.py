"""Taking operators out of TFLite files that stand in them only to steer the converter."""

from __future__ import annotations

from typing import Any

MARKER = "CEIL"
"""The operator that `integer_form` puts where integers become floats."""


def without_markers(content: bytes) -> bytes:
    """A TFLite file without its `MARKER` operators: their consumers take what they took.

    Args:
        content: of the file; its first subgraph is the only one, as the converter writes it for these networks.
    """
    from ai_edge_litert import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    code = getattr(schema.BuiltinOperator, MARKER)
    graph = model.subgraphs[0]
    markers = [
        operator for operator in graph.operators if model.operatorCodes[operator.opcodeIndex].builtinCode == code
    ]
    taken = {int(marker.outputs[0]): int(marker.inputs[0]) for marker in markers}
    graph.operators = [operator for operator in graph.operators if operator not in markers]
    for operator in graph.operators:
        operator.inputs = [taken.get(int(index), int(index)) for index in operator.inputs]
    _drop_tensors(model, graph, set(taken))
    _drop_codes(model)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _drop_tensors(model: Any, graph: Any, dropped: set[int]) -> None:
    """Remove tensors that nothing uses any more, and number the others anew."""
    kept = [index for index in range(len(graph.tensors)) if index not in dropped]
    number = {old: new for new, old in enumerate(kept)} | {-1: -1}
    graph.tensors = [graph.tensors[index] for index in kept]
    for operator in graph.operators:
        operator.inputs = [number[int(index)] for index in operator.inputs]
        operator.outputs = [number[int(index)] for index in operator.outputs]
    graph.inputs, graph.outputs = ([number[int(index)] for index in ends] for ends in (graph.inputs, graph.outputs))
    for signature in model.signatureDefs:
        for end in (*signature.inputs, *signature.outputs):
            end.tensorIndex = number[int(end.tensorIndex)]


def _drop_codes(model: Any) -> None:
    """Remove operator codes that no operator has any more, and number the others anew."""
    used = sorted({operator.opcodeIndex for graph in model.subgraphs for operator in graph.operators})
    model.operatorCodes = [model.operatorCodes[index] for index in used]
    for graph in model.subgraphs:
        for operator in graph.operators:
            operator.opcodeIndex = used.index(operator.opcodeIndex)

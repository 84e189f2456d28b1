"""Integer files with float layers: what the TFLite converter leaves undone, done to the file that it wrote."""

from __future__ import annotations

from typing import Any

from keras_yolo_backbones.fragile import lite_tools

MARKER = "CEIL"
"""The operator that `integer_form` inserts where integers become floats."""


def finished(content: bytes, *, float_outputs: bool = False) -> bytes:
    """Remove the `MARKER` operators from a TFLite file and make its outputs int8 if they are to be.

    The model was converted with float outputs, each after a `MARKER`. If the converter were asked for int8 outputs, it
    would remove the DEQUANTIZE before them even where a float layer needs it.

    Args:
        content: the file as converted, with one subgraph.
        float_outputs: whether the outputs stay float.
    """
    tools = lite_tools()
    model = tools.read_model_from_bytearray(bytearray(content))
    graph = model.subgraphs[0]
    taken, integers = _ends(model, graph, MARKER), _ends(model, graph, "DEQUANTIZE")
    ends = taken if float_outputs else {end: integers[tensor] for end, tensor in taken.items() if tensor in integers}
    graph.outputs = [ends[int(index)] for index in graph.outputs]
    for signature in model.signatureDefs:
        for end in signature.outputs:
            end.tensorIndex = ends[int(end.tensorIndex)]
    for operator in graph.operators:
        operator.inputs = [taken.get(int(index), int(index)) for index in operator.inputs]
    _drop_unused(model, graph)
    return bytes(tools.convert_object_to_bytearray(model))


def _ends(model: Any, graph: Any, name: str) -> dict[int, int]:
    """Of all operators of a kind: output tensor -> input tensor."""
    tools = lite_tools()
    found = [one for one in graph.operators if tools.opcode_to_name(model, one.opcodeIndex) == name]
    return {int(operator.outputs[0]): int(operator.inputs[0]) for operator in found}


def _drop_unused(model: Any, graph: Any) -> None:
    """Remove operators whose outputs nothing uses, with their tensors."""
    needed = {int(index) for index in (*graph.outputs, *graph.inputs)}
    kept = []
    for operator in reversed(graph.operators):
        if needed & {int(index) for index in operator.outputs}:
            kept.append(operator)
            needed |= {int(index) for index in (*operator.inputs, *operator.outputs)}
    dropped = {int(index) for operator in graph.operators for index in operator.outputs} - needed
    graph.operators = kept[::-1]
    _drop_tensors(model, graph, dropped)
    _drop_codes(model)


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

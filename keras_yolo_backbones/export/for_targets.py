"""TFLite files in the form that a runtime computes best, where none is best for all."""

from __future__ import annotations

from keras_yolo_backbones.errors import one_of
from keras_yolo_backbones.export.averages import averages_as_convolutions
from keras_yolo_backbones.export.concats import join_in_steps
from keras_yolo_backbones.export.depthwise import large_depthwise_for_litert
from keras_yolo_backbones.fragile import lite_tools

TARGETS = ("xnnpack",)
"""Runtimes with a form of their own."""


def check_target(target: str | None) -> None:
    """Raise an `ArgumentError` for a target that is neither None nor one of `TARGETS`."""
    if target is not None and target not in TARGETS:
        raise one_of("target", target, TARGETS)


def fitted(content: bytes, target: str | None) -> bytes:
    """A TFLite file in the form that a target computes best: the same numbers, in other operators.

    Only large depthwise convolutions can differ, by a step where a value is close to halfway between two.

    Args:
        content: a file with one subgraph.
        target: of `TARGETS`; None leaves the file as it is, with the fewest operators.
    """
    if target is None:
        return content
    tools = lite_tools()
    model = tools.read_model_from_bytearray(bytearray(content))
    names = [tools.opcode_to_name(model, operator.opcodeIndex) for operator in model.subgraphs[0].operators]
    changed = [
        averages_as_convolutions(model, names),
        large_depthwise_for_litert(model, names),
        join_in_steps(model, names),
    ]
    return bytes(tools.convert_object_to_bytearray(model)) if any(changed) else content

"""XNNPACK, LiteRT's delegate for CPUs, watched at work: which operators it computes, and in how many parts."""

from __future__ import annotations

from collections import Counter
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from keras_yolo_backbones.fragile import bare_interpreter, operator_list
from keras_yolo_backbones.litert import XNNPACK_DEPTHWISE, operators, plain_interpreter
from keras_yolo_backbones.targets.refusals import advice_for, refusals
from keras_yolo_backbones.targets.report import Refusal, Report


class Delegation(NamedTuple):
    """What becomes of a file's operators when XNNPACK may choose.

    Attributes:
        taken: names of those that XNNPACK computes.
        left: names of those that it leaves.
        parts: in how many connected parts it computes them.
    """

    taken: list[str]
    left: list[str]
    parts: int


def delegated(file: Path) -> Delegation:
    """Watch LiteRT hand the operators of a file to XNNPACK."""
    bare = bare_interpreter(file)
    bare.allocate_tensors()
    plain = operator_list(bare)
    makers = {output: position for position, operator in enumerate(plain) for output in operator["outputs"]}
    interpreter = plain_interpreter(file)
    interpreter.allocate_tensors()
    parts = operator_list(interpreter)[len(plain) :]
    inside: set[int] = set()
    for part in parts:
        given, waiting = set(part["inputs"]), list(part["outputs"])
        while waiting:
            tensor = waiting.pop()
            position = makers.get(tensor)
            if tensor not in given and position is not None and position not in inside:
                inside.add(position)
                waiting += list(plain[position]["inputs"])
    names = [operator["op_name"] for operator in plain]
    taken = [name for position, name in enumerate(names) if position in inside]
    return Delegation(taken, [name for position, name in enumerate(names) if position not in inside], len(parts))


def xnnpack_report(path: Path) -> Report:
    """What LiteRT hands to XNNPACK, with the documentation's reasons for what it keeps."""
    seen = delegated(path)
    reasons = {refusal.operator: refusal for refusal in refusals(path, "xnnpack")}
    refused = []
    for name, count in Counter(seen.left).items():
        known = reasons.get(name)
        reason = known.reason if known else "LiteRT keeps it for itself"
        refused.append(Refusal(name, count, reason, known.advice if known else advice_for(name)))
    facts: dict[str, Any] = {"parts": seen.parts}
    if slow := _large_depthwise(path) - seen.left.count("DEPTHWISE_CONV_2D"):
        facts["slow"] = f'{slow} large int8 DEPTHWISE_CONV_2D; export with target="xnnpack"'
    source = f"ai-edge-litert {metadata.version('ai-edge-litert')}"
    return Report("xnnpack", source, len(seen.taken) + len(seen.left), refused, facts)


def _large_depthwise(path: Path) -> int:
    """How many depthwise convolutions are slower in int8 than in float, where XNNPACK computes them."""
    kernels = [operator.inputs[1] for operator in operators(path) if operator.name == "DEPTHWISE_CONV_2D"]
    large = [kernel for kernel in kernels if kernel.shape[1] * kernel.shape[2] > XNNPACK_DEPTHWISE]
    return sum(kernel.kind == "INT8" for kernel in large)

"""Concatenations of many tensors as concatenations of a few: the same integers in a form that XNNPACK takes."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

MOST = 5
"""How many tensors XNNPACK joins in one CONCATENATION, seen in LiteRT 2.3."""


def join_in_steps(model: Any, names: list[str], most: int = MOST) -> bool:
    """Split every CONCATENATION of more than `most` tensors into a chain: the first `most`, then the result and more.

    Each step only moves values, in the scale of the whole, so no value changes. Other runtimes pay for it with a copy.

    Args:
        model: a TFLite file with one subgraph, as objects; changed in place.
        names: of its operators.
        most: at least 2.

    Returns:
        Whether there was one.
    """
    graph = model.subgraphs[0]
    operators = []
    for operator, name in zip(graph.operators, names, strict=True):
        operators += _chain(graph, operator, most) if name == "CONCATENATION" else [operator]
    changed = len(operators) > len(graph.operators)
    graph.operators = operators
    return changed


def _chain(graph: Any, operator: Any, most: int) -> list[Any]:
    """The steps of one concatenation; itself if it joins few."""
    waiting = [int(index) for index in operator.inputs]
    steps: list[Any] = []
    while len(waiting) > most:
        step = copy.deepcopy(operator)
        step.inputs = waiting[:most]
        step.outputs = [_between(graph, operator, waiting[:most], len(steps))]
        steps.append(step)
        waiting = [step.outputs[0], *waiting[most:]]
    operator.inputs = waiting
    return [*steps, operator]


def _between(graph: Any, operator: Any, joined: list[int], number: int) -> int:
    """A new tensor, like the output but for its size along the axis."""
    whole = graph.tensors[int(operator.outputs[0])]
    tensor = copy.deepcopy(whole)
    axis = operator.builtinOptions.axis
    tensor.shape = np.array(whole.shape, np.int32)
    tensor.shape[axis] = sum(int(graph.tensors[index].shape[axis]) for index in joined)
    tensor.name = _bytes(whole.name) + f".step{number}".encode()
    tensor.buffer = 0  # the empty one
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _bytes(name: Any) -> bytes:
    return name if isinstance(name, bytes) else str(name).encode()

"""Memory of a TFLite file: the one block that holds all its activations, as planned and as LiteRT allocates it.

Imports neither TensorFlow nor Keras.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from keras_yolo_backbones.fragile import bare_interpreter, lite_schema, operator_list


def arena(file: Path) -> int:
    """Bytes of the block that holds a graph's activations (and its kernels' scratch) without a delegate.

    The interpreter plans one block for all tensors that are no constants, each for its lifetime. The planner does not
    tell its size, but every tensor has an address in it.
    """
    interpreter = bare_interpreter(file)
    interpreter.allocate_tensors()
    plain = operator_list(interpreter)
    computed = {int(index) for operator in plain for index in operator["outputs"]}
    computed |= {int(entry["index"]) for entry in interpreter.get_input_details()}
    constants = {int(index) for operator in plain for index in operator["inputs"]} - computed
    spans = []
    for entry in interpreter.get_tensor_details():
        if entry["index"] not in constants:
            try:
                array = interpreter.tensor(entry["index"])()
            except ValueError:  # without memory: a tensor of another kernel's
                continue
            start = array.__array_interface__["data"][0]
            spans.append((start, start + array.nbytes, entry["index"] in computed))
    return extent(spans)


def extent(spans: list[tuple[int, int, bool]]) -> int:
    """From the first to the last address of the block that the computed tensors lie in.

    Scratch is part of it where it overlaps or touches; kernels' persistent memory lies elsewhere.

    Args:
        spans: start, end, and whether an operator of the file computes it, of every tensor.
    """
    alignment = 64  # of LiteRT's tensors
    blocks: list[tuple[int, int, bool]] = []
    for start, end, computed in sorted(spans):
        if blocks and start <= blocks[-1][1] + alignment:
            first, last, known = blocks.pop()
            blocks.append((first, max(last, end), known or computed))
        else:
            blocks.append((start, end, computed))
    with_values = [block for block in blocks if block[2]]
    return with_values[-1][1] - with_values[0][0]


ALIGNMENT = 16
"""Of a tensor in TFLite Micro's arena, in bytes."""

_BYTES = {"FLOAT32": 4, "FLOAT16": 2, "INT32": 4, "INT64": 8, "INT16": 2, "INT8": 1, "UINT8": 1, "BOOL": 1}


class Buffer(NamedTuple):
    """The memory of one activation.

    Attributes:
        size: in bytes.
        first: number of the operator that writes it.
        last: number of the last operator that reads it.
    """

    size: int
    first: int
    last: int


def planned(buffers: Iterable[Buffer]) -> int:
    """Bytes of the block that holds all buffers, each for its lifetime, planned greedily by size.

    That is how TFLite Micro plans the head of its arena: of buffers of one size, the last one is placed first. LiteRT
    plans alike, with scratch of its own kernels.

    Args:
        buffers: in the order of the file's tensors.
    """
    placed: list[tuple[int, int, Buffer]] = []
    for _, buffer in sorted(enumerate(buffers), key=lambda pair: (-pair[1].size, -pair[0])):
        size = -(-buffer.size // ALIGNMENT) * ALIGNMENT
        together = sorted(
            (start, end) for start, end, other in placed if other.first <= buffer.last and buffer.first <= other.last
        )
        at = 0
        for start, end in together:
            if at + size <= start:
                break
            at = max(at, end)
        placed.append((at, at + size, buffer))
    return max((end for _, end, _ in placed), default=0)


def most_alive(buffers: Iterable[Buffer]) -> int:
    """The most bytes that are needed at one time: no plan can do with less."""
    changes: dict[int, int] = {}
    for buffer in buffers:
        changes[buffer.first] = changes.get(buffer.first, 0) + buffer.size
        changes[buffer.last + 1] = changes.get(buffer.last + 1, 0) - buffer.size
    return max(accumulate(changes[place] for place in sorted(changes)), default=0)


def memory(file: Path) -> dict[str, int]:
    """What a TFLite file needs, in bytes.

    Returns:
        `activations`: the most that are needed at one time; `arena`: all activations, planned as TFLite Micro does;
        `litert_arena`: the block that LiteRT's interpreter allocates without a delegate, with its kernels' scratch;
        `weights`: constants in the file.
    """
    buffers, weights = _buffers(file)
    alive, plan = most_alive(buffers), planned(buffers)
    return {"activations": alive, "arena": plan, "litert_arena": arena(file), "weights": weights}


def _buffers(file: Path) -> tuple[list[Buffer], int]:
    """Activations with their lifetimes, and the bytes of all constants."""
    schema = lite_schema()
    kinds = {value: name for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
    model = schema.Model.GetRootAs(file.read_bytes(), 0)
    graph = model.Subgraphs(0)
    count = graph.OperatorsLength()
    first = dict.fromkeys(map(int, graph.InputsAsNumpy()), 0)
    last = dict(first)
    for place in range(count):
        operator = graph.Operators(place)
        outputs = [int(index) for index in operator.OutputsAsNumpy()]
        first |= dict.fromkeys(outputs, place)
        read = [int(index) for index in operator.InputsAsNumpy()] if operator.InputsLength() else []
        last |= dict.fromkeys([index for index in (*read, *outputs) if index in first], place)
    last |= dict.fromkeys(map(int, graph.OutputsAsNumpy()), count)
    buffers = []
    for index, start in sorted(first.items()):
        tensor = graph.Tensors(index)
        values = math.prod(int(side) for side in tensor.ShapeAsNumpy()) if tensor.ShapeLength() else 1
        buffers.append(Buffer(values * _BYTES[kinds[tensor.Type()]], start, last[index]))
    constants = {graph.Tensors(index).Buffer() for index in range(graph.TensorsLength())}
    return buffers, sum(model.Buffers(index).DataLength() for index in constants)

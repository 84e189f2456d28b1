"""The arena of a TFLite file: the one block of memory that holds all its activations.

Imports neither TensorFlow nor Keras.
"""

from __future__ import annotations

from pathlib import Path

from keras_yolo_backbones.fragile import bare_interpreter, operator_list


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

"""Latency, memory and operators of the small networks as int8 and float TFLite files, measured on this machine.

python tflite/benchmark.py --side 320 --out tflite/benchmark.md [names …]
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import platform
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

import keras_yolo_backbones as kyb
from keras_yolo_backbones.benchmark import noise

SMALL = (
    *("v3-tiny", "v4-tiny", "v5-n", "v6-n", "v7-tiny", "v8-n"),
    *("v9-t", "v10-n", "v11-n", "v12-n", "v26-n", "yolox-nano"),
)
HEADER = (
    "| network | file | MB | ms, 1 thread | ms, 2 threads | operators | in XNNPACK | parts | arena, kB | heap, kB |\n"
    "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|"
)
NOTES = """\
Input {side}×{side}, {processor}, random weights; times are the median of 15 runs.

- **in XNNPACK, parts**: the share of the operators that XNNPACK computes, and into how many parts the others cut it.
- **arena**: activations without a delegate, by LiteRT's own kernels: the block in which the interpreter keeps all
  tensors of the graph that are no constants, as their addresses tell.
- **heap**: all that an interpreter with XNNPACK (the default, one thread) takes from the allocator until it has run
  once, beside the file: activations, and the weights once more, packed. By glibc's mallinfo2; "–" where there is none.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", default=SMALL)
    parser.add_argument("--side", type=int, default=320)
    parser.add_argument("--activation", default="relu6")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    lines = [HEADER]
    for name in args.names:
        model = kyb.create(name, activation=args.activation, input_shape=(args.side, args.side, 3))
        with tempfile.TemporaryDirectory() as folder:
            files = {
                "float32": kyb.export_tflite(model, f"{folder}/float.tflite").path,
                "int8": kyb.export_tflite(
                    model, f"{folder}/int8.tflite", precision="int8", calibration=noise(model), least_snr_db=-20
                ).path,
            }
            for precision, file in files.items():
                lines.append(row(f"{name} {args.activation}", precision, file))
                print(lines[-1], flush=True)
    text = "\n".join([NOTES.format(side=args.side, processor=processor()), *lines]) + "\n"
    if args.out:
        args.out.write_text(text, encoding="utf-8")
    else:
        print(text)


def row(name: str, precision: str, file: Path) -> str:
    """One line of the table."""
    times = [f"{milliseconds(file, threads):.1f}" for threads in (1, 2)]
    work = delegated(file)
    count = len(work.taken) + len(work.left)
    share, parts = f"{len(work.taken) / count:.0%}", str(work.parts)
    taken = heap(file)
    memory = f"{arena(file) / 1e3:.0f}", "–" if taken is None else f"{taken / 1e3:.0f}"
    size = f"{file.stat().st_size / 1e6:.1f}"
    return f"| {' | '.join([name, precision, size, *times, str(count), share, parts, *memory])} |"


def milliseconds(file: Path, threads: int, runs: int = 15) -> float:
    """Median time of one image."""
    interpreter = Interpreter(model_path=str(file), num_threads=threads)
    interpreter.allocate_tensors()
    (entry,) = interpreter.get_input_details()
    interpreter.set_tensor(entry["index"], np.zeros(entry["shape"], entry["dtype"]))
    interpreter.invoke()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        interpreter.invoke()
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


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
    plain = operator_list(ready(undelegated(file)))
    makers = {output: position for position, operator in enumerate(plain) for output in operator["outputs"]}
    parts = operator_list(ready(Interpreter(model_path=str(file))))[len(plain) :]
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


def arena(file: Path) -> int:
    """Bytes of the block that holds a graph's activations (and its kernels' scratch) without a delegate.

    The interpreter plans one block for all tensors that are no constants, each for its lifetime. The planner does not
    tell its size, but every tensor has an address in it. The tests hold it against a plan by hand and the allocator.
    """
    interpreter = ready(undelegated(file))
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
    known = [block for block in blocks if block[2]]
    return known[-1][1] - known[0][0]


class Mallinfo2(ctypes.Structure):
    """glibc's `struct mallinfo2`."""

    _fields_ = [
        *((name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd")),
        *((name, ctypes.c_size_t) for name in ("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")),
    ]


def allocated() -> int | None:
    """Bytes that this process holds from the allocator; None without glibc 2.33."""
    try:
        mallinfo2 = ctypes.CDLL("libc.so.6").mallinfo2
    except (OSError, AttributeError):
        return None
    mallinfo2.restype = Mallinfo2
    found = mallinfo2()
    return int(found.uordblks + found.hblkhd)


def heap(file: Path) -> int | None:
    """Bytes that an interpreter with XNNPACK and one thread allocates until it has run once."""
    for _ in range(2):  # the first time, the libraries allocate what they keep
        gc.collect()
        before = allocated()
        interpreter = ready(Interpreter(model_path=str(file), num_threads=1))
        interpreter.invoke()
        after = allocated()
        del interpreter
    return None if before is None or after is None else after - before


def undelegated(file: Path) -> Interpreter:
    """An interpreter without delegates."""
    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    return Interpreter(model_path=str(file), experimental_op_resolver_type=resolver)


def ready(interpreter: Interpreter) -> Interpreter:
    """The same, its tensors allocated."""
    interpreter.allocate_tensors()
    return interpreter


def operator_list(interpreter: Interpreter) -> list[dict[str, Any]]:
    """An interpreter's operators; a delegate's stand behind those of the file."""
    return interpreter._get_ops_details()


def processor() -> str:
    """The machine's processor, by name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
        return f"{name}, {sum(line.startswith('processor') for line in lines)} cores"
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()

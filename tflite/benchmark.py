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

import numpy as np
from ai_edge_litert.interpreter import Interpreter

import keras_yolo_backbones as kyb
from keras_yolo_backbones.arena import arena
from keras_yolo_backbones.benchmark import noise
from keras_yolo_backbones.targets.xnnpack import delegated

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
        interpreter = Interpreter(model_path=str(file), num_threads=1)
        interpreter.allocate_tensors()
        interpreter.invoke()
        after = allocated()
        del interpreter
    return None if before is None or after is None else after - before


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

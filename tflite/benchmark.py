"""Latency, memory and operators of the small networks as int8 and float TFLite files, measured on this machine.

python tflite/benchmark.py --side 320 --out tflite/benchmark.md [names …]
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

import keras_yolo_backbones as kyb
from keras_yolo_backbones.benchmark import noise

SMALL = (
    *("v3-tiny", "v4-tiny", "v5-n", "v6-n", "v7-tiny", "v8-n"),
    *("v9-t", "v10-n", "v11-n", "v12-n", "v26-n", "yolox-nano"),
)
HEADER = "| network | file | MB | ms, 1 thread | ms, 2 threads | operators | in XNNPACK | parts |\n|" + "---|" * 8


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
    title = f"Input {args.side}×{args.side}, {processor()}, random weights, median of 15 runs."
    text = "\n".join([title, "", *lines]) + "\n"
    if args.out:
        args.out.write_text(text, encoding="utf-8")
    else:
        print(text)


def row(name: str, precision: str, file: Path) -> str:
    """One line of the table."""
    times = [milliseconds(file, threads) for threads in (1, 2)]
    count, inside, parts = delegated(file)
    size = f"{file.stat().st_size / 1e6:.1f}"
    cells = [name, precision, size, *(f"{t:.1f}" for t in times), str(count), f"{inside / count:.0%}", str(parts)]
    return f"| {' | '.join(cells)} |"


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


def delegated(file: Path) -> tuple[int, int, int]:
    """Operators of the file, how many of them XNNPACK computes, and in how many connected parts."""
    plain = operator_list(file, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    makers = {output: position for position, operator in enumerate(plain) for output in operator["outputs"]}
    parts = operator_list(file, OpResolverType.BUILTIN)[len(plain) :]
    inside: set[int] = set()
    for part in parts:
        given, waiting = set(part["inputs"]), list(part["outputs"])
        while waiting:
            tensor = waiting.pop()
            position = makers.get(tensor)
            if tensor not in given and position is not None and position not in inside:
                inside.add(position)
                waiting += list(plain[position]["inputs"])
    return len(plain), len(inside), len(parts)


def operator_list(file: Path, resolver: OpResolverType) -> list[dict[str, Any]]:
    """The interpreter's operators; a delegate's stand behind those of the file."""
    interpreter = Interpreter(model_path=str(file), experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
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

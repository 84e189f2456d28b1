"""Build time, import time, latency and throughput on this machine: a table, a plot (latency.png) and numbers
(benchmark.json).

    python zoo/benchmark.py --out bench [--models v8-n v8-s:relu6 …] [--image-size 640] [--rounds 15] [--parts …]

A network may have an activation after a colon. Forms take turns, in a new order each round; a table has the shortest
and the median round, and how far the middle half lies apart. Every claim is a ratio against something in the same run.
What others export takes part where their package is installed: `make bench-peers` installs it.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmark_report import REFERENCE, draw, report
from peers import peers
from rich.console import Console
from throughput import ROUNDS, shares

from keras_yolo_backbones.benchmark import (
    deployed,
    matrix_rate,
    measure,
    noise,
    saved_model_runner,
    threads,
    trained_like,
)
from keras_yolo_backbones.commands.common import working
from keras_yolo_backbones.quiet import native_noise_hidden

IMPORTS = """
import time
start = time.perf_counter()
import keras
middle = time.perf_counter()
import keras_yolo_backbones
after = time.perf_counter()
keras_yolo_backbones.v8, keras_yolo_backbones.create
print(middle - start, after - middle, time.perf_counter() - after)
"""


PARTS = ("import", "build", "latency", "features")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("bench"))
    parser.add_argument("--models", nargs="+", default=["v8-n", "v8-n:relu6", "v8-s", "v8-s:relu6"])
    parser.add_argument("--image-size", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    console = Console()
    results: dict[str, Any] = {
        "machine": {"processor": processor(), "threads": threads(), "python": platform.python_version()},
        "matrix_product_gmacs": max(matrix_rate() for _ in range(5)) / 1e9,
        "build_seconds": {},
        "latency": {},
        "features": {},
    }
    if "import" in args.parts:
        with working(console, "importing, 5 times"):
            results["import"] = import_times()
    if "build" in args.parts:
        with working(console, "building"):
            results["build_seconds"] = {name: build_time(name, args.image_size) for name in args.models}
    if "latency" in args.parts:
        for name in args.models:
            with working(console, f"exporting and timing {name}, {args.rounds} rounds"):
                results["latency"][name] = latencies(name, args.image_size, args.rounds)
    if "features" in args.parts:
        for name in [name for name in args.models if ":" not in name]:
            with working(console, f"features of many files with {name}, {ROUNDS} rounds"):
                results["features"][name] = shares(name, args.image_size)
    report(console, results)
    (args.out / "benchmark.json").write_text(json.dumps(results, indent=2) + "\n")
    console.print(args.out / "benchmark.json")
    if results["latency"]:
        console.print(draw(results, args.out / "latency.png"))


def import_times(rounds: int = 5) -> dict[str, float]:
    """Seconds to import Keras, what this package adds to it, and what the first use of a builder does, each in fresh
    processes."""
    runs = []
    for _ in range(rounds):
        done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True)
        runs.append([float(number) for number in done.stdout.split()])
    keras, added, builders = (statistics.median(column) for column in zip(*runs, strict=True))
    return {"keras_seconds": keras, "added_seconds": added, "builders_seconds": builders, "ratio": added / keras}


def build_time(name: str, side: int) -> float:
    """Seconds to build a network, the first time apart."""
    times = []
    for _ in range(4):
        start = time.perf_counter()
        network(name, side)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def network(name: str, side: int) -> Any:
    """The network of a name such as `v8-s` or `v8-s:relu6`."""
    import keras_yolo_backbones as kyb

    own, _, activation = name.partition(":")
    return kyb.create(own, input_shape=(side, side, 3), **({"activation": activation} if activation else {}))


def latencies(name: str, side: int, rounds: int) -> dict[str, dict[str, float]]:
    """Every form of one network, timed in turns."""
    from served import SERVED, saved_models

    model = trained_like(network(name, side))
    with tempfile.TemporaryDirectory() as folder:
        forms = deployed(model, Path(folder), noise(model)) | peers(name, side, Path(folder))
        others = saved_models(model, Path(folder), [form for form in SERVED if form not in forms])
        forms |= {form: saved_model_runner(path) for form, path in others.items()}
        found = measure(forms, model, reference=REFERENCE, rounds=rounds)
    return {form: latency._asdict() for form, latency in found.items()}


def processor() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    names = [line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    with native_noise_hidden():
        main()

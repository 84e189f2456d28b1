"""Build time, import time, latency and throughput on this machine: a table, a plot (latency.png) and numbers
(benchmark.json).

    python zoo/benchmark.py --out bench [--models v8-n v8-s v8-s:relu6] [--image-size 640] [--rounds 15]

A network may have an activation after a colon. Times are medians; every claim is a ratio against something in the same
run.
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

import matplotlib.pyplot as plt
from rich.console import Console
from rich.table import Table

from keras_yolo_backbones.benchmark import deployed, matrix_rate, measure, noise, threads
from keras_yolo_backbones.commands.common import working
from keras_yolo_backbones.quiet import native_noise_hidden

IMPORTS = """
import time
start = time.perf_counter()
import keras
middle = time.perf_counter()
import keras_yolo_backbones
keras_yolo_backbones.v8, keras_yolo_backbones.create
print(middle - start, time.perf_counter() - middle)
"""


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("bench"))
    parser.add_argument("--models", nargs="+", default=["v8-n", "v8-s", "v8-s:relu6"])
    parser.add_argument("--image-size", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    console = Console()
    with working(console, "importing, 5 times"):
        imports = import_times()
    with working(console, "building"):
        builds = {name: build_time(name, args.image_size) for name in args.models}
    results: dict[str, Any] = {
        "machine": {"processor": processor(), "threads": threads(), "python": platform.python_version()},
        "matrix_product_gmacs": max(matrix_rate() for _ in range(5)) / 1e9,
        "import": imports,
        "build_seconds": builds,
        "latency": {},
        "features": {},
    }
    for name in args.models:
        with working(console, f"exporting and timing {name}, {args.rounds} rounds"):
            results["latency"][name] = latencies(name, args.image_size, args.rounds)
    for name in [name for name in args.models if ":" not in name]:
        with working(console, f"features of many files with {name}, {THROUGHPUT_ROUNDS} rounds"):
            results["features"][name] = throughput(name, args.image_size)
    report(console, results)
    (args.out / "benchmark.json").write_text(json.dumps(results, indent=2) + "\n")
    console.print(f"{args.out / 'benchmark.json'}, {draw(results, args.out / 'latency.png')}")


def import_times(rounds: int = 5) -> dict[str, float]:
    """Seconds to import Keras, and what this package adds to it, each in fresh processes."""
    runs = []
    for _ in range(rounds):
        done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True)
        runs.append([float(number) for number in done.stdout.split()])
    keras, added = (statistics.median(column) for column in zip(*runs, strict=True))
    return {"keras_seconds": keras, "added_seconds": added, "ratio": added / keras}


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
    model = network(name, side)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(deployed(model, Path(folder), noise(model)), model, rounds=rounds)
    return {form: latency._asdict() for form, latency in found.items()}


def throughput(name: str, side: int) -> dict[str, float]:
    """Images a second of `extract_features` as a share of those of the bare model loop, in turns.

    The files are JPEGs of real photographs that fill the network's frame ("fitting"), so that the model is the limit,
    and the same four times as large ("large"), which have to be scaled.
    """
    import keras_yolo_backbones as kyb
    from keras_yolo_backbones.features.extract import Extractor, bare_loop
    from keras_yolo_backbones.features.job import make_job

    extractor = Extractor(kyb.create(name, input_shape=(side, side, 3), levels=("P5",)), batch_size=BATCH)
    ratios: dict[str, list[float]] = {"fitting": [], "large": []}
    with tempfile.TemporaryDirectory() as folder:
        for kind, scale in (("fitting", 1), ("large", 2)):
            write_photographs(Path(folder) / kind, side * scale, BATCH * BATCHES)
        bare_loop(extractor, 1)
        for attempt in range(THROUGHPUT_ROUNDS):
            for kind, found in ratios.items():
                out = Path(folder) / f"{kind}-{attempt}"
                out.mkdir()
                job = make_job(Path(folder) / kind, out, BATCH * BATCHES)
                start = time.perf_counter()
                bare_loop(extractor, BATCHES)
                middle = time.perf_counter()
                list(extractor.run(job, job.shards))
                found.append((middle - start) / (time.perf_counter() - middle))
    return {kind: statistics.median(found) for kind, found in ratios.items()}


BATCH, BATCHES, THROUGHPUT_ROUNDS = 16, 8, 5


def write_photographs(folder: Path, side: int, count: int) -> None:
    """JPEG files of scikit-learn's photographs, scaled to (side, side), each a little different."""
    import numpy as np
    import tensorflow as tf
    from sklearn.datasets import load_sample_images

    folder.mkdir()
    frames = [tf.image.resize(image, (side, side)).numpy() for image in load_sample_images().images]
    for index in range(count):
        pixels = np.roll(frames[index % len(frames)], index, axis=1).astype(np.uint8)
        (folder / f"{index}.jpg").write_bytes(tf.io.encode_jpeg(pixels).numpy())


def report(console: Console, results: dict[str, Any]) -> None:
    """Print the tables."""
    imports, machine = results["import"], results["machine"]
    console.print(f"{machine['processor']}, {machine['threads']} threads")
    console.print(
        f"import: the package adds {imports['added_seconds'] * 1e3:.0f} ms to Keras' {imports['keras_seconds']:.1f} s "
        f"({imports['ratio']:.3f} of it)"
    )
    for name, seconds in results["build_seconds"].items():
        console.print(f"build {name}: {seconds:.2f} s")
    for name, forms in results["latency"].items():
        table = Table(name, "time / Keras", "share of peak", "median", box=None, pad_edge=False)
        for form, latency in sorted(forms.items(), key=lambda item: item[1]["ratio"]):
            milliseconds = f"{latency['seconds'] * 1e3:.1f} ms"
            table.add_row(form, f"{latency['ratio']:.2f}", f"{latency['peak_share']:.2f}", milliseconds)
        console.print()
        console.print(table)
        console.print(f"int8 takes of the time of float: {int8_of_float(forms)}")
    for name, shares in results["features"].items():
        text = ", ".join(f"{kind} files {share:.2f}" for kind, share in shares.items())
        console.print(f"features with {name}, throughput relative to the bare model loop: {text}")


INT8 = {"tflite int8": "tflite float32", "onnxruntime int8": "onnxruntime", "openvino int8": "openvino"}
"""Form -> the same in float."""


def int8_of_float(forms: dict[str, dict[str, float]]) -> str:
    """Int8 against float in each runtime."""
    found = {form: forms[form]["seconds"] / forms[plain]["seconds"] for form, plain in INT8.items() if form in forms}
    return ", ".join(f"{form.removesuffix(' int8')} {share:.2f}" for form, share in found.items())


def draw(results: dict[str, Any], path: Path) -> Path:
    """A bar for each form, grouped by network, relative to Keras."""
    networks = results["latency"]
    forms = sorted(next(iter(networks.values())), key=lambda form: next(iter(networks.values()))[form]["ratio"])
    figure, axis = plt.subplots(figsize=(9, 4.5), layout="constrained")
    height = 0.8 / len(networks)
    for row, (name, found) in enumerate(networks.items()):
        positions = [index + row * height for index in range(len(forms))]
        bars = axis.barh(positions, [found[form]["ratio"] for form in forms], height, label=name)
        axis.bar_label(bars, fmt="%.2f", padding=3)
    axis.set_yticks([index + 0.4 - height / 2 for index in range(len(forms))], forms)
    axis.invert_yaxis()
    axis.set_xlabel("time for one image, relative to Keras' predict_on_batch (lower is faster)")
    axis.set_title(f"{results['machine']['processor']}, {results['machine']['threads']} threads")
    axis.legend()
    axis.margins(x=0.1)
    figure.savefig(path, dpi=100)
    return path


def processor() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    names = [line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    with native_noise_hidden():
        main()

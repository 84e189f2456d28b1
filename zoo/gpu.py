"""Latency and throughput on a GPU, each as a share of the float32 SavedModel's in the same run; on the CPU without one.

    python zoo/gpu.py [--out bench-gpu] [--models v8-n v8-s] [--image-size 640] [--batches 1 32] [--rounds 15]

Forms: SavedModels in float32, bfloat16 and compiled by XLA; the Keras model compiled by JAX; onnxruntime with CUDA and
TensorRT. Those whose package or provider is missing are left out, and named. JAX runs in a process of its own, so it
does not take turns with the others. Everything that the network returns is copied to the host in every call.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # JAX and onnxruntime need memory of the card too

import numpy as np
from rich.console import Console
from rich.table import Table
from served import saved_models

Call = Callable[[np.ndarray], Any]
REFERENCE = "saved_model"
PROVIDERS = {"onnxruntime CUDA": "CUDAExecutionProvider", "onnxruntime TensorRT": "TensorrtExecutionProvider"}


def main() -> None:
    """Export, time, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("bench-gpu"))
    parser.add_argument("--models", nargs="+", default=["v8-n", "v8-s"])
    parser.add_argument("--image-size", type=int, default=640)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--jax", metavar="MODEL", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.jax:
        print(json.dumps(jax_times(args.jax, args.image_size, args.batches, args.rounds)))
        return
    args.out.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {"device": device(), "image_size": args.image_size, "missing": [], "seconds": {}}
    for name in args.models:
        results["seconds"][name] = times(name, args, results["missing"])
        Console().print(table(name, results))
    results["missing"] = sorted(set(results["missing"]))
    if results["missing"]:
        print("left out, because missing here:", ", ".join(results["missing"]))
    target = args.out / "gpu.json"
    target.write_text(json.dumps(results, indent=2) + "\n")
    print(target)


def device() -> str:
    """The first GPU's name, or the CPU's."""
    import tensorflow as tf
    from benchmark import processor

    for card in tf.config.list_physical_devices("GPU"):
        return str(tf.config.experimental.get_device_details(card).get("device_name", card.name))
    return f"no GPU: {processor()}"


def times(name: str, args: argparse.Namespace, missing: list[str]) -> dict[str, dict[str, float]]:
    """Form -> batch -> median seconds of a call; the forms of one process take turns."""
    from benchmark import network

    from keras_yolo_backbones.benchmark import trained_like

    model = trained_like(network(name, args.image_size))
    shape = args.image_size, args.image_size, 3
    with tempfile.TemporaryDirectory() as folder:
        forms = saved_models(model, Path(folder)) | onnx_sessions(model, Path(folder), missing)
        found = {form: {} for form in forms}
        for batch in args.batches:
            images = np.random.default_rng(0).random((batch, *shape), np.float32)
            for form, seconds in in_turns(forms, images, args.rounds).items():
                found[form][str(batch)] = seconds
    if importlib.util.find_spec("jax"):
        found["JAX jit"] = from_jax(name, args)
    else:
        missing.append("jax")
    return found


def onnx_sessions(model: Any, folder: Path, missing: list[str]) -> dict[str, Call]:
    """The ONNX file in the providers that are there."""
    import onnxruntime

    import keras_yolo_backbones as kyb
    from keras_yolo_backbones.benchmark import onnx_runner

    there = onnxruntime.get_available_providers()
    missing += [form for form, provider in PROVIDERS.items() if provider not in there]
    wanted = {form: provider for form, provider in PROVIDERS.items() if provider in there}
    wanted = wanted or {"onnxruntime CPU": "CPUExecutionProvider"}
    file = kyb.export_onnx(model, folder / "model.onnx").path
    return {form: onnx_runner(file, provider) for form, provider in wanted.items()}


def in_turns(forms: dict[str, Call], images: np.ndarray, rounds: int) -> dict[str, float]:
    """Median seconds of a call of each, in a new order each round, after two calls that are not counted."""
    for run in forms.values():
        run(images), run(images)
    order, shuffle = list(forms), random.Random(0).shuffle
    found: dict[str, list[float]] = {form: [] for form in forms}
    for _ in range(rounds):
        shuffle(order)
        for form in order:
            start = time.perf_counter()
            forms[form](images)
            found[form].append(time.perf_counter() - start)
    return {form: statistics.median(seconds) for form, seconds in found.items()}


def from_jax(name: str, args: argparse.Namespace) -> dict[str, float]:
    """`jax_times` in a process of its own, since a process has one backend."""
    numbers = [*map(str, args.batches)]
    command = [sys.executable, __file__, "--jax", name, "--image-size", str(args.image_size)]
    command += ["--rounds", str(args.rounds), "--batches", *numbers]
    environment = os.environ | {"KERAS_BACKEND": "jax", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def jax_times(name: str, side: int, batches: list[int], rounds: int) -> dict[str, float]:
    """Batch -> median seconds of the fused network, compiled by JAX."""
    import jax
    from benchmark import network

    import keras_yolo_backbones as kyb
    from keras_yolo_backbones.benchmark import trained_like

    model = kyb.fuse(trained_like(network(name, side)))
    weights = [variable.value for variable in model.trainable_variables]
    fixed = [variable.value for variable in model.non_trainable_variables]
    compiled = jax.jit(lambda images: model.stateless_call(weights, fixed, images, training=False)[0])

    def run(images: np.ndarray) -> Any:
        return {level: np.asarray(value) for level, value in compiled(images).items()}

    shape = side, side, 3
    inputs = {str(batch): np.random.default_rng(0).random((batch, *shape), np.float32) for batch in batches}
    return {batch: in_turns({"jax": run}, images, rounds)["jax"] for batch, images in inputs.items()}


def table(name: str, results: dict[str, Any]) -> Table:
    """The forms of one network: milliseconds of a call, images a second, share of the reference's time."""
    found = results["seconds"][name]
    shown = Table(title=f"{results['device']}, {results['image_size']} px", box=None, pad_edge=False)
    shown.add_column(name, no_wrap=True)
    for batch in found[REFERENCE]:
        for head in (f"batch {batch}", "images/s", "share"):
            shown.add_column(head, justify="right", no_wrap=True)
    for form, own in found.items():
        cells = []
        for batch, seconds in own.items():
            share = seconds / found[REFERENCE][batch]
            cells += [f"{seconds * 1e3:.1f} ms", f"{int(batch) / seconds:.0f}", f"{share:.2f}"]
        shown.add_row(form, *cells)
    return shown


if __name__ == "__main__":
    main()

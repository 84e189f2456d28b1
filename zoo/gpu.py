"""Latency and throughput on a GPU, each as a share of the float32 SavedModel's in the same run; on the CPU without one.

    python zoo/gpu.py [--out bench-gpu] [--models v8-n v8-s] [--image-size 640] [--batches 1 32] [--rounds 15]

Forms: SavedModels in float32, bfloat16 and compiled by XLA; the Keras model compiled by JAX; onnxruntime with CUDA and
TensorRT. Those whose package or provider is missing are left out, and named. JAX runs in a process of its own, so it
does not take turns with the others. "Copied" has images and outputs in the host's memory, as a server has them; "on the
card" is the network alone. TensorFlow and JAX compute float32 in TF32 where a card has that, as they do by default.
"""

from __future__ import annotations

import argparse
import functools
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
from typing import Any, NamedTuple

os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # JAX and onnxruntime need memory of the card too

import numpy as np
from rich.console import Console
from rich.table import Table
from served import saved_models

Call = Callable[[], Any]

REFERENCE = "saved_model"
KINDS = ("copied", "on the card")
PROVIDERS = {"onnxruntime CUDA": "CUDAExecutionProvider", "onnxruntime TensorRT": "TensorrtExecutionProvider"}


class Form(NamedTuple):
    """A network in a runtime.

    Attributes:
        copied: images in the host's memory -> outputs there.
        ready: images -> a call on images that lie on the card, and that leaves the outputs there.
    """

    copied: Callable[[np.ndarray], Any]
    ready: Callable[[np.ndarray], Call]


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
        print(json.dumps(jax_times(args.jax, args)))
        return
    args.out.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {"device": device(), "image_size": args.image_size, "missing": [], "seconds": {}}
    for name in args.models:
        results["seconds"][name] = times(name, args, results["missing"])
        for kind in KINDS:
            Console().print(table(name, kind, results))
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


def times(name: str, args: argparse.Namespace, missing: list[str]) -> dict[str, Any]:
    """Form -> `"copied"` or `"on the card"` -> batch -> median seconds; the forms of one process take turns."""
    from benchmark import network

    from keras_yolo_backbones.benchmark import trained_like

    model = trained_like(network(name, args.image_size))
    with tempfile.TemporaryDirectory() as folder:
        forms = in_tensorflow(model, Path(folder)) | in_onnxruntime(model, Path(folder), missing)
        found = timed(forms, args)
    if importlib.util.find_spec("jax"):
        found["JAX jit"] = from_jax(name, args)
    else:
        missing.append("jax")
    return found


def timed(forms: dict[str, Form], args: argparse.Namespace) -> dict[str, Any]:
    """`times` of some forms."""
    found: dict[str, Any] = {form: {kind: {} for kind in KINDS} for form in forms}
    for batch in args.batches:
        images = np.random.default_rng(0).random((batch, args.image_size, args.image_size, 3), np.float32)
        calls = {(form, "copied"): functools.partial(one.copied, images) for form, one in forms.items()}
        calls |= {(form, "on the card"): one.ready(images) for form, one in forms.items()}
        for (form, kind), seconds in in_turns(calls, args.rounds).items():
            found[form][kind][str(batch)] = seconds
    return found


def in_tensorflow(model: Any, folder: Path) -> dict[str, Form]:
    """The SavedModels."""
    import tensorflow as tf

    def form(network: Any) -> Form:
        def ready(images: np.ndarray) -> Call:
            there = tf.identity(tf.constant(images))

            def call() -> None:
                # One number of each output is fetched: the call itself returns before the card is done.
                [tensor[(0,) * len(tensor.shape)].numpy() for tensor in network(there).values()]

            return call

        def copied(images: np.ndarray) -> Any:
            return [tensor.numpy() for tensor in network(tf.constant(images)).values()]

        return Form(copied, ready)

    folders = saved_models(model, folder)
    return {name: form(tf.saved_model.load(str(path)).signatures["serving_default"]) for name, path in folders.items()}


def in_onnxruntime(model: Any, folder: Path, missing: list[str]) -> dict[str, Form]:
    """The ONNX file in the providers that work here; on the CPU where there is none."""
    import keras_yolo_backbones as kyb

    file = kyb.export_onnx(model, folder / "model.onnx").path
    found = {form: one for form, provider in PROVIDERS.items() if (one := _session(file, provider))}
    missing += [form for form in PROVIDERS if form not in found]
    return found or {"onnxruntime CPU": _session(file, "CPUExecutionProvider")}


def _session(file: Path, provider: str) -> Form | None:
    import onnxruntime

    if provider not in onnxruntime.get_available_providers():
        return None
    session = onnxruntime.InferenceSession(str(file), providers=[provider])
    if session.get_providers()[0] != provider:
        return None  # it is installed, a library of it is not
    given, place = session.get_inputs()[0].name, "cpu" if provider.startswith("CPU") else "cuda"

    def ready(images: np.ndarray) -> Call:
        binding = session.io_binding()
        binding.bind_ortvalue_input(given, onnxruntime.OrtValue.ortvalue_from_numpy(images, place, 0))
        for output in session.get_outputs():
            binding.bind_output(output.name, place)

        def call() -> None:
            session.run_with_iobinding(binding)
            binding.synchronize_outputs()

        return call

    return Form(lambda images: session.run(None, {given: images}), ready)


def in_turns(calls: dict[Any, Call], rounds: int) -> dict[Any, float]:
    """Median seconds of each, in a new order each round, after two calls that are not counted."""
    for call in calls.values():
        call(), call()
    order, shuffle = list(calls), random.Random(0).shuffle
    found: dict[Any, list[float]] = {key: [] for key in calls}
    for _ in range(rounds):
        shuffle(order)
        for key in order:
            start = time.perf_counter()
            calls[key]()
            found[key].append(time.perf_counter() - start)
    return {key: statistics.median(seconds) for key, seconds in found.items()}


def from_jax(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """`jax_times` in a process of its own, since a process has one backend."""
    numbers = [*map(str, args.batches)]
    command = [sys.executable, __file__, "--jax", name, "--image-size", str(args.image_size)]
    command += ["--rounds", str(args.rounds), "--batches", *numbers]
    environment = os.environ | {"KERAS_BACKEND": "jax", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def jax_times(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """`times` of the fused network, compiled by JAX."""
    import jax
    from benchmark import network

    import keras_yolo_backbones as kyb
    from keras_yolo_backbones.benchmark import trained_like

    model = kyb.fuse(trained_like(network(name, args.image_size)))
    weights = [variable.value for variable in model.trainable_variables]
    fixed = [variable.value for variable in model.non_trainable_variables]
    compiled = jax.jit(lambda images: model.stateless_call(weights, fixed, images, training=False)[0])

    def copied(images: np.ndarray) -> Any:
        return [np.asarray(value) for value in compiled(images).values()]

    def ready(images: np.ndarray) -> Call:
        there = jax.device_put(images)
        return lambda: jax.block_until_ready(compiled(there))

    return timed({"JAX jit": Form(copied, ready)}, args)["JAX jit"]


def table(name: str, kind: str, results: dict[str, Any]) -> Table:
    """The forms of one network: milliseconds of a call, images a second, share of the reference's time."""
    found = results["seconds"][name]
    shown = Table(title=f"{results['device']}, {results['image_size']} px, {kind}", box=None, pad_edge=False)
    shown.add_column(name, no_wrap=True)
    for batch in found[REFERENCE][kind]:
        for head in (f"batch {batch}", "images/s", "share"):
            shown.add_column(head, justify="right", no_wrap=True)
    for form, own in found.items():
        cells = []
        for batch, seconds in own[kind].items():
            share = seconds / found[REFERENCE][kind][batch]
            cells += [f"{seconds * 1e3:.1f} ms", f"{int(batch) / seconds:.0f}", f"{share:.2f}"]
        shown.add_row(form, *cells)
    return shown


if __name__ == "__main__":
    main()

"""Images a second and memory at several batch sizes: a SavedModel in TF Serving's loader, ONNX, TFLite.

    python zoo/batches.py [--model v8-s] [--image-size 640] [--batches 1 8 32] [--calls 5]

Every row is measured in a process of its own, whose peak memory it is; the table's shares are of TFLite at batch 1.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from keras_yolo_backbones.benchmark import onnx_runner, threads, trained_like

FORMS = ("tflite", "saved_model", "onnxruntime")


def main() -> None:
    """Export once, measure each row, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="v8-s")
    parser.add_argument("--image-size", type=int, default=640)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--calls", type=int, default=5)
    parser.add_argument("--row", nargs=3, metavar=("FORM", "FILE", "BATCH"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.row:
        form, file, batch = args.row
        print(json.dumps(row(form, Path(file), int(batch), args.image_size, args.calls)))
        return
    found: dict[tuple[str, int], dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        files = export(args.model, args.image_size, Path(folder))
        for form in FORMS:
            for batch in args.batches:
                found[form, batch] = measured(form, files[form], batch, args.image_size, args.calls)
    unit = found["tflite", args.batches[0]]["images_per_second"]
    table = Table(box=None, pad_edge=False)
    for head in (args.model, "batch", "images/s", "share", "peak memory"):
        table.add_column(head, no_wrap=True)
    for (form, batch), values in found.items():
        rate = values["images_per_second"]
        table.add_row(form, str(batch), f"{rate:.1f}", f"{rate / unit:.2f}", f"{values['peak_bytes'] / 1e6:.0f} MB")
    Console().print(table)


def export(name: str, side: int, folder: Path) -> dict[str, Path]:
    """Form -> file or folder."""
    import keras_yolo_backbones as kyb

    model = trained_like(kyb.create(name, input_shape=(side, side, 3)))
    return {
        "tflite": kyb.export_tflite(model, folder / "model.tflite").path,
        "saved_model": kyb.export_saved_model(
            model, folder / "served", signatures=("serving_default",), batch_sizes=(1,)
        ).path,
        "onnxruntime": kyb.export_onnx(model, folder / "model.onnx").path,
    }


def measured(form: str, file: Path, batch: int, side: int, calls: int) -> dict[str, float]:
    """A row, from a process of its own."""
    command = [sys.executable, __file__, "--row", form, str(file), str(batch)]
    options = ["--image-size", str(side), "--calls", str(calls)]
    done = subprocess.run([*command, *options], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def row(form: str, file: Path, batch: int, side: int, calls: int) -> dict[str, float]:
    """Images a second of the fastest call, and the most memory that this process ever had."""
    images = np.random.default_rng(0).random((batch, side, side, 3), np.float32)
    run = tflite(file, images.shape) if form == "tflite" else RUNNERS[form](file)
    run(images)
    least = float("inf")
    for _ in range(calls):
        start = time.perf_counter()
        run(images)
        least = min(least, time.perf_counter() - start)
    return {"images_per_second": batch / least, "peak_bytes": peak_bytes()}


def peak_bytes() -> float:
    """The most memory that this process ever had; on Linux not that of the process which started it."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return float(line.split()[1]) * 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def tflite(file: Path, shape: tuple[int, ...]) -> Callable[[np.ndarray], Any]:
    """LiteRT with the input resized to the batch."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(file), num_threads=threads())
    (entry,) = interpreter.get_input_details()
    interpreter.resize_tensor_input(entry["index"], shape)
    interpreter.allocate_tensors()
    outputs = interpreter.get_output_details()

    def run(images: np.ndarray) -> Any:
        interpreter.set_tensor(entry["index"], images)
        interpreter.invoke()
        return [interpreter.get_tensor(output["index"]) for output in outputs]

    return run


def saved_model(file: Path) -> Callable[[np.ndarray], Any]:
    """The session loader that TF Serving uses."""
    from keras_yolo_backbones.export.tf_serving.session import ServingSession

    session = ServingSession(file)
    (key,) = session.signatures["serving_default"].inputs
    return lambda images: session.run({key: images})


RUNNERS = {"saved_model": saved_model, "onnxruntime": onnx_runner}


if __name__ == "__main__":
    main()

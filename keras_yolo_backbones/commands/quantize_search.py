"""`kyb quantize --at-least-db`: the cheapest measures that keep every level above a bound."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from keras_yolo_backbones.commands.common import working
from keras_yolo_backbones.commands.export import artifact_table
from keras_yolo_backbones.commands.quantized_files import beside, clear_reports, export
from keras_yolo_backbones.errors import ArgumentError

if TYPE_CHECKING:
    import keras

    from keras_yolo_backbones.quantization.calibration import Calibration


def check_search(args: argparse.Namespace) -> None:
    """Check that the options leave the search its choice, before anything is built."""
    given = {
        "--batch-size": args.batch_size is not None,
        "--format": args.format != ["tflite"],
        "--keep-float": bool(args.keep_float),
        "--learn-ranges": args.learn_ranges,
        "--learning-rate": args.learning_rate is not None,
        "--method": args.method != "auto",
        "--scheme": args.scheme != "asymmetric",
    }
    if found := [option for option, is_given in given.items() if is_given]:
        raise ArgumentError(f"--at-least-db chooses all measures itself: leave out {', '.join(found)}.")


def search(args: argparse.Namespace, console: Console, model: keras.Model, samples: Calibration, stem: Path) -> int:
    """Find the cheapest measures, write their file; 1 if the bound is not met."""
    from keras_yolo_backbones.quantization import at_least

    with working(console, f"looking for {args.at_least_db:g} dB on {len(samples)} images"):
        found = at_least(model, samples, args.at_least_db, epochs=args.epochs, latency=_latency, quiet=True)
    clear_reports(stem)
    with working(console, "exporting"):
        artifact = export(found.model, "tflite", beside(stem, ".tflite"), args)
    if importlib.util.find_spec("matplotlib"):
        found.save_plot(beside(stem, ".budget.png"))
    output = Console()
    output.print(str(found), markup=False, highlight=False, soft_wrap=True)
    output.print(artifact_table([artifact]))
    return 0 if found.met else 1


def _latency(aware: keras.Model) -> float:
    """Median milliseconds of the file of a fake-quantized model through LiteRT."""
    import statistics
    import time

    import numpy as np

    from keras_yolo_backbones.export.tflite import export_tflite
    from keras_yolo_backbones.litert import LiteModel
    from keras_yolo_backbones.work_folders import scratch

    with scratch() as folder:
        runner = LiteModel(export_tflite(aware, folder / "m.tflite", least_snr_db=-100).path)
    image: np.ndarray = np.zeros((1, *runner.input_shape), np.float32)
    times = []
    for _ in range(9):
        start = time.perf_counter()
        runner(image)
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)

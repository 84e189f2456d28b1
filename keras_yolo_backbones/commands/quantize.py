"""`kyb quantize`: from float weights to a tuned int8 file."""

from __future__ import annotations

import argparse
import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from keras_yolo_backbones.commands.common import add_model_arguments, build_model, working
from keras_yolo_backbones.commands.export import artifact_table, check_target_of, load
from keras_yolo_backbones.errors import ArgumentError, one_of

if TYPE_CHECKING:
    import keras

    from keras_yolo_backbones.export.manifest import Artifact
    from keras_yolo_backbones.quantization import Plan, Report
    from keras_yolo_backbones.quantization.calibration import Calibration

FORMATS = ("tflite", "onnx")
SCHEMES = ("asymmetric", "symmetric")

EXAMPLES = """\
examples:
  kyb quantize v8-s --activation relu6 --weights my-v8s.weights.h5 --images photos/ --out build/
  kyb quantize v8-s --weights my-v8s.weights.h5 --images photos/ --epochs 0 --out build/
  kyb quantize v8-s --weights my-v8s.weights.h5 --images photos/ --at-least-db 25 --out build/
  kyb quantize v8-s --weights my-v8s.weights.h5 --images photos/ --format tflite onnx --out build/
  kyb quantize v8-s --weights my-v8s.weights.h5 --images photos/ --keep-float stage5 'spp.cv?' --out build/
"""


def add(subparsers: argparse._SubParsersAction) -> None:
    """Add the command and its arguments."""
    parser = subparsers.add_parser(
        "quantize",
        help="make an int8 TFLite or ONNX file by quantization-aware training, without labels",
        description="Plan the ranges on photographs, put them into the network, tune its weights against the float "
        "network's features, write an int8 file, and report where it loses signal. A killed run is continued.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_model_arguments(parser)
    parser.add_argument("--weights", metavar="FILE", help="trained weights, of Keras or of the original project")
    parser.add_argument("--images", required=True, metavar="DIR", help="photographs like those in use")
    parser.add_argument(
        "--epochs", type=int, help="of tuning; by default as many as make 400 steps; 0 leaves the weights as they are"
    )
    parser.add_argument("--batch-size", type=int, help="images a step of tuning; 8 by default")
    parser.add_argument("--learning-rate", type=float, help="of tuning; 3e-5 by default")
    parser.add_argument(
        "--method", default="auto", help="how ranges are chosen: auto (default), minmax, percentile or mse"
    )
    parser.add_argument(
        "--at-least-db",
        type=float,
        metavar="DB",
        help="find the cheapest measures that keep every level above this; --epochs is the most tuning",
    )
    parser.add_argument("--learn-ranges", action="store_true", help="let tuning move the ranges of activations too")
    parser.add_argument(
        "--keep-float", nargs="+", default=[], metavar="LAYER", help="layers that stay float, as the report names them"
    )
    parser.add_argument("--format", nargs="+", default=["tflite"], metavar="FORMAT", help="tflite (default), onnx")
    parser.add_argument("--scheme", default="asymmetric", help="asymmetric (default), or symmetric for TensorRT")
    parser.add_argument("--target", metavar="RUNTIME", help="write the TFLite form that suits it: xnnpack")
    parser.add_argument("--out", required=True, metavar="DIR", help="the folder to write to")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Plan, quantize, tune, export, report."""
    for format in args.format:
        if format not in FORMATS:
            raise one_of("format", format, FORMATS)
    if args.scheme not in SCHEMES:
        raise one_of("scheme", args.scheme, SCHEMES)
    if args.target:
        check_target_of(args.target, args.format)
    if args.at_least_db is not None:
        _check_search(args)
    with working(console, f"building {args.model}"):
        model = build_model(args)
        load(model, args.weights)
        from keras_yolo_backbones import quantization
        from keras_yolo_backbones.files import check_directory
        from keras_yolo_backbones.graph.signature import image_input
        from keras_yolo_backbones.quantization.calibration import calibration_images

        folder = check_directory(args.out)
        images = image_input(model)
        samples = calibration_images(args.images, shape=images.sized(None), preprocessing=images.preprocessing)
    stem = "-".join(filter(None, [model.name, args.activation])) + "-qat"
    if args.at_least_db is not None:
        return _search(args, console, model, samples, folder / stem)
    with working(console, f"planning on {len(samples)} images"):
        plan = quantization.plan(model, samples, method=args.method, symmetric=args.scheme == "symmetric")
        options = {"learn_ranges": args.learn_ranges, "keep_float": args.keep_float}
        aware = quantization.quantize_aware(model, plan, **options)
        plan.save(folder / f"{stem}.plan.json")
    if args.keep_float:
        with working(console, "measuring what float layers bring"):
            bought = _bought(model, plan, aware, samples)
        print(bought)
    if args.epochs != 0:
        told = quantization.distill(
            model,
            aware,
            samples,
            epochs=args.epochs,
            batch_size=8 if args.batch_size is None else args.batch_size,
            learning_rate=3e-5 if args.learning_rate is None else args.learning_rate,
            checkpoints=folder / f"{stem}.checkpoints",
            quiet=not console.is_terminal,
        )
        change = f"{told.held_out[0]:.2e} to {told.held_out[told.best]:.2e}"
        print(f"held-out loss: {change}, after epoch {told.best} of {len(told.held_out) - 1}")
    for suffix in (".json", ".png"):  # of older files: no report lies beside a file that it is not of
        (folder / f"{stem}.report{suffix}").unlink(missing_ok=True)
    with working(console, "exporting"):
        artifacts = [_export(aware, format, folder / f"{stem}.{format}", args) for format in args.format]
    with working(console, "comparing with float"):
        report = quantization.report(model, artifacts[0].path, samples)
    _write(report, artifacts[0].path, folder / f"{stem}.report")
    output = Console()
    output.print(artifact_table(artifacts))
    output.print(str(report), markup=False, highlight=False, soft_wrap=True)
    return 0


def _check_search(args: argparse.Namespace) -> None:
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


def _search(args: argparse.Namespace, console: Console, model: keras.Model, samples: Calibration, stem: Path) -> int:
    """Find the cheapest measures, write their file; 1 if the bound is not met."""
    from keras_yolo_backbones.quantization import at_least

    with working(console, f"looking for {args.at_least_db:g} dB on {len(samples)} images"):
        found = at_least(model, samples, args.at_least_db, epochs=args.epochs, latency=_latency, quiet=True)
    with working(console, "exporting"):
        artifact = _export(found.model, "tflite", stem.with_name(f"{stem.name}.tflite"), args)
    if importlib.util.find_spec("matplotlib"):
        found.save_plot(stem.with_name(f"{stem.name}.budget.png"))
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


def _export(aware: keras.Model, format: str, path: Path, args: argparse.Namespace) -> Artifact:
    if format == "onnx":
        from keras_yolo_backbones.export.onnx.exporter import export_onnx

        return export_onnx(aware, path, scheme=args.scheme)
    from keras_yolo_backbones.export.tflite import export_tflite

    return export_tflite(aware, path, target=args.target)


def _bought(model: keras.Model, plan: Plan, aware: keras.Model, samples: Calibration) -> str:
    """What float layers bring before any tuning, against the same plan without them."""
    from keras_yolo_backbones import quantization
    from keras_yolo_backbones.export.tflite import export_tflite
    from keras_yolo_backbones.work_folders import scratch

    forms = aware, quantization.quantize_aware(model, plan)
    with scratch() as folder:
        files = [export_tflite(form, folder / f"{index}.tflite").path for index, form in enumerate(forms)]
        kept, full = (quantization.report(model, file, samples) for file in files)
    return f"before tuning, {kept.bought(full)}"


def _write(report: Report, file: Path, path: Path) -> None:
    """Write the report of a file as JSON and, where matplotlib is installed, as a plot."""
    from keras_yolo_backbones.export.manifest import file_digest
    from keras_yolo_backbones.files import staged

    of = {"file": file.name, "sha256": file_digest(file)}
    text = json.dumps(of | report.as_dict(), indent=1) + "\n"
    with staged(path.with_name(f"{path.name}.json")) as temporary:
        temporary.write_text(text, encoding="utf-8")
    if importlib.util.find_spec("matplotlib"):
        report.save_plot(path.with_name(f"{path.name}.png"))

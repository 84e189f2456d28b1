"""`kyb quantize`: from float weights to a tuned int8 file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from keras_yolo_backbones.commands.common import add_model_arguments, build_model, working
from keras_yolo_backbones.commands.export import artifact_table, check_target_of, load
from keras_yolo_backbones.commands.quantize_search import check_search, search
from keras_yolo_backbones.commands.quantized_files import beside, bought, clear_reports, export, write_report
from keras_yolo_backbones.errors import ArgumentError, one_of

if TYPE_CHECKING:
    import keras

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
    _check(args)
    with working(console, f"building {args.model}"):
        model, samples, folder = _read(args)
    stem = folder / ("-".join(filter(None, [model.name, args.activation])) + "-qat")
    if args.at_least_db is not None:
        return search(args, console, model, samples, stem)
    aware = _planned(args, console, model, samples, stem)
    if args.epochs != 0:
        print(_tuned(args, console, model, aware, samples, stem))
    clear_reports(stem)
    with working(console, "exporting"):
        artifacts = [export(aware, format, beside(stem, f".{format}"), args) for format in args.format]
    with working(console, "comparing with float"):
        from keras_yolo_backbones import quantization

        report = quantization.report(model, artifacts[0].path, samples)
    write_report(report, artifacts[0].path, stem)
    output = Console()
    output.print(artifact_table(artifacts))
    output.print(str(report), markup=False, highlight=False, soft_wrap=True)
    return 0


def _check(args: argparse.Namespace) -> None:
    """Check the options, before anything is built."""
    for format in args.format:
        if format not in FORMATS:
            raise one_of("format", format, FORMATS)
    if args.scheme not in SCHEMES:
        raise one_of("scheme", args.scheme, SCHEMES)
    if args.target:
        check_target_of(args.target, args.format)
    if args.epochs is not None and args.epochs < 0:
        raise ArgumentError(f"--epochs {args.epochs}: expected 0 or more.")
    if args.at_least_db is not None:
        check_search(args)


def _read(args: argparse.Namespace) -> tuple[keras.Model, Calibration, Path]:
    """The float model, the photographs, and the folder to write to."""
    model = build_model(args)
    load(model, args.weights)
    from keras_yolo_backbones.files import check_directory
    from keras_yolo_backbones.graph.signature import image_input
    from keras_yolo_backbones.quantization.calibration import calibration_images

    folder = check_directory(args.out)
    images = image_input(model)
    samples = calibration_images(args.images, shape=images.sized(None), preprocessing=images.preprocessing)
    return model, samples, folder


def _planned(
    args: argparse.Namespace, console: Console, model: keras.Model, samples: Calibration, stem: Path
) -> keras.Model:
    """The fake-quantized model; its plan is written."""
    from keras_yolo_backbones import quantization

    with working(console, f"planning on {len(samples)} images"):
        plan = quantization.plan(model, samples, method=args.method, symmetric=args.scheme == "symmetric")
        options = {"learn_ranges": args.learn_ranges, "keep_float": args.keep_float}
        aware = quantization.quantize_aware(model, plan, **options)
        plan.save(beside(stem, ".plan.json"))
    if args.keep_float:
        with working(console, "measuring what float layers bring"):
            brought = bought(model, plan, aware, samples)
        print(brought)
    return aware


def _tuned(
    args: argparse.Namespace,
    console: Console,
    model: keras.Model,
    aware: keras.Model,
    samples: Calibration,
    stem: Path,
) -> str:
    """Train `aware` on the float model's features; returns what that brought."""
    from keras_yolo_backbones import quantization

    told = quantization.distill(
        model,
        aware,
        samples,
        epochs=args.epochs,
        batch_size=8 if args.batch_size is None else args.batch_size,
        learning_rate=3e-5 if args.learning_rate is None else args.learning_rate,
        checkpoints=beside(stem, ".checkpoints"),
        quiet=not console.is_terminal,
    )
    change = f"{told.held_out[0]:.2e} to {told.held_out[told.best]:.2e}"
    return f"held-out loss: {change}, after epoch {told.best} of {len(told.held_out) - 1}"

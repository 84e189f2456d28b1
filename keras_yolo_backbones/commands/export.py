"""`kyb export`: a network in the formats that are deployed."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Column, Table

from keras_yolo_backbones.commands.common import (
    Timings,
    add_model_arguments,
    build_model,
    check_exists,
    print_json,
    readable_bytes,
    timings_table,
    working,
)
from keras_yolo_backbones.commands.saved_model import add_saved_model_arguments, saved_model_options
from keras_yolo_backbones.errors import ArgumentError, one_of

if TYPE_CHECKING:
    import keras

    from keras_yolo_backbones.export.manifest import Artifact

FORMATS = ("tflite", "saved_model", "onnx")

EXAMPLES = """\
examples:
  kyb export v8-s --format tflite onnx --out build/
  kyb export v8-s --activation relu6 --format tflite --precision int8 --calibration photos/ --out build/
  kyb export v8-s --format onnx --precision int8 --scheme symmetric --calibration photos/ --out build/
  kyb export v8-s --weights my-v8s.weights.h5 --format saved_model --out serving/
"""


def add(subparsers: argparse._SubParsersAction) -> None:
    """Add the command and its arguments."""
    parser = subparsers.add_parser(
        "export",
        help="write TFLite, SavedModel and ONNX files, each checked against the model",
        description="Build a network and write it in one or more formats. Every file is run and compared with the "
        "model before it appears under its name; a manifest beside it says how to use it.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_model_arguments(parser)
    parser.add_argument("--weights", metavar="FILE", help="trained weights, of Keras or of the original project")
    parser.add_argument("--format", nargs="+", required=True, metavar="FORMAT", help=", ".join(FORMATS))
    parser.add_argument("--out", required=True, metavar="DIR", help="the folder to write to")
    parser.add_argument("--bom", action="store_true", help="write a CycloneDX bill of materials beside each file")
    parser.add_argument("--json", action="store_true", help="print the manifests as JSON")
    parser.add_argument("--timings", action="store_true", help="print where the time went")
    integers = parser.add_argument_group("tflite and onnx")
    integers.add_argument("--precision", default="float32", help="float32, float16 (tflite), dynamic (tflite) or int8")
    integers.add_argument("--calibration", metavar="DIR", help="for int8: a folder of photographs, or a plan's .json")
    integers.add_argument("--method", help="how int8 ranges are chosen: auto (default), minmax, percentile or mse")
    integers.add_argument(
        "--keep-float", nargs="+", default=[], metavar="LAYER", help="layers that stay float in an int8 file"
    )
    tflite = parser.add_argument_group("tflite")
    tflite.add_argument("--input-type", help="of an int8 file: int8 (default), uint8 or float32")
    tflite.add_argument("--target", metavar="RUNTIME", help="write the form that suits it, with equal numbers: xnnpack")
    onnx = parser.add_argument_group("onnx")
    onnx.add_argument("--opset", type=int, default=17, help="13 … 21")
    onnx.add_argument("--scheme", default="asymmetric", help="of an int8 file: asymmetric (default) or symmetric")
    onnx.add_argument("--io", default="float32", help="of an int8 file: float32 (default) or int8")
    onnx.add_argument("--layout", default="nhwc", help="nhwc (default) or nchw")
    add_saved_model_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Export in each format and print a table, or JSON."""
    for format in args.format:
        if format not in FORMATS:
            raise one_of("format", format, FORMATS)
    if "tflite" in args.format and args.precision == "int8" and args.calibration is None:
        raise ArgumentError("--precision int8 needs --calibration DIR: a folder of photographs like those in use.")
    if args.target:
        check_target_of(args.target, args.format)
    if args.bom:
        from keras_yolo_backbones.export.bom import require_cyclonedx, write_bom

        require_cyclonedx()
    timings: Timings = []
    with working(console, f"building {args.model}", timings):
        model = build_model(args)
        load(model, args.weights)
    artifacts = []
    for format in dict.fromkeys(args.format):
        with working(console, f"exporting {format}", timings):
            artifacts.append(_export(model, format, args))
            if args.bom:
                write_bom(artifacts[-1])
    if args.json:
        print_json([{"path": str(artifact.path), **artifact.manifest} for artifact in artifacts])
    else:
        Console().print(artifact_table(artifacts))
    if args.timings:
        console.print(timings_table(timings))
    if not args.weights:
        console.print("The weights are random: without --weights the files show shapes, speed and size, not skill.")
    return 0


def check_target_of(target: str, formats: list[str]) -> None:
    """Check `--target` before anything is built."""
    from keras_yolo_backbones.export.for_targets import check_target

    if "tflite" not in formats:
        raise ArgumentError(f"--target {target} is about TFLite files: add --format tflite, or leave it out.")
    check_target(target)


def artifact_table(artifacts: list[Artifact]) -> Table:
    """File, size and agreement of each artifact with its model, level by level; below it, with which, if it rounds."""
    levels = list(artifacts[0].manifest["outputs"])
    file = Column("file", overflow="fold")
    table = Table(file, "size", *(f"{level} SNR" for level in levels), "operators", box=None, pad_edge=False)
    if (reference := artifacts[0].manifest["agreement"]["reference"]) != "model":
        table.caption, table.caption_justify, table.caption_style = f"SNR against the {reference}", "left", ""
    for artifact in artifacts:
        agreement, operators = artifact.manifest["agreement"], artifact.manifest.get("operators")
        ratios = [agreement[level]["snr_db"] for level in levels]
        table.add_row(
            str(artifact.path),
            readable_bytes(artifact.size),
            *("exact" if ratio is None else f"{ratio:.1f} dB" for ratio in ratios),
            str(sum(operators.values())) if operators else "",
        )
    return table


def load(model: keras.Model, weights: str | None) -> None:
    """Load the weights that `--weights` names, if it was given."""
    if weights is None:
        return
    check_exists(weights, "--weights")
    from keras_yolo_backbones.weights.load import load_weights

    load_weights(model, weights)


def _export(model: keras.Model, format: str, args: argparse.Namespace) -> Artifact:
    stem = "-".join(filter(None, [model.name, args.activation]))
    folder = Path(args.out)
    if format == "onnx":
        return _export_onnx(model, folder / stem, args)
    if format == "saved_model":
        from keras_yolo_backbones.export.tf_serving.saved_model import export_saved_model

        return export_saved_model(model, folder / stem, **saved_model_options(args))
    from keras_yolo_backbones.export.tflite import export_tflite

    return export_tflite(
        model,
        folder / f"{stem}-{args.precision}.tflite",
        precision=args.precision,
        calibration=args.calibration,
        method=args.method,
        input_type=args.input_type,
        keep_float=args.keep_float,
        target=args.target,
    )


def _export_onnx(model: keras.Model, path: Path, args: argparse.Namespace) -> Artifact:
    """An int8 file if that is the precision; float in every other, for only TFLite has those."""
    from keras_yolo_backbones.export.onnx.exporter import export_onnx

    options: dict[str, Any] = {"opset": args.opset, "layout": args.layout, "scheme": args.scheme, "io": args.io}
    if args.precision != "int8":
        return export_onnx(model, path.with_name(f"{path.name}.onnx"), **options)
    return export_onnx(
        model,
        path.with_name(f"{path.name}-int8.onnx"),
        precision="int8",
        calibration=args.calibration,
        method=args.method,
        keep_float=args.keep_float,
        **options,
    )

"""`kyb check`: whether an accelerator takes a TFLite file whole, or a runtime an int8 ONNX file."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from keras_yolo_backbones.commands.common import print_json

if TYPE_CHECKING:
    from keras_yolo_backbones.targets.refusals import Refusal

EXAMPLES = """\
examples:
  kyb check v8s.tflite --target xnnpack
  kyb check build/v8-s-relu6-int8.tflite --target edgetpu --json
  kyb check build/v8-s-relu6-int8.onnx --target tensorrt
"""


def add(subparsers: argparse._SubParsersAction) -> None:
    """Add the command and its arguments."""
    parser = subparsers.add_parser(
        "check",
        help="name what an accelerator won't take of a TFLite file, or a runtime of an ONNX file",
        description="Hold a TFLite file's operators against what an accelerator takes: by its documentation, and for "
        "xnnpack also by what LiteRT was seen to do; or an int8 ONNX file against the published rules of a runtime. "
        "Ends with 1 if any would run elsewhere, or in float.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, help="a .tflite or .onnx file")
    parser.add_argument(
        "--target",
        required=True,
        help="xnnpack, gpu, edgetpu or nnapi; for .onnx tensorrt, onnxruntime, openvino or qnn",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, _: Console) -> int:
    """Check and print."""
    refused = _refused(args.file, args.target)
    if args.json:
        print_json([dataclasses.asdict(refusal) for refusal in refused])
    elif refused:
        table = Table("operator", "count", "reason", "what to change", box=None, pad_edge=False)
        for refusal in refused:
            table.add_row(refusal.operator, str(refusal.count), refusal.reason, refusal.advice)
        Console().print(table)
    else:
        print(f"{args.target} takes every operator of {args.file}")
    return 1 if refused else 0


def _refused(file: Path, target: str) -> list[Refusal]:
    if file.suffix == ".onnx":
        from keras_yolo_backbones.targets.onnx_rules import onnx_refusals

        return onnx_refusals(file, target)
    from keras_yolo_backbones.litert import LiteModel
    from keras_yolo_backbones.targets.refusals import refusals

    LiteModel(file)
    return refusals(file, target)

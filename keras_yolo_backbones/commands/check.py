"""`kyb check`: whether an accelerator takes a TFLite file whole."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from rich.console import Console
from rich.table import Table

from keras_yolo_backbones.commands.common import print_json

EXAMPLES = """\
examples:
  kyb check v8s.tflite --target xnnpack
  kyb check build/v8-s-relu6-int8.tflite --target edgetpu --json
"""


def add(subparsers: argparse._SubParsersAction) -> None:
    """Say what the command takes."""
    parser = subparsers.add_parser(
        "check",
        help="name the operators of a TFLite file that an accelerator won't take",
        description="Hold a TFLite file's operators against what an accelerator takes: by its documentation, and for "
        "xnnpack also by what LiteRT was seen to do. Ends with 1 if any would run elsewhere.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, help="a .tflite file")
    parser.add_argument("--target", required=True, help="xnnpack, gpu, edgetpu or nnapi")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, _: Console) -> int:
    """Check and print."""
    from keras_yolo_backbones.litert import LiteModel
    from keras_yolo_backbones.targets.refusals import refusals

    LiteModel(args.file)
    refused = refusals(args.file, args.target)
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

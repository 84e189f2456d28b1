"""`kyb export-weights`: a backbone's weights back under the original's names."""

from __future__ import annotations

import argparse

from rich.console import Console

from keras_yolo_backbones.commands.common import build_for, check_exists, working

EXAMPLES = """\
examples:
  kyb export-weights v8-s my-v8s.weights.h5 --out my-v8s.safetensors
"""


def add(subparsers: argparse._SubParsersAction) -> None:
    """Add the command and its arguments."""
    parser = subparsers.add_parser(
        "export-weights",
        help="write weights as safetensors with the original's keys",
        description="Read a weight file of a backbone, such as one that was trained on in Keras, and write its tensors "
        "as safetensors under the names and in the layout of the original project, bit for bit.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", help="a name from `kyb list`, such as v8-s")
    parser.add_argument("file", help="its weights: .weights.h5, .keras, or any format that import-weights reads")
    parser.add_argument("--out", required=True, metavar="FILE", help="the .safetensors file to write")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Load, write, and say how much it was."""
    from keras_yolo_backbones.weights.load import load_weights
    from keras_yolo_backbones.weights.save import export_weights

    check_exists(args.file)
    with working(console, f"building {args.model}"):
        model = build_for(args.file, args.model)
    with working(console, f"reading {args.file}"):
        loaded = load_weights(model, args.file)
        written = export_weights(model, args.out)
    out = Console(highlight=False, soft_wrap=True)
    out.print(f"{args.out}: {len(written)} tensors under the original's keys, such as {next(iter(written))}")
    out.print(f"licence of these weights: {loaded.provenance.licence}")
    return 0

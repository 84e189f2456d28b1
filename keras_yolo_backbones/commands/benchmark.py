"""`kyb benchmark`: latency of a network in every form, measured against each other."""

from __future__ import annotations

import argparse

from rich.console import Console
from rich.table import Table

from keras_yolo_backbones.commands.common import add_model_arguments, build_model, print_json, working

EXAMPLES = """\
examples:
  kyb benchmark v8-n
  kyb benchmark v8-s --activation relu6 --image-size 320 --rounds 30 --json
"""


def add(subparsers: argparse._SubParsersAction) -> None:
    """Add the command and its arguments."""
    parser = subparsers.add_parser(
        "benchmark",
        help="latency in every form, relative to Keras",
        description="Export a network in every form, time all of them in turns on this machine, and compare.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_model_arguments(parser)
    parser.add_argument("--rounds", type=int, default=15, help="how often each form is timed (15)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Measure and print a table, or JSON."""
    from keras_yolo_backbones.benchmark import deployed, measure, noise, trained_like
    from keras_yolo_backbones.work_folders import scratch

    with scratch() as folder:
        with working(console, f"building and exporting {args.model}"):
            model = trained_like(build_model(args))
            candidates = deployed(model, folder, noise(model))
        with working(console, "measuring, all forms in turns"):
            found = measure(candidates, model, rounds=args.rounds)
    if args.json:
        print_json({name: latency._asdict() for name, latency in found.items()})
        return 0
    table = Table("form", "time / Keras", "share of peak", "median", box=None, pad_edge=False)
    for name, latency in sorted(found.items(), key=lambda item: item[1].ratio):
        table.add_row(name, f"{latency.ratio:.2f}", f"{latency.peak_share:.2f}", f"{latency.seconds * 1e3:.1f} ms")
    Console().print(table)
    return 0

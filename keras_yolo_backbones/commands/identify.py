"""`kyb identify`: what a weight file is, and how to build the network for it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from keras_yolo_backbones.commands.common import check_exists, print_json, working
from keras_yolo_backbones.errors import ArgumentError

if TYPE_CHECKING:
    from keras_yolo_backbones.weights.recognition.identify import Identity

EXAMPLES = """\
examples:
  kyb identify best.pt
  kyb identify yolov4.weights --json
"""


def add(subparsers: argparse._SubParsersAction) -> None:
    """Add the command and its arguments."""
    parser = subparsers.add_parser(
        "identify",
        help="which network a weight file is of, and what it was trained with",
        description="Read the names and shapes in a weight file and what it says of itself. Nothing in it is executed, "
        "and no framework is loaded.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", help="a checkpoint in any format that import-weights reads")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Print what is known, as a table or as JSON."""
    from keras_yolo_backbones.weights.recognition.identify import identify

    check_exists(args.file)
    with working(console, f"reading {args.file}"):
        facts = describe(identify(args.file))
    if args.json:
        print_json(facts)
        return 0
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in facts.items():
        text = ", ".join(value) if isinstance(value, list) else value
        if text not in ("", None):
            table.add_row(name.replace("_", " "), str(text))
    Console(highlight=False, markup=False).print(table)
    return 0


def describe(identity: Identity) -> dict[str, Any]:
    """Everything that `kyb identify` says, as plain data."""
    from keras_yolo_backbones.weights.recognition.trained import builder_call

    facts, trained = identity.facts, identity.trained
    try:
        build = builder_call(identity.network, identity.options, identity.channels)
    except ArgumentError as error:
        build = str(error)
    return {
        "network": identity.name + identity.missing,
        "format": " ".join(filter(None, (identity.format, identity.part))),
        "build": f"kyb.fuse({build})" if facts.fused else build,
        "activation": trained.activation if trained else "",
        "linear_spp": trained.linear_spp if trained else None,
        "epsilon": trained.epsilon if trained and not facts.fused else None,
        "said_by": ("the file" if trained.stated else "nobody; as published") if trained else "",
        "channels": identity.channels or None,
        "fused": facts.fused,
        "task": facts.task,
        "classes": list(facts.classes),
        "image_size": list(map(str, facts.image_size)) if facts.image_size else [],
        "version": facts.version,
        "date": facts.date,
        "licence_in_the_file": facts.licence,
        "licence_of_published_weights": identity.network.licence,
    }

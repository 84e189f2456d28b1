"""`kyb list`: the networks by name."""

from __future__ import annotations

import argparse

from rich.console import Console
from rich.table import Table

from keras_yolo_backbones.commands.common import print_json

EXAMPLES = """\
examples:
  kyb list                 every network
  kyb list 'v*-s'          the small ones
  kyb list 'v8*' --json    for a script
"""


def add(subparsers: argparse._SubParsersAction) -> None:
    """Say what the command takes."""
    parser = subparsers.add_parser(
        "list",
        help="the networks by name",
        description="List the networks whose names match a pattern.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("pattern", nargs="?", default="*", help="shell pattern, such as 'v*-s'")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Print the table, or the names as JSON; 1 if nothing matches."""
    from keras_yolo_backbones.registry import list_models, variants

    names = list_models(args.pattern)
    if args.json:
        print_json(names)
    elif names:
        table = Table(
            "model", "levels", "activation", "image", "original", "licence", "files", box=None, pad_edge=False
        )
        for name in names:
            variant = variants()[name]
            release = variant.family.release(variant.release)
            facts, origin = release.facts(variant.size), release.origin
            table.add_row(
                name,
                f"P2 … P{release.sizes[variant.size].top}",
                ", ".join(facts.activations),
                str(facts.image_size),
                origin.project,
                origin.licence,
                ", ".join(facts.files),
            )
        Console().print(table)
    if not names:
        console.print(f"no model matches {args.pattern!r}; `kyb list` shows all")
    return 0 if names else 1

"""`kyb list`: the networks by name."""

from __future__ import annotations

import argparse
from typing import Any

from rich.console import Console
from rich.table import Table

from keras_yolo_backbones.commands.common import print_json

EXAMPLES = """\
examples:
  kyb list                 every network
  kyb list 'v*-s'          the small ones
  kyb list 'v8*' --json    for a script
  kyb list --licence permissive   what closed products may use
"""


def add(subparsers: argparse._SubParsersAction) -> None:
    """Add the command and its arguments."""
    parser = subparsers.add_parser(
        "list",
        help="the networks by name",
        description="List the networks whose names match a pattern.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("pattern", nargs="?", default="*", help="shell pattern, such as 'v*-s'")
    parser.add_argument("--licence", help="permissive, or an SPDX identifier: of the code and of the published weights")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Print the table, in plain columns where that goes into a file or a pipe, or JSON; 1 if nothing matches."""
    from keras_yolo_backbones.catalogue import catalogue, list_models

    rows = [{"model": name, **catalogue()[name]} for name in list_models(args.pattern, licence=args.licence)]
    if args.json:
        print_json(rows)
    elif rows:
        _print([list(COLUMNS), *([_cell(row[key]) for key in COLUMNS.values()] for row in rows)])
    if not rows:
        console.print(f"no model matches {args.pattern!r}; `kyb list` shows all")
    return 0 if rows else 1


COLUMNS = {
    "model": "model",
    "levels": "levels",
    "activation": "activations",
    "image": "image_size",
    "original": "project",
    "licence": "licence",
    "files": "files",
}
"""Title -> entry of a row."""


def _cell(value: Any) -> str:
    if isinstance(value, list) and value and value[0] == "P2":
        return f"P2-{value[-1]}"
    return ", ".join(value) if isinstance(value, list) else str(value)


def _print(lines: list[list[str]]) -> None:
    """Columns; on a terminal as wide as that, elsewhere as wide as they are. Names are never cut."""
    out = Console(highlight=False)
    if not out.is_terminal:
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
        return
    table = Table(box=None, pad_edge=False)
    for title in lines[0]:
        table.add_column(title, no_wrap=title == "model", overflow="fold", min_width=len(title))
    table.columns[0].min_width = max(len(line[0]) for line in lines)
    for line in lines[1:]:
        table.add_row(*line)
    out.print(table)

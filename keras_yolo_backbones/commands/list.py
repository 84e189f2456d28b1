"""`kyb list`: the networks by name."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table

from keras_yolo_backbones.catalogue import stored_facts
from keras_yolo_backbones.commands.common import image_size, print_json, readable_bytes, working
from keras_yolo_backbones.errors import ArgumentError
from keras_yolo_backbones.known_memory import known_memory

EXAMPLES = """\
examples:
  kyb list                 every network
  kyb list 'v*-s'          the small ones
  kyb list 'v8*' --json    for a script
  kyb list --licence permissive   what closed products may use
  kyb list --arena-below 512kB --image-size 160   what fits a microcontroller
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
    memory = parser.add_argument_group("int8 in TFLite Micro; other square sides than the common ones take seconds")
    memory.add_argument("--arena-below", type=byte_count, metavar="BYTES", help="such as 512kB or 2MB")
    memory.add_argument("--image-size", type=image_size, metavar="SIDE|HxW", help="320 by default")
    memory.add_argument("--activation", help="such as relu6; the family's own by default")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Print the table, in plain columns where that goes into a file or a pipe, or JSON; 1 if nothing matches."""
    from keras_yolo_backbones.catalogue import catalogue, list_models

    rows = [{"model": name, **catalogue()[name]} for name in list_models(args.pattern, licence=args.licence)]
    columns = COLUMNS
    if args.arena_below is not None:
        found, columns = len(rows), COLUMNS | MEMORY
        rows = list(_with_memory(rows, args, console))
        if found and not rows:
            console.print(
                f"none of {found} networks needs less than {readable_bytes(args.arena_below)} at "
                f"{'×'.join(map(str, args.image_size or DEFAULT_SIZE))}; a smaller --image-size needs less",
                soft_wrap=True,
            )
            return 1
    elif args.image_size or args.activation:
        raise ArgumentError("--image-size and --activation go with --arena-below.")
    if args.json:
        print_json(rows)
    elif rows:
        _print([list(columns), *([_cell(row[key]) for key in columns.values()] for row in rows)])
    if not rows:
        console.print(f"no model matches {args.pattern!r}; `kyb list` shows all")
    return 0 if rows else 1


def _with_memory(rows: list[dict[str, Any]], args: argparse.Namespace, console: Console) -> Iterator[dict[str, Any]]:
    """The rows with the memory that their networks need, those below the limit.

    Without those whose top level does not divide the image. A network is built only where its memory is not known, and
    not if it needs too much with ReLU6, which needs least.
    """
    size, limit = args.image_size or DEFAULT_SIZE, args.arena_below
    for place, row in enumerate(rows):
        if any(side % 2 ** int(row["levels"][-1][1:]) for side in size):
            continue
        least = known_memory(row["model"], size, "relu6")
        if (least["micro_arena"] if least else _at_least(row["model"], size)) >= limit:
            continue
        need = known_memory(row["model"], size, args.activation)
        if need is None:
            with working(console, f"{row['model']}, {place + 1} of {len(rows)}"):
                need = _predicted(row["model"], size, args.activation)
        if need["micro_arena"] < limit:
            sizes = {"arena_bytes": need["micro_arena"], "weights_bytes": need["weights"]}
            yield {**row, **sizes, **{key.removesuffix("_bytes"): readable_bytes(sizes[key]) for key in sizes}}


def _at_least(name: str, size: tuple[int, int]) -> float:
    """Bytes that an arena is never below: 0.6 of the activations at a time; no known one is below 0.62."""
    facts = stored_facts()[name]
    return 0.6 * facts["activation_memory"] * math.prod(size) / math.prod(facts["image_size"])


def _predicted(name: str, size: tuple[int, int], activation: str | None) -> dict[str, int]:
    from keras_yolo_backbones.quantization.memory import predicted_memory
    from keras_yolo_backbones.registry import create

    return predicted_memory(create(name, activation=activation, input_shape=(*size, 3)))


def byte_count(text: str) -> int:
    """ "512kB" -> 512000, "2MB" -> 2000000, "65536" -> 65536, "1MiB" -> 1048576; for arguments."""
    match = re.fullmatch(r"([\d.]+)\s*(k|m|g)?(i)?b?", text.strip().lower())
    try:
        count = float(match[1]) if match else 0.0
    except ValueError:
        count = 0.0
    if match is None or not count:
        raise argparse.ArgumentTypeError(f"{text!r} is no amount of memory; expected such as 512kB, 2MB or 65536")
    power = " kmg".index(match[2] or " ")
    return int(count * (1024 if match[3] else 1000) ** power)


DEFAULT_SIZE = (320, 320)

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

MEMORY = {"arena": "arena", "weights": "weights"}
"""Likewise, where `--arena-below` asks for it."""


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

"""The options of `kyb export --format saved_model`."""

from __future__ import annotations

import argparse
from typing import Any

from keras_yolo_backbones.commands.common import words


def add_saved_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add them to the parser."""
    group = parser.add_argument_group("saved_model")
    group.add_argument("--serve-version", type=int, metavar="N", help="of the version folder; the next one by default")
    group.add_argument("--signatures", type=words, help="such as serving_default,uint8; all that apply by default")
    group.add_argument("--batch-sizes", type=_integers, metavar="N,N", help="that the server batches to; 1,8,32")
    group.add_argument("--compute", metavar="DTYPE", help="float32, bfloat16 or float16; outputs stay float32")
    group.add_argument("--xla", action="store_true", help="compile with XLA; the server needs a flag, see server/")


def saved_model_options(args: argparse.Namespace) -> dict[str, Any]:
    """Those that were given, as arguments of `export_saved_model`."""
    options = {
        "version": args.serve_version,
        "signatures": args.signatures,
        "batch_sizes": args.batch_sizes,
        "precision": args.compute,
        "xla": args.xla,
    }
    return {name: value for name, value in options.items() if value}


def _integers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in words(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected numbers such as 1,8,32") from None

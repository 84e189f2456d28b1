"""What several commands share: building a model from arguments, printing tables and JSON, showing progress."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from keras_yolo_backbones.errors import ArgumentError
from keras_yolo_backbones.progress import listening

if TYPE_CHECKING:
    import keras

Timings = list[tuple[str, str, float]]
"""(what was done, its step, seconds)."""


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """The model's name and the builder options that make sense in a shell."""
    parser.add_argument("model", help="a name from `kyb list`, such as v8-s")
    group = parser.add_argument_group("model")
    group.add_argument("--activation", help="silu, relu, relu6, …; the family's own by default")
    group.add_argument("--levels", type=words, help="such as P3,P4,P5")
    group.add_argument("--image-size", type=image_size, metavar="SIDE|HxW", help="the network's native size by default")
    context = group.add_mutually_exclusive_group()
    context.add_argument("--no-spp", action="store_true", help="leave the context block out")
    context.add_argument("--linear-spp", action="store_true", help="no activation in the first conv of the SPP or SPPF")
    group.add_argument("--epsilon", type=float, help="of batch normalization; the family's own by default")
    group.add_argument("--width", type=float, help="multiplies channels, in place of the size's own")
    group.add_argument("--depth", type=float, help="multiplies the units of each stage, likewise")
    group.add_argument("--max-channels", type=int, metavar="N", help="caps channels before they are multiplied")
    group.add_argument("--stem-stride", type=int, choices=(1, 2), default=2, help="1: all maps twice as large")
    group.add_argument("--neck-channels", type=int, metavar="N", help="project every level to N channels")
    group.add_argument("--include-rescaling", action="store_true", help="take pixels 0…255, divide in the graph")


def build_model(args: argparse.Namespace) -> keras.Model:
    """The model that the arguments of `add_model_arguments` ask for."""
    from keras_yolo_backbones.registry import create

    options: dict[str, Any] = {"input_shape": (*(args.image_size or (640, 640)), 3)}
    if args.levels:
        options["levels"] = args.levels
    return create(
        args.model,
        activation=args.activation,
        spp="linear" if args.linear_spp else not args.no_spp,
        epsilon=args.epsilon,
        width=args.width,
        depth=args.depth,
        max_channels=args.max_channels,
        stem_stride=args.stem_stride,
        neck_channels=args.neck_channels,
        include_rescaling=args.include_rescaling,
        **options,
    )


def build_for(file: str, name: str = "") -> keras.Model:
    """The model that a weight file is of, for a small image: weights do not depend on it.

    Args:
        file: its activation, epsilon and channels count.
        name: the network that it must be. If the file is of a different one, that network with its defaults.
    """
    from keras_yolo_backbones.registry import create, find
    from keras_yolo_backbones.weights.build import build_small
    from keras_yolo_backbones.weights.recognition.identify import identify

    variant = find(name) if name else None
    identity = identify(file)
    if variant is None or variant.name in identity.names:
        return build_small(identity, variant.name if variant else "")
    side = 2 ** max(6, variant.spec.top)
    return create(variant.name, input_shape=(side, side, 3))


def check_exists(path: str, what: str = "") -> None:
    """A file name with a slip in it is a mistake in the arguments, found before anything is built."""
    if not os.path.lexists(path):
        raise ArgumentError(f"{what} {path}: there is no such file.".lstrip())


@contextlib.contextmanager
def working(console: Console, text: str, timings: Timings | None = None) -> Iterator[None]:
    """Show on standard error what is being done, step by step, and for how long; nothing where that is no terminal.

    Args:
        console: on standard error.
        text: what is done.
        timings: gets the seconds of every step.
    """
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(text, total=None)

        def heard(name: str, seconds: float | None) -> None:
            progress.update(task, description=f"{text}: {name}")
            if seconds is not None and timings is not None:
                timings.append((text, name, seconds))

        start = time.perf_counter()
        with listening(heard):
            yield
        if timings is not None:
            rest = time.perf_counter() - start - sum(seconds for what, _, seconds in timings if what == text)
            timings.append((text, "the rest", rest))


def timings_table(timings: Timings) -> Table:
    """Where the time went: seconds, and the share of all of them."""
    total = sum(seconds for *_, seconds in timings)
    table = Table("time", "", "s", "share", box=None, pad_edge=False)
    shown = ""
    for what, name, seconds in timings:
        table.add_row("" if what == shown else what, name, f"{seconds:.1f}", f"{seconds / total:.0%}")
        shown = what
    return table


def print_json(value: Any) -> None:
    """JSON on standard output, for machines."""
    json.dump(value, sys.stdout, indent=2)
    sys.stdout.write("\n")


def readable_bytes(count: int) -> str:
    """12345678 -> "12.3 MB"."""
    if count < 1e3:
        return f"{count} bytes"
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def words(text: str) -> tuple[str, ...]:
    """ "a,b c" -> ("a", "b", "c"), for arguments that are lists."""
    return tuple(word for word in text.replace(" ", ",").split(",") if word)


def image_size(text: str) -> tuple[int, int]:
    """ "640" -> (640, 640), "480x640" -> (480, 640), for arguments: height and width."""
    sides = text.lower().split("x")
    try:
        height, width = (int(side) for side in (sides if len(sides) == 2 else sides * 2))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; expected 640 or 480x640 (height x width)") from None
    return height, width

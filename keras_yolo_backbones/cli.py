"""`kyb`: the command line."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import textwrap
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

from rich.console import Console

from keras_yolo_backbones.commands import (
    benchmark,
    check,
    completion,
    export,
    export_weights,
    features,
    identify,
    import_weights,
    info,
    quantize,
)
from keras_yolo_backbones.commands import list as list_command
from keras_yolo_backbones.errors import ArgumentError, BackboneError, BackboneWarning
from keras_yolo_backbones.quiet import native_noise_hidden
from keras_yolo_backbones.version import __version__

COMMANDS = (
    *(list_command, info, export, quantize, identify, import_weights, export_weights, features, benchmark, check),
    completion,
)

WIDTH = 79
"""Columns of the help texts."""

EXAMPLES = """\
examples:
  kyb list 'v*-s'
  kyb info v8-s
  kyb identify best.pt
  kyb import-weights v8-s yolov8s.pt --out v8s.weights.h5
  kyb export v8-s --activation relu6 --format tflite --precision int8 --calibration photos/ --out build/
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        0 if it worked, 1 if it failed, 2 for a mistake in the arguments, 130 after an interrupt, 143 after SIGTERM.
    """
    args = build_parser().parse_args(argv)
    signal.signal(signal.SIGTERM, _terminate)
    with native_noise_hidden(not args.verbose), warnings.catch_warnings():
        console = Console(stderr=True)
        _show_warnings(console)
        try:
            return args.run(args, console)
        except BackboneError as error:
            console.print(f"kyb: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
            return 2 if isinstance(error, ArgumentError) else 1
        except ModuleNotFoundError as error:
            if error.name != os.environ.get("KERAS_BACKEND"):
                raise
            console.print(f"kyb: KERAS_BACKEND={error.name}, but {error.name} is not installed.", style="red")
            return 2
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except KeyboardInterrupt:
            console.print("kyb: interrupted; nothing half-written is left", style="red")
            return 130


def _show_warnings(console: Console) -> None:
    """Warnings of this package are lines of the command, without the place in the source that Python adds."""
    others = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *rest: Any, **options: Any) -> None:
        if issubclass(category, BackboneWarning):
            console.print(f"kyb: {message}", style="yellow", markup=False, highlight=False, soft_wrap=True)
        else:
            others(message, category, *rest, **options)

    warnings.showwarning = show
    warnings.simplefilter("always", BackboneWarning)


class _Parser(argparse.ArgumentParser):
    """Says a mistake in one line, without the usage of all options before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = _Parser(
        prog="kyb",
        description="YOLO backbones for Keras 3: list them, look at them, export them.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"keras_yolo_backbones {__version__}")
    parser.add_argument("--verbose", action="store_true", help="show what TensorFlow and the converters log")
    parser.set_defaults(whole=parser)
    subparsers = parser.add_subparsers(required=True, metavar="command")
    for command in COMMANDS:
        command.add(subparsers)
    for one in (parser, *subparsers.choices.values()):
        one.description = textwrap.fill(one.description or "", WIDTH)
        one.epilog = "\n".join(_fitted(line) for line in (one.epilog or "").splitlines())
    return parser


def _fitted(line: str) -> str:
    """An example of a command, continued on a line of its own where it is too wide."""
    return " \\\n".join(textwrap.wrap(line, WIDTH - 2, subsequent_indent="      ", break_on_hyphens=False)) or line


def _terminate(*_: object) -> None:
    # As an exception, so that every open file is cleaned up on the way out.
    raise SystemExit(143)


if __name__ == "__main__":
    sys.exit(main())

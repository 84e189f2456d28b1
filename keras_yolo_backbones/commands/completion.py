"""`kyb completion`: a script with which a shell completes commands, options, networks and files."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from rich.console import Console

from keras_yolo_backbones.errors import ArgumentError
from keras_yolo_backbones.extras import how_to_install

EXAMPLES = """\
examples:
  kyb completion bash > ~/.local/share/bash-completion/completions/kyb
  kyb completion zsh > ~/.zfunc/_kyb     with fpath+=~/.zfunc in .zshrc
  kyb completion fish > ~/.config/fish/completions/kyb.fish
"""

SHELLS = ("bash", "zsh", "fish", "tcsh")

FILES = ("file", "names", "out", "weights", "images", "calibration")
"""Arguments that are names of files or folders."""


def add(subparsers: argparse._SubParsersAction) -> None:
    """Add the command and its arguments."""
    parser = subparsers.add_parser(
        "completion",
        help="a script that makes the shell complete this command",
        description="Print a script for a shell: it completes commands, options, names of networks, and files.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=SHELLS)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, _: Console) -> int:
    """Print the script for `args.whole`, the parser of all commands."""
    try:
        import shtab
    except ImportError:
        raise ArgumentError(f"completion needs the extra `completion`: {how_to_install('completion')}.") from None
    from keras_yolo_backbones.catalogue import list_models

    names = " ".join(list_models())
    networks = {"bash": "_kyb_networks", "zsh": f"({names})", "fish": names, "tcsh": f"({names})"}
    for action in _arguments(args.whole):
        if action.dest == "model":
            action.complete = networks  # type: ignore[attr-defined]
        elif action.dest in FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    preamble = {"bash": f'_kyb_networks() {{ compgen -W "{names}" -- "$1"; }}'}
    print(shtab.complete(args.whole, shell=args.shell, preamble=preamble))  # type: ignore[arg-type]
    return 0


def _arguments(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """The arguments of a parser and of all commands below it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _arguments(command)
        else:
            yield action

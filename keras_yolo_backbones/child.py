"""Programs in processes of their own, with limits on time and memory: other people's tools, and files of strangers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from keras_yolo_backbones.errors import ArgumentError, ExportError, shown

SECONDS = 300
"""How long a program may run; `KYB_TOOL_SECONDS` in the environment says it otherwise."""

MEMORY = 16 << 30
"""Address space of a program, in bytes."""

_MAX_TEXT = 32 << 20
_ROOT = Path(__file__).parents[1]


class Finished(NamedTuple):
    """A program that ran to its end.

    Attributes:
        code: its exit status; negative for a signal.
        out: what it printed.
        error: what it printed on standard error.
    """

    code: int
    out: str
    error: str


def run(command: Sequence[str], *, what: str, seconds: int = SECONDS) -> Finished:
    """Run a command with limits; it ends with this process.

    Args:
        command: the program and its arguments.
        what: what is run, for errors, such as `"Vela"`.
        seconds: how long it may run, where the environment says nothing.

    Raises:
        ArgumentError: `KYB_TOOL_SECONDS` is no number.
        ExportError: it takes too long.
    """
    seconds = _told(seconds)
    limited = [sys.executable, "-I", str(Path(__file__).with_name("limited.py")), str(MEMORY), *command]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")])}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as error:
        with subprocess.Popen(limited, stdin=subprocess.DEVNULL, stdout=out, stderr=error, env=environment) as child:
            try:
                code = child.wait(seconds)
            except subprocess.TimeoutExpired:
                child.kill()
                raise ExportError(
                    f"{what} found no end in {seconds} s; KYB_TOOL_SECONDS=… in the environment allows it more."
                ) from None
            except BaseException:
                child.kill()
                raise
        texts = []
        for stream in (out, error):
            stream.seek(0)
            texts.append(stream.read(_MAX_TEXT).decode(errors="replace"))
    return Finished(code, *texts)


def _told(seconds: int) -> int:
    told = os.environ.get("KYB_TOOL_SECONDS", str(seconds))
    if not told.isdecimal() or int(told) == 0:
        raise ArgumentError(f"KYB_TOOL_SECONDS={shown(told)}: expected seconds, such as {seconds}.")
    return int(told)


def ask(module: str, *arguments: str, what: str, seconds: int = SECONDS) -> dict[str, Any]:
    """Run a module of this package as a program that prints one line of JSON last, and return what it says.

    Args:
        module: its full name.
        arguments: of the program.
        what: as in `run`.
        seconds: as in `run`.

    Returns:
        The content of the line, and what was printed on standard error as `"log"`.

    Raises:
        ExportError: it takes too long, crashes, or says no JSON.
    """
    done = run([sys.executable, "-P", "-m", module, *arguments], what=what, seconds=seconds)
    try:
        return dict(json.loads(done.out.splitlines()[-1])) | {"log": done.error}
    except (ValueError, IndexError, TypeError):
        raise ExportError(f"{what} gave no answer: {last_words(done)}") from None


def last_words(done: Finished) -> str:
    """The last line that a failed program printed."""
    lines = [line.strip() for line in (done.error + "\n" + done.out).splitlines() if line.strip()]
    said = shown(lines[-1], 200) if lines else "it printed nothing"
    return f"killed by signal {-done.code}" if done.code < 0 else said

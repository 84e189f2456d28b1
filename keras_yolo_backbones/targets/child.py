"""Other people's compilers and interpreters, each in a process of its own with limits on time and memory."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import metadata, util
from pathlib import Path
from typing import Any, NamedTuple

from keras_yolo_backbones.errors import ArgumentError, ExportError, shown

SECONDS = 300
"""How long a tool may run; `KYB_TOOL_SECONDS` in the environment says it otherwise."""

MEMORY = 16 << 30
"""Address space of a tool, in bytes."""

_MAX_TEXT = 32 << 20
_ROOT = Path(__file__).parents[2]


class Finished(NamedTuple):
    """A tool that ran to its end.

    Attributes:
        code: its exit status; negative for a signal.
        out: what it printed.
        error: what it printed on standard error.
    """

    code: int
    out: str
    error: str


class Tool(NamedTuple):
    """A tool that may be installed.

    Attributes:
        package: its name on the package index.
        extra: the extra of this package that installs it.
    """

    package: str
    extra: str

    @property
    def install(self) -> str:
        """The command that installs it."""
        return f'pip install "keras-yolo-backbones[{self.extra}]"'

    @property
    def missing(self) -> str:
        """That it is not there, and how to get it."""
        return f"{self.package} is not installed: {self.install}"

    def version(self) -> str:
        """Name and version, as far as they are known."""
        try:
            return f"{self.package} {metadata.version(self.package)}"
        except metadata.PackageNotFoundError:
            return self.package


def has_module(name: str) -> bool:
    """Whether this Python has a module, without importing it."""
    return util.find_spec(name) is not None


def command_path(name: str) -> str | None:
    """Where a command is: beside this Python, or on the path."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)


def run(command: Sequence[str], *, what: str) -> Finished:
    """Run a command with limits; it ends with this process.

    Args:
        command: the program and its arguments.
        what: what is run, for errors, such as `"Vela"`.

    Raises:
        ArgumentError: `KYB_TOOL_SECONDS` is no number.
        ExportError: it takes too long.
    """
    seconds = _seconds()
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


def _seconds() -> int:
    told = os.environ.get("KYB_TOOL_SECONDS", str(SECONDS))
    if not told.isdecimal() or int(told) == 0:
        raise ArgumentError(f"KYB_TOOL_SECONDS={shown(told)}: expected seconds, such as {SECONDS}.")
    return int(told)


def ask(module: str, *arguments: str, what: str) -> dict[str, Any]:
    """Run a module of this package as a program that prints one line of JSON last, and return what it says.

    Raises:
        ExportError: it takes too long, crashes, or says `{"error": …}`.
    """
    done = run([sys.executable, "-P", "-m", f"{__package__}.{module}", *arguments], what=what)
    try:
        found = json.loads(done.out.splitlines()[-1])
    except (ValueError, IndexError):
        raise ExportError(f"{what} gave no answer: {last_words(done)}") from None
    if "error" in found:
        raise ExportError(f"{what}: {shown(found['error'], 300)}")
    return found | {"log": done.error}


def last_words(done: Finished) -> str:
    """The last line that a failed tool printed."""
    lines = [line.strip() for line in (done.error + "\n" + done.out).splitlines() if line.strip()]
    said = shown(lines[-1], 200) if lines else "it printed nothing"
    return f"killed by signal {-done.code}" if done.code < 0 else said

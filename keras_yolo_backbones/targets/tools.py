"""Other people's compilers and interpreters: whether they are there, and what to do if not."""

from __future__ import annotations

import shutil
import sys
from importlib import metadata, util
from pathlib import Path
from typing import Any, NamedTuple

from keras_yolo_backbones import child
from keras_yolo_backbones.errors import ExportError, shown
from keras_yolo_backbones.extras import how_to_install


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
        return how_to_install(self.extra)

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


def ask(module: str, *arguments: str, what: str) -> dict[str, Any]:
    """Run a module of this folder as a program and return what it says, as `child.ask` does.

    Raises:
        ExportError: as in `child.ask`, or the program says `{"error": …}`.
    """
    found = child.ask(f"{__package__}.{module}", *arguments, what=what)
    if "error" in found:
        raise ExportError(f"{what}: {shown(found['error'], 300)}")
    return found

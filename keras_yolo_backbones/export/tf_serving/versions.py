"""The version folders of a served model: numbers, the next free one by default; they never change."""

from __future__ import annotations

import re
from pathlib import Path

from keras_yolo_backbones.errors import ArgumentError
from keras_yolo_backbones.files import publish_folder

HIGHEST = 2**63 - 1
"""The highest version that TF Serving can read."""


def versions(folder: Path) -> list[int]:
    """The versions in a model's folder, ascending: folders whose names TF Serving reads as a number of 64 bits."""
    names = [entry.name for entry in folder.iterdir() if re.fullmatch("[0-9]+", entry.name) and entry.is_dir()]
    return sorted(version for version in map(int, names) if version <= HIGHEST)


def check_version(folder: Path, version: int | None) -> None:
    """Check that a version can be published.

    Args:
        folder: the model's.
        version: a number, or `None` for the next free one.

    Raises:
        ArgumentError: it is no positive integer of 64 bits, exists already, or no number is left.
    """
    if version is None:
        _next(folder)
        return
    if not isinstance(version, int) or isinstance(version, bool) or not 0 < version <= HIGHEST:
        raise ArgumentError(f"version {version!r}: expected a positive integer.")
    if version in versions(folder):
        raise _taken(folder, version)


def _taken(folder: Path, version: int) -> ArgumentError:
    return ArgumentError(
        f"version {version} of {folder} exists already, and versions never change; leave it out for the next one."
    )


def _next(folder: Path) -> int:
    """One more than the highest version that is there."""
    highest = max(versions(folder), default=0)
    if highest == HIGHEST:
        raise ArgumentError(f"{folder} has the version {HIGHEST}, the highest of all; name a free one: version=….")
    return highest + 1


def publish(temporary: Path, folder: Path, version: int | None) -> Path:
    """Rename the finished folder to its version: the next free one, if none was asked for."""
    while True:
        target = folder / str(version or _next(folder))
        if publish_folder(temporary, target):
            return target
        if version is not None:
            raise _taken(folder, version)

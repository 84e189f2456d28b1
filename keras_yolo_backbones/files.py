"""Files and folders that appear whole or not at all.

Permissions are those of any new file: 0666 for files, 0777 for folders and scripts, less the caller's umask.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from keras_yolo_backbones.errors import ExportError
from keras_yolo_backbones.work_folders import LOCK, locked, reason, scratch


def check_file_target(path: str | os.PathLike[str], suffix: str) -> Path:
    """The path of a file that will be written, after all checks that can be made before the work is done.

    Raises:
        ExportError: it ends in a different suffix, is too long, exists but is no file, or its folder cannot be made.
    """
    target = _path(path)
    if target.suffix != suffix:
        raise ExportError(f"{target}: expected a file name that ends in {suffix}.")
    check_directory(target.parent)
    if os.path.lexists(target) and not target.is_file():
        raise ExportError(f"{target} exists and is no file; choose another path.")
    with scratch(target.parent) as work:
        try:
            manifest_of(work / target.name).touch()  # the longest name that will be needed
        except OSError as error:
            raise ExportError(f"cannot write {target}: {reason(error)}.") from None
    return target


def check_directory(path: str | os.PathLike[str]) -> Path:
    """Make the folder if it is missing, and check that it can be written to.

    Raises:
        ExportError: something that is no folder has this name, or writing is not permitted.
    """
    folder = _path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise ExportError(f"{folder} exists and is no folder; choose another path.") from None
    except (OSError, ValueError) as error:
        raise ExportError(f"cannot write to the folder {folder}: {reason(error)}.") from None
    with scratch(folder):
        return folder


def manifest_of(target: Path) -> Path:
    """Where the manifest of a file lies: beside it, with `.json` added to its name."""
    return target.with_name(f"{target.name}.json")


@contextlib.contextmanager
def staged(target: Path) -> Iterator[Path]:
    """A path to write to; what is there when the block ends without an error becomes `target`, in one step.

    A file replaces an older file. A folder never replaces anything.

    Raises:
        ExportError: the disk is full, or the system refuses to write.
    """
    with scratch(target.parent, target) as work:
        yield work / target.name
        _publish(work / target.name, target)


@contextlib.contextmanager
def staged_pair(target: Path) -> Iterator[tuple[Path, Path]]:
    """Two paths to write to: of a file, and of its manifest. Both become visible when the block ends without an error.

    No two steps are one step, so the older manifest goes first and the new one comes last: whatever ends the program in
    between, a file never lies beside the manifest of a different file. Two exporters to one target take turns.

    Raises:
        ExportError: the disk is full, or the system refuses to write.
    """
    with scratch(target.parent, target) as work:
        file, manifest = work / target.name, manifest_of(work / target.name)
        yield file, manifest
        for path in (file, manifest):
            _set_mode(path, work)
            _sync(path)
        with locked(target.parent):
            manifest_of(target).unlink(missing_ok=True)
            os.replace(file, target)
            os.replace(manifest, manifest_of(target))
            _sync(target.parent)


def publish_folder(temporary: Path, target: Path) -> bool:
    """Give a finished folder its name, if that is free: whole, and on the disk.

    Args:
        temporary: directly in a folder from `scratch`.
        target: its name.

    Returns:
        Whether the name was free.
    """
    if os.path.lexists(target):
        return False
    for entry in (*temporary.rglob("*"), temporary):
        _set_mode(entry, temporary.parent)
        _sync(entry)
    try:
        os.rename(temporary, target)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            return False
        raise
    _sync(target.parent)
    return True


def _publish(temporary: Path, target: Path) -> None:
    if temporary.is_dir():
        if not publish_folder(temporary, target):
            raise FileExistsError(errno.EEXIST, "exists already")
        return
    _set_mode(temporary, temporary.parent)
    _sync(temporary)
    os.replace(temporary, target)
    _sync(target.parent)


def _set_mode(path: Path, work: Path) -> None:
    """The permissions that any new file or folder gets: libraries choose others. A script stays one."""
    mask = (work / LOCK).stat().st_mode  # made with 0666: what is left of it is what the umask leaves
    runs = path.is_dir() or path.stat().st_mode & 0o100
    allowed = mask & 0o666
    path.chmod(allowed | (allowed >> 2 & 0o111) if runs else allowed)


def _sync(path: Path) -> None:
    """Wait until a file or folder is on the disk; folders only where the system has that."""
    with contextlib.suppress(PermissionError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _path(path: str | os.PathLike[str]) -> Path:
    if "\0" in os.fspath(path):
        raise ExportError(f"{os.fspath(path)!r} is no path: it holds a NUL character.")
    return Path(path)

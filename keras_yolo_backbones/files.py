"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from keras_yolo_backbones.errors import ExportError

HOST = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())
"""Process ids mean something on one machine, or in one container, only."""

_STAGED = re.compile(rf"\.(?P<name>.+)\.{re.escape(HOST)}\.(?P<pid>\d+)-[0-9a-f]{{8}}\.tmp")


def check_file_target(path: str | os.PathLike[str], suffix: str) -> Path:
    """The path of a file that is about to be written, after the checks that can be made before the work is done.

    Raises:
        ExportError: it ends in another suffix, exists as something else than a file, or its folder cannot be made.
    """
    target = _path(path)
    if target.suffix != suffix:
        raise ExportError(f"{target}: expected a file name that ends in {suffix}.")
    if target.exists() and not target.is_file():
        raise ExportError(f"{target} exists and is no file; choose another path.")
    check_directory(target.parent)
    return target


def check_directory(path: str | os.PathLike[str]) -> Path:
    """Make the folder if it is missing, and see that it can be written to.

    Raises:
        ExportError: something else is in the way, or writing is not permitted.
    """
    folder = _path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{secrets.token_hex(8)}.tmp"
        probe.touch(exist_ok=False)
        probe.unlink()
    except FileExistsError:
        raise ExportError(f"{folder} exists and is no folder; choose another path.") from None
    except (OSError, ValueError) as error:
        raise ExportError(f"cannot write to the folder {folder}: {_reason(error)}.") from None
    return folder


@contextlib.contextmanager
def staged(target: Path) -> Iterator[Path]:
    """A hidden path beside `target`; what the block puts there becomes `target` when the block ends without an error.

    A file replaces an older file in one step. A folder never replaces anything. Whatever the block leaves behind
    otherwise is removed, also what earlier processes left that were killed.

    Raises:
        ExportError: the disk is full, or the system refuses to write.
    """
    with scratch(target) as temporary:
        yield temporary
        _publish(temporary, target)


@contextlib.contextmanager
def scratch(target: Path) -> Iterator[Path]:
    """A hidden path beside `target` to build it at; what is still there when the block ends is removed.

    Raises:
        ExportError: the disk is full, or the system refuses to write.
    """
    _sweep(target)
    temporary = target.with_name(f".{target.name}.{HOST}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
    except OSError as error:
        raise ExportError(f"cannot write {target}: {_reason(error)}.") from error
    finally:
        _remove(temporary)


def publish_folder(temporary: Path, target: Path) -> bool:
    """Give a finished folder its name, if that is free: whole, readable by everybody, and on the disk.

    Returns:
        Whether it was free.
    """
    if target.exists():
        return False
    for entry in sorted(temporary.rglob("*")):
        entry.chmod(0o755 if entry.is_dir() else 0o644)
        _sync(entry)
    temporary.chmod(0o755)
    _sync(temporary)
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
    else:
        _sync(temporary)
        os.replace(temporary, target)


def _sync(path: Path) -> None:
    """Wait until a file or folder is on the disk; folders only where the system has that."""
    with contextlib.suppress(PermissionError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _sweep(target: Path) -> None:
    """Remove what dead processes left behind while writing `target`."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(target.parent):
            match = _STAGED.fullmatch(entry.name)
            if match and match["name"] == target.name and not _alive(int(match["pid"])):
                _remove(Path(entry.path))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _path(path: str | os.PathLike[str]) -> Path:
    if "\0" in os.fspath(path):
        raise ExportError(f"{os.fspath(path)!r} is no path: it holds a NUL character.")
    return Path(path)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)

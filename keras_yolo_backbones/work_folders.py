"""Hidden folders for work in progress, swept by the next run where their owner died.

Work in progress lies in one hidden folder beside the target, `.kyb-work-…`. Its owner holds a lock on the file `lock`
in it. The system frees that lock when the owner ends, however it ends, so the next run knows what to remove: process
ids would not tell, since two containers may share a host name and a disk.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from keras_yolo_backbones.errors import ExportError

try:
    import fcntl
except ImportError:  # Windows: work folders are not locked there, and never swept
    fcntl = None  # type: ignore[assignment]

WORK = ".kyb-work-"
"""How the names of work folders begin."""

LOCK = "lock"
"""The file in a work folder that its owner keeps locked; made with 0666 less the umask."""


@contextlib.contextmanager
def scratch(parent: Path | None = None, target: Path | None = None) -> Iterator[Path]:
    """An empty hidden folder in `parent`, removed when the block ends; what dead processes left there is removed too.

    Args:
        parent: an existing folder; by default the system's folder for temporary files.
        target: what the block makes, for error messages.

    Raises:
        ExportError: the folder cannot be made, or the system refuses to write within the block.
    """
    parent = parent or Path(tempfile.gettempdir())
    _sweep(parent)
    try:
        work, lock = _new_work(parent)
    except OSError as error:
        raise ExportError(f"cannot write to the folder {parent}: {reason(error)}.") from None
    try:
        yield work
    except OSError as error:
        raise ExportError(f"cannot write {target or parent}: {reason(error)}.") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
        os.close(lock)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Wait for other exporters that publish in `folder`."""
    with contextlib.ExitStack() as stack:
        if fcntl is not None:
            descriptor = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            _lock(descriptor)
        yield


def reason(error: Exception) -> str:
    """What the system says of an error, without its number."""
    return getattr(error, "strerror", None) or str(error)


def _new_work(parent: Path) -> tuple[Path, int]:
    """A new work folder and the descriptor that holds its lock."""
    while True:
        work = parent / f"{WORK}{secrets.token_hex(4)}"
        work.mkdir()
        with contextlib.suppress(FileNotFoundError):  # swept before it was locked: try again
            lock = os.open(work / LOCK, os.O_CREAT | os.O_RDWR, 0o666)
            if _lock(lock) and _is_at(lock, work / LOCK):
                return work, lock
            os.close(lock)


def _sweep(parent: Path) -> None:
    """Remove the work folders that nobody holds the lock of."""
    if fcntl is None:
        return
    with contextlib.suppress(OSError):
        for entry in [entry for entry in os.scandir(parent) if _is_work(entry)]:
            with contextlib.suppress(OSError):
                lock = os.open(Path(entry.path) / LOCK, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o666)
                try:
                    if _lock(lock, wait=False):
                        shutil.rmtree(entry.path, ignore_errors=True)
                finally:
                    os.close(lock)


def _is_work(entry: os.DirEntry[str]) -> bool:
    return entry.name.startswith(WORK) and entry.is_dir(follow_symlinks=False)


def _lock(descriptor: int, *, wait: bool = True) -> bool:
    """Lock an open file or folder; false if it is locked and `wait` is false.

    Some network disks have no locks: there nobody waits, and nothing is swept.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return wait
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether `path` still is the file that is open."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False

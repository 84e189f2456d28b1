"""An untrusted file, opened once and read in bounded pieces."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from keras_yolo_backbones.errors import ArgumentError, CheckpointError, shown
from keras_yolo_backbones.weights.readers.budget import Budget

CHUNK = 1 << 20
"""Bytes that are read at a time where a file is only passed through."""


class Source:
    """A regular file that every reader of this package reads through.

    It is opened once and never waited for (a FIFO), so what was checked is what is read. A symbolic link is followed
    when it is opened, and `path` stays the link's own name. Use it as a context manager.

    Attributes:
        path: as it was given.
        size: bytes.
        budget: steps of work that the file may still cause.

    Raises:
        CheckpointError: no such file, a directory, a FIFO, an empty file, no permission.
    """

    def __init__(self, path: str | os.PathLike[str]):
        try:
            self.path = Path(os.fspath(path))
        except TypeError:
            raise ArgumentError(f"path must be a file name, such as 'yolov8s.pt', not {shown(repr(path))}.") from None
        self.budget = Budget(self.error)
        try:
            self._file = os.fdopen(_open(self.path), "rb", buffering=0)
        except (OSError, ValueError) as error:
            raise self.error(_why(self.path, error)) from None
        self.size = os.fstat(self._file.fileno()).st_size
        if not self.size:
            self._file.close()
            raise self.error("the file is empty; download it again.")

    def error(self, reason: str) -> CheckpointError:
        """The error of this file, to be raised by the caller."""
        return CheckpointError(self.path, reason)

    def read(self, offset: int, count: int) -> bytes:
        """`count` bytes from `offset`; `CheckpointError` if the file does not have them, or was closed."""
        if offset < 0 or count < 0 or offset + count > self.size:
            raise self.error(f"bytes {offset} to {offset + count} were expected, but the file ends at {self.size}.")
        if self._file.closed:
            raise self.error("was closed; read its tensors before that, inside the `with` block.")
        data = bytearray(count)
        view = memoryview(data)
        try:
            self._file.seek(offset)
            while view:
                got = self._file.readinto(view)
                if not got:
                    raise self.error("the file became shorter while it was read.")
                view = view[got:]
        except OSError as error:
            raise self.error(f"cannot be read: {error.strerror}.") from None
        return bytes(data) if count < CHUNK else data  # type: ignore[return-value]

    def chunks(self, offset: int, count: int) -> Iterator[bytes]:
        """The same in pieces of at most `CHUNK` bytes."""
        for start in range(offset, offset + count, CHUNK):
            yield self.read(start, min(CHUNK, offset + count - start))

    def sha256(self) -> str:
        """The file's SHA-256, as 64 hexadecimal digits."""
        digest = hashlib.sha256()
        for chunk in self.chunks(0, self.size):
            digest.update(chunk)
        return digest.hexdigest()

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """Whatever a reader failed to foresee becomes a `CheckpointError` with the original as its cause."""
        try:
            yield
        except CheckpointError:
            raise
        except Exception as error:  # MemoryError and RecursionError, too
            raise self.error(
                f"cannot be read ({type(error).__name__}: {shown(error)}): it is damaged, or larger than this machine "
                "can read."
            ) from error

    def fileno(self) -> int:
        """The open file's descriptor, for a child process to read from."""
        return self._file.fileno()

    def close(self) -> None:
        """Close the file; reading is over."""
        self._file.close()

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _open(path: Path) -> int:
    """A descriptor of the regular file `path`; `ValueError` with the reason if it is something else."""
    flags = os.O_RDONLY
    for extra in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, extra, 0)
    descriptor = os.open(path, flags)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise ValueError(_folder(path) if stat.S_ISDIR(mode) else _SPECIAL)
    return descriptor


_SPECIAL = "is no regular file (a pipe, a socket or a device); a weight file was expected."

_FOLDERS = {
    "saved_model.pb": "is a SavedModel, which is an export; get the checkpoint it was made from.",
    ".xml": "is an OpenVINO model, which is an export; get the checkpoint it was made from.",
    ".param": "is an NCNN model, which is an export; get the checkpoint it was made from.",
    "Manifest.json": "is a Core ML package, which is an export; get the checkpoint it was made from.",
    "data.pkl": "is an unpacked torch checkpoint; a folder is not read, get the file itself.",
}
"""Ends of the names in a folder -> what the folder is."""


def _folder(path: Path) -> str:
    names = [entry.name for entry, _ in zip(os.scandir(path), range(1000), strict=False)]
    for end, meaning in _FOLDERS.items():
        if any(name.endswith(end) for name in names):
            return meaning
    return "is a directory; a weight file was expected."


def _why(path: Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "is a link to a file that is not there." if path.is_symlink() else "no such file."
    if isinstance(error, OSError):
        return f"cannot be opened: {error.strerror}."
    return str(error) if "\0" not in str(path) else "a file name cannot contain a null character."

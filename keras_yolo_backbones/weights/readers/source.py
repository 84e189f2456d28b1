"""An untrusted file, opened once and read in bounded pieces."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from types import TracebackType

from keras_yolo_backbones.errors import ArgumentError, CheckpointError

_CHUNK = 1 << 20


class Source:
    """A regular file that every reader of this package reads through.

    It is opened once, never followed through a symbolic link and never waited for (a FIFO), so what was checked is
    what is read. Use it as a context manager.

    Attributes:
        path: as it was given.
        size: bytes.

    Raises:
        CheckpointError: no such file, a directory, a FIFO, a symbolic link, an empty file, no permission.
    """

    def __init__(self, path: str | os.PathLike[str]):
        try:
            self.path = Path(os.fspath(path))
        except TypeError:
            raise ArgumentError(f"path must be a file name, such as 'yolov8s.pt', not {path!r}.") from None
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
        """`count` bytes from `offset`; `CheckpointError` if the file does not have them."""
        if offset < 0 or count < 0 or offset + count > self.size:
            raise self.error(f"bytes {offset} to {offset + count} were expected, but the file ends at {self.size}.")
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
        return bytes(data) if count < _CHUNK else data  # type: ignore[return-value]

    def sha256(self) -> str:
        """The file's SHA-256, as 64 hexadecimal digits."""
        digest = hashlib.sha256()
        for start in range(0, self.size, _CHUNK):
            digest.update(self.read(start, min(_CHUNK, self.size - start)))
        return digest.hexdigest()

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
    if path.is_symlink():
        raise ValueError(f"is a symbolic link; name the file itself: {os.path.realpath(path)}.")
    flags = os.O_RDONLY
    for extra in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, extra, 0)
    descriptor = os.open(path, flags)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        kind = "a directory" if stat.S_ISDIR(mode) else "no regular file (a pipe, a socket or a device)"
        raise ValueError(f"is {kind}; a weight file was expected.")
    return descriptor


def _why(path: Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file."
    if isinstance(error, IsADirectoryError):
        return "is a directory; a weight file was expected."
    if isinstance(error, OSError):
        return f"cannot be opened: {error.strerror}."
    return str(error) if "\0" not in str(path) else "a file name cannot contain a null character."

"""Keeping what C++ libraries log off the terminal."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def native_noise_hidden(hidden: bool = True) -> Iterator[None]:
    """While the block runs, only what Python writes reaches standard error; for programs, not for libraries.

    Their loggers write to file descriptor 2 itself, and no setting silences all of them.

    Args:
        hidden: `False` does nothing.
    """
    if not hidden:
        yield
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    before = sys.stderr
    before.flush()
    with tempfile.TemporaryFile() as log, os.fdopen(os.dup(2), "w", buffering=1) as terminal:
        os.dup2(log.fileno(), 2)
        sys.stderr = terminal
        try:
            yield
        finally:
            sys.stderr = before
            os.dup2(terminal.fileno(), 2)

"""Sparing the garbage collector what it cannot free."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def old_objects_kept() -> Iterator[None]:
    """Let the collector look only at objects that are made in the block.

    TensorFlow, Keras and a model keep some million objects alive. A full collection visits all of them, which takes
    0.3 s, and building and converting networks causes several; TensorFlow's converter asks for one by itself. Where the
    caller has frozen objects already, nothing changes.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()

"""What a long call is doing: each step is told to whoever listens, and how long it took when it is done."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

Listener = Callable[[str, float | None], None]
"""`(step, seconds)`; seconds are `None` when the step begins."""

_LISTENER: ContextVar[Listener | None] = ContextVar("listener", default=None)


def bar(*, quiet: bool) -> Any:
    """A bar on standard error for tasks of a known length, rich's `Progress`, which is gone when it ends."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=Console(stderr=True), transient=True, disable=quiet)


@contextlib.contextmanager
def step(name: str) -> Iterator[None]:
    """Announce a step, run the block, say how long it took. A step that fails is not reported as done."""
    listener = _LISTENER.get()
    if listener is None:
        yield
        return
    listener(name, None)
    start = time.perf_counter()
    yield
    listener(name, time.perf_counter() - start)


@contextlib.contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Hear of the steps of the calls in this block."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)

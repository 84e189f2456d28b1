"""Random damage to whole files, and what reading them costs: counts, the worst time and memory of every test.

`FUZZ_SECONDS` in the environment (`make fuzz`) repeats each random test for its share of that time, each time anew.
"""

from __future__ import annotations

import os
import resource
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from hypothesis import strategies as st

SECONDS = 5.0
"""Of the processor, for a file below a megabyte; larger ones may take as much for each. Starting a child counts."""

MEGABYTES = 300
"""Of memory beyond the file's own size."""

Damage = tuple[str, int, bytes]
damages = st.lists(
    st.tuples(
        st.sampled_from(["set"] * 6 + ["insert", "delete", "repeat", "cut"]),
        st.integers(0, 1 << 20),
        st.one_of(st.binary(min_size=1, max_size=9), st.sampled_from([b"\0" * 8, b"\xff" * 8, b"\x7f", b"\x80"])),
    ),
    min_size=1,
    max_size=3,
)


def damaged(data: bytes, damage: list[Damage]) -> bytes:
    for kind, position, with_ in damage:
        at = position % (len(data) + 1)
        end = at + len(with_)
        if kind == "set":
            data = data[:at] + with_ + data[end:]
        elif kind == "insert":
            data = data[:at] + with_ + data[at:]
        elif kind == "delete":
            data = data[:at] + data[end:]
        elif kind == "repeat":
            data = data[:end] + data[at : at + 50 * len(with_)] + data[end:]
        else:
            data = data[: max(at, 1)]
    return data


class Cost:
    """What the examples of one test came to, and the worst of them."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.seconds = 0.0
        self.megabytes = 0.0

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(self.outcomes.items()))
        return f"{self.seconds:7.2f} s {self.megabytes:6.0f} MB   {counts}"


COSTS: dict[str, Cost] = {}
"""Test -> its cost, in this process."""


def total() -> Cost:
    """All tests as one."""
    found = Cost()
    for cost in COSTS.values():
        found.outcomes.update(cost.outcomes)
        found.seconds = max(found.seconds, cost.seconds)
        found.megabytes = max(found.megabytes, cost.megabytes)
    return found


def costed(size: int, call: Callable[[], str]) -> str:
    """Run `call` and hold its processor time and its memory against the size of what it reads.

    Args:
        size: of the file, in bytes.
        call: returns its outcome, such as `"read"`.
    """
    memory, start = _forget_peak(), _seconds()
    outcome = call()
    seconds, megabytes = _seconds() - start, max(0.0, _status("VmHWM") - memory)
    note(seconds, megabytes, outcome)
    assert seconds < SECONDS * max(1, size / 1e6)
    assert megabytes < MEGABYTES + size / 1e6
    return outcome


def note(seconds: float, megabytes: float, outcome: str) -> None:
    """Add what one file cost to the cost of the test that runs."""
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition("::")[2].partition(" ")[0].partition("[")[0]
    cost = COSTS.setdefault(test, Cost())
    cost.outcomes[outcome] += 1
    cost.seconds, cost.megabytes = max(cost.seconds, seconds), max(cost.megabytes, megabytes)


def _seconds() -> float:
    """Of the processor, of this process and of those that it started."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _forget_peak() -> float:
    """Begin a new peak of memory; returns what is in use, in MB. 0 on systems without `/proc`."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return _status("VmHWM")
    return _status("VmRSS")


def _status(name: str) -> float:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0.0
    return int(status.partition(f"{name}:")[2].split(None, 1)[0]) / 1024


class Repeated:
    """Repeats random tests, each for its share of the time that is left."""

    def __init__(self, seconds: float):
        self.end = time.monotonic() + seconds
        self.waiting = 0

    def run(self, test: Callable[[], object]) -> None:
        """Repeat a test that has run once."""
        end = time.monotonic() + max(0.0, self.end - time.monotonic()) / max(1, self.waiting)
        self.waiting -= 1
        while time.monotonic() < end:
            test()

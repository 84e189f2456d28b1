"""Reading a hostile file in a child process that has little memory and time, and watching what it does."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import NamedTuple

import numpy as np
from conftest import ROOT
from fuzzing import note
from torchfile import Call, Name, Writer

MEMORY = 600 << 20
SECONDS = 30

CHILD = """
import resource, sys, time
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]), int(sys.argv[2])))
resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[3]), int(sys.argv[3])))
from keras_yolo_backbones.errors import CheckpointError
from keras_yolo_backbones.weights.readers.checkpoint import read_checkpoint
# ru_maxrss would begin with the size of the process that this one was forked from.
peak = lambda: int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0])
before, start = peak(), time.process_time()
try:
    with read_checkpoint(sys.argv[1]) as checkpoint:
        for name in checkpoint.tensors:
            checkpoint.tensors[name]
    said = f"read {len(checkpoint.tensors)}"
except CheckpointError as error:
    assert str(error.path) == sys.argv[1], error.path
    assert error.__cause__ is None, f"only the outer guard saw it: {error}"
    said = f"refused {error.reason}"
others = resource.getrusage(resource.RUSAGE_CHILDREN)
seconds = time.process_time() - start + others.ru_utime + others.ru_stime
print(f"{seconds:.3f} {max(peak() - before, others.ru_maxrss) / 1024:.0f} {said}")
"""


class Reading(NamedTuple):
    """What reading a file came to.

    Attributes:
        seconds: of the processor, in this process and those that it started.
        megabytes: of memory beyond what Python and its modules take.
        said: `"read <number of tensors>"` or `"refused <reason>"`.
    """

    seconds: float
    megabytes: int
    said: str


def observed(path) -> Reading:
    """Read a file in a child process. It runs in an empty folder, which must stay empty."""
    work = path.parent / "work"
    work.mkdir(exist_ok=True)
    beside = set(path.parent.iterdir())
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", "TMPDIR": str(work)}
    command = [sys.executable, "-c", CHILD, str(path), str(MEMORY), str(SECONDS)]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, timeout=4 * SECONDS)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr == ""
    assert list(work.iterdir()) == []
    assert set(path.parent.iterdir()) == beside
    seconds, megabytes, said = done.stdout.strip().split(" ", 2)
    note(float(seconds), float(megabytes), said.split()[0])
    return Reading(float(seconds), int(megabytes), said)


def reading(path) -> str:
    """What the child says of a file."""
    return observed(path).said


def refused(path, reason: str) -> None:
    said = reading(path)
    assert said.startswith("refused "), said
    assert reason in said, said
    assert len(said) < 500
    assert said.isprintable()


VALUES = np.arange(8, dtype=np.float32)
SYSTEM = Name("os", "system")
PAYLOAD = Call(SYSTEM, ("touch PWNED",))


def archive(path, content=None, *, pickle: bytes | None = None, extra=None):
    """A checkpoint with one good tensor, and what else is wanted in it."""
    writer = Writer()
    good = writer.state_dict({"a.weight": VALUES})
    return writer.write(path, {"model": good, "more": content}, pickle=pickle, extra=extra)

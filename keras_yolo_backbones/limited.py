"""A program that limits its memory and becomes a different one: `limited.py BYTES COMMAND …`. Standard library only."""

from __future__ import annotations

import os
import subprocess
import sys


def become(memory: int, command: list[str]) -> None:
    """Limit this process to `memory` bytes of address space and to no core file, and run `command` in its place."""
    try:
        import resource
    except ImportError:  # Windows has no such limits
        sys.exit(subprocess.call(command))
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    most = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.execv(command[0], command)


if __name__ == "__main__":
    become(int(sys.argv[1]), sys.argv[2:])

"""Long attacks, a short form of each: kills of every exporter, and a crowd of clients with bombs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from conftest import ROOT
from crowd import run


@pytest.mark.slow
def test_a_crowd_with_bombs_gets_right_answers_and_memory_stays_flat():
    """`CROWD_SECONDS` in the environment for longer."""
    outcomes, memory = run(float(os.environ.get("CROWD_SECONDS", "60")))
    assert set(outcomes) == {"right", "bombs refused"}
    assert outcomes["right"] > 1000
    assert outcomes["bombs refused"] > 100
    assert max(memory[1:]) - memory[1] < 100


@pytest.mark.slow
def test_kills_of_every_exporter_leave_nothing_that_disagrees(tmp_path):
    """`KILLS` in the environment for more."""
    kills = int(os.environ.get("KILLS", "40"))
    command = [sys.executable, "tests/kills.py", str(tmp_path), str(kills)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout.splitlines()[-1].split()[0]) >= kills

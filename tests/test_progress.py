"""Steps of long calls: told to who listens, with their time, and to nobody else."""

from __future__ import annotations

import pytest
from rich.console import Console

from keras_yolo_backbones.commands.common import timings_table, working
from keras_yolo_backbones.progress import listening, step


def test_a_step_is_told_when_it_begins_and_when_it_ends():
    heard = []
    with listening(lambda name, seconds: heard.append((name, seconds))):
        with step("a"), step("b"):
            pass
        with pytest.raises(KeyError), step("c"):
            raise KeyError
    with step("d"):
        pass
    assert [name for name, _ in heard] == ["a", "b", "b", "a", "c"]
    assert [seconds is None for _, seconds in heard] == [True, True, False, False, True]
    assert heard[3][1] >= heard[2][1] >= 0


def test_times_add_up_to_the_whole(capsys):
    timings = []
    with working(Console(stderr=True), "exporting", timings), step("converting"):
        pass
    assert [name for _, name, _ in timings] == ["converting", "the rest"]
    Console(width=60).print(timings_table([("exporting", "converting", 3.0), ("exporting", "the rest", 1.0)]))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["exporting", "converting", "3.0", "75%"],
        ["the", "rest", "1.0", "25%"],
    ]

"""The scripts that measure servers and GPUs run from end to end; their numbers are not looked at."""

from __future__ import annotations

import json
import sys

import pytest
from conftest import ROOT

from keras_yolo_backbones.export.tf_serving.server import write_server_files

sys.path.insert(0, str(ROOT / "zoo"))

import batching
import gpu
import served


def test_the_scheduler_gets_the_numbers_that_the_server_gets(tmp_path):
    (tmp_path / "v8n").mkdir()
    write_server_files(tmp_path / "v8n", (1, 4), xla=False)
    assert batching.parameters(tmp_path / "v8n" / "server" / "batching_params.pbtxt") == {
        "max_batch_size": 4,
        "batch_timeout_micros": 2000,
        "num_batch_threads": 4,
        "max_enqueued_batches": 64,
        "allowed_batch_sizes": [1, 4],
    }


def test_calls_take_turns_and_the_first_two_of_each_are_not_counted():
    calls = []
    found = gpu.in_turns({name: (lambda name=name: calls.append(name)) for name in ("a", "b")}, 3)
    assert calls[:4] == ["a", "a", "b", "b"]
    assert [sorted(calls[place : place + 2]) for place in (4, 6, 8)] == [["a", "b"]] * 3
    assert set(found) == {"a", "b"}
    assert all(seconds > 0 for seconds in found.values())


@pytest.mark.slow
def test_the_gpu_table_is_made_without_a_gpu(tmp_path, monkeypatch, capsys):
    options = ["--models", "v8-n", "--image-size", "64", "--batches", "1", "2", "--rounds", "2"]
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--out", str(tmp_path), *options])
    gpu.main()
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert set(found["seconds"]["v8-n"]) >= set(served.SERVED)
    for times in found["seconds"]["v8-n"].values():
        assert set(times) == {"copied", "on the card"}
        assert all(set(own) == {"1", "2"} for own in times.values())
    assert "1.00" in capsys.readouterr().out


@pytest.mark.slow
def test_batching_answers_every_client(monkeypatch, capsys):
    options = ["--model", "v8-n", "--image-size", "64", "--clients", "4", "--seconds", "1", "--batch-threads", "2"]
    monkeypatch.setattr(sys, "argv", ["batching.py", *options])
    batching.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[1:]] == ["no batching", "2 batch threads"]

"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys

import pytest
from conftest import ROOT, in_subprocess

import keras_yolo_backbones as kyb
from keras_yolo_backbones.files import HOST, check_directory, check_file_target, staged


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_a_file_appears_whole_and_replaces_the_older(tmp_path):
    target = tmp_path / "model.tflite"
    target.write_text("old")
    with staged(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".")
    assert target.read_text() == "new"
    assert names(tmp_path) == ["model.tflite"]


def test_an_error_leaves_the_older_file_and_nothing_else(tmp_path):
    target = tmp_path / "model.tflite"
    target.write_text("old")

    def interrupted():
        with staged(target) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert target.read_text() == "old"
    assert names(tmp_path) == ["model.tflite"]


def test_a_folder_appears_readable_for_all_and_replaces_nothing(tmp_path):
    target = tmp_path / "1"
    with staged(target) as temporary:
        temporary.mkdir(mode=0o700)
        (temporary / "saved_model.pb").write_text("graph")
    assert target.stat().st_mode & 0o777 == 0o755
    with pytest.raises(kyb.ExportError, match="exists"), staged(target) as temporary:
        temporary.mkdir()
    assert names(target) == ["saved_model.pb"]
    assert names(tmp_path) == ["1"]


def test_what_killed_processes_left_is_swept_up(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    host = HOST
    left = tmp_path / f".1.{host}.{dead.pid}-0123abcd.tmp"
    left.mkdir()
    alive = tmp_path / f".1.{host}.{os.getpid()}-0123abcd.tmp"
    alive.mkdir()
    other = tmp_path / f".2.{host}.{dead.pid}-0123abcd.tmp"
    other.mkdir()
    elsewhere = tmp_path / f".1.elsewhere.{dead.pid}-0123abcd.tmp"
    elsewhere.mkdir()
    with staged(tmp_path / "1") as temporary:
        temporary.mkdir()
    assert names(tmp_path) == sorted([alive.name, other.name, elsewhere.name, "1"])


def test_a_full_disk_is_one_error_and_leaves_nothing(tmp_path):
    """The limit on the size of files stands in for the disk: the write fails in its middle either way."""
    code = f"""
import resource, signal
from pathlib import Path
from keras_yolo_backbones.errors import ExportError
from keras_yolo_backbones.files import staged
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with staged(Path({str(tmp_path / "model.tflite")!r})) as temporary:
        temporary.write_bytes(bytes(5000))
except ExportError as error:
    print(error)
"""
    assert f"cannot write {tmp_path / 'model.tflite'}: File too large." in in_subprocess(code)
    assert names(tmp_path) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_export_leaves_nothing_half_written(tmp_path, how):
    """SIGTERM cleans up at once, SIGKILL cannot: the next export does."""
    target = tmp_path / "v8-n-float32.tflite"
    code = f"""
import signal, sys, time
from pathlib import Path
from keras_yolo_backbones.cli import _terminate
from keras_yolo_backbones.files import staged
signal.signal(signal.SIGTERM, _terminate)
with staged(Path({str(target)!r})) as temporary:
    temporary.write_bytes(bytes(1000))
    print("half", flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "half\n"
    process.send_signal(how)
    assert process.wait(20) == (143 if how == signal.SIGTERM else -signal.SIGKILL)
    process.stdout.close()
    assert not target.exists()
    assert len(names(tmp_path)) == (0 if how == signal.SIGTERM else 1)
    with staged(target) as temporary:
        temporary.write_text("whole")
    assert names(tmp_path) == [target.name]


def test_paths_that_cannot_be_written(tmp_path):
    (tmp_path / "folder.tflite").mkdir()
    (tmp_path / "file").write_text("")
    for path, message in (
        (tmp_path / "model.onnx", "expected a file name that ends in .tflite."),
        (tmp_path / "folder.tflite", "exists and is no file; choose another path."),
        (tmp_path / "file" / "model.tflite", "exists and is no folder"),
        ("model\0.tflite", "holds a NUL character"),
        ("/proc/model.tflite", "cannot write to the folder /proc"),
    ):
        with pytest.raises(kyb.ExportError, match=message.replace("(", r"\(")):
            check_file_target(path, ".tflite")
    with pytest.raises(kyb.ExportError, match="exists and is no folder"):
        check_directory(tmp_path / "file")
    assert names(tmp_path) == ["file", "folder.tflite"]


def test_missing_folders_are_made(tmp_path):
    assert check_file_target(tmp_path / "a" / "b" / "model.onnx", ".onnx").parent.is_dir()

"""Files that appear whole or not at all."""

from __future__ import annotations

import concurrent.futures
import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT, in_subprocess

import keras_yolo_backbones as kyb
from keras_yolo_backbones.files import check_directory, check_file_target, manifest_of, staged, staged_pair
from keras_yolo_backbones.work_folders import WORK, scratch


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_a_file_appears_whole_and_replaces_the_older(tmp_path):
    target = tmp_path / "model.tflite"
    target.write_text("old")
    with staged(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
        assert temporary.parent.parent == tmp_path
        assert temporary.parent.name.startswith(".")
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


def test_a_folder_appears_whole_and_replaces_nothing(tmp_path):
    target = tmp_path / "1"
    with staged(target) as temporary:
        temporary.mkdir(mode=0o700)
        (temporary / "saved_model.pb").write_text("graph")
    with pytest.raises(kyb.ExportError, match="exists"), staged(target) as temporary:
        temporary.mkdir()
    assert names(target) == ["saved_model.pb"]
    assert names(tmp_path) == ["1"]


@pytest.mark.parametrize(
    ("umask", "file", "folder"), [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700), (0o002, 0o664, 0o775)]
)
def test_permissions_are_those_of_any_new_file(tmp_path, umask, file, folder):
    """Whatever a library chose: safetensors writes 0600, TensorFlow 0755."""
    before = os.umask(umask)
    try:
        with staged(tmp_path / "closed") as temporary:
            temporary.touch(mode=0o600)
        with staged(tmp_path / "script.sh") as temporary:
            temporary.touch(mode=0o755)
        with staged(tmp_path / "1") as temporary:
            (temporary / "variables").mkdir(parents=True, mode=0o700)
            (temporary / "graph").touch(mode=0o666)
        with staged_pair(tmp_path / "a.onnx") as (temporary, manifest):
            temporary.touch(mode=0o640)
            manifest.touch()
    finally:
        os.umask(before)
    modes = {path.relative_to(tmp_path).as_posix(): path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    assert modes == {
        **dict.fromkeys(("closed", "1/graph", "a.onnx", "a.onnx.json"), file),
        **dict.fromkeys(("script.sh", "1", "1/variables"), folder),
    }


def test_what_killed_processes_left_is_swept_up(tmp_path):
    """The lock decides: nobody holds that of `dead`; a process, of whatever container, holds that of `alive`."""
    dead = tmp_path / f"{WORK}dead"
    dead.mkdir()
    (dead / "1").mkdir()
    (dead / "lock").touch()
    unlocked = tmp_path / f"{WORK}killed-before-it-was-locked"
    unlocked.mkdir()
    other = tmp_path / ".other"
    other.mkdir()
    with scratch(tmp_path) as alive:
        (alive / "half").touch()
        with staged(tmp_path / "1") as temporary:
            temporary.mkdir()
        assert names(tmp_path) == sorted([alive.name, ".other", "1"])
        assert (alive / "half").exists()
    assert names(tmp_path) == [".other", "1"]


def test_a_folder_of_someone_else_is_left_alone(tmp_path):
    """A link named like a work folder leads nowhere."""
    outside = tmp_path / "outside"
    outside.mkdir()
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / f"{WORK}link").symlink_to(outside)
    with staged(inner / "file") as temporary:
        temporary.touch()
    assert names(tmp_path) == ["inner", "outside"]
    assert names(outside) == []


def test_a_pair_never_disagrees(tmp_path, monkeypatch):
    """Stopped before each of the renames, the folder has no manifest of a different file."""
    target = tmp_path / "a.onnx"
    for content in ("old", "new"):
        renames = iter([] if content == "old" else [False, True])

        def replace(source, destination, renames=renames, really=os.replace):
            if next(renames, False):
                raise OSError(5, "Input/output error")
            really(source, destination)

        def write(content=content):
            with staged_pair(target) as (file, manifest):
                file.write_text(content)
                manifest.write_text(content)

        monkeypatch.setattr(os, "replace", replace)
        if content == "old":
            write()
            assert names(tmp_path) == ["a.onnx", "a.onnx.json"]
        else:
            with pytest.raises(kyb.ExportError, match=r"cannot write .*a\.onnx: Input/output error"):
                write()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.onnx": "new"}


def test_two_writers_of_one_pair_take_turns(tmp_path):
    target = tmp_path / "a.onnx"

    def write(number):
        for _ in range(30):
            with staged_pair(target) as (file, manifest):
                file.write_text(str(number))
                manifest.write_text(str(number))

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert target.read_text() == manifest_of(target).read_text()
    assert names(tmp_path) == ["a.onnx", "a.onnx.json"]


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
        (tmp_path / f"{'a' * 244}.tflite", "cannot write .*: File name too long"),
    ):
        with pytest.raises(kyb.ExportError, match=message.replace("(", r"\(")):
            check_file_target(path, ".tflite")
    with pytest.raises(kyb.ExportError, match="exists and is no folder"):
        check_directory(tmp_path / "file")
    with pytest.raises(kyb.ExportError, match="File name too long"):
        check_directory(tmp_path / ("a" * 300))
    assert names(tmp_path) == ["file", "folder.tflite"]


def test_missing_folders_are_made(tmp_path):
    assert check_file_target(tmp_path / "a" / "b" / "model.onnx", ".onnx").parent.is_dir()


def test_the_longest_name_that_leaves_room_for_a_manifest(tmp_path):
    target = check_file_target(tmp_path / f"{'a' * 243}.tflite", ".tflite")
    with staged_pair(target) as (file, manifest):
        file.touch()
        manifest.touch()
    assert [len(name) for name in names(tmp_path)] == [250, 255]


WRITER = """
import sys
from pathlib import Path
from keras_yolo_backbones.files import staged_pair
number = int(sys.argv[2]) * 1_000_000
print("ready", flush=True)
while True:
    number += 1
    with staged_pair(Path(sys.argv[1]) / f"{number % 3}.onnx") as (file, manifest):
        file.write_text(str(number) * 500)
        manifest.write_text(str(number))
"""


def kill_writers(folder, kills):
    """Kill writers at random moments; returns how many pairs were whole, and how many kills left a file alone."""
    random, whole, kills_alone, alone = np.random.default_rng(0), 0, 0, set()
    for kill in range(kills):
        command = [sys.executable, "-c", WRITER, str(folder), str(kill)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "ready\n"
            time.sleep(random.uniform(0, 0.05))
            process.kill()
        before, alone = alone, {file.name for file in folder.glob("*.onnx") if not manifest_of(file).exists()}
        assert len(alone - before) <= 1
        kills_alone += len(alone - before)
        for file in folder.glob("*.onnx"):
            if file.name not in alone:
                assert file.read_text() == manifest_of(file).read_text() * 500
                whole += 1
        assert not [name for name in names(folder) if name.endswith(".json") and not (folder / name[:-5]).exists()]
        assert len([name for name in names(folder) if name.startswith(".")]) <= 1
    with scratch(folder):
        pass
    assert [name for name in names(folder) if name.startswith(".")] == []
    return whole, kills_alone


def test_kills_leave_no_pair_that_disagrees(tmp_path):
    whole, _ = kill_writers(tmp_path, 10)
    assert whole > 0


@pytest.mark.slow
def test_two_hundred_kills_leave_no_pair_that_disagrees(tmp_path):
    whole, alone = kill_writers(tmp_path, 200)
    print(f"200 kills: {whole} whole pairs seen, {alone} kills left a file without a manifest, no pair that disagrees")
    assert whole > 300

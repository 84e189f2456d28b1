"""Files and folders that people take for checkpoints are named as what they are."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile

import pytest

import keras_yolo_backbones as kyb
from keras_yolo_backbones.errors import CheckpointError


def packed(name: str, method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr(name, b"x" * 100)
    return file.getvalue()


def tarred() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("pickle"))
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (packed("archive/code/__torch__/model.py", zipfile.ZIP_DEFLATED), "is a TorchScript archive"),
        (packed("arr_0.npy"), r"is a NumPy archive \(.npz\)"),
        (packed("runs/train/best.pt", zipfile.ZIP_DEFLATED), "is a zip archive around a checkpoint; unpack it first"),
        (b"\x1c\0\0\0TFL3" + bytes(100), "is a TFLite file"),
        (b"ftrt" + bytes(100), "is a TensorRT engine"),
        (struct.pack("<I", 30) + b'{"description": "a network"}  ' + bytes(100), "is a TensorRT engine"),
        (b'<?xml version="1.0"?><net name="yolo" version="11">', "perhaps of an OpenVINO model"),
        (b"<!doctype html><html>Not found</html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "run `git lfs pull`"),
        (b'{"error": "Repository not found"}', 'is a text, not a weight file: it begins with \'{"error"'),
        (tarred(), "is a tar archive"),
        (gzip.compress(bytes(100), mtime=0), "is compressed with gzip"),
        (b"\xfd7zXZ\0" + bytes(40), "is compressed with xz"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # bytes would say the time of day
)
def test_what_is_no_checkpoint_is_named(tmp_path, content, reason):
    path = tmp_path / "best.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=reason) as caught:
        kyb.read_checkpoint(path)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("name", "reason"), [("best.xml", "OpenVINO"), ("saved_model.pb", "SavedModel"), ("best.txt", "is a directory")]
)
def test_folders_are_named(tmp_path, name, reason):
    (tmp_path / name).write_text("x")
    with pytest.raises(CheckpointError, match=reason):
        kyb.read_checkpoint(tmp_path)

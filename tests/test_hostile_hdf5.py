"""HDF5 files that were made to do harm: the library meets them in a child process only."""

from __future__ import annotations

import json
import zipfile

import h5py
import numpy as np
import pytest
from hostile import VALUES, reading, refused


def keras_file(path):
    """What Keras writes for one conv, in small."""
    with h5py.File(path, "w") as file:
        group = file.create_group("layers/conv2d/vars")
        group.attrs["name"] = "stem.conv"
        group["0"] = VALUES
    return path


def test_the_good_hdf5_file_is_read(tmp_path):
    assert reading(keras_file(tmp_path / "good.weights.h5")) == "read 1"


def external(_, group):
    group.create_dataset("1", (4,), "f4", external=[("/etc/passwd", 0, 16)])


def virtual(_, group):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4,))
    group.create_virtual_dataset("1", layout)


def compressed(_, group):
    group.create_dataset("1", data=np.zeros(1 << 24, "f4"), compression="gzip")


def unallocated(_, group):
    group.create_dataset("1", (1 << 40,), "f4")


def linked(_, group):
    group["1"] = h5py.ExternalLink("/etc/passwd", "x")


def looping(file, group):
    group["again"] = file["layers"]


def soft(_, group):
    group["1"] = h5py.SoftLink("/layers/conv2d/vars/0")


def text(_, group):
    group["1"] = "text"


def nameless(_, group):
    del group.attrs["name"]


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (external, "outside of itself, or compressed"),
        (virtual, "outside of itself, or compressed"),
        (compressed, "outside of itself, or compressed"),
        (unallocated, "outside of itself, or compressed"),
        (linked, "links to somewhere else"),
        (looping, "nested too deep"),
        (soft, "links to somewhere else"),
        (text, "is of the type"),
        (nameless, "do not say which layer"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_hostile_hdf5_file_is_refused(tmp_path, edit, reason):
    path = keras_file(tmp_path / "bad.weights.h5")
    with h5py.File(path, "a") as file:
        edit(file, file["layers/conv2d/vars"])
    refused(path, reason)


def test_the_model_in_a_keras_archive_is_never_built(tmp_path):
    path = tmp_path / "lambda.keras"
    config = {"module": "keras.layers", "class_name": "Lambda", "config": {"function": "os.system('touch PWNED')"}}
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("metadata.json", "{}")
        file.writestr("config.json", json.dumps(config))
        file.writestr("model.weights.h5", keras_file(tmp_path / "inner.h5").read_bytes())
    assert reading(path) == "read 1"

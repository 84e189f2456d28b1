"""Trained networks out of packages of the Python index. Nothing of them is kept in the repository.

`Files(cache=…)` downloads the wheels with pip; `Files(folder=…)` reads files that are there already.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import h5py
import keras
import numpy as np
from safetensors.numpy import save_file

import keras_yolo_backbones as kyb

SIDE = 320


class Source(NamedTuple):
    """Where a trained network comes from.

    Attributes:
        package: name and version, as pip takes them.
        member: the file in the wheel.
        ready: the same network as a file that `load_weights` reads, where `Files.folder` has it.
        build: makes the network.
        head: whether the file holds a YOLOv8 detector, with neck and head.
    """

    package: str
    member: str
    ready: str
    build: Callable[[], keras.Model]
    head: bool = False


def v8(**options) -> keras.Model:
    return kyb.v8("n", input_shape=(SIDE, SIDE, 3), **options)


SOURCES = {
    "smartrail": Source(
        "smartrail-obstacle-detector==0.1.1",
        "railway_obstacle_detector/best.pt",
        "smartrail.pt",
        lambda: v8(spp="linear"),
        head=True,
    ),
    "tau": Source("tau-fibrils-yolo==0.2.0", "tau_fibrils_yolo/model/100ep.pt", "tau.pt", v8, head=True),
    "nudenet": Source(
        "nudenet==3.4.2", "nudenet/320n.onnx", "nudenet_folded.safetensors", lambda: kyb.fuse(v8()), head=True
    ),
    "yolox-tiny": Source(
        "ddddocr==1.6.1",
        "ddddocr/common_det.onnx",
        "yolox_tiny_folded_fp16.safetensors",
        lambda: kyb.fuse(kyb.yolox("tiny", input_shape=(SIDE, SIDE, 3))),
    ),
    "v4-tiny": Source(
        "napari-apple==0.0.8",
        "napari_apple/weight-darknet/yolov4-tiny-960.h5",
        "v4_tiny.safetensors",
        lambda: kyb.v4("tiny", input_shape=(SIDE, SIDE, 3)),
    ),
}

MICROGRAPH = "tau_fibrils_yolo/sample/sample.tif"


class Files:
    """The files of the packages.

    Args:
        cache: wheels are downloaded to here, once.
        folder: holds the files themselves (`Source.ready`); what it lacks comes from the wheels.
    """

    def __init__(self, cache: Path, folder: Path | None = None) -> None:
        self.cache, self.folder = cache, folder

    def network(self, name: str) -> keras.Model:
        """The network with its trained weights, for RGB in [0, 1]."""
        source = SOURCES[name]
        model = source.build()
        kyb.load_weights(model, self.weights(name))
        return model

    def weights(self, name: str) -> Path:
        """A file that `load_weights` reads."""
        source = SOURCES[name]
        if self.folder is not None and (self.folder / source.ready).exists():
            return self.folder / source.ready
        file = self.member(source.package, source.member)
        convert = CONVERTED.get(name)
        if convert is None:
            return file
        made = file.with_suffix(".safetensors")
        if not made.exists():
            save_file(convert(file), made)
        return made

    def tensors(self, name: str) -> Mapping[str, np.ndarray]:
        """All tensors of a detector, by the original's names; those of the head are in the package's file only."""
        source = SOURCES[name]
        path = self.weights(name)
        if path.suffix == ".safetensors":
            path = self.member(source.package, source.member)
        with kyb.read_checkpoint(path) as checkpoint:
            return dict(checkpoint.tensors)

    def micrograph(self) -> Path:
        """The electron micrograph that comes with tau."""
        return self.member(SOURCES["tau"].package, MICROGRAPH)

    def member(self, package: str, name: str) -> Path:
        """A file out of a wheel, unpacked to the cache."""
        target = self.cache / package / Path(name).name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            with zipfile.ZipFile(self._wheel(package)) as archive:
                target.write_bytes(archive.read(name))
        return target

    def _wheel(self, package: str) -> Path:
        stem = package.replace("-", "_").replace("==", "-")
        if not (found := list(self.cache.glob(f"{stem}-*.whl"))):
            self.cache.mkdir(parents=True, exist_ok=True)
            options = ["--no-deps", "--quiet", "--disable-pip-version-check", "--dest", str(self.cache)]
            subprocess.run([sys.executable, "-m", "pip", "download", *options, package], check=True)
            found = list(self.cache.glob(f"{stem}-*.whl"))
        return found[0]


def _yolox(file: Path) -> dict[str, np.ndarray]:
    """An ONNX file without names: its convolutions are in the order of the network."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(file).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    tensors = {}
    for key, node in zip(_yolox_keys(), convolutions, strict=False):
        tensors[f"{key}.weight"], tensors[f"{key}.bias"] = (np.array(constants[name]) for name in node.input[1:])
    return tensors


def _yolox_keys() -> list[str]:
    """The convolutions of YOLOX-tiny's backbone, in the order that they are computed in."""
    keys = ["stem.conv"]
    for level, repeats in (("dark2", 1), ("dark3", 3), ("dark4", 3), ("dark5", 1)):
        keys.append(f"{level}.0")
        keys += ["dark5.1.conv1", "dark5.1.conv2"] if level == "dark5" else []
        block = f"{level}.2" if level == "dark5" else f"{level}.1"
        keys += [f"{block}.conv1", f"{block}.conv2"]
        keys += [f"{block}.m.{index}.{part}" for index in range(repeats) for part in ("conv1", "conv2")]
        keys.append(f"{block}.conv3")
    return [f"backbone.backbone.{key}.conv" for key in keys]


_V4_LAYERS = (0, 1, 2, 4, 5, 7, 10, 12, 13, 15, 18, 20, 21, 23, 26)
"""The convolutions of YOLOv4-tiny's backbone among darknet's layers."""

_TF_KERAS_EPSILON, _EPSILON = 1e-3, 1e-5


def _v4_tiny(file: Path) -> dict[str, np.ndarray]:
    """A file of tf.keras, whose layers are numbered in the order of the network."""
    tensors = {}
    with h5py.File(file) as content:
        layers = content["model_weights"]

        def read(kind: str, position: int, weight: str) -> np.ndarray:
            name = f"{kind}_{position}" if position else kind
            return np.asarray(layers[name][name][f"{weight}:0"], np.float32)

        for position, number in enumerate(_V4_LAYERS):
            tensors[f"{number}.conv.weight"] = np.ascontiguousarray(
                read("conv2d", position, "kernel").transpose(3, 2, 0, 1)
            )
            for theirs, ours in (("gamma", "weight"), ("beta", "bias"), ("moving_mean", "running_mean")):
                tensors[f"{number}.bn.{ours}"] = read("batch_normalization", position, theirs)
            variance = read("batch_normalization", position, "moving_variance")
            tensors[f"{number}.bn.running_var"] = variance + np.float32(_TF_KERAS_EPSILON - _EPSILON)
    return tensors


CONVERTED = {"yolox-tiny": _yolox, "v4-tiny": _v4_tiny}
"""Networks whose files have no names that `load_weights` knows."""

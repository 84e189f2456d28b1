"""The manifest: what one needs to know to use an artifact right without the code that made it."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import keras

from keras_yolo_backbones.errors import ExportError
from keras_yolo_backbones.graph.agreement import Agreement
from keras_yolo_backbones.graph.signature import ImageInput, named_outputs
from keras_yolo_backbones.levels import stride_of
from keras_yolo_backbones.provenance import every_provenance, leaves, weights_digest
from keras_yolo_backbones.strangers import typed
from keras_yolo_backbones.version import __version__

_ASKED = ("input", "preprocessing", "outputs", "sha256")
_MOST_BYTES = 16 << 20

PACKAGES = ("tensorflow", "keras", "ai-edge-litert", "tf2onnx", "onnx", "onnxruntime", "numpy")


class Artifact(NamedTuple):
    """What an exporter made.

    Attributes:
        path: the file, or the version folder of a SavedModel.
        manifest: the content of the JSON file next to it.
    """

    path: Path
    manifest: dict[str, Any]

    @property
    def size(self) -> int:
        """Bytes of the file, or of all files of the folder."""
        if self.path.is_file():
            return self.path.stat().st_size
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())


def make_manifest(
    model: keras.Model,
    images: ImageInput,
    *,
    format: str,
    precision: str,
    size: tuple[int | None, int | None, int],
    agreement: Mapping[str, Agreement],
    checked_on: str,
    least_snr_db: float,
    reference: str = "model",
    quantization: Mapping[str, Mapping[str, Any]] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Everything that is common to all formats.

    Args:
        model: the model that was exported.
        images: its input.
        format: `"tflite"`, `"saved_model"` or `"onnx"`.
        precision: `"float32"`, `"int8"`, ….
        size: (height, width, channels) of the artifact's input.
        agreement: output name -> how closely the artifact follows the model.
        checked_on: the images that this was measured on, in words.
        least_snr_db: the bound that it passed.
        reference: what the artifact was compared with: `"model"` or `"fake-quantized model"`.
        quantization: tensor name -> dtype, scale and zero point, where the artifact has integer tensors.
        **more: what only this format has.
    """
    quantization = quantization or {}
    return {
        "format": format,
        "precision": precision,
        "model": model.name,
        "input": {
            "name": images.name,
            "shape": [more.pop("batch", 1), *size],
            "layout": "NHWC",
            **quantization.get(images.name, {"dtype": "float32"}),
        },
        "preprocessing": images.preprocessing.describe(),
        "outputs": {
            name: {**_output(name, tensor, size), **quantization.get(name, {"dtype": "float32"})}
            for name, tensor in named_outputs(model).items()
        },
        **more,
        "agreement": describe(agreement, reference=reference, checked_on=checked_on, least_snr_db=least_snr_db),
        **origins(model),
        "sha256": {"weights": weights_digest(model)},
        "versions": {"keras_yolo_backbones": __version__, **_versions()},
    }


def origins(model: keras.Model) -> dict[str, Any]:
    """Where the weights come from: `weights`, and `other_weights` if the model has weights of several origins."""
    found = [dataclasses.asdict(provenance) for provenance in every_provenance(model)]
    return {"weights": found[0] if found else None, **({"other_weights": found[1:]} if found[1:] else {})}


def describe(
    agreement: Mapping[str, Agreement], *, reference: str, checked_on: str, least_snr_db: float | None
) -> dict[str, Any]:
    """One comparison as JSON values; see `make_manifest`."""
    return {
        "reference": reference,
        "least_snr_db": least_snr_db,
        "checked_on": checked_on,
        **{name: _finite(dataclasses.asdict(result)) for name, result in agreement.items()},
    }


def computed_in(model: keras.Model) -> str:
    """What the layers with weights compute in: `"float32"`, `"bfloat16"`, … or several, joined by commas."""
    return ", ".join(sorted({layer.compute_dtype for layer in leaves(model.layers) if layer.weights})) or "float32"


def write_manifest(manifest: Mapping[str, Any], path: Path) -> None:
    """Write it as indented JSON."""
    path.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def read_manifest(artifact: Path) -> dict[str, Any]:
    """The manifest beside an artifact, after seeing that it is the artifact's.

    Args:
        artifact: the file, whose manifest is called the same and `.json`, or the version folder of a SavedModel.

    Raises:
        ExportError: there is no manifest, it is none, or it is of another file: the artifact was changed, or one of the
            two was copied without the other.
    """
    folder = artifact.is_dir()
    path = artifact / "manifest.json" if folder else artifact.with_name(f"{artifact.name}.json")
    if not path.is_file() or path.stat().st_size > _MOST_BYTES:
        raise ExportError(f"{artifact} has no manifest: {path} is no file, or too large; copy both, or export again.")
    content = typed(path, "manifest", lambda: json.loads(path.read_text(encoding="utf-8")))
    lacking = [name for name in _ASKED if not (isinstance(content, dict) and isinstance(content.get(name), dict))]
    if lacking:
        raise ExportError(f"{path} is no manifest of an exporter: it has no {', '.join(lacking)}.")
    file = artifact / "saved_model.pb" if folder else artifact
    if content["sha256"].get("file") != typed(file, "artifact", lambda: file_digest(file)):
        raise ExportError(
            f"{path} does not describe {artifact.name}: the file's sha256 is not the one in it. One of them was "
            "changed or replaced; export again."
        )
    return content


def file_digest(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _output(name: str, tensor: keras.KerasTensor, size: tuple[int | None, int | None, int]) -> dict[str, Any]:
    """Shape, channels and, where the name is that of a level, stride."""
    shape = list(tensor.shape[1:])
    stride = stride_of(name)
    if stride and len(shape) == 3:
        shape[:2] = [own if side is None else -(-side // stride) for own, side in zip(shape[:2], size[:2], strict=True)]
        return {"stride": stride, "channels": shape[-1], "shape": shape}
    return {"channels": shape[-1], "shape": shape}


def _finite(numbers: dict[str, float]) -> dict[str, float | None]:
    """JSON has no infinity: an exact match has no signal-to-noise ratio."""
    return {name: value if math.isfinite(value) else None for name, value in numbers.items()}


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found

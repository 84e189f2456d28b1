"""SavedModels in the layout of TF Serving: a folder a version."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_yolo_backbones.errors import ArgumentError, ExportError
from keras_yolo_backbones.export.check import LEAST_SNR_DB, check_images, compare
from keras_yolo_backbones.export.files import check_directory, staged
from keras_yolo_backbones.export.function import frozen_function, require_tensorflow
from keras_yolo_backbones.export.manifest import Artifact, file_digest, make_manifest, write_manifest
from keras_yolo_backbones.graph.fuse import fuse
from keras_yolo_backbones.graph.signature import image_input

MANIFEST = "manifest.json"


def export_saved_model(
    model: keras.Model, directory: str | os.PathLike[str], *, version: int | None = None, fused: bool = True
) -> Artifact:
    """Write `directory/<version>/`, a SavedModel with the signature `serving_default`: images -> outputs by name.

    The batch is dynamic; so are height and width if the model leaves them open. Weights are constants of the graph.

    Args:
        model: a functional model with one image input; left untouched.
        directory: the model's folder, such as `"serving/v8s"`.
        version: a positive integer, by default one more than the highest that is there.
        fused: fold batch norms first.

    Returns:
        The version folder and its manifest (`manifest.json` in it), after TF Serving's loader has read and run it and
        it has agreed with the model.

    Raises:
        ArgumentError: the version exists already or is no positive integer.
        ExportError: the folder cannot be written, or the artifact disagrees with the model.
    """
    require_tensorflow()
    images = image_input(model)
    folder = check_directory(directory)
    target = folder / str(_version(folder, version))
    call = frozen_function(
        fuse(model) if fused else model, tf.TensorSpec((None, *images.shape), tf.float32, name=images.name)
    )
    bound = _bound(model)
    with staged(target) as temporary:
        _save(call, temporary)
        found = compare(
            model,
            lambda batch: run_in_session(temporary, {images.name: batch}),
            [check_images(images.any_size(), images.largest, count=2)],
            what=f"{folder.name}/{target.name}",
            least_snr_db=bound,
        )
        manifest = make_manifest(
            model,
            images,
            format="saved_model",
            precision=model.compute_dtype,
            size=images.shape,
            batch=None,
            agreement=found,
            checked_on="2 random images",
            least_snr_db=bound,
            signatures=["serving_default"],
        )
        manifest["sha256"]["file"] = file_digest(temporary / "saved_model.pb")
        write_manifest(manifest, temporary / MANIFEST)
    return Artifact(target, manifest)


def run_in_session(
    folder: Path, inputs: dict[str, np.ndarray], signature: str = "serving_default"
) -> dict[str, np.ndarray]:
    """Run a signature through the session loader, the way TF Serving does.

    Python's `tf.saved_model.load` takes models that this loader, and so the server, refuses.
    """
    level = tf.get_logger().level
    tf.get_logger().setLevel("ERROR")
    try:
        with tf.compat.v1.Session(graph=tf.Graph()) as session:
            loaded = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(folder))
            definition = loaded.signature_def[signature]
            feed = {definition.inputs[name].name: value for name, value in inputs.items()}
            return session.run({name: tensor.name for name, tensor in definition.outputs.items()}, feed)
    finally:
        tf.get_logger().setLevel(level)


def versions(folder: Path) -> list[int]:
    """The versions in a model's folder, ascending; other entries are none of TF Serving's business."""
    return sorted(int(entry.name) for entry in folder.iterdir() if entry.is_dir() and entry.name.isdecimal())


def _version(folder: Path, version: int | None) -> int:
    present = versions(folder)
    if version is None:
        return max(present, default=0) + 1
    if not isinstance(version, int) or isinstance(version, bool) or not 0 < version < 2**63:
        raise ArgumentError(f"version {version!r}: expected a positive integer.")
    if version in present:
        raise ArgumentError(f"version {version} of {folder} exists already, and versions never change; leave it out.")
    return version


def _save(call: Any, folder: Path) -> None:
    try:
        tf.saved_model.save(tf.Module(), str(folder), signatures={"serving_default": call})
    except tf.errors.OpError as error:
        raise ExportError(f"cannot write the SavedModel: {error.message}") from error


def _bound(model: keras.Model) -> float:
    """Reduced precision, in the model or one of its layers, agrees only so far."""
    kinds = {layer.compute_dtype for layer in model.layers}
    return LEAST_SNR_DB["dynamic"] if kinds & {"float16", "bfloat16"} else LEAST_SNR_DB["float32"]

"""SavedModels for TF Serving: a folder a version, checked by the server's loader before it appears."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_yolo_backbones.arguments import check_model
from keras_yolo_backbones.errors import ArgumentError, one_of
from keras_yolo_backbones.export.comparison import LEAST_SNR_DB
from keras_yolo_backbones.export.function import save_signatures
from keras_yolo_backbones.export.manifest import Artifact, computed_in, file_digest, make_manifest, write_manifest
from keras_yolo_backbones.export.tf_serving.detection import Detect
from keras_yolo_backbones.export.tf_serving.operators import fusable
from keras_yolo_backbones.export.tf_serving.server import IMAGE, check_server_files, server_flags, write_server_files
from keras_yolo_backbones.export.tf_serving.session import ServingSession
from keras_yolo_backbones.export.tf_serving.signature_check import CHECKED_ON, check_signatures
from keras_yolo_backbones.export.tf_serving.signatures import build_signatures, choose, choose_detection
from keras_yolo_backbones.export.tf_serving.stable import stabilize
from keras_yolo_backbones.export.tf_serving.versions import check_version, publish
from keras_yolo_backbones.export.tf_serving.warmup import MOST_RECORDS, replay_warmup, write_warmup
from keras_yolo_backbones.files import check_directory
from keras_yolo_backbones.graph.agreement import Agreement
from keras_yolo_backbones.graph.fuse import fuse
from keras_yolo_backbones.graph.rewrite import recast
from keras_yolo_backbones.graph.running import require_tensorflow
from keras_yolo_backbones.graph.signature import ImageInput, image_input
from keras_yolo_backbones.pixel_limit import MAX_PIXELS
from keras_yolo_backbones.progress import step
from keras_yolo_backbones.quantization.integer_form import is_fake_quantized
from keras_yolo_backbones.work_folders import scratch

MANIFEST = "manifest.json"
PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
BATCH_SIZES = (1, 8, 32)


def export_saved_model(
    model: keras.Model,
    directory: str | os.PathLike[str],
    *,
    version: int | None = None,
    fused: bool = True,
    precision: str | None = None,
    xla: bool = False,
    signatures: Sequence[str] | None = None,
    image_size: int | tuple[int, int] | None = None,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    max_pixels: int = MAX_PIXELS,
    detect: Detect | None = None,
) -> Artifact:
    """Write `directory/<version>/`, a SavedModel for TF Serving, and `directory/server/`, what starts one on it.

    The batch is dynamic, may be empty, and outputs are float32 whatever the network computes in. Weights are constants
    of the graph, shared by all signatures. The version appears whole or not at all; exporters that run at the same time
    get different versions.

    Args:
        model: a functional model with one image input; left untouched.
        directory: the model's folder, such as `"serving/v8s"`; its name is the model's name at the server.
        version: a positive integer, by default one more than the highest that is there.
        fused: fold batch norms first.
        precision: `"float32"`, `"bfloat16"` or `"float16"` to compute in, the model's own by default.
        xla: compile the network with XLA. The server must be started with the flags in the manifest, and compiles once
            for every batch size.
        signatures: some of `SIGNATURES`, all that the model can have by default.
        image_size: a side, or (height, width), where the model leaves them open; the signatures that take files need
            one.
        batch_sizes: those that the server shall batch to; a warm-up request is stored for each with each signature, and
            each size is run once here. The largest decides how much memory that takes: YOLOv8-s at 640 pixels 4 GB for
            32, 2.6 GB for 8.
        max_pixels: of the signatures that take files: a request with a larger image fails before that is decoded.
        detect: of a detector: adds the signature `detect`, float images -> `boxes`, `scores`, `classes`, `count`; and,
            where files are possible, `encoded_detect`, with boxes in each file's own pixels.

    Returns:
        The version folder and its manifest (`manifest.json` in it), after TF Serving's loader has read it, every
        signature has agreed with the model, and warm-up requests of every signature and every size have been run.

    Raises:
        ArgumentError: the version exists already, or a value is not allowed.
        ExportError: the folder cannot be written, or the artifact disagrees with the model.
    """
    require_tensorflow()
    check_model(model)
    images = _sized(image_input(model), image_size)
    names = _signatures(model, images, signatures, detect)
    sizes = _batch_sizes(batch_sizes, len(names))
    _check(precision, max_pixels)
    folder = check_directory(directory)
    check_server_files(folder, xla=xla)
    check_version(folder, version)
    with step("folding"):
        served = _served(model, fused, precision)
        plain = fusable(served)
    with scratch(folder) as work:
        temporary = work / "version"
        with step("writing"):
            made = build_signatures(plain, images, names, xla=xla, max_pixels=max_pixels, detect=detect)
            save_signatures(made, temporary)
            compiled = stabilize(temporary)  # also by layers of the user's, and Keras' own of some kinds with groups
            check_server_files(folder, xla=compiled)
        with step("loading"):
            session = ServingSession(temporary)
        with session:
            bound = min(_bound(model), _bound(served))
            with step("comparing with the model"):
                found = check_signatures(session, model, images, what=folder.name, least_snr_db=bound, detect=detect)
            with step("warming up"):
                requests = write_warmup(session, temporary, folder.resolve().name, images, sizes)
                replay_warmup(session, temporary)
            manifest = make_manifest(
                model,
                images,
                format="saved_model",
                precision=precision or computed_in(model),
                size=images.shape,
                batch=None,
                agreement=found["serving_default"],
                checked_on=CHECKED_ON,
                least_snr_db=bound,
                signatures=_described(session, found),
                warmup={"requests": requests, "batch_sizes": list(sizes)},
                server=_server(session, folder.resolve().name, compiled),
                fake_quantized=is_fake_quantized(model),
            )
        manifest["sha256"]["file"] = file_digest(temporary / "saved_model.pb")
        write_manifest(manifest, temporary / MANIFEST)
        target = publish(temporary, folder, version)
        write_server_files(folder, sizes, xla=compiled)
    return Artifact(target, manifest)


def _signatures(
    model: keras.Model, images: ImageInput, chosen: Sequence[str] | None, detect: Detect | None
) -> tuple[str, ...]:
    """The signatures that are asked for; those of `detect` come last."""
    names = choose(None if chosen is None else tuple(chosen), model, images)
    if detect is None:
        return names
    if not isinstance(detect, Detect):
        raise ArgumentError(f"detect is a {type(detect).__name__}; expected kyb.Detect(decode).")
    return names + choose_detection(model, images)


def _check(precision: str | None, max_pixels: int) -> None:
    if precision is not None and precision not in PRECISIONS:
        raise one_of("precision", precision, PRECISIONS)
    if not isinstance(max_pixels, int) or isinstance(max_pixels, bool) or max_pixels < 1:
        raise ArgumentError(f"max_pixels {max_pixels!r}: expected a positive integer.")


def _served(model: keras.Model, fused: bool, precision: str | None) -> keras.Model:
    """The model as the server computes it."""
    served = fuse(model) if fused else model
    return served if precision is None else recast(served, PRECISIONS[precision])


def run_in_session(
    folder: Path, inputs: dict[str, np.ndarray], signature: str = "serving_default"
) -> dict[str, np.ndarray]:
    """Load a version folder as TF Serving does, and call a signature once."""
    with ServingSession(folder) as session:
        return session.run(inputs, signature)


def _sized(images: ImageInput, image_size: int | tuple[int, int] | None) -> ImageInput:
    return images if image_size is None else images._replace(shape=images.sized(image_size))


def _batch_sizes(sizes: Sequence[int], signatures: int) -> tuple[int, ...]:
    chosen = tuple(sorted(set(sizes)))
    if not chosen or not all(isinstance(size, int) and size > 0 for size in chosen):
        raise ArgumentError(f"batch_sizes {tuple(sizes)}: expected positive integers such as {BATCH_SIZES}.")
    if len(chosen) * signatures > MOST_RECORDS:
        raise ArgumentError(f"{len(chosen)} batch_sizes: TF Serving takes at most {MOST_RECORDS} warm-up requests.")
    return chosen


def _bound(model: keras.Model) -> float:
    """Reduced precision, in the model or one of its layers, agrees only so far."""
    kinds = {layer.compute_dtype for layer in model.layers}
    return LEAST_SNR_DB["dynamic"] if kinds & {"float16", "bfloat16"} else LEAST_SNR_DB["float32"]


def _described(session: ServingSession, found: dict[str, dict[str, Agreement]]) -> dict[str, Any]:
    """Signature -> its inputs and outputs, and how closely each output follows the model."""

    def tensors(infos: Any) -> dict[str, Any]:
        return {
            name: {
                "dtype": tf.as_dtype(info.dtype).name,
                "shape": [side.size if side.size >= 0 else None for side in info.tensor_shape.dim],
            }
            for name, info in sorted(infos.items())
        }

    return {
        name: {
            "inputs": tensors(session.signatures[name].inputs),
            "outputs": tensors(session.signatures[name].outputs),
            "max_error": max(result.max_error for result in results.values()),
        }
        for name, results in found.items()
    }


def _server(session: ServingSession, name: str, xla: bool) -> dict[str, Any]:
    """What a server must be to load it: a graph is read by every TensorFlow from `oldest_consumer` on that has its
    operators, the youngest of which (DecodeImage) came with 2.3; the official server was not run here."""
    return {
        "model": name,
        "image": IMAGE,
        "flags": server_flags(name, xla=xla),
        "graph_producer": session.graph_versions.producer,
        "oldest_consumer": session.graph_versions.min_consumer,
        "oldest_tensorflow": "2.3",
        "run_in": f"session loader of TensorFlow {tf.__version__}; the server itself was not run",
    }

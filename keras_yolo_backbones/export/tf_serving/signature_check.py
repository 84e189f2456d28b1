"""The gate of SavedModels: every signature, run by the server's loader, against the model."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_yolo_backbones.export.comparison import check_images, compare
from keras_yolo_backbones.export.tf_serving.session import ServingSession
from keras_yolo_backbones.graph.agreement import Agreement
from keras_yolo_backbones.graph.running import run
from keras_yolo_backbones.graph.signature import ImageInput
from keras_yolo_backbones.images import decode, letterbox

CHECKED_ON = "2 random images per signature"


def check_signatures(
    session: ServingSession, model: keras.Model, images: ImageInput, *, what: str, least_snr_db: float
) -> dict[str, dict[str, Agreement]]:
    """Run every signature of a loaded SavedModel and compare each output with the model's.

    Args:
        session: the artifact.
        model: as the user gave it.
        images: its input, with the size that it is served at.
        what: the artifact, for error messages.
        least_snr_db: the bound.

    Returns:
        Signature -> output -> agreement.

    Raises:
        ExportError: a signature cannot be run, or does not follow the model.
    """
    found = {}
    for name, definition in session.signatures.items():
        ((key, tensor),) = definition.inputs.items()
        kind = tf.as_dtype(tensor.dtype)

        def artifact(batch: Any, key: str = key, name: str = name) -> dict[str, np.ndarray]:
            return session.run({key: batch}, name)

        def reference(batch: Any, name: str = name) -> dict[str, np.ndarray]:
            outputs = _reference(model, images, batch)
            return _pooled(outputs) if name.endswith("embedding") else outputs

        batch = samples(kind, images)
        found[name] = compare(
            model, artifact, [batch], what=f"{what}, {name}", least_snr_db=least_snr_db, reference=reference
        )
    return found


def samples(kind: tf.DType, images: ImageInput) -> Any:
    """Two random images: floats, pixels, or (for strings) PNG files, one larger than the model's input, one smaller."""
    height, width, channels = images.any_size()
    if kind == tf.float32:
        return check_images((height, width, channels), images.preprocessing.range, count=2)
    if kind == tf.uint8:
        return np.rint(check_images((height, width, channels), (0, 255), count=2)).astype(np.uint8)
    sizes = (height + height // 3 + 1, width * 2), (max(1, height // 2), max(1, width // 3))
    pixels = [np.rint(check_images((*size, 3), (0, 255))[0]).astype(np.uint8) for size in sizes]
    return [tf.io.encode_png(image).numpy() for image in pixels]


def _reference(model: keras.Model, images: ImageInput, batch: Any) -> dict[str, np.ndarray]:
    """The model's outputs on floats, pixels or files."""
    geometry: dict[str, np.ndarray] = {}
    if isinstance(batch, list):
        height, width, _ = images.any_size()
        bars = images.preprocessing.padding
        boxed = [letterbox(decode(file).numpy(), height, width, padding=bars) for file in batch]
        geometry["scale"] = np.array([box.scale for box in boxed], np.float32)
        geometry["padding"] = np.array([(box.top, box.left) for box in boxed], np.float32)
        batch = np.stack([box.image for box in boxed])
    if batch.dtype == np.uint8:
        batch = images.preprocessing.apply(batch)
    return run(model, batch) | geometry


def _pooled(outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: output.mean((1, 2)) for name, output in outputs.items() if output.ndim == 4}

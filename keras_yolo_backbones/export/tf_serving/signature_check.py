"""The gate of SavedModels: every signature, run by the server's loader, against the model."""

from __future__ import annotations

import functools
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
    samples = _Samples(model, images)
    for name, definition in session.signatures.items():
        ((key, tensor),) = definition.inputs.items()
        batch, outputs = samples.of(tf.as_dtype(tensor.dtype))
        wanted = _pooled(outputs) if name.endswith("embedding") else outputs

        def artifact(batch: Any, key: str = key, name: str = name) -> dict[str, np.ndarray]:
            return session.run({key: batch}, name)

        def reference(_: Any, wanted: dict[str, np.ndarray] = wanted) -> dict[str, np.ndarray]:
            return wanted

        found[name] = compare(
            model, artifact, [batch], what=f"{what}, {name}", least_snr_db=least_snr_db, reference=reference
        )
    return found


class _Samples:
    """Two random images as floats, as pixels and as files, with the model's outputs on each, computed once.

    The floats are the pixels, preprocessed. Of the PNG files, one is larger than the model's input and one smaller.
    """

    def __init__(self, model: keras.Model, images: ImageInput):
        self._model, self._images = model, images

    def of(self, kind: tf.DType) -> tuple[Any, dict[str, np.ndarray]]:
        """(images as a signature takes them, outputs) for an input of this type."""
        if kind == tf.string:
            return self._files
        pixels, floats, outputs = self._arrays
        return (pixels if kind == tf.uint8 else floats), outputs

    @functools.cached_property
    def _arrays(self) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        pixels = np.rint(check_images(self._images.any_size(), (0, 255), count=2)).astype(np.uint8)
        floats = self._images.preprocessing.apply(pixels)
        return pixels, floats, run(self._model, floats)

    @functools.cached_property
    def _files(self) -> tuple[list[bytes], dict[str, np.ndarray]]:
        height, width, _ = self._images.any_size()
        bars = self._images.preprocessing.padding
        sizes = (height + height // 3 + 1, width * 2), (max(1, height // 2), max(1, width // 3))
        shown = [np.rint(check_images((*size, 3), (0, 255))[0]).astype(np.uint8) for size in sizes]
        files = [tf.io.encode_png(image).numpy() for image in shown]
        boxed = [letterbox(decode(file).numpy(), height, width, padding=bars) for file in files]
        floats = self._images.preprocessing.apply(np.stack([box.image for box in boxed]))
        scale = np.array([box.scale for box in boxed], np.float32)
        padding = np.array([(box.top, box.left) for box in boxed], np.float32)
        return files, run(self._model, floats) | {"scale": scale, "padding": padding}


def _pooled(outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: output.mean((1, 2)) for name, output in outputs.items() if output.ndim == 4}

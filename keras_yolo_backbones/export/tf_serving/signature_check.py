"""The gate of SavedModels: every signature, run by the server's loader, against the model."""

from __future__ import annotations

import functools
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_yolo_backbones.export.comparison import agreements, check_images
from keras_yolo_backbones.export.tf_serving.detection import Detect, suppressed
from keras_yolo_backbones.export.tf_serving.session import ServingSession
from keras_yolo_backbones.graph.agreement import Agreement
from keras_yolo_backbones.graph.running import run
from keras_yolo_backbones.graph.signature import ImageInput
from keras_yolo_backbones.images import decode
from keras_yolo_backbones.letterboxes import Letterboxed, letterbox, unletterbox

CHECKED_ON = "2 random images per signature"


def check_signatures(
    session: ServingSession,
    model: keras.Model,
    images: ImageInput,
    *,
    what: str,
    least_snr_db: float,
    detect: Detect | None = None,
) -> dict[str, dict[str, Agreement]]:
    """Run every signature of a loaded SavedModel and compare each output with the model's.

    Args:
        session: the artifact.
        model: as the user gave it.
        images: its input, with the size that it is served at.
        what: the artifact, for error messages.
        least_snr_db: the bound.
        detect: what `detect` signatures do after the network. They are compared with the same on what `serving_default`
            returned, because rounding alone can make the best of two boxes the other one.

    Returns:
        Signature -> output -> agreement.

    Raises:
        ExportError: a signature cannot be run, or does not follow the model.
    """
    samples = _Samples(model, images)
    inputs = {name: next(iter(definition.inputs.items())) for name, definition in session.signatures.items()}
    kinds = {name: tf.as_dtype(tensor.dtype) for name, (_, tensor) in inputs.items()}
    found = {}
    # The first run of a signature optimizes its graph in one thread, so all of them run side by side.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        running = {
            name: pool.submit(session.run, {key: samples.batch(kinds[name])}, name) for name, (key, _) in inputs.items()
        }
        for name, kind in kinds.items():
            outputs = samples.outputs(kind)
            wanted = _pooled(outputs) if name.endswith("embedding") else outputs
            if detect is not None and name.endswith("detect"):
                floats, frames = samples.framed(kind)
                wanted = _objects(detect, session.run({images.name: floats}), frames)
            pair = wanted, running[name].result()
            found[name] = agreements([pair], what=f"{what}, {name}", least_snr_db=least_snr_db)
    return found


class _Samples:
    """Two random images as floats, as pixels and as files, with the model's outputs on each, computed once.

    The floats are the pixels, preprocessed. Of the PNG files, one is larger than the model's input and one smaller.
    """

    def __init__(self, model: keras.Model, images: ImageInput):
        self._model, self._images = model, images

    def batch(self, kind: tf.DType) -> Any:
        """The images as a signature with an input of this type takes them."""
        if kind == tf.string:
            return self._contents
        return self._pixels if kind == tf.uint8 else self._floats

    def outputs(self, kind: tf.DType) -> dict[str, np.ndarray]:
        """What the model makes of `batch`; of files also how they are fitted in."""
        return self._outputs_of_files if kind == tf.string else self._outputs

    def framed(self, kind: tf.DType) -> tuple[np.ndarray, list[Letterboxed]]:
        """The images of `batch` as floats, and where each was fitted in."""
        if kind == tf.string:
            return self._floats_of_files, self._boxed
        return self._floats, [Letterboxed(image, 1.0, 0, 0, image.shape[:2]) for image in self._pixels]

    @functools.cached_property
    def _pixels(self) -> np.ndarray:
        return np.rint(check_images(self._images.any_size(), (0, 255), count=2)).astype(np.uint8)

    @functools.cached_property
    def _floats(self) -> np.ndarray:
        return self._images.preprocessing.apply(self._pixels)

    @functools.cached_property
    def _outputs(self) -> dict[str, np.ndarray]:
        return run(self._model, self._floats)

    @functools.cached_property
    def _contents(self) -> list[bytes]:
        height, width, _ = self._images.any_size()
        sizes = (height + height // 3 + 1, width * 2), (max(1, height // 2), max(1, width // 3))
        shown = [np.rint(check_images((*size, 3), (0, 255))[0]).astype(np.uint8) for size in sizes]
        return [tf.io.encode_png(image).numpy() for image in shown]

    @functools.cached_property
    def _boxed(self) -> list[Letterboxed]:
        height, width, _ = self._images.any_size()
        bars = self._images.preprocessing.padding
        return [letterbox(decode(file).numpy(), height, width, padding=bars) for file in self._contents]

    @functools.cached_property
    def _floats_of_files(self) -> np.ndarray:
        return self._images.preprocessing.apply(np.stack([box.image for box in self._boxed]))

    @functools.cached_property
    def _outputs_of_files(self) -> dict[str, np.ndarray]:
        scale = np.array([box.scale for box in self._boxed], np.float32)
        padding = np.array([(box.top, box.left) for box in self._boxed], np.float32)
        return run(self._model, self._floats_of_files) | {"scale": scale, "padding": padding}


def _pooled(outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: output.mean((1, 2)) for name, output in outputs.items() if output.ndim == 4}


def _objects(detect: Detect, outputs: dict[str, np.ndarray], frames: list[Letterboxed]) -> dict[str, np.ndarray]:
    boxes, scores = detect.decoded({name: tf.constant(output) for name, output in outputs.items()})
    corners = [unletterbox(found, frame) for found, frame in zip(boxes.numpy(), frames, strict=True)]
    return {name: value.numpy() for name, value in suppressed(detect, np.stack(corners), scores).items()}

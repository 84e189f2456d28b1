"""The signatures of a served model: floats, pixels or files in; feature maps or pooled features out."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_yolo_backbones.errors import ArgumentError, one_of
from keras_yolo_backbones.export.function import frozen_function
from keras_yolo_backbones.export.tf_serving import detection
from keras_yolo_backbones.export.tf_serving.detection import Detect, Tensors, detections
from keras_yolo_backbones.graph.signature import ImageInput, named_outputs
from keras_yolo_backbones.letterboxes import letterbox_file
from keras_yolo_backbones.levels import is_level
from keras_yolo_backbones.pixel_limit import MAX_PIXELS
from keras_yolo_backbones.preprocessing import GREY

SIGNATURES = ("serving_default", "uint8", "encoded", "embedding", "encoded_embedding")
"""Their inputs and outputs:

- `serving_default`: float32 images as the model takes them -> the model's outputs.
- `uint8`: raw pixels 0…255, RGB whatever the model takes -> the model's outputs.
- `encoded`: `image_bytes`, JPEG or PNG files of any size -> the model's outputs, `scale` and `padding`, for which see
  `letterboxed`.
- `embedding`: float32 images -> every level, averaged over its cells: (batch, channels).
- `encoded_embedding`: `image_bytes` -> the same averages; small in both directions, so the one for JSON.
"""

ENCODED = "image_bytes"
"""The input of the signatures that take files."""

GEOMETRY = ("scale", "padding")


def choose(wanted: tuple[str, ...] | None, model: keras.Model, images: ImageInput) -> tuple[str, ...]:
    """The signatures to export: those wanted, or all that the model can have.

    Args:
        wanted: some of `SIGNATURES`; `None` for all that apply, without the averages if an output is no level.
        model: without feature maps it has no `embedding`.
        images: its input: of three channels and a known size, or no `encoded`.

    Raises:
        ArgumentError: an unknown signature, or one that this model cannot have.
    """
    files, averages = ("encoded", "encoded_embedding"), ("embedding", "encoded_embedding")
    reasons: dict[str, str] = {}
    if not any(len(tensor.shape) == 4 for tensor in named_outputs(model).values()):
        reasons |= dict.fromkeys(averages, "none of its outputs is a feature map")
    if images.shape[2] != 3:
        reasons |= dict.fromkeys(files, f"it takes {images.shape[2]} channels, files give 3")
    elif None in images.shape:
        hint = "it leaves its image size open; pass image_size=640 or image_size=(height, width)"
        reasons |= dict.fromkeys(files, hint)
    taken = sorted(set(GEOMETRY) & set(named_outputs(model)))
    if taken:
        reasons |= dict.fromkeys(files, f"it has outputs of its own called {' and '.join(taken)}")
    for name in wanted or ():
        if name not in SIGNATURES:
            raise one_of("signature", name, SIGNATURES)
        if name in reasons:
            raise ArgumentError(f"model {model.name!r} cannot have the signature {name!r}: {reasons[name]}.")
    if wanted is not None and "serving_default" not in wanted:
        raise ArgumentError("every SavedModel has the signature 'serving_default'; add it to signatures=….")
    if wanted is None and not all(is_level(name) for name in named_outputs(model)):
        reasons |= dict.fromkeys(averages, "means of boxes and scores say nothing")  # still there for who asks
    return tuple(name for name in SIGNATURES if name not in reasons and (wanted is None or name in wanted))


def choose_detection(model: keras.Model, images: ImageInput) -> tuple[str, ...]:
    """The signatures that return objects: that for floats, and that for files if the model can have any."""
    return detection.SIGNATURES if "encoded" in choose(None, model, images) else detection.SIGNATURES[:1]


def build_signatures(
    model: keras.Model,
    images: ImageInput,
    names: tuple[str, ...],
    *,
    xla: bool,
    max_pixels: int = MAX_PIXELS,
    detect: Detect | None = None,
) -> dict[str, Any]:
    """Make the signatures as `tf.function`s that share one network, so that the weights are stored once.

    Args:
        model: what is served, fused and in the precision that it computes in.
        images: its input, with the size that it is served at.
        names: from `choose`.
        xla: compile the network with XLA; reading files stays outside.
        max_pixels: a request with a larger image fails, before that is decoded.
        detect: what the signatures that return objects do after the network.
    """
    floats = tf.TensorSpec((None, *images.shape), tf.float32, name=images.name)
    pixels = tf.TensorSpec((None, *images.shape), tf.uint8, name=images.name)
    files = tf.TensorSpec((None,), tf.string, name=ENCODED)
    network = _any_batch(frozen_function(model, floats, jit_compile=xla))
    from_pixels = images.preprocessing.apply

    def from_files(files: tf.Tensor) -> tuple[Tensors, tf.Tensor, tf.Tensor, tf.Tensor]:
        height, width, _ = images.any_size()
        frames, *geometry = letterboxed(files, height, width, images.preprocessing.padding, max_pixels)
        return network(from_pixels(frames)), *geometry

    def encoded(files: tf.Tensor) -> Tensors:
        outputs, scale, padding, _ = from_files(files)
        return {**outputs, "scale": scale, "padding": padding}

    made: dict[str, tuple[tf.TensorSpec, Callable[[tf.Tensor], Tensors]]] = {
        "serving_default": (floats, network),
        "uint8": (pixels, lambda pixels: network(from_pixels(pixels))),
        "encoded": (files, encoded),
        "embedding": (floats, lambda images: pooled(network(images))),
        "encoded_embedding": (files, lambda files: pooled(encoded(files))),
    }
    if detect is not None:
        objects = functools.partial(detections, detect)
        made["detect"] = floats, lambda images: objects(network(images), *unmoved(images))
        made["encoded_detect"] = files, lambda files: objects(*from_files(files))
    return {name: _signature(*made[name]) for name in names}


def letterboxed(
    files: tf.Tensor,
    height: int,
    width: int,
    color: tuple[int, ...] = (GREY, GREY, GREY),
    max_pixels: int = MAX_PIXELS,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Decode JPEG, PNG or BMP files and fit each into a frame, in graph.

    A point (x, y) of the frame is the point ((x − left) / scale, (y − top) / scale) of the image.

    Args:
        files: (batch,) strings.
        height: of the frame, in pixels.
        width: of the frame, in pixels.
        color: of the bars.
        max_pixels: a larger image fails the graph.

    Returns:
        Frames (batch, height, width, 3) uint8; scale (batch,) float32, frame pixels per image pixel; padding
        (batch, 2) float32, (top, left) in frame pixels; size (batch, 2) float32, (height, width) of the images.
    """

    kinds = (
        tf.TensorSpec((height, width, 3), tf.uint8),
        tf.TensorSpec((), tf.float32),
        tf.TensorSpec((2,), tf.float32),
        tf.TensorSpec((2,), tf.float32),
    )
    with tf.name_scope("letterbox"):
        return tf.map_fn(
            lambda file: letterbox_file(file, height, width, color, max_pixels=max_pixels),
            files,
            fn_output_signature=kinds,
        )


def unmoved(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Scale, padding and size, as in `letterboxed`, of images that came as the model takes them."""
    batch, height, width, _ = tf.unstack(tf.shape(images))
    size = tf.tile(tf.cast([[height, width]], tf.float32), [batch, 1])
    return tf.ones([batch]), tf.zeros_like(size), size


def pooled(outputs: Tensors) -> Tensors:
    """Every feature map averaged over its cells, (batch, channels); outputs that are none are left out."""
    return {name: tf.reduce_mean(tensor, (1, 2)) for name, tensor in outputs.items() if tensor.shape.rank == 4}


def _any_batch(network: Callable[[tf.Tensor], Tensors]) -> Callable[[tf.Tensor], Tensors]:
    """`network` for batches that may be empty.

    oneDNN's convolution gives an empty batch the shape of its input and fails one layer later, so an empty batch is run
    as one black image of which nothing is returned. Other batches pass through without a copy.
    """

    def call(images: tf.Tensor) -> Tensors:
        count = tf.shape(images)[0]
        missing = tf.cast(tf.equal(count, 0), tf.int32)
        shape = images.shape
        images = tf.ensure_shape(tf.pad(images, [[0, missing], [0, 0], [0, 0], [0, 0]]), shape)
        return {name: tensor[:count] for name, tensor in network(images).items()}

    return call


def _signature(spec: tf.TensorSpec, call: Callable[[tf.Tensor], Tensors]) -> Any:
    """A `tf.function` whose argument, and so the signature's input, bears the name of its spec."""

    def named(inputs: tf.Tensor) -> Tensors:
        return {name: tf.identity(tensor, name=name) for name, tensor in call(inputs).items()}

    return tf.function(named, input_signature=[spec], autograph=False)

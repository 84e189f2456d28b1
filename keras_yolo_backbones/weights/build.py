"""From a weight file to the model that it is of, in one line."""

from __future__ import annotations

import os
from typing import Any

import keras

from keras_yolo_backbones.errors import ArgumentError
from keras_yolo_backbones.graph.fuse import fuse
from keras_yolo_backbones.preprocessing import Preprocessing
from keras_yolo_backbones.registry import create, find
from keras_yolo_backbones.weights.load import load_weights
from keras_yolo_backbones.weights.recognition.identify import Identity, identify
from keras_yolo_backbones.weights.recognition.networks import COLOURS


def from_checkpoint(
    path: str | os.PathLike[str],
    *,
    normalize: bool = True,
    preprocessing: Preprocessing | None = None,
    **options: Any,
) -> keras.Model:
    """Build the network that a weight file says it is of, and load the file into it.

    Size, release, activation, the kind of SPP, the epsilon of the batch norms, the number of image channels and the
    image size are the file's, as far as it says them; what it does not say is as published (`identify` shows it). A
    file whose batch norms are folded becomes a fused model.

        model = kyb.from_checkpoint("best.pt", levels=("P2", "P3", "P4", "P5"))

    Args:
        path: any file that `load_weights` reads.
        normalize: see `load_weights`; as is `preprocessing`.
        preprocessing: what the file's weights take, if that is not what the published ones do.
        **options: further arguments of the builders, such as `levels`, `input_shape` or `dtype`.

    Returns:
        The backbone with the file's weights in it. `get_provenance` says where they are from.

    Raises:
        CheckpointError: a file that is damaged, hostile, or of no network of the zoo; or `options` bring a model that
            does not fit it.
        ArgumentError: an option that is not allowed; a file that fits several networks alike.
    """
    identity = identify(path)
    if len(identity.names) > 1:
        raise ArgumentError(
            f"{path} fits {identity.name} alike; build the one that it is of, such as "
            f"kyb.create({identity.names[0]!r}), and load it with kyb.load_weights."
        )
    model = build(identity, **options)
    load_weights(model, path, normalize=normalize, preprocessing=preprocessing)
    return model


def build(identity: Identity, name: str = "", **options: Any) -> keras.Model:
    """The network of a file, without its weights.

    Args:
        identity: of the file.
        name: which of the networks that the file fits; the first by default.
        **options: of the builder; they count before what the file says.
    """
    name = name or identity.names[0]
    said = identity.options
    if "input_tensor" not in options and (identity.facts.image_size or identity.channels not in (0, COLOURS)):
        said["input_shape"] = _input_shape(identity)
    model = create(name, **{**said, **options})
    return fuse(model) if identity.facts.fused else model


def build_small(identity: Identity, name: str = "") -> keras.Model:
    """The same for a small image: weights do not depend on it."""
    side = 2 ** max(6, find(name or identity.names[0]).spec.top)
    return build(identity, name, input_shape=(side, side, identity.channels or COLOURS))


def _input_shape(identity: Identity) -> tuple[int, int, int]:
    """The size of the training images, raised to what the network's strides divide; 640 if the file does not say it."""
    stride = 2 ** find(identity.names[0]).spec.top
    height, width = (-(-side // stride) * stride for side in identity.facts.image_size or (640, 640))
    return height, width, identity.channels or COLOURS

"""Which images a model takes once it has the weights of a file, and which they take when they are written back."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import keras
import numpy as np

from keras_yolo_backbones.families import Layout
from keras_yolo_backbones.preprocessing import RGB, Preprocessing
from keras_yolo_backbones.provenance import Provenance, provenance_of
from keras_yolo_backbones.weights.mapping import slots
from keras_yolo_backbones.weights.stem import (
    check_foldable,
    check_kept,
    fold,
    keep_original,
    standardize,
    unfolded,
)


def images_of(
    model: keras.Model,
    own: Collection[str],
    found: Provenance,
    stated: Preprocessing | None,
    *,
    normalize: bool,
) -> Provenance:
    """What images a model will take once it has the weights of a file; checked before anything is changed.

    Args:
        model: that the weights go into.
        own: names of the layers that get weights of the file.
        found: what the file is, with `original` as published, or as a file of this package says.
        stated: what the user says that the file's weights take.
        normalize: whether the model is to take RGB in [0, 1].

    Returns:
        `found` with `preprocessing` and `original`. In files of Keras the weights are as they were in their model.

    Raises:
        ArgumentError: the stem cannot be made to take such images.
    """
    if found.format == "keras":
        kept = found.preprocessing == found.original
        return _checked(model, own, dataclasses.replace(found, original=stated) if stated and kept else found)
    original = stated or found.original
    taken = RGB if normalize else original
    return _checked(model, own, dataclasses.replace(found, preprocessing=taken, original=original, stem_rounding=()))


def settle(model: keras.Model, own: Collection[str], pixels: Provenance) -> Provenance:
    """Make the stem take what `pixels` says, after its weights were put in; returns it with `stem_rounding`."""
    original = pixels.original
    if pixels.preprocessing == original:
        keep_original(model, original)
        return pixels
    if pixels.format == "keras":
        standardize(model, original)
        return pixels
    return dataclasses.replace(pixels, stem_rounding=fold(model, own, original))


def original_stem(
    model: keras.Model, layout: Layout, published: Preprocessing
) -> tuple[dict[str, np.ndarray], Preprocessing]:
    """The stem's kernels as the original's project has them, and what they take there.

    Args:
        model: a backbone.
        layout: of its network.
        published: what the published weights take; those of a model that never saw a file are written alike.
    """
    provenance = provenance_of(model.layers)
    original = provenance.original if provenance else published
    if provenance and provenance.preprocessing == original:
        return {}, original
    own = {slot.path.rpartition(".")[0] for slot in slots(model, layout)[0]}
    return unfolded(model, own, original, provenance.stem_rounding if provenance else ()), original


def _checked(model: keras.Model, own: Collection[str], pixels: Provenance) -> Provenance:
    """`pixels`, after the checks that `settle` would fail in."""
    if pixels.preprocessing == pixels.original:
        check_kept(model, pixels.original)
    else:
        check_foldable(model, own, pixels.original)
    return pixels

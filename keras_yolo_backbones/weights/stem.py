"""What an original's images were, folded into the stem: every backbone takes RGB in [0, 1], whatever the original took.

The order of the colours and the scale are a property of the first kernels: reversing their input channels and
multiplying them gives the same sums, for the zeros of padding stay zeros. A mean would have to be padded instead of
zeros. Together with the deviation it is a layer of its own before the stem, which the family builds.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import keras
import numpy as np

from keras_yolo_backbones.errors import ArgumentError
from keras_yolo_backbones.graph.ir import Node
from keras_yolo_backbones.graph.read import read
from keras_yolo_backbones.preprocessing import RGB, Preprocessing

LAYER = "normalization"
"""Name of the layer before the stem that applies mean and deviation."""


def stem(model: keras.Model, own: Collection[str]) -> list[keras.Layer]:
    """The convolutions that read the images.

    Args:
        model: a backbone, perhaps behind layers of the user's.
        own: names of the layers whose weights are the original's.

    Raises:
        ArgumentError: a layer of the original reads the images that is no convolution.
    """
    after: set[Node] = set()
    found: dict[str, keras.Layer] = {}
    for node in read(model).nodes:
        mine = node.layer.name in own
        if any(value.node in after for value in node.inputs):
            after.add(node)
        elif mine:
            after.add(node)
            found[node.layer.name] = node.layer
    strange = [layer.name for layer in found.values() if not isinstance(layer, keras.layers.Conv2D)]
    if strange:
        raise ArgumentError(
            f"model {model.name!r}: {', '.join(strange)} reads the images and is no convolution, so that the order of "
            "colours cannot be folded into it; load with normalize=False."
        )
    return list(found.values())


def fold(model: keras.Model, own: Collection[str], original: Preprocessing) -> tuple[int, ...]:
    """Make a model with an original's weights take RGB in [0, 1].

    Args:
        model: has the original's weights, as they are in its file.
        own: names of the layers that got theirs from the file.
        original: what the original takes.

    Returns:
        What `unfolded` needs to give every bit back, mostly (): multiplying a number by 255 and dividing it again
        gives a neighbour of it in one case of 256. One entry for each: ±(1 + its place in the kernels), the sign says
        on which side of the quotient the original's number is.

    Raises:
        ArgumentError: the model was built without the layer for mean and deviation. Nothing is changed.
    """
    standardize(model, original)
    if not _changes_kernel(original):
        return ()
    rounding: list[int] = []
    start = 0
    for layer in stem(model, own):
        kernel = keras.ops.convert_to_numpy(layer.kernel.value)
        layer.kernel.assign(_to_rgb(kernel, original))
        quotient = _from_rgb(keras.ops.convert_to_numpy(layer.kernel.value), original)
        for place in np.flatnonzero(quotient != kernel):
            side = 1 if kernel.flat[place] > quotient.flat[place] else -1
            rounding.append(side * (start + int(place) + 1))
        start += kernel.size
    return tuple(rounding)


def unfolded(
    model: keras.Model, own: Collection[str], original: Preprocessing, rounding: tuple[int, ...] = ()
) -> dict[str, np.ndarray]:
    """The stem's kernels as the original has them: `fold` run backwards.

    Args:
        model: takes RGB in [0, 1].
        own: names of the layers that the original has.
        original: what the original takes.
        rounding: from `fold`. Where the kernel was trained on it changes nothing.

    Returns:
        Path, such as `"stem.conv.kernel"` -> kernel in Keras' layout; empty if the original takes RGB in [0, 1] too.
    """
    found: dict[str, np.ndarray] = {}
    if not _changes_kernel(original):
        return found
    start = 0
    for layer in stem(model, own):
        folded = keras.ops.convert_to_numpy(layer.kernel.value)
        kernel = _from_rgb(folded, original)
        better = kernel.copy()
        for entry in rounding:
            place = abs(entry) - 1 - start
            if 0 <= place < kernel.size:
                better.flat[place] = np.nextafter(kernel.flat[place], np.array(np.inf * entry, kernel.dtype))
        same = _reordered(_to_rgb(better, original) == folded, original)  # where it folds to what is there
        kernel = np.where(same, better, kernel)
        found[f"{layer.name}.{layer.kernel.name}"] = kernel
        start += kernel.size
    return found


def keep_original(model: keras.Model, original: Preprocessing) -> None:
    """Make the layer for mean and deviation pass images on: the model takes what the original takes.

    Raises:
        ArgumentError: the model divides pixels by 255, which the original does not.
    """
    check_kept(model, original)
    _set(model, 1.0, 0.0)


def check_kept(model: keras.Model, original: Preprocessing) -> None:
    """Raise what `keep_original` would."""
    if any(layer.name == "rescaling" for layer in model.layers) and original != RGB:
        raise ArgumentError(
            f"model {model.name!r} divides pixels by 255, the original takes {original}: build it without "
            "include_rescaling for normalize=False."
        )


def standardize(model: keras.Model, original: Preprocessing) -> None:
    """Make the layer for mean and deviation do what `original` says."""
    _check_standardized(model, original)
    if original.standardizes:
        _set(model, *original.standardization())
    else:
        _set(model, 1.0, 0.0)


def check_foldable(model: keras.Model, own: Collection[str], original: Preprocessing) -> None:
    """Raise what `fold` would."""
    _check_standardized(model, original)
    if _changes_kernel(original):
        stem(model, own)


def _check_standardized(model: keras.Model, original: Preprocessing) -> None:
    if original.standardizes and _layer(model) is None and model.inputs[0].shape[-1] == 3:
        raise ArgumentError(
            f"model {model.name!r} has no layer {LAYER!r} for the mean and the deviation of {original}; build it with "
            "its own family's builder, or load with normalize=False."
        )


def _set(model: keras.Model, scale: Any, offset: Any) -> None:
    """Give the layer for mean and deviation, if there is one, other numbers; functions compiled before are dropped."""
    layer = _layer(model)
    if layer is not None and (layer.scale, layer.offset) != (scale, offset):
        layer.scale, layer.offset = scale, offset
        model.train_function = model.test_function = model.predict_function = None


def _layer(model: keras.Model) -> Any:
    """The layer for mean and deviation, `None` if the model has none."""
    found = (layer for layer in model.layers if layer.name == LAYER and isinstance(layer, keras.layers.Rescaling))
    return next(found, None)


def _changes_kernel(original: Preprocessing) -> bool:
    return _factor(original) != 1 or original.color == "BGR"


def _factor(original: Preprocessing) -> float:
    """What the kernel is multiplied by; a scale that is with a mean or deviation is in their layer."""
    return 1.0 if original.standardizes else original.largest


def _to_rgb(kernel: np.ndarray, original: Preprocessing) -> np.ndarray:
    """(height, width, in, out) for the original's channels, to the same for RGB in [0, 1]."""
    return _reordered(kernel, original) * np.asarray(_factor(original), kernel.dtype)


def _from_rgb(kernel: np.ndarray, original: Preprocessing) -> np.ndarray:
    return np.ascontiguousarray(_reordered(kernel, original) / np.asarray(_factor(original), kernel.dtype))


def _reordered(kernel: np.ndarray, original: Preprocessing) -> np.ndarray:
    return kernel[:, :, ::-1] if original.color == "BGR" and kernel.shape[2] == 3 else kernel

"""Images of one, four, … channels: a stem for RGB becomes one for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np

from keras_yolo_backbones.weights.recognition.networks import Network
from keras_yolo_backbones.weights.slots import Slot


def stem_keys(network: Network) -> set[str]:
    """What the kernels that see the image are called in files of the original and of Keras."""
    return {*network.stems, f"{network.stem}/0"}


def adapted(slots: Iterable[Slot], network: Network) -> list[Slot]:
    """The same slots, with stems that take kernels for any number of channels."""
    keys = stem_keys(network)
    return [_adapted(slot) if slot.key in keys else slot for slot in slots]


def _adapted(slot: Slot) -> Slot:
    channels = slot.variable.shape[2]
    return dataclasses.replace(slot, take=lambda tensor: spread(slot.take(tensor), channels))


def spread(kernel: np.ndarray, channels: int) -> np.ndarray:
    """A kernel for a different number of channels, whose response to a grey image is the same.

    More channels repeat the given ones in turn, each divided by how often it occurs; fewer get equal shares of the sum.

    Args:
        kernel: (height, width, channels in, filters).
        channels: wanted.
    """
    given = kernel.shape[2]
    if channels == given:
        return kernel
    if channels < given:
        return np.repeat(kernel.sum(2, keepdims=True, dtype=np.float32) / channels, channels, axis=2)
    source = np.arange(channels) % given
    times = np.bincount(source)[source].astype(np.float32)
    return kernel[:, :, source] / times[:, np.newaxis]

"""Where a model's weights come from. What is loaded into a model is written on it, and into every file made of it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from typing import Any

import keras

from keras_yolo_backbones.arguments import check_model
from keras_yolo_backbones.preprocessing import RGB, Preprocessing

_ATTRIBUTE = "_kyb_provenance"


@dataclasses.dataclass(frozen=True)
class Provenance:
    """The origin of a model's weights.

    Attributes:
        file: name of the file they were read from, without its folder.
        sha256: of that file, 64 hexadecimal digits.
        format: of that file: `"torch"`, `"safetensors"`, `"darknet"` or `"keras"`.
        network: registry name of the network that they belong to, such as `"v8-s"`.
        project: the original project, and its home.
        licence: SPDX identifier under which the original's trained weights are published.
        preprocessing: what the weights take as they are in the model.
        original: what they took in the original's file; where that differs, it was folded into the stem.
        stem_rounding: where folding rounded so that dividing does not give the original's kernel back, see
            `weights.stem`.
    """

    file: str
    sha256: str
    format: str
    network: str
    project: str
    licence: str
    preprocessing: Preprocessing = RGB
    original: Preprocessing = RGB
    stem_rounding: tuple[int, ...] = ()

    def as_json(self) -> str:
        """One line of JSON."""
        return json.dumps(dataclasses.asdict(self))


def get_provenance(model: keras.Model) -> Provenance | None:
    """Where the weights of `model` come from; `None` if they were never loaded from a file.

    A model that was built on a backbone (a neck, a detector) has the backbone's. `ArgumentError` if `model` is no
    functional model.
    """
    check_model(model)
    return provenance_of(model.layers)


def provenance_of(layers: Iterable[keras.Layer]) -> Provenance | None:
    """The provenance that is written on the first of `layers` that carries one."""
    for layer in layers:
        found = getattr(layer, _ATTRIBUTE, None) or provenance_of(getattr(layer, "layers", ()))
        if found:
            return found
    return None


def set_provenance(model: keras.Model, provenance: Provenance | None) -> None:
    """Write on every layer of `model` where its weights come from; layers, for they go into models built on this."""
    for layer in model.layers:
        if layer.weights:
            setattr(layer, _ATTRIBUTE, provenance)


def parse_provenance(text: Any) -> Provenance | None:
    """The provenance that `as_json` wrote; `None` for anything else, for the text comes from a stranger's file."""
    try:
        found = json.loads(text)
        fields = {name: found[name] for name in ("file", "sha256", "format", "network", "project", "licence")}
        preprocessing, original = (
            Preprocessing.from_data(found[name]) if name in found else RGB for name in ("preprocessing", "original")
        )
        rounding = tuple(int(place) for place in found.get("stem_rounding", ()))
    except (TypeError, ValueError, KeyError, RecursionError, OverflowError):
        return None
    if not all(isinstance(value, str) and len(value) < 500 for value in fields.values()) or len(rounding) > 10_000:
        return None
    return Provenance(**fields, preprocessing=preprocessing, original=original, stem_rounding=rounding)


def weights_digest(model: keras.Model) -> str:
    """sha256 over all weights, in the model's order, with their names and shapes."""
    digest = hashlib.sha256()
    for layer in model.layers:
        for variable, value in zip(layer.weights, layer.get_weights(), strict=True):
            digest.update(f"{layer.name}.{variable.name}{value.shape}{value.dtype}".encode())
            digest.update(value.tobytes())
    return digest.hexdigest()

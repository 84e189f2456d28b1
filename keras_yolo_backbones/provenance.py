"""Where a model's weights come from. What is loaded into a model is written on it, and into every file made of it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any

import keras

from keras_yolo_backbones.arguments import check_model
from keras_yolo_backbones.marks import mark, marked
from keras_yolo_backbones.preprocessing import RGB, Preprocessing

_ATTRIBUTE = "_kyb_provenance"

_MAX_TEXT = 500
_MAX_CLAIMS = 20

STEM = 4
"""The stem is among so many of the first layers with weights."""


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
        activation: that the weights were trained with, such as `"silu"`; "" if it is not known.
        linear_spp: the first conv of the SPP or SPPF had no activation.
        epsilon: of the batch norms that they were trained with; 0 if it is not known.
        assumed: the file does not say these three; they are those of the published weights.
        claims: what the file says of its own origin, in pairs such as `("file", "yolov8n.pt")`. Nobody checked it.
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
    activation: str = ""
    linear_spp: bool = False
    epsilon: float = 0.0
    assumed: bool = False
    claims: tuple[tuple[str, str], ...] = ()

    def as_json(self) -> str:
        """One line of JSON."""
        return json.dumps(dataclasses.asdict(self))


def get_provenance(model: keras.Model) -> Provenance | None:
    """Where the weights of `model` come from; `None` if they were never loaded from a file.

    It stays with the layers: in models built on a backbone (a neck, a detector) or taken out of it, in fused and
    quantized models, in clones, in pickles, and in `.keras` files. A model of several origins has several
    (`every_provenance`); this is the first. `ArgumentError` if `model` is no functional model.
    """
    check_model(model)
    return provenance_of(model.layers)


def provenance_of(layers: Iterable[keras.Layer]) -> Provenance | None:
    """The provenance that is written on the first of `layers` that carries one."""
    return next(iter(_distinct(layers)), None)


def every_provenance(model: keras.Model) -> tuple[Provenance, ...]:
    """All that is written on the layers of `model`, each once: a detector may be built on two backbones."""
    return _distinct(model.layers)


def set_provenance(model: keras.Model, provenance: Provenance | None) -> None:
    """Write on every layer of `model` where its weights come from; layers, for they go into models built on this."""
    for index, layer in enumerate(layer for layer in leaves(model.layers) if layer.weights):
        write_provenance(layer, provenance, whole=index < STEM)


def write_provenance(layer: keras.Layer, provenance: Provenance | None, *, whole: bool = True) -> None:
    """Write it on one layer.

    Args:
        layer: with weights.
        provenance: `None` erases what was written.
        whole: whether the text in the layer's config has `stem_rounding`, which may be long.
    """
    setattr(layer, _ATTRIBUTE, provenance)
    if isinstance(layer, keras.layers.BatchNormalization):
        return  # never alone in a model, and half of all layers
    short = provenance if whole or provenance is None else dataclasses.replace(provenance, stem_rounding=())
    mark(layer, None if short is None else short.as_json())


def complete_provenance(model: keras.Model) -> None:
    """Write the first provenance of `model` on those of its layers that carry none."""
    found = provenance_of(model.layers)
    for index, layer in enumerate(layer for layer in leaves(model.layers) if layer.weights):
        if found and provenance_of([layer]) is None:
            write_provenance(layer, found, whole=index < STEM)


def leaves(layers: Iterable[keras.Layer]) -> Iterator[keras.Layer]:
    """The layers, with those of a nested model in place of it."""
    for layer in layers:
        if isinstance(layer, keras.Model):
            yield from leaves(layer.layers)
        else:
            yield layer


def _distinct(layers: Iterable[keras.Layer]) -> tuple[Provenance, ...]:
    """All that is written on `layers`, each once, in their order, and with `stem_rounding` if any layer has that."""
    found: dict[Provenance, Provenance] = {}
    for provenance in _written(layers):
        key = dataclasses.replace(provenance, stem_rounding=())
        if key not in found or provenance.stem_rounding:
            found[key] = provenance
    return tuple(found.values())


def _written(layers: Iterable[keras.Layer]) -> Iterator[Provenance]:
    for layer in layers:
        found = getattr(layer, _ATTRIBUTE, None) or parse_provenance(marked(layer))
        if found:
            yield found
        else:
            yield from _written(getattr(layer, "layers", ()))


def parse_provenance(text: Any) -> Provenance | None:
    """The provenance that `as_json` wrote; `None` for anything else, for the text comes from a stranger's file."""
    try:
        found = json.loads(text)
        fields = {name: found[name] for name in ("file", "sha256", "format", "network", "project", "licence")}
        preprocessing, original = (
            Preprocessing.from_data(found[name]) if name in found else RGB for name in ("preprocessing", "original")
        )
        rounding = tuple(int(place) for place in found.get("stem_rounding", ()))
        epsilon = float(found.get("epsilon", 0.0))
        claims = tuple((key, value) for key, value in found.get("claims", ()) if _is_claim(key, value))
    except (TypeError, ValueError, KeyError, RecursionError, OverflowError):
        return None
    if not all(isinstance(value, str) and len(value) < _MAX_TEXT for value in fields.values()):
        return None
    if len(rounding) > 10_000 or len(claims) > _MAX_CLAIMS:
        return None
    return Provenance(
        **fields,
        preprocessing=preprocessing,
        original=original,
        stem_rounding=rounding,
        activation=str(found.get("activation", ""))[:_MAX_TEXT],
        linear_spp=found.get("linear_spp") is True,
        epsilon=epsilon,
        assumed=found.get("assumed") is True,
        claims=claims,
    )


def _is_claim(key: Any, value: Any) -> bool:
    texts = isinstance(key, str) and isinstance(value, str)
    return texts and key.isidentifier() and len(key) < 20 and len(value) < _MAX_TEXT


def weights_digest(model: keras.Model) -> str:
    """sha256 over all weights, in the model's order, with their names and shapes."""
    digest = hashlib.sha256()
    for layer in model.layers:
        for variable, value in zip(layer.weights, layer.get_weights(), strict=True):
            digest.update(f"{layer.name}.{variable.name}{value.shape}{value.dtype}".encode())
            digest.update(value.tobytes())
    return digest.hexdigest()

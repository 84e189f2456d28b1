"""Writing weights: back into the original's keys, or in Keras' own format, with where they come from."""

from __future__ import annotations

import dataclasses
import json
import os

import keras
import numpy as np

from keras_yolo_backbones.arguments import check_model
from keras_yolo_backbones.errors import ArgumentError
from keras_yolo_backbones.files import check_file_target, staged
from keras_yolo_backbones.preprocessing import Preprocessing
from keras_yolo_backbones.provenance import get_provenance, weights_digest
from keras_yolo_backbones.registry import find
from keras_yolo_backbones.weights.agreement import of_model
from keras_yolo_backbones.weights.conventions import original_stem
from keras_yolo_backbones.weights.layouts import layout_of, network_of
from keras_yolo_backbones.weights.load import UNTRAINED
from keras_yolo_backbones.weights.mapping import gather, slots
from keras_yolo_backbones.weights.models import backbone_in, recognise_model
from keras_yolo_backbones.weights.slots import some


def export_weights(model: keras.Model, path: str | os.PathLike[str]) -> dict[str, tuple[int, ...]]:
    """Write a backbone's weights as safetensors with the original's state-dict keys, in torch's layout.

    What `load_weights` took from an original comes back bit for bit, so that a backbone that was trained on in Keras
    goes back into the original's project; it takes images there as the original does. The file's metadata says where
    the weights come from.

    Args:
        model: a backbone of this package, not fused. One that was built with fewer levels or with `spp=False` gives a
            file of the tensors that it has.
        path: ends in .safetensors; an older file is replaced in one step.

    Returns:
        What was written: key -> shape.

    Raises:
        ArgumentError: `model` is no backbone, is fused, has layers that the original does not have, or only a part of
            one of its tensors.
        ExportError: the file cannot be written.
    """
    from safetensors.numpy import save_file

    check_model(model)
    model = backbone_in(model)
    target = check_file_target(path, ".safetensors")
    names = recognise_model(model)
    if not names:
        raise ArgumentError(f"model {model.name!r} is no backbone of this package: its layers have other names.")
    layout = layout_of(find(names[0]))
    _check_whole(model, slots(model, layout)[1])
    kernels, original = original_stem(model, layout, find(names[0]).published.preprocessing)
    tensors = {key: _storable(value) for key, value in gather(model, layout, kernels).items()}
    metadata = {"format": "pt", "network": names[0], "provenance": _said(model, original)}
    with staged(target) as temporary:
        save_file(tensors, temporary, metadata)
    return {key: tensor.shape for key, tensor in tensors.items()}


def save_weights(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Write Keras' own `.weights.h5`, with where the weights come from. `model.load_weights` reads it as any other.

    Args:
        model: any functional model.
        path: ends in .weights.h5; an older file is replaced in one step.

    Raises:
        ArgumentError: `model` is no functional model.
        ExportError: the name ends otherwise, or the file cannot be written.
    """
    import h5py

    check_model(model)
    target = check_file_target(path, ".h5")
    if not target.name.endswith(".weights.h5"):
        raise ArgumentError(f"{target}: expected a file name that ends in .weights.h5.")
    said = _said(model)
    with staged(target) as temporary:
        model.save_weights(temporary)
        if said:
            with h5py.File(temporary, "a") as file:
                file.attrs["kyb_provenance"] = said


def _said(model: keras.Model, original: Preprocessing | None = None) -> str:
    """What a file of the model's weights says of them: their origin, and what they were trained with; JSON or "".

    `original` is what the weights take in the file, where that is not what they take in the model.
    Weights that went into a model with a different activation belong to that one as soon as they were trained on.
    """
    provenance, names = get_provenance(model), recognise_model(model)
    if provenance and original:
        provenance = dataclasses.replace(provenance, preprocessing=original, original=original, stem_rounding=())
    fused = not any(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers)
    if not names or fused:
        return provenance.as_json() if provenance else ""
    network = provenance.network if provenance and provenance.network in names else names[0]
    own = of_model(model, network_of(find(network))).as_data()
    if provenance is None:
        return json.dumps(own)
    if getattr(model, UNTRAINED, "") == weights_digest(model):
        return provenance.as_json()
    if all(getattr(provenance, key) == own[key] for key in ("activation", "linear_spp", "epsilon")):
        return provenance.as_json()
    return dataclasses.replace(provenance, **own).as_json()


def _check_whole(model: keras.Model, foreign: list[str]) -> None:
    """The original must know every variable, and batch norms must not be folded away."""
    if foreign:
        raise ArgumentError(
            f"{len(foreign)} variables of {model.name!r} are not in the original: {some(foreign)}. Export the backbone "
            "that they were put on."
        )
    if not any(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers):
        raise ArgumentError(f"{model.name!r} is fused, the original is not: export the model that it was made from.")


def _storable(value: np.ndarray) -> np.ndarray:
    """numpy has no bfloat16 that safetensors writes; float32 holds its values exactly."""
    return np.ascontiguousarray(value if value.dtype.kind == "f" else value.astype(np.float32))

"""What of a file fits what of a model: which tensor goes where, and what is left over on both sides."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import keras
import numpy as np

from keras_yolo_backbones.errors import ArgumentError
from keras_yolo_backbones.families import Layout
from keras_yolo_backbones.registry import Variant, find
from keras_yolo_backbones.weights.channels import adapted, stem_keys
from keras_yolo_backbones.weights.layouts import layout_for, network_of
from keras_yolo_backbones.weights.mapping import slots
from keras_yolo_backbones.weights.partly_folded import Unfolded, folded_biases
from keras_yolo_backbones.weights.readers import darknet
from keras_yolo_backbones.weights.readers.checkpoint import Checkpoint
from keras_yolo_backbones.weights.readers.tensors import Tensors
from keras_yolo_backbones.weights.recognition import darknet_files
from keras_yolo_backbones.weights.recognition.folded import folded_keys, found_under
from keras_yolo_backbones.weights.recognition.identify import Identity, recognise
from keras_yolo_backbones.weights.recognition.trained import builder_call
from keras_yolo_backbones.weights.slots import Slot, mismatches, some
from keras_yolo_backbones.weights.variables import keras_slots


class Fit(NamedTuple):
    """What would go where. The lists are names, for reports.

    Attributes:
        slots: the variables for which the file has a tensor.
        tensors: the file's tensors by name.
        wrong: slots whose tensor has a different shape.
        missing: variables of the model without a tensor in the file.
        foreign: variables of the model that the original does not have.
        unplaced: tensors of the backbone without a variable in the model.
        ignored: tensors of the file that belong to no backbone.
    """

    slots: list[Slot]
    tensors: Mapping[str, np.ndarray]
    wrong: list[str]
    missing: list[str]
    foreign: list[str]
    unplaced: list[str]
    ignored: list[str]

    def details(self, most: int = 8) -> str:
        """What does not fit, in sentences that name up to `most` tensors each."""
        said = (
            (self.wrong, "tensors have a different shape in the model"),
            (self.missing, "tensors of the model are missing in the file"),
            (self.foreign, "variables of the model are not in the original"),
            (self.unplaced, "backbone tensors of the file have no place in the model"),
        )
        return " ".join(f"{len(items)} {what}: {some(items, most)}." for items, what in said if items)


def fit_keras(model: keras.Model, variant: Variant | None, checkpoint: Checkpoint, adapt_stem: bool) -> Fit:
    """A file that Keras wrote: variables by the names of their layers.

    Args:
        model: any.
        variant: the network that it is or has in it, if it is known.
        checkpoint: the file.
        adapt_stem: see `load_weights`.
    """
    found, tensors = keras_slots(model), checkpoint.tensors
    if adapt_stem and variant:
        found = adapted(found, network_of(variant))
    names = {slot.key for slot in found}
    return Fit(
        [slot for slot in found if slot.key in tensors],
        tensors,
        mismatches(found, tensors.shapes),
        [f"{slot.path} ({slot.key})" for slot in found if slot.key not in tensors],
        [],
        [name for name in tensors if name not in names],
        [],
    )


def fit_original(model: keras.Model, variant: Variant, checkpoint: Checkpoint, strict: bool, adapt_stem: bool) -> Fit:
    """A file of the original project: variables by the original's keys."""
    tensors: Tensors | Unfolded
    tensors, rest = _named(checkpoint, variant, strict)
    layout = layout_for(variant, tensors)
    found, foreign = slots(model, layout)
    _check_fused(model, found, checkpoint, tensors, layout)
    folded = folded_biases(tensors.shapes, {slot.key for slot in found})
    if folded and not checkpoint.facts.fused:
        tensors = Unfolded(tensors, folded, network_of(variant).epsilon)
    if checkpoint.facts.fused:
        found = [dataclasses.replace(slot, key=found_under(slot.key, tensors.shapes)) for slot in found]
    if adapt_stem:
        found = adapted(found, network_of(variant))
    used = {slot.key for slot in found}
    others = [key for key in tensors if key not in used and not key.endswith("num_batches_tracked")]
    return Fit(
        [slot for slot in found if slot.key in tensors],
        tensors,
        mismatches(found, tensors.shapes),
        [f"{slot.key} (for {slot.path})" for slot in found if slot.key not in tensors],
        foreign,
        [key for key in others if layout.holds(key)],
        [key for key in others if not layout.holds(key)] + rest,
    )


def _check_fused(
    model: keras.Model, found: list[Slot], checkpoint: Checkpoint, tensors: Tensors | Unfolded, layout: Layout
) -> None:
    """Batch norms are folded away in both, the file and the model, or in neither."""
    if checkpoint.facts.fused and any(slot.variable.name == "moving_variance" for slot in found):
        raise checkpoint.source.error(
            "the file is fused: its batch norms are folded into the convolutions. Load it into kyb.fuse(model)."
        )
    fused = [
        s.path for s in found if s.key.endswith("conv.bias") and s.key.replace("conv.bias", "bn.weight") in tensors
    ]
    if not fused and not any(slot.variable.name == "moving_variance" for slot in found):
        fused = [key for key in tensors if key.endswith(".bn.running_var") and layout.holds(key)]
    if fused:
        raise ArgumentError(
            f"model {model.name!r} is fused: the file has a batch norm where {fused[0]} is. Load into the model "
            "it was made from, then fuse that."
        )


def _named(checkpoint: Checkpoint, variant: Variant, strict: bool) -> tuple[Tensors, list[str]]:
    """The file's tensors by the original's keys, and what follows them in a file that names nothing."""
    if checkpoint.format != "darknet":
        return checkpoint.tensors, []
    source = checkpoint.source
    if variant.name not in darknet_files.TAILS:
        fitting = ", ".join(darknet_files.TAILS)
        raise source.error(f"is a darknet .weights file, the model is {variant.name}; such files fit {fitting}.")
    shapes = darknet_files.shapes_of(variant.name)
    entries, rest = darknet.place(source, shapes)
    complete = len(entries) == len(shapes)
    if strict and not darknet_files.explained(variant.name, rest, complete):
        where = "after the backbone are no whole layers of its detector" if complete else "follow the last whole layer"
        raise source.error(
            f"does not fit {variant.name}: {rest} numbers {where}. It is truncated, has foreign bytes at its end, or "
            f"is of another network{_which(recognise(checkpoint))}; strict=False ignores them."
        )
    if not darknet_files.plausible(entries):
        raise source.error(
            f"does not fit {variant.name}: there are negative numbers where variances should be. It is damaged, or of "
            f"another network{_which(recognise(checkpoint))}."
        )
    return Tensors(entries), [f"{rest} numbers after the backbone"] if rest else []


def _which(identity: Identity) -> str:
    return f" ({identity.name})" if identity.names else ""


def check_fit(
    fit: Fit, checkpoint: Checkpoint, identity: Identity, model: keras.Model, name: str, strict: bool
) -> None:
    """Raise unless the tensors may be put into the model.

    Args:
        fit: of the file and the model.
        checkpoint: the file.
        identity: what the file is.
        model: the model.
        name: the network that the model is, or what it is called.
        strict: refuse if anything is left over.

    Raises:
        CheckpointError: as `load_weights` says.
    """
    reason = _channels(fit, identity, model) or _folded(fit, identity) or _reason(fit, identity, name, strict)
    if reason:
        raise checkpoint.source.error(reason)


def _channels(fit: Fit, identity: Identity, model: keras.Model) -> str:
    """Why the file does not fit if nothing but the number of image channels is different, "" otherwise."""
    if not (identity.names and fit.wrong):
        return ""
    stems = {name for key in stem_keys(identity.network) for name in folded_keys(key)}
    if not all(text.partition(" ")[0] in stems for text in fit.wrong):
        return ""
    own, theirs = model.inputs[0].shape[-1], identity.channels
    return (
        f"its network takes images of {theirs} channel{'s' if theirs > 1 else ''}, the model of {own}; build it with "
        f"input_shape=(height, width, {theirs}), or pass adapt_stem=True to spread the stem's kernel over {own}."
    )


def _folded(fit: Fit, identity: Identity) -> str:
    """Why a file of Keras does not fit if either it or the model is fused and the other is not, "" otherwise."""
    if identity.format != "keras" or fit.wrong or not (fit.missing and fit.unplaced):
        return ""
    if all(".bn." in text for text in fit.missing):
        return "the file is of a fused model: its batch norms are folded away. Load it into kyb.fuse(model)."
    if all(".bn/" in name for name in fit.unplaced):
        return (
            "the model is fused, the file is not: load it into the model that this one was made from, then fuse that."
        )
    return ""


def _of_one_release(identity: Identity, name: str) -> bool:
    """Whether a file and a network are of one release, so that they are the same if their shapes are."""
    variant = find(name)
    return (variant.family.name, variant.published) == (identity.family, find(identity.names[0]).published)


def _reason(fit: Fit, identity: Identity, name: str, strict: bool) -> str:
    """Why the file does not fit, "" if it does. The useful sentence comes first."""
    # A file of Keras is one of layers: whatever the model is called, it fits if they do.
    other = bool(identity.names) and name not in identity.names and (identity.format != "keras" or bool(fit.wrong))
    if other and not (fit.wrong or fit.missing or fit.unplaced):
        other = not _of_one_release(identity, name)  # multiples can bring one network under several names
    if other and (fit.wrong or strict):
        call = builder_call(identity.network, {}, identity.channels)
        return f"this is {identity.name}, the model is {name}; build {call}. {fit.details(3)}".rstrip()
    if fit.wrong:
        return f"does not fit {name}. {fit.details(3)}"
    if not fit.slots:
        return f"none of its {identity.tensors} tensors is one of {name}. {fit.details(3)}"
    if strict and (fit.missing or fit.foreign or fit.unplaced):
        return f"does not fit {name} exactly; strict=False loads what fits. {fit.details()}"
    return ""

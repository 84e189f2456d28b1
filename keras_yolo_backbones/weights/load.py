"""Loading trained weights into a model: every tensor in its place, or an error that lists what was not."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

import keras
import numpy as np

from keras_yolo_backbones.arguments import check_model
from keras_yolo_backbones.errors import ArgumentError
from keras_yolo_backbones.families import Layout
from keras_yolo_backbones.provenance import Provenance, parse_provenance, set_provenance
from keras_yolo_backbones.registry import Variant, find
from keras_yolo_backbones.weights import darknet_files
from keras_yolo_backbones.weights.activations import warn_of_activations
from keras_yolo_backbones.weights.identify import Identity, recognise, recognise_model
from keras_yolo_backbones.weights.mapping import slots
from keras_yolo_backbones.weights.place import Target, mismatches, place, some
from keras_yolo_backbones.weights.readers import darknet
from keras_yolo_backbones.weights.readers.checkpoint import Checkpoint, open_checkpoint
from keras_yolo_backbones.weights.readers.tensors import Tensors
from keras_yolo_backbones.weights.shapes import layout_for
from keras_yolo_backbones.weights.variables import keras_targets

UNKNOWN_LICENCE = "not stated"


class Loaded(NamedTuple):
    """What `load_weights` did.

    Attributes:
        identity: what the file is.
        provenance: what was written on the model.
        placed: how many tensors of the file went into the model.
        ignored: names of the file's tensors that belong to no backbone: neck and head.
        unplaced: names of backbone tensors that the model has no place for (it was built with fewer levels or with
            spp=False).
        initial: paths of the model's variables that stay as they were.
    """

    identity: Identity
    provenance: Provenance
    placed: int
    ignored: tuple[str, ...]
    unplaced: tuple[str, ...]
    initial: tuple[str, ...]


class _Plan(NamedTuple):
    """What would go where. The lists are names, for reports."""

    targets: list[Target]
    tensors: Mapping[str, np.ndarray]
    missing: list[str]
    foreign: list[str]
    unplaced: list[str]
    ignored: list[str]


def load_weights(model: keras.Model, path: str | os.PathLike[str], *, strict: bool = True) -> Loaded:
    """Load trained weights of the original project, or of Keras, into a backbone.

    The format is told by the file's content: torch checkpoints (.pt, .pth: whole models and state dicts, averaged
    weights preferred), safetensors with the original's keys, darknet .weights, and Keras' own .weights.h5 and .keras.
    Nothing in the file is executed. A checkpoint of a whole detector is fine: its neck and head are ignored.

    Args:
        model: a backbone of this package; for Keras' own formats any model whose layers have the names of the file's.
        path: the file. It is not followed if it is a symbolic link.
        strict: refuse unless every variable of the model gets a tensor and every backbone tensor of the file a place.
            `False` loads what fits: for models with `neck_channels`, `spp=False` or other levels.

    Returns:
        What was placed, ignored, and left at its initial value. The model carries the file's name, sha256 and licence
        from now on (`get_provenance`), and so does everything that is exported from it.

    Raises:
        CheckpointError: a file that is damaged, hostile or of another network; tensors that are missing, have another
            shape, are not finite, or variances that are negative. The model is unchanged then.
        ArgumentError: `model` is no backbone of this package.
    """
    check_model(model)
    with open_checkpoint(path) as checkpoint:
        identity = recognise(checkpoint)
        if checkpoint.format == "keras":
            variant, plan = None, _keras_plan(model, checkpoint)
        else:
            variant = _variant(model, identity)
            plan = _plan(model, variant, checkpoint, strict)
        _check(checkpoint, identity, variant, model, plan, strict)
        place(plan.targets, plan.tensors, source=checkpoint.source.path)
        provenance = _provenance(checkpoint, identity, variant, model)
    set_provenance(model, provenance)
    if variant:
        warn_of_activations(model, variant.name, variant.family.release(variant.release or None).facts(variant.size))
    placed = len({target.key for target in plan.targets})
    initial = (*plan.missing, *plan.foreign)
    return Loaded(identity, provenance, placed, tuple(plan.ignored), tuple(plan.unplaced), initial)


def _variant(model: keras.Model, identity: Identity) -> Variant:
    names = recognise_model(model)
    if not names:
        raise ArgumentError(
            f"model {model.name!r} is no backbone of this package: none of its layers has the name and the shape of "
            "one; load into the backbone before you build on it."
        )
    return find(next((name for name in names if name in identity.names), names[0]))


def _plan(model: keras.Model, variant: Variant, checkpoint: Checkpoint, strict: bool) -> _Plan:
    tensors, behind = _named(checkpoint, variant, strict)
    layout = layout_for(variant, tensors)
    found, foreign = slots(model, layout)
    targets = [slot for slot in found if slot.key in tensors]
    used = {slot.key for slot in found}
    rest = [key for key in tensors if key not in used and not key.endswith("num_batches_tracked")]
    unplaced = [key for key in rest if _inside(key, layout)]
    ignored = [key for key in rest if not _inside(key, layout)]
    missing = [f"{slot.key} (for {slot.path})" for slot in found if slot.key not in tensors]
    fused = [s for s in found if s.key.endswith("conv.bias") and s.key.replace("conv.bias", "bn.weight") in tensors]
    if fused:
        raise ArgumentError(
            f"model {model.name!r} is fused: the file has a batch norm where {fused[0].path} is. Load into the model "
            "it was made from, then fuse that."
        )
    return _Plan(list(targets), tensors, missing, foreign, unplaced, ignored + behind)


def _named(checkpoint: Checkpoint, variant: Variant, strict: bool) -> tuple[Mapping[str, np.ndarray], list[str]]:
    """The file's tensors by the original's keys, and what is behind them in a file that names nothing."""
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


def _inside(key: str, layout: Layout) -> bool:
    """Whether a key is below one of the backbone's modules."""
    while "." in key:
        key = key.rpartition(".")[0]
        if key in layout.originals:
            return True
    return False


def _keras_plan(model: keras.Model, checkpoint: Checkpoint) -> _Plan:
    targets = keras_targets(model)
    names = {target.key for target in targets}
    missing = [f"{target.path} ({target.key})" for target in targets if target.key not in checkpoint.tensors]
    unplaced = [name for name in checkpoint.tensors if name not in names]
    return _Plan([t for t in targets if t.key in checkpoint.tensors], checkpoint.tensors, missing, [], unplaced, [])


def _check(
    checkpoint: Checkpoint, identity: Identity, variant: Variant | None, model: keras.Model, plan: _Plan, strict: bool
) -> None:
    """Raise unless the plan may be carried out."""
    error = checkpoint.source.error
    wrong = mismatches(plan.targets, plan.tensors)
    other = variant is not None and identity.names and variant.name not in identity.names
    details = _details(wrong, plan)
    if other and variant and (wrong or strict):
        raise error(f"this is {identity.name}, the model is {variant.name}; build the model that it is of. {details}")
    if wrong:
        known = f"this is {identity.name}, the model is {model.name}"
        raise error(f"{known if identity.names else f'does not fit {model.name}'}. {details}")
    if not plan.targets:
        raise error(f"none of its {identity.tensors} tensors is one of {model.name}. {details}")
    if strict and (plan.missing or plan.foreign or plan.unplaced):
        raise error(f"does not fit {model.name} exactly. {details} strict=False loads what fits.")


def _details(wrong: list[str], plan: _Plan) -> str:
    said = (
        (wrong, "tensors have another shape than the model"),
        (plan.missing, "tensors of the model are missing in the file"),
        (plan.foreign, "variables of the model are not in the original"),
        (plan.unplaced, "backbone tensors of the file have no place in the model"),
    )
    return " ".join(f"{len(items)} {what}: {some(items)}." for items, what in said if items)


def _provenance(checkpoint: Checkpoint, identity: Identity, variant: Variant | None, model: keras.Model) -> Provenance:
    carried = parse_provenance(checkpoint.facts.provenance)
    if carried:
        return carried
    file, sha256 = checkpoint.source.path.name, checkpoint.sha256
    if variant is None:
        return Provenance(file, sha256, checkpoint.format, identity.name or model.name, "", UNKNOWN_LICENCE)
    origin = variant.family.release(variant.release or None).origin
    project = f"{origin.project}, {origin.url}"
    return Provenance(file, sha256, checkpoint.format, variant.name, project, origin.weights_licence)

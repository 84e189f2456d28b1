"""Loading trained weights into a model: every tensor in its place, or an error that lists what was not."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Mapping
from typing import NamedTuple

import keras

from keras_yolo_backbones.arguments import check_model
from keras_yolo_backbones.errors import ArgumentError, BackboneWarning
from keras_yolo_backbones.preprocessing import RGB, Preprocessing
from keras_yolo_backbones.provenance import Provenance, parse_provenance, set_provenance, weights_digest
from keras_yolo_backbones.registry import Variant, find
from keras_yolo_backbones.weights.agreement import differences, how_to_build, of_model
from keras_yolo_backbones.weights.conventions import images_of, settle
from keras_yolo_backbones.weights.fit import check_fit, fit_keras, fit_original
from keras_yolo_backbones.weights.layouts import layout_for, network_of
from keras_yolo_backbones.weights.models import backbone_in, recognise_model
from keras_yolo_backbones.weights.readers.checkpoint import Checkpoint, read_checkpoint
from keras_yolo_backbones.weights.recognition.identify import Identity, recognise
from keras_yolo_backbones.weights.recognition.networks import Network
from keras_yolo_backbones.weights.recognition.trained import Trained, of_file, parse
from keras_yolo_backbones.weights.slots import fill

UNKNOWN_LICENCE = "not stated"

UNTRAINED = "_kyb_digest"
"""Attribute of a model whose weights were trained with something else: their digest as they were loaded."""


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
        trained: what the weights were trained with; `trained.stated` is false if the file does not say it, and
            what is published was assumed.
    """

    identity: Identity
    provenance: Provenance
    placed: int
    ignored: tuple[str, ...]
    unplaced: tuple[str, ...]
    initial: tuple[str, ...]
    trained: Trained | None

    def __repr__(self) -> str:
        counts = (
            f"{self.placed} tensors of {self.provenance.network} from {self.provenance.file}",
            f"{len(self.ignored)} ignored" if self.ignored else "",
            f"{len(self.unplaced)} without a place" if self.unplaced else "",
            f"{len(self.initial)} variables left as they were" if self.initial else "",
            f"licence {self.provenance.licence}",
            self.assumed,
        )
        return f"<loaded {', '.join(filter(None, counts))}>"

    @property
    def assumed(self) -> str:
        """What was assumed because the file does not say it, in words; "" if nothing."""
        return f"assumed: {self.trained}" if self.trained and not self.trained.stated else ""


def load_weights(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    strict: bool = True,
    adapt_stem: bool = False,
    normalize: bool = True,
    preprocessing: Preprocessing | None = None,
) -> Loaded:
    """Load trained weights of the original project, or of Keras, into a backbone.

    The format is told by the file's content: torch checkpoints (.pt, .pth: whole models and state dicts, averaged
    weights preferred), safetensors with the original's keys, darknet .weights, and Keras' own .weights.h5 and .keras.
    Nothing in the file is executed. A checkpoint of a whole detector is fine: its neck and head are ignored. A file
    whose batch norms are folded goes into `fuse(model)`.

    Args:
        model: a backbone of this package; for Keras' own formats any model whose layers have the names of the file's.
        path: the file.
        strict: refuse unless every variable of the model gets a tensor, every backbone tensor of the file a place, and
            the model has the activations and the epsilon that the file says. `False` loads what fits, and warns: for
            models with `neck_channels`, `spp=False` or other levels, and to train on with a different activation.
        adapt_stem: for a model that takes images of other than the file's channels, such as grey ones: spread the
            stem's kernel over them, so that the response to a grey image stays.
        normalize: make the model take RGB in [0, 1], whatever the original takes: order of colours and scale go into
            the stem's kernel, mean and deviation are a layer before it. `False` keeps the original's convention, which
            all that is made of the model then knows. Weights in Keras' own formats stay as they were saved.
        preprocessing: what the file's weights take, if that is not what the published ones do.

    Returns:
        What was placed, ignored, and left at its initial value. The model carries the file's name, sha256 and licence
        from now on (`get_provenance`), and so does everything that is exported from it.

    Raises:
        CheckpointError: a file that is damaged, hostile or of another network; tensors that are missing, have another
            shape, are not finite, or variances that are negative; weights that were trained with an activation or an
            epsilon that the model does not have. The model is unchanged then.
        ArgumentError: `model` is no backbone of this package.
    """
    check_model(model)
    model = backbone_in(model)
    with read_checkpoint(path) as checkpoint:
        identity = recognise(checkpoint)
        variant = _variant(model, identity)
        if checkpoint.format == "keras":
            name, fit = model.name, fit_keras(model, variant, checkpoint, adapt_stem)
        else:
            known = _known(variant, model)
            name, fit = known.name, fit_original(model, known, checkpoint, strict, adapt_stem)
        check_fit(fit, checkpoint, identity, model, name, strict)
        trained, differs = _compared(model, variant, checkpoint, identity, fit.tensors, strict)
        provenance = _provenance(checkpoint, identity, variant, model, trained, fit.tensors)
        own = {slot.path.rpartition(".")[0] for slot in fit.slots}
        pixels = images_of(model, own, provenance, preprocessing, normalize=normalize)
        fill(fit.slots, fit.tensors, source=checkpoint.source.path)
    provenance = settle(model, own, pixels)
    set_provenance(model, provenance)
    if differs:
        setattr(model, UNTRAINED, weights_digest(model))
        warnings.warn(differs, BackboneWarning, stacklevel=2)
    placed = len({slot.key for slot in fit.slots})
    initial = (*fit.missing, *fit.foreign)
    return Loaded(identity, provenance, placed, tuple(fit.ignored), tuple(fit.unplaced), initial, trained)


def _variant(model: keras.Model, identity: Identity) -> Variant | None:
    """The network that a model is, that of the file if both are possible; `None` if it is foreign."""
    names = recognise_model(model)
    return find(next((name for name in names if name in identity.names), names[0])) if names else None


def _known(variant: Variant | None, model: keras.Model) -> Variant:
    if variant is None:
        raise ArgumentError(
            f"model {model.name!r} is no backbone of this package: none of its layers has the name and the shape of "
            "one; load into the backbone before you build on it."
        )
    return variant


def _compared(
    model: keras.Model, variant: Variant | None, checkpoint: Checkpoint, identity: Identity, keys: Mapping, strict: bool
) -> tuple[Trained | None, str]:
    """What the weights were trained with, and in which way the model is different, as a warning.

    Raises:
        CheckpointError: with `strict`, if the file says that it is different.
    """
    if variant is None:
        return None, ""
    network, facts = network_of(variant), checkpoint.facts
    naming = network.namings[network.naming(keys)]
    written = parse(facts.provenance)
    if checkpoint.format == "keras" and not written:
        return _compared_layers(model, network, checkpoint, strict)
    trained = written or of_file(network, naming, facts)
    modules = {module: facts.activations[module] for module in naming.activations if module in facts.activations}
    epsilon = None if facts.fused else trained.epsilon
    said = differences(model, layout_for(variant, keys), modules or trained.modules(naming), epsilon)
    if not said:
        return trained, ""
    if not trained.stated:
        return trained, (
            f"{checkpoint.source.path} does not say what it was trained with; published weights of {variant.name} were "
            f"with {said}: its features are not the original's until it is trained."
        )
    reason = f"trained with {said}; {how_to_build(network, trained, identity.channels)}"
    if strict:
        raise checkpoint.source.error(f"{reason}; strict=False loads it all the same.")
    return trained, f"{checkpoint.source.path}: {reason}. Its features are not the original's until it is trained."


def _compared_layers(
    model: keras.Model, network: Network, checkpoint: Checkpoint, strict: bool
) -> tuple[Trained | None, str]:
    """The same for a file that Keras wrote: a saved model has its activations, weights alone say nothing."""
    facts = checkpoint.facts
    said = differences(model, None, facts.activations, None)
    if not said:
        return of_model(model, network)._replace(stated=bool(facts.activations)), ""
    if strict:
        raise checkpoint.source.error(
            f"the model in it has {said}; open it with kyb.load_model, or build the model as it was built. "
            "strict=False loads it all the same."
        )
    return None, f"{checkpoint.source.path}: the model in it has {said}."


def _provenance(
    checkpoint: Checkpoint,
    identity: Identity,
    variant: Variant | None,
    model: keras.Model,
    trained: Trained | None,
    keys: Mapping,
) -> Provenance:
    """What is known of the file, from the file itself; what it says of its origin is kept as a claim."""
    facts = checkpoint.facts
    carried = parse_provenance(facts.provenance)
    network = variant.name if variant else identity.name or model.name
    own = checkpoint.format != "keras" or carried is not None
    origin = (layout_for(variant, keys).origin or variant.published.origin) if variant and own else None
    found = Provenance(
        file=checkpoint.source.path.name,
        sha256=checkpoint.sha256,
        format=checkpoint.format,
        network=network,
        project=f"{origin.project}, {origin.url}" if origin else "",
        licence=origin.weights_licence if origin else UNKNOWN_LICENCE,
        original=variant.published.preprocessing if variant else RGB,
        claims=tuple((key, said) for key in ("licence", "version", "date") if (said := getattr(facts, key))),
        **(trained.as_data() if trained else {}),
    )
    if carried is None:
        return found
    return dataclasses.replace(
        found,
        preprocessing=carried.preprocessing,
        original=carried.original,
        stem_rounding=carried.stem_rounding,
        claims=carried.claims if "file" in dict(carried.claims) else _claimed(carried),
    )


def _claimed(carried: Provenance) -> tuple[tuple[str, str], ...]:
    """What a file of this package says of the file that its weights were read from."""
    said = [(key, getattr(carried, key)) for key in ("file", "sha256", "format", "network", "licence")]
    return (*said, *((f"stated_{key}", value) for key, value in carried.claims))

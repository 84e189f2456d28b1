"""Finding the state dict in what a checkpoint's pickle holds: plain, wrapped, or as a whole model of stubs."""

from __future__ import annotations

from typing import Any

from keras_yolo_backbones.weights.readers.claims import claims
from keras_yolo_backbones.weights.readers.facts import Facts, of_shapes
from keras_yolo_backbones.weights.readers.modules import Module, read_module
from keras_yolo_backbones.weights.readers.tensors import MAX_TENSORS, Tensor
from keras_yolo_backbones.weights.readers.unpickle import PickleError, Stub

WRAPPERS = ("ema", "model", "state_dict")
"""Keys under which checkpoints keep their weights, the preferred one first: averaged weights are better."""

_PREFIXES = {"module.": "", "_orig_mod.": "", "model.model.": "model."}
"""What wrappers of torch put in front of every key -> what belongs there."""


def state_dict(content: Any) -> tuple[dict[str, Tensor], str, Facts]:
    """The tensors of a checkpoint by state-dict key, where they were found, and what the checkpoint says of itself.

    Args:
        content: what `unpickle.interpret` returned.

    Raises:
        PickleError: there are no tensors in any of the known places.
    """
    part, here = "", content
    for _ in range(3):
        found = _tensors(here)
        if found.tensors:
            stripped = _stripped(found)
            stated = claims(content, here if isinstance(here, Stub) else None)
            stated |= of_shapes({key: tensor.shape for key, tensor in stripped.tensors.items()})
            facts = Facts(stripped.activations, stripped.epsilons, averaged=part == "ema", **stated)
            return stripped.tensors, part, facts
        key = next((key for key in WRAPPERS if isinstance(here, dict) and here.get(key) is not None), None)
        if key is None:
            break
        part, here = f"{part}.{key}" if part else key, here[key]
    raise PickleError("holds no state dict and no model")


def _tensors(value: Any) -> Module:
    """The tensors of a plain state dict or of a pickled module; nothing if it is neither."""
    if isinstance(value, Stub):
        return read_module(value)
    if not isinstance(value, dict):
        return Module()
    found = {key: tensor for key, tensor in value.items() if isinstance(tensor, Tensor) and isinstance(key, str)}
    if len(found) > MAX_TENSORS:
        raise PickleError(f"describes more than {MAX_TENSORS} tensors")
    return Module(found)


def _stripped(found: Module) -> Module:
    """Without the prefix that data-parallel training, `torch.compile` or a wrapping class put in front of all keys."""
    for prefix, instead in _PREFIXES.items():
        if all(key.startswith(prefix) for key in found.tensors):
            found = found.renamed(lambda key, cut=prefix, new=instead: new + key.removeprefix(cut))  # type: ignore[misc]
    return found

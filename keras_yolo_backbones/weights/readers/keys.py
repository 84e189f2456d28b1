"""The keys of a state dict without what training and wrapping classes of torch added to them."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_yolo_backbones.weights.readers.modules import Module
from keras_yolo_backbones.weights.readers.tensors import DTYPES, Tensor

_AVERAGED = "n_averaged"
_COUNTERS = ("total_ops", "total_params", "steps", _AVERAGED)
"""Last part of keys that count something: operations (a profiler), averaged steps."""

_PREFIXES = {"module.": "", "_orig_mod.": "", "net.": "", "ema.model.": "model.", "model.model.": "model."}
"""What wrappers of torch put in front of every key -> what belongs there."""

_LIGHTNING = ("model.model.", "ema.model.")
"""Two copies of the network in one state dict, the second one the moving average."""

_MAX_WRAPPERS = 8


def cleaned(found: Module) -> tuple[Module, bool]:
    """The network's own keys, and whether they are those of an average."""
    tensors = {key: tensor for key, tensor in found.tensors.items() if key.rpartition(".")[2] not in _COUNTERS}
    averaged = _only_averaged(tensors)
    counted = any(key.rpartition(".")[2] == _AVERAGED for key in found.tensors)
    found = Module(_unpruned(averaged or tensors), found.activations, found.epsilons)
    for _ in range(_MAX_WRAPPERS):
        prefix = next((prefix for prefix in _PREFIXES if _all_start(found, prefix)), None)
        if prefix is None:
            break
        found = found.renamed(prefix, _PREFIXES[prefix])
    if _all_start(found, "model.") and not any(key.split(".")[1].isdecimal() for key in found.tensors):
        found = found.renamed("model.", "")  # the attribute of a class around the network, not a list of layers
    return found, averaged is not None or counted


def _all_start(found: Module, prefix: str) -> bool:
    return bool(found.tensors) and all(key.startswith(prefix) for key in found.tensors)


def _only_averaged(tensors: dict[str, Tensor]) -> dict[str, Tensor] | None:
    trained, averaged = ({key: t for key, t in tensors.items() if key.startswith(prefix)} for prefix in _LIGHTNING)
    return averaged if trained and averaged else None


def _unpruned(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """`weight_orig` × `weight_mask`, as `torch.nn.utils.prune` keeps a pruned tensor, multiplied out."""
    found = {}
    for key, tensor in tensors.items():
        name = key.removesuffix("_orig")
        mask = tensors.get(f"{name}_mask")
        if name != key and mask is not None and mask.shape == tensor.shape:
            found[name] = Tensor(tensor.shape, tensor.dtype, _product(tensor, mask))
        elif not (key.endswith("_mask") and f"{key.removesuffix('_mask')}_orig" in tensors):
            found[key] = tensor
    return found


def _product(tensor: Tensor, mask: Tensor) -> Any:
    def read() -> bytes:
        kept = mask.array() != 0
        values = np.frombuffer(tensor.read(), DTYPES[tensor.dtype]).reshape(tensor.shape)
        return np.where(kept, values, values.dtype.type(0)).tobytes()

    return read

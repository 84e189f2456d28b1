"""Finding the state dict in what a checkpoint's pickle holds: plain, wrapped, or as a whole model of stubs."""

from __future__ import annotations

from typing import Any

from keras_yolo_backbones.weights.readers.tensors import MAX_TENSORS, Tensor
from keras_yolo_backbones.weights.readers.unpickle import PickleError, Stub

WRAPPERS = ("ema", "model", "state_dict")
"""Keys under which checkpoints keep their weights, the preferred one first: averaged weights are better."""

FACTS = ("version", "date", "license", "epoch")
"""What checkpoints say of themselves, as plain text or numbers."""

_MAX_MODULES = 100_000
_MAX_PATH = 1000
_PREFIXES = {"module.": "", "_orig_mod.": "", "model.model.": "model."}
"""What wrappers of torch put in front of every key -> what belongs there."""


def state_dict(content: Any) -> tuple[dict[str, Tensor], str, dict[str, Any]]:
    """The tensors of a checkpoint by state-dict key, where they were found, and what the checkpoint says of itself.

    Args:
        content: what `unpickle.interpret` returned.

    Raises:
        PickleError: there are no tensors in any of the known places.
    """
    facts = _facts(content)
    part, here = "", content
    for _ in range(3):
        found = _tensors(here)
        if found:
            return _stripped(found), part, facts
        key = next((key for key in WRAPPERS if isinstance(here, dict) and here.get(key) is not None), None)
        if key is None:
            break
        part, here = f"{part}.{key}" if part else key, here[key]
    raise PickleError("holds no state dict and no model")


def _tensors(value: Any) -> dict[str, Tensor]:
    """The tensors of a plain state dict or of a pickled module; nothing if it is neither."""
    if isinstance(value, Stub):
        return _module(value)
    if not isinstance(value, dict):
        return {}
    found = {key: tensor for key, tensor in value.items() if isinstance(tensor, Tensor) and isinstance(key, str)}
    return found if len(found) <= MAX_TENSORS else _too_many()


def _module(root: Stub) -> dict[str, Tensor]:
    """State dict of a pickled `torch.nn.Module`, from the attributes in which every module keeps its parts."""
    found: dict[str, Tensor] = {}
    stack, visited = [("", root)], 0
    while stack:
        path, module = stack.pop()
        visited += 1
        if visited > _MAX_MODULES or len(found) > MAX_TENSORS:
            _too_many()
        if len(path) > _MAX_PATH:  # a module inside itself
            raise PickleError(f"names a module with more than {_MAX_PATH} characters")
        temporary = module.attribute("_non_persistent_buffers_set")
        for kind in ("_parameters", "_buffers"):
            for name, tensor in _part(module, kind):
                if isinstance(tensor, Tensor) and not (kind == "_buffers" and _among(name, temporary)):
                    found[path + name] = tensor
        inner = [(f"{path}{name}.", child) for name, child in _part(module, "_modules") if isinstance(child, Stub)]
        stack.extend(reversed(inner))
    return found


def _part(module: Stub, kind: str) -> list[tuple[str, Any]]:
    part = module.attribute(kind)
    if not isinstance(part, dict):
        return []
    for name in part:
        if not isinstance(name, str) or len(name) > _MAX_PATH:
            raise PickleError("names a part of a module by no name")
    return list(part.items())


def _among(name: str, names: Any) -> bool:
    return isinstance(names, list) and name in names[:100]


def _too_many() -> Any:
    raise PickleError(f"describes more than {MAX_TENSORS} tensors")


def _stripped(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the prefix that data-parallel training, `torch.compile` or a wrapping class put in front of all keys."""
    for prefix, instead in _PREFIXES.items():
        if all(key.startswith(prefix) for key in found):
            found = {instead + key.removeprefix(prefix): tensor for key, tensor in found.items()}
    return found


def _facts(content: Any) -> dict[str, Any]:
    if not isinstance(content, dict):
        return {}
    found = {key: content[key] for key in FACTS if key in content}
    return {
        key: value for key, value in found.items() if isinstance(value, (str, int, float)) and len(str(value)) < 200
    }

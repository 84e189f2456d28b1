"""A pickled `torch.nn.Module`: its state dict, and the attributes that say what the network is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from keras_yolo_backbones.weights.readers.tensors import MAX_TENSORS, Tensor
from keras_yolo_backbones.weights.readers.unpickle import Global, PickleError, Stub

_MAX_MODULES = 100_000
_MAX_PATH = 1000

ACTIVATIONS = {
    "SiLU": "silu",
    "Swish": "silu",
    "ReLU": "relu",
    "ReLU6": "relu6",
    "LeakyReLU": "leaky_relu",
    "Mish": "mish",
    "MemoryEfficientMish": "mish",
    "Hardswish": "hard_swish",
    "GELU": "gelu",
    "Identity": "linear",
}
"""Class of an activation -> our name. Projects have classes of their own with torch's names."""

_SLOPE = 0.1
"""Of the LeakyReLU of every YOLO network; torch's own default is 0.01."""

_TELLING = ("act", "nonlin", "relu", "silu", "swish")
"""How attributes that hold an activation are called; an Identity elsewhere is a shortcut."""


@dataclasses.dataclass
class Module:
    """What the walk through a pickled module found.

    Attributes:
        tensors: state-dict key -> tensor.
        activations: path of a module -> name of its activation.
        epsilons: path of a batch normalization -> epsilon.
    """

    tensors: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    activations: dict[str, str] = dataclasses.field(default_factory=dict)
    epsilons: dict[str, float] = dataclasses.field(default_factory=dict)

    def renamed(self, rename: Callable[[str], str]) -> Module:
        """The same under other keys."""
        tensors = {rename(key): tensor for key, tensor in self.tensors.items()}
        activations = {rename(key): name for key, name in self.activations.items()}
        return Module(tensors, activations, {rename(key): epsilon for key, epsilon in self.epsilons.items()})


def read_module(root: Stub) -> Module:
    """Walk through a pickled module, in the order of its state dict.

    Raises:
        PickleError: a module that contains itself, or too many of them.
    """
    found = Module()
    visited = 0
    stack: list[Iterator[tuple[str, Stub]]] = [iter([("", root)])]
    open_modules: list[int] = []
    while stack:
        path, module = next(stack[-1], ("", None))
        if module is None:
            stack.pop()
            if open_modules:
                open_modules.pop()
            continue
        visited += 1
        if visited > _MAX_MODULES or len(found.tensors) > MAX_TENSORS:
            raise PickleError(f"describes more than {MAX_TENSORS} tensors or modules")
        if id(module) in open_modules or len(path) > _MAX_PATH:
            raise PickleError("describes a module that contains itself")
        _collect(found, path, module)
        open_modules.append(id(module))
        stack.append(_inner(path, module))
    return found


def _inner(path: str, module: Stub) -> Iterator[tuple[str, Stub]]:
    for name, child in _part(module, "_modules"):
        if isinstance(child, Stub):
            yield f"{path}.{name}" if path else name, child


def _collect(found: Module, path: str, module: Stub) -> None:
    """Add a module's own tensors and facts."""
    temporary = module.attribute("_non_persistent_buffers_set")
    prefix = f"{path}." if path else ""
    for kind in ("_parameters", "_buffers"):
        for name, tensor in _part(module, kind):
            if isinstance(tensor, Tensor) and not (kind == "_buffers" and _among(name, temporary)):
                found.tensors[prefix + name] = tensor
    if "BatchNorm" in module.made_by.name:
        epsilon = module.attribute("eps")
        if isinstance(epsilon, float):
            found.epsilons[path] = epsilon
    for name, child in _part(module, "_modules"):
        activation = activation_of(name, child)
        if activation:
            found.activations[f"{prefix}{name}" if path in found.activations else path] = activation


def activation_of(attribute: str, value: Any) -> str:
    """Name of the activation that an attribute of a module holds; "" if it is none."""
    if not isinstance(value, Stub):
        return ""
    name = ACTIVATIONS.get(value.made_by.name, "")
    telling = any(part in attribute.lower() for part in _TELLING)
    if not telling and name in ("", "linear"):
        return ""
    if not name and not _is_activation(value.made_by):
        return ""
    if name == "leaky_relu" and (slope := value.attribute("negative_slope")) != _SLOPE:
        return f"{value.made_by}({slope!r})"
    if name == "gelu" and value.attribute("approximate") not in (None, "none"):
        return f"{value.made_by}({value.attribute('approximate')!r:.20})"
    return name or str(value.made_by)


def _is_activation(kind: Global) -> bool:
    return kind.module not in ("torch.nn.modules.container", "torch.nn.modules.conv")


def _part(module: Stub, kind: str) -> Iterator[tuple[str, Any]]:
    part = module.attribute(kind)
    if not isinstance(part, dict):
        return
    for name, value in part.items():
        if not isinstance(name, str) or len(name) > _MAX_PATH:
            raise PickleError("names a part of a module by no name")
        yield name, value


def _among(name: str, names: Any) -> bool:
    return isinstance(names, list) and name in names[:100]

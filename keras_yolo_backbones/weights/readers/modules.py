"""A pickled `torch.nn.Module`: its state dict, and the attributes that say what the network is."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from keras_yolo_backbones.errors import shown
from keras_yolo_backbones.weights.readers.budget import Budget
from keras_yolo_backbones.weights.readers.pickles.values import Global, PickleError, Stub, Unreadable
from keras_yolo_backbones.weights.readers.tensors import MAX_TENSORS, Tensor

_MAX_PATH = 1000
_MAX_UNSAVED = 100

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

    def renamed(self, prefix: str, instead: str) -> Module:
        """The same with a different beginning of all keys."""

        def rename(key: str) -> str:
            return instead + key.removeprefix(prefix) if key.startswith(prefix) else key

        tensors = {rename(key): tensor for key, tensor in self.tensors.items()}
        activations = {rename(key): name for key, name in self.activations.items()}
        return Module(tensors, activations, {rename(key): epsilon for key, epsilon in self.epsilons.items()})


def read_module(root: Stub, budget: Budget) -> Module:
    """Walk through a pickled module, in the order of its state dict.

    Raises:
        PickleError: a module that contains itself, or too many of them.
        CheckpointError: the budget is spent.
    """
    found = Module()
    inner = [iter([("", root)])]
    around: list[Stub] = []
    while inner:
        path, module = next(inner[-1], ("", None))
        if module is None:
            inner.pop()
            around = around[:-1]
            continue
        if any(module is other for other in around) or len(path) > _MAX_PATH:
            raise PickleError("describes a module that contains itself")
        budget.spend(1 + len(around) + len(path) // 16)
        _collect(found, path, module, budget)
        if len(found.tensors) > MAX_TENSORS:
            raise PickleError(f"describes more than {MAX_TENSORS} tensors")
        around.append(module)
        inner.append(_inner(path, module, budget))
    return found


def _inner(path: str, module: Stub, budget: Budget) -> Iterator[tuple[str, Stub]]:
    for name, child in _part(module, "_modules", budget):
        if isinstance(child, Stub):
            yield f"{path}.{name}" if path else name, child


def _collect(found: Module, path: str, module: Stub, budget: Budget) -> None:
    """Add a module's own tensors and facts."""
    prefix = f"{path}." if path else ""
    for name, tensor in _part(module, "_parameters", budget):
        _add(found, prefix + name, tensor)
    temporary = module.attribute("_non_persistent_buffers_set")
    unsaved = temporary[:_MAX_UNSAVED] if isinstance(temporary, list) else []
    for name, tensor in _part(module, "_buffers", budget):
        budget.spend(len(unsaved))
        if name not in unsaved:
            _add(found, prefix + name, tensor)
    epsilon = module.attribute("eps") if "BatchNorm" in module.made_by.name else None
    if isinstance(epsilon, float):
        found.epsilons[path] = epsilon
    for name, child in _part(module, "_modules", budget):
        activation = activation_of(name, child)
        if activation:
            found.activations[prefix + name if path in found.activations else path] = activation


def _add(found: Module, key: str, tensor: Any) -> None:
    if isinstance(tensor, Unreadable):
        raise PickleError(f"holds {shown(key)!r}, which {tensor.reason}")
    if isinstance(tensor, Tensor):
        found.tensors[key] = tensor


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
    if name == "leaky_relu":
        slope = value.attribute("negative_slope")
        return name if slope == _SLOPE else f"{value.made_by}({_said(slope)})"
    if name == "gelu" and value.attribute("approximate") not in (None, "none"):
        return f"{value.made_by}({_said(value.attribute('approximate'))})"
    return name or str(value.made_by)


def _said(value: Any) -> str:
    """A number or text as it is written; never a container, whose text can be far longer than the file."""
    return repr(shown(value, 20)) if isinstance(value, str) else repr(value) if isinstance(value, float) else "…"


def _is_activation(kind: Global) -> bool:
    return kind.module not in ("torch.nn.modules.container", "torch.nn.modules.conv")


def _part(module: Stub, kind: str, budget: Budget) -> Iterator[tuple[str, Any]]:
    part = module.attribute(kind)
    if isinstance(part, dict):
        budget.spend(len(part))
        yield from part.items()

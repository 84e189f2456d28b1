"""What a weight file says of the network whose weights it holds, beside the tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a file says of its network; empty or `None` where it says nothing. Everything here is a stranger's claim;
    texts are cut and hold no control characters.

    Module paths are those of the tensors: `"model.9.cv1"` beside `"model.9.cv1.conv.weight"`.

    Attributes:
        activations: path of the module that has an activation -> its name: `"silu"`, `"relu"`, `"relu6"`,
            `"leaky_relu"` (slope 0.1), `"mish"`, `"hard_swish"`, `"gelu"`, `"linear"` (none), or the class as the file
            names it, such as `"torch.nn.modules.activation.ELU"`. A module with several has its second and
            further ones under `"<path>.<attribute>"`.
        epsilons: path of a batch normalization -> its epsilon.
        fused: the batch normalizations are folded into biases of the convolutions.
        channels: input channels of the first kernel: 3 for RGB, four times as many in a network with a Focus stem.
        classes: names of the detector's classes, in their order.
        task: `"detect"`, `"classify"`, `"segment"`, `"pose"` or `"obb"`.
        description: the network's description (the original's YAML file) as plain data.
        version: of the software that wrote the file.
        date: when it was written, as the file says it.
        image_size: height and width of the training images, pixels.
        licence: as the file says it.
        network_class: of a pickled network, such as `"ultralytics.nn.tasks.ClassificationModel"`.
        averaged: the tensors are the moving average that was kept beside the trained weights.
        provenance: what this package wrote into a file of its own, JSON.
    """

    activations: Mapping[str, str] = dataclasses.field(default_factory=dict)
    epsilons: Mapping[str, float] = dataclasses.field(default_factory=dict)
    fused: bool | None = None
    channels: int | None = None
    classes: tuple[str, ...] = ()
    task: str = ""
    description: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    version: str = ""
    date: str = ""
    image_size: tuple[int, int] | None = None
    licence: str = ""
    network_class: str = ""
    averaged: bool = False
    provenance: str = ""


def of_shapes(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """`fused` and `channels`, as the names and shapes of a state dict show them."""
    kernels = [key for key, shape in shapes.items() if len(shape) == 4 and key.endswith("weight")]
    if not kernels:
        return {}
    return {"fused": _fused(shapes, kernels), "channels": shapes[min(kernels, key=_place)][1]}


def _place(key: str) -> tuple[bool, list[str]]:
    """Sorts a network's first kernel to the front, also in files that are sorted by name: the stem, or layer 0."""
    parts = key.split(".")
    return "stem" not in parts, [f"{int(part):09}" if part.isdecimal() and len(part) < 9 else part for part in parts]


def _fused(shapes: Iterable[str], kernels: list[str]) -> bool:
    """No statistics of a batch normalization, and biases beside the kernels; a detector's head always has some."""
    names = set(shapes)
    if any(name.endswith((".running_var", "._variance")) for name in names):
        return False
    biased = sum(kernel.removesuffix("weight") + "bias" in names for kernel in kernels)
    return 2 * biased > len(kernels)

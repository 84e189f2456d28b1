"""The plan of an integer network: plain data that says what range every tensor has and which of them share it."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_yolo_backbones.errors import CalibrationError, shown
from keras_yolo_backbones.files import staged
from keras_yolo_backbones.quantization.plan_file import FORMAT, read_plan

Range = tuple[float, float]


def step(bounds: Range) -> float:
    """A 255th of a range in double precision, as TFLite's converter computes with it; files hold ends as float32."""
    low, high = (float(np.float32(end)) for end in bounds)
    return (high - low) / 255


@dataclasses.dataclass(frozen=True)
class Plan:
    """Ranges for int8.

    Attributes:
        model: name of the model it was made for.
        method: `"auto"`, `"minmax"`, `"percentile"` or `"mse"`.
        images: how many images it was made from.
        tensors: tensor -> the group that it belongs to; tensors of a group share one scale. Both are called by layer
            names of the lowered model; a group by its first tensor.
        ranges: group -> (smallest, largest value); 0 is inside.
        kernels: layer -> for each output channel the largest weight, in absolute value, that int8 represents.
        biases: layer -> for each output channel what is added to the bias, against the mean shift that rounding causes.
    """

    model: str
    method: str
    images: int
    tensors: Mapping[str, str]
    ranges: Mapping[str, Range]
    kernels: Mapping[str, tuple[float, ...]]
    biases: Mapping[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)

    def range(self, tensor: str) -> Range:
        """(smallest, largest value) of a tensor.

        Raises:
            CalibrationError: the plan has no such tensor.
        """
        if tensor not in self.tensors:
            raise CalibrationError(f"the plan for {self.model!r} has no tensor {tensor!r}.")
        return self.ranges[self.tensors[tensor]]

    def scale(self, tensor: str) -> float:
        """The step of a tensor in int8, see `step`."""
        return step(self.range(tensor))

    def zero_point(self, tensor: str) -> int:
        """The int8 number that means 0 in a tensor."""
        return -128 - round(self.range(tensor)[0] / self.scale(tensor))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON; `ExportError` if that fails, and an older file stays."""
        content = {"format": FORMAT, **dataclasses.asdict(self)}
        with staged(Path(path)) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Plan:
        """Read what `save` wrote; every number comes back exactly.

        Raises:
            CalibrationError: the file is no plan, or holds what no plan can: ranges that are not finite, reversed,
                without width or without 0, negative kernels, groups without a range. It is named.
        """
        return cls(**read_plan(Path(path)))

    def compare(self, other: Plan) -> dict[str, tuple[Range | None, Range | None]]:
        """Tensors whose ranges differ -> (range here, range there), `None` where one of the plans lacks it."""
        names = {**self.tensors, **other.tensors}
        pairs = {name: (self._get(name), other._get(name)) for name in names}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}

    def _get(self, tensor: str) -> Range | None:
        return self.ranges[self.tensors[tensor]] if tensor in self.tensors else None

    def __str__(self) -> str:
        members: dict[str, list[str]] = {}
        for tensor, group in self.tensors.items():
            members.setdefault(group, []).append(tensor)
        lines = [
            f"{self.model}: {len(self.tensors)} tensors in {len(self.ranges)} groups, {len(self.kernels)} kernels; "
            f"{self.method} over {self.images} images"
        ]
        for group, (low, high) in self.ranges.items():
            shared = f"  (shared by {len(members[group])})" if len(members[group]) > 1 else ""
            lines.append(f"{low:12.5g} {high:12.5g}  {group}{shared}")
        return "\n".join(lines)


def balanced(bounds: Range) -> Range:
    """The narrowest range around `bounds` whose zero is the integer 0 of int8: 128 steps below it, 127 above."""
    step = max(-bounds[0] / 128, bounds[1] / 127)
    return -128 * step, 127 * step


def as_plan(value: Any, model: str = "") -> Plan | None:
    """`value` if it is a plan, the plan in the file that it names if that ends in `.json`, otherwise `None`.

    Raises:
        CalibrationError: the file is no plan, or one for a model of another name than `model`.
    """
    if not (isinstance(value, (str, os.PathLike)) and str(value).endswith(".json")):
        return value if isinstance(value, Plan) else None
    plan = Plan.load(value)
    if model and plan.model != model:
        raise CalibrationError(
            f"{value} is a plan for {shown(plan.model)!r}, the model is {model!r}; make one for it by "
            "kyb.quantization.plan(model, images), or rename the plan: dataclasses.replace(plan, model=model.name)."
        )
    return plan

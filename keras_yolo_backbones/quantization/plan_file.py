"""Reading a plan from a file that anybody may have written or changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_yolo_backbones.errors import CalibrationError, shown

FORMAT = "keras_yolo_backbones quantization plan 1"

_MOST_BYTES = 64 << 20
_LARGEST = 1e30
"""Steps and products of ranges stay within float32 below this."""

_FIELDS = ("model", "method", "images", "tensors", "ranges", "kernels", "biases")


def read_plan(path: Path) -> dict[str, Any]:
    """The fields of a plan, all of them checked.

    Raises:
        CalibrationError: the file is no plan, or something in it cannot be: named.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"it has more than {_MOST_BYTES >> 20} MB")
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f"expected JSON with the format {FORMAT!r}, as Plan.save writes it")
        return _checked({"biases": {}, **content})  # plans had no biases once
    except (OSError, ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else shown(error, 300)
        raise CalibrationError(f"{path} is no quantization plan: {reason}.") from None


def _checked(content: dict[str, Any]) -> dict[str, Any]:
    """The fields, as `Plan` has them; `ValueError` if one cannot be."""
    lacking = [name for name in _FIELDS if name not in content]
    foreign = [name for name in content if name not in (*_FIELDS, "format")]
    if lacking or foreign:
        raise ValueError(f"it lacks {', '.join(lacking)}" if lacking else f"it has {foreign[0]!r}, which no plan has")
    model, method, images = (content[name] for name in ("model", "method", "images"))
    if not isinstance(model, str) or not isinstance(method, str):
        raise ValueError("model and method are texts")
    if not isinstance(images, int) or isinstance(images, bool) or images < 0:
        raise ValueError(f"images is a count, not {images!r}")
    ranges = {group: _range(group, bounds) for group, bounds in _object(content, "ranges").items()}
    tensors = _object(content, "tensors")
    for tensor, group in tensors.items():
        if not isinstance(group, str) or group not in ranges:
            raise ValueError(f"tensors[{tensor!r}] is of the group {group!r}, which has no range")
    unused = ranges.keys() - tensors.values()
    if unused:
        raise ValueError(f"ranges[{min(unused)!r}] is of no tensor")
    kernels = {layer: _numbers("kernels", layer, limits) for layer, limits in _object(content, "kernels").items()}
    for layer, limits in kernels.items():
        if any(limit < 0 for limit in limits):
            raise ValueError(f"kernels[{layer!r}] holds {min(limits):g}; the largest absolute weight is not negative")
    biases = {layer: _numbers("biases", layer, shifts) for layer, shifts in _object(content, "biases").items()}
    return {
        "model": model,
        "method": method,
        "images": images,
        "tensors": tensors,
        "ranges": ranges,
        "kernels": kernels,
        "biases": biases,
    }


def _object(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    if not isinstance(content[name], dict):
        raise ValueError(f"{name} is {content[name]!r:.40}, expected an object")
    return content[name]


def _range(group: str, bounds: Any) -> tuple[float, float]:
    numbers = _numbers("ranges", group, bounds)
    if len(numbers) != 2:
        raise ValueError(f"ranges[{group!r}] has {len(numbers)} numbers, expected the smallest and the largest value")
    low, high = numbers
    if low > high:
        raise ValueError(f"ranges[{group!r}] is reversed: {low:g} … {high:g}")
    if not low <= 0 <= high:
        raise ValueError(f"ranges[{group!r}] does not contain 0: {low:g} … {high:g}")
    if high - low < 1e-30:
        raise ValueError(f"ranges[{group!r}] has no width: {low:g} … {high:g}")
    return low, high


def _numbers(field: str, name: str, values: Any) -> tuple[float, ...]:
    """A list of finite numbers that float32 can be computed with."""
    if not isinstance(values, list):
        raise ValueError(f"{field}[{name!r}] is {values!r:.40}, expected a list of numbers")
    for value in values:
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise ValueError(f"{field}[{name!r}] holds {value!r:.40}, expected a number")
        if not abs(value) <= _LARGEST:  # so is NaN
            raise ValueError(f"{field}[{name!r}] holds {value!r:.20}, expected a finite number below {_LARGEST:g}")
    return tuple(float(value) for value in values)

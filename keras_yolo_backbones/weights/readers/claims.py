"""What the plain values of a checkpoint say of the network: its description, classes, task, version, licence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keras_yolo_backbones.errors import shown
from keras_yolo_backbones.weights.readers.pickles.values import Stub, as_dict

_WRAPPERS = ("module", "_orig_mod", "model")
"""Attributes in which wrappers of torch keep the network."""

_TASKS = {
    "DetectionModel": "detect",
    "ClassificationModel": "classify",
    "SegmentationModel": "segment",
    "PoseModel": "pose",
    "OBBModel": "obb",
}
"""Class of the pickled network -> task, for files that do not say it otherwise."""

_MAX_WRAPPERS = 4
_MAX_TEXT = 200
_MAX_CLASSES = 100_000
_MAX_VALUES = 20_000
_MAX_DEPTH = 20


def claims(content: Any, root: Stub | None) -> dict[str, Any]:
    """Fields of `Facts` that a checkpoint states in words.

    Args:
        content: of the pickle.
        root: the pickled network in it, if there is one.
    """
    outer = as_dict(content)
    network = _network(root) if root else None
    arguments = next(filter(None, map(_mapping, _arguments(outer, network))), {})
    name = network.made_by.name if network else ""
    return {
        "classes": _classes(_attribute(network, "names")),
        "task": _text(_attribute(network, "task")) or _text(arguments.get("task")) or _TASKS.get(name, ""),
        "description": _description(network),
        "version": _text(outer.get("version")),
        "date": _text(outer.get("date")),
        "licence": _text(outer.get("license")),
        "image_size": _size(arguments.get("imgsz")),
        "network_class": str(network.made_by) if network else "",
    }


def _network(root: Stub) -> Stub:
    """The module that describes the network: `root`, or what `root` wraps."""
    module, found = root, root
    for _ in range(_MAX_WRAPPERS):
        if module.attribute("yaml") is not None or module.attribute("names") is not None:
            return module
        inner = module.attribute("_modules")
        children = [inner[key] for key in _WRAPPERS if key in inner] if isinstance(inner, dict) else []
        if not children or not isinstance(children[0], Stub):
            break
        if found is module and module.made_by.module.startswith("torch."):
            found = children[0]
        module = children[0]
    return found


def _attribute(network: Stub | None, name: str) -> Any:
    return network.attribute(name) if network else None


def _arguments(outer: dict[Any, Any], network: Stub | None) -> Iterator[Any]:
    """Where the arguments of the training may be."""
    yield outer.get("train_args")
    yield _attribute(network, "args")
    yield outer.get("opt")
    yield outer.get("args")


def _mapping(value: Any) -> dict[Any, Any]:
    if isinstance(value, Stub):  # an argparse.Namespace
        return value.state or {}
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return shown(value, _MAX_TEXT) if isinstance(value, str) else ""


def _classes(names: Any) -> tuple[str, ...]:
    if isinstance(names, dict):
        numbered = all(isinstance(key, str) and key.isdecimal() and len(key) < 10 for key in names)
        names = [names[key] for key in sorted(names, key=int)] if numbered else list(names.values())
    if not isinstance(names, (list, tuple)) or len(names) > _MAX_CLASSES:
        return ()
    return tuple(map(_text, names))


def _size(value: Any) -> tuple[int, int] | None:
    sides = value if isinstance(value, (list, tuple)) else (value, value)
    if len(sides) != 2 or not all(type(side) is int and 0 < side < 1 << 20 for side in sides):
        return None
    return sides[0], sides[1]


def _description(network: Stub | None) -> dict[str, Any]:
    described = _attribute(network, "yaml")
    if not isinstance(described, dict):
        return {}
    plain = _plain(described, [_MAX_VALUES], _MAX_DEPTH)
    return plain if isinstance(plain, dict) else {}


def _plain(value: Any, left: list[int], depth: int) -> Any:
    """A copy that holds only dicts, lists, texts and numbers; what is too large or too deep becomes `None`."""
    left[0] -= 1
    if left[0] < 0 or depth == 0:
        return None
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, dict):
        return {key: _plain(item, left, depth - 1) for key, item in value.items()} if len(value) <= left[0] else None
    if isinstance(value, (list, tuple)):
        return [_plain(item, left, depth - 1) for item in value] if len(value) <= left[0] else None
    return None

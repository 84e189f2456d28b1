"""Networks whose backbones have the same kernels, told apart by what else is in a file."""

from __future__ import annotations

import re
from collections.abc import Mapping

from keras_yolo_backbones.weights.recognition.networks import Network, Shape

_TELLS = {"v26": re.compile(r"one2one|model\.22\.m\.0\.1\.")}
"""Families whose backbone has the same keys and shapes as one of a different family -> keys of their detector only."""


def told_apart(found: list[Network], shapes: Mapping[str, Shape]) -> list[Network]:
    """Those whose detector is in the file; all if there is only a backbone, or no more than one."""
    if len(found) == 1 or sum(len(shape) == 4 for shape in shapes.values()) == len(found[0].kernels):
        return found
    for family, tell in _TELLS.items():
        if any(map(tell.search, shapes)):
            return [network for network in found if network.family == family] or found
    return [network for network in found if network.family not in _TELLS] or found


def task(shapes: Mapping[str, Shape], wanted: int) -> str:
    """The task of the head after so many kernels of the backbone, by the names of its tensors; "" if there is none."""
    if any(key.endswith(".linear.weight") for key in shapes):
        return "classify"
    return "detect" if sum(len(shape) == 4 for shape in shapes.values()) > wanted else ""


def of_task(found: list[Network], task: str) -> list[Network]:
    """Those of the release for classification if the file is of one, and the others if it is not."""
    if not task:
        return found
    return [network for network in found if (network.release == "cls") == (task == "classify")] or found

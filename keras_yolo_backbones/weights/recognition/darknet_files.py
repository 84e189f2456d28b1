"""Recognising darknet .weights files, which name nothing: by how many numbers they hold, and by what must be positive.

The numbers after the backbone are the detector's neck and head. Their count is known for every number of classes, and
so is the length of every file that was cut after some layer (`yolov4.conv.137`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from keras_yolo_backbones.weights.readers import darknet
from keras_yolo_backbones.weights.readers.source import Source
from keras_yolo_backbones.weights.readers.tensors import Tensor
from keras_yolo_backbones.weights.recognition.networks import networks

_MAX_CLASSES = 10_000


TAILS = {
    "v3-base": "1024>512 512>1024/3 1024>512 512>1024/3 1024>512 512>1024/3 1024>H "
    "512>256 768>256 256>512/3 512>256 256>512/3 512>256 256>512/3 512>H "
    "256>128 384>128 128>256/3 256>128 128>256/3 256>128 128>256/3 256>H",
    "v3-spp": "512>1024/3 1024>512 512>1024/3 1024>H "
    "512>256 768>256 256>512/3 512>256 256>512/3 512>256 256>512/3 512>H "
    "256>128 384>128 128>256/3 256>128 128>256/3 256>128 128>256/3 256>H",
    "v3-tiny": "512>1024/3 1024>256 256>512/3 512>H 256>128 384>256/3 256>H",
    "v4-base": "512>256 512>256 512>256 256>512/3 512>256 256>512/3 512>256 "
    "256>128 256>128 256>128 128>256/3 256>128 128>256/3 256>128 128>256/3 256>H "
    "128>256/3 512>256 256>512/3 512>256 256>512/3 512>256 256>512/3 512>H "
    "256>512/3 1024>512 512>1024/3 1024>512 512>1024/3 1024>512 512>1024/3 1024>H",
    "v4-tiny": "512>256 256>512/3 512>H 256>128 384>256/3 256>H 256>64 192>128/3 128>H",
    "v4-csp": "512>256 512>256 512>256 256>256 256>256 256>256/3 256>256 256>256/3 512>256 "
    "256>128 256>128 256>128 128>128 128>128 128>128/3 128>128 128>128/3 256>128 128>256/3 256>H "
    "128>256/3 512>256 256>256 256>256 256>256/3 256>256 256>256/3 512>256 256>512/3 512>H "
    "256>512/3 1024>512 512>512 512>512 512>512/3 512>512 512>512/3 1024>512 512>1024/3 1024>H",
}
"""Network -> the convs after its backbone: channels in > out / kernel side; H is a detection head, with biases.

A file may end after any of them: v4-tiny's ends after its second head, that of its variant 3l after the third.
"""

_CONV = re.compile(r"(\d+)>(\d+|H)(?:/(\d))?")


def shapes_of(name: str) -> dict[str, tuple[int, ...]]:
    """The tensors of a darknet network's backbone: its kernels and, each being normalized, four vectors a kernel."""
    shapes = {}
    for key, shape in networks()[name].kernels.items():
        shapes[key] = shape
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[key.replace("conv.weight", f"bn.{part}")] = shape[:1]
    return shapes


def count(source: Source) -> int:
    """How many numbers a .weights file holds."""
    return darknet.floats(source)[1]


def recognise(source: Source) -> tuple[tuple[str, ...], bool]:
    """Names of the networks that a .weights file fits, and whether it reaches to the end of the backbone."""
    found = []
    for name in TAILS:
        tensors, rest = darknet.place(source, shapes_of(name))
        complete = len(tensors) == len(shapes_of(name))
        if tensors and explained(name, rest, complete) and plausible(tensors):
            found.append((complete, len(tensors), name))
    if not found:
        return (), False
    best = max(found)[:2]
    return tuple(name for *score, name in found if tuple(score) == best), best[0]


def explained(name: str, rest: int, complete: bool) -> bool:
    """Whether so many numbers can follow the backbone: whole layers of the detector, for some number of classes."""
    if not complete or rest == 0:
        return rest == 0
    for fixed, a_filter in _lengths(TAILS[name]):
        filters, odd = divmod(rest - fixed, a_filter) if a_filter else (0, rest - fixed)
        if odd == 0 and (not a_filter or (filters % 3 == 0 and 6 <= filters // 3 <= 5 + _MAX_CLASSES)):
            return True
    return False


def _lengths(tail: str) -> Iterator[tuple[int, int]]:
    """After each conv of a tail: numbers so far, and how many more for each filter of a head."""
    fixed = a_filter = 0
    for text in tail.split():
        match = _CONV.fullmatch(text)
        assert match, text
        taps = int(match[1]) * int(match[3] or 1) ** 2
        if match[2] == "H":
            a_filter += taps + 1
        else:
            fixed += int(match[2]) * (taps + 4)
        yield fixed, a_filter


def plausible(tensors: dict[str, Tensor]) -> bool:
    """Whether what would be variances could be some: the wrong network reads kernels there, half of them negative."""
    for key, tensor in tensors.items():
        if key.endswith(".running_var"):
            values = tensor.array()
            if not (np.isfinite(values).all() and (values >= 0).all()):
                return False
    return True

"""darknet .weights files: a header and one long run of float32 numbers, without names or shapes.

What belongs to what follows from the order of the layers in the network's .cfg; for each convolution its biases, then
(with batch normalization) scales, means and variances, then the kernel as (out, in, height, width).
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from functools import partial

from keras_yolo_backbones.weights.readers.source import Source
from keras_yolo_backbones.weights.readers.tensors import Tensor

_ORDER = ("bn.bias", "bn.weight", "bn.running_mean", "bn.running_var", "conv.bias", "conv.weight")
_KEY = re.compile(r"(\d+)\.((?:bn|conv)\.\w+)")


def is_darknet(head: bytes) -> bool:
    """Whether a file that begins so may be a .weights file: a version that darknet has had."""
    if len(head) < 16:
        return False
    major, minor, revision = struct.unpack_from("<3i", head)
    return major == 0 and 0 <= minor <= 9 and 0 <= revision <= 99


def floats(source: Source) -> tuple[int, int]:
    """Where the numbers of a .weights file begin, and how many there are.

    Since version 0.2 the header ends with 64 bits of images seen, before that with 32: 20 or 16 bytes in all.

    Raises:
        CheckpointError: the rest of the file is no whole number of float32.
    """
    major, minor, _ = struct.unpack("<3i", source.read(0, 12))
    start = 20 if major * 10 + minor >= 2 else 16
    count, odd = divmod(source.size - start, 4)
    if odd or count <= 0:
        raise source.error(f"its {source.size} bytes are no header and whole float32 numbers: truncated or damaged.")
    return start, count


def place(source: Source, shapes: Mapping[str, tuple[int, ...]]) -> tuple[dict[str, Tensor], int]:
    """Read a .weights file as the network whose tensors have these shapes.

    Args:
        source: the file.
        shapes: `"<i>.conv.weight"`, `"<i>.bn.bias"`, … with `i` the layer's index in the .cfg -> shape.

    Returns:
        The tensors that the file reaches to, whole layers only, and how many numbers follow the last of them.
    """
    start, count = floats(source)
    tensors: dict[str, Tensor] = {}
    at = 0
    for layer in _layers(shapes):
        if at + sum(math.prod(shapes[key]) for key in layer) > count:
            break
        for key in layer:
            size = math.prod(shapes[key])
            tensors[key] = Tensor(shapes[key], "float32", partial(source.read, start + 4 * at, 4 * size))
            at += size
    return tensors, count - at


def in_file_order(keys: Mapping[str, object]) -> list[str]:
    """State-dict keys in the order of the .weights format."""
    return [key for layer in _layers(keys) for key in layer]


def _layers(keys: Mapping[str, object]) -> list[list[str]]:
    layers: dict[int, list[str]] = {}
    for key in keys:
        match = _KEY.fullmatch(key)
        if match and match[2] in _ORDER:
            layers.setdefault(int(match[1]), []).append(key)
    return [sorted(layers[i], key=lambda key: _ORDER.index(key.partition(".")[2])) for i in sorted(layers)]

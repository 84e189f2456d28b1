"""The memory of the networks' int8 files at common image sizes, as data: to look it up builds nothing.

`arenas.json` holds what `quantization.memory.predicted_memory` says. `python zoo/arenas.py` writes it, a test compares
some of it.
"""

from __future__ import annotations

from typing import Any

from keras_yolo_backbones.catalogue import stored

FILE = "arenas.json"

LIKE_RELU6 = ("relu", "relu6")
"""Activations that int8 files compute inside the operator before them."""


def arenas() -> dict[str, Any]:
    """`sides`: image sides; `networks`: name -> `weights`, and `relu6` and `own`, one arena in bytes for each side.

    Sides that the strides of a network do not divide have `None`. A network whose arenas with its own activation were
    not computed has no `own`.
    """
    return stored(FILE)


def known_memory(name: str, size: tuple[int, int], activation: str | None) -> dict[str, int] | None:
    """Bytes of the whole arena in TFLite Micro and of the weights; nothing where they are not in the file.

    Args:
        name: of a network, with its own levels.
        size: (height, width) of an image.
        activation: such as `"relu6"`; `None` is the network's own.

    Returns:
        `micro_arena` and `weights`, as `predicted_memory` has them.
    """
    known = arenas()
    row = known["networks"].get(name, {})
    key = "own" if activation is None else "relu6" if activation in LIKE_RELU6 else ""
    if size[0] != size[1] or size[0] not in known["sides"] or key not in row:
        return None
    arena = row[key][known["sides"].index(size[0])]
    return None if arena is None else {"micro_arena": arena, "weights": row["weights"]}

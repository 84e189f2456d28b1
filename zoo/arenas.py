"""Write arenas.json, the arena of int8 files with ReLU6 at 192×192 in TFLite Micro: `python zoo/arenas.py PATTERN`.

Bytes of activations and what the interpreter keeps, as `kyb list --arena-below` predicts them; `null` for networks
whose strides do not divide that size. Renews the rows of a pattern such as `'v8-*'`; `'*'` takes ten minutes and more.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import keras

from keras_yolo_backbones.catalogue import catalogue, list_models
from keras_yolo_backbones.quantization.memory import predicted_memory
from keras_yolo_backbones.registry import create

TARGET = Path(__file__).with_name("arenas.json")
SIDE = 192


def arena(name: str) -> int | None:
    """Bytes of the arena of one network, with its levels from P3 up."""
    if SIDE % 2 ** int(catalogue()[name]["levels"][-1][1:]):
        return None
    with keras.StatelessScope():  # variables without values: nothing to initialize
        return predicted_memory(create(name, activation="relu6", input_shape=(SIDE, SIDE, 3)))["micro_arena"]


def main() -> None:
    """Build the networks of the pattern, then write all rows in the order of `kyb list`."""
    pattern = sys.argv[1] if len(sys.argv) == 2 else sys.exit(__doc__)
    found = json.loads(TARGET.read_text("utf-8")) if TARGET.exists() else {}
    for name in list_models(pattern):
        found[name] = arena(name)
        keras.backend.clear_session()
        sys.stdout.write(f"{name} {found[name]}\n")
        sys.stdout.flush()
    lines = [f"{json.dumps(name)}: {json.dumps(found[name])}" for name in list_models() if name in found]
    TARGET.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


if __name__ == "__main__":
    main()

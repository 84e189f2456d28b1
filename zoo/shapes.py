"""Write the table that checkpoints are recognised by: python zoo/shapes.py [PATTERN …]

Builds every network (or those whose names match a pattern, keeping the other rows) and writes the shapes of its kernels
under the original's keys to keras_yolo_backbones/weights/shapes.json.gz.
"""

import sys
from pathlib import Path

import keras

from keras_yolo_backbones import list_models
from keras_yolo_backbones.weights import shapes

TARGET = Path(shapes.__file__).with_name(shapes.FILE)


def main(patterns: list[str]) -> None:
    """Measure, write, say how large it became."""
    wanted = {name for pattern in patterns or ["*"] for name in list_models(pattern)}
    table = {}
    for name in list_models():
        if name in wanted:
            table[name] = shapes.measured(name)
            keras.backend.clear_session()
            print(f"{name}: {len(table[name])} kernels", flush=True)
        else:
            table[name] = shapes.kernels()[name]
    TARGET.write_bytes(shapes.packed(table))
    print(f"{TARGET}: {len(table)} networks, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])

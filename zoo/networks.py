"""Write the table that checkpoints are recognised by: python zoo/networks.py [PATTERN …]

Builds every network (or those whose names match a pattern, keeping the other rows) and writes what a file is recognised
by to keras_yolo_backbones/weights/recognition/networks.json.gz.
"""

import dataclasses
import sys
from pathlib import Path

import keras

from keras_yolo_backbones import list_models
from keras_yolo_backbones.registry import find
from keras_yolo_backbones.weights.layouts import measured
from keras_yolo_backbones.weights.recognition import networks
from keras_yolo_backbones.weights.scaling import measured_scaling

TARGET = Path(networks.__file__).with_name(networks.FILE)


def main(patterns: list[str]) -> None:
    """Measure, write, say how large it became."""
    wanted = {name for pattern in patterns or ["*"] for name in list_models(pattern)}
    table = []
    for name in list_models():
        known = networks.networks() if TARGET.exists() else {}
        if name in wanted or name not in known:
            table.append(dataclasses.replace(measured(name), scaling=measured_scaling(find(name))))
            keras.backend.clear_session()
            print(f"{name}: {len(table[-1].kernels)} kernels", flush=True)
        else:
            table.append(known[name])
    TARGET.write_bytes(networks.packed(table))
    print(f"{TARGET}: {len(table)} networks, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])

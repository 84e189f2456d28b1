"""ai-edge-quantizer, a peer: static int8 of a float TFLite file, as users of litert-torch get it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_yolo_backbones.litert import plain_interpreter


def quantized(file: Path, samples: Sequence[np.ndarray], out: Path) -> Path:
    """An int8 file of a float one, by the quantizer's own recipe: 8-bit weights and activations.

    Args:
        file: a float32 TFLite file with one input and one signature.
        samples: calibration images, each as the file takes them.
        out: where the int8 file goes.
    """
    from ai_edge_quantizer import quantizer, recipe

    engine = quantizer.Quantizer(str(file), recipe.static_wi8_ai8())
    signature, inputs = _signature(file)
    found = engine.calibrate({signature: [{inputs: sample} for sample in samples]})
    engine.quantize(found).export_model(str(out), overwrite=True)
    return out


def _signature(file: Path) -> tuple[str, str]:
    """Names of the signature and of its input."""
    [(name, names)] = plain_interpreter(file).get_signature_list().items()
    return name, names["inputs"][0]

"""OpenVINO on the CPU: a TFLite or ONNX file is loaded and run, and each layer says the type it was computed in.

As a program it runs one file in a process of its own: `python -m keras_yolo_backbones.targets.openvino FILE`.
"""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from keras_yolo_backbones.errors import ArgumentError
from keras_yolo_backbones.targets.refusals import INTEGERS
from keras_yolo_backbones.targets.report import Refusal, Report
from keras_yolo_backbones.targets.tools import Tool, ask, has_module

OPENVINO = Tool("openvino", "openvino")

_NO_WORK = {"Const", "Input", "Output", "Parameter", "Result"}
_INTEGERS = {"i8", "u8"}
_KERNELS = {"Convolution", "GroupConvolution", "Deconvolution", "FullyConnected", "MatMul"}
_WIDE = "OpenVINO computes it in {}"
_ADVICE = "quantize its inputs and weights; kyb.quantization.report says which layers are in float"


def installed() -> bool:
    """Whether the package is there."""
    return has_module("openvino")


def openvino_report(path: Path) -> Report:
    """Load and run a file on this CPU; every layer with weights that is not computed in 8 bits is refused.

    Raises:
        ArgumentError: OpenVINO is not installed.
        ExportError: OpenVINO does not load or run the file.
    """
    if not installed():
        raise ArgumentError(f"{OPENVINO.missing}.")
    found = ask("openvino", str(path.resolve()), what="OpenVINO")
    layers = {(kind, precision): count for kind, precision, count in found["layers"]}
    advice = _ADVICE if any(precision in _INTEGERS for _, precision in layers) else INTEGERS
    refused = [
        Refusal(kind, count, _WIDE.format(precision), advice)
        for (kind, precision), count in layers.items()
        if kind in _KERNELS and precision not in _INTEGERS
    ]
    by_precision: Counter[str] = Counter()
    for (_, precision), count in layers.items():
        by_precision[precision] += count
    facts: dict[str, Any] = {f"layers_{precision}": count for precision, count in by_precision.most_common()}
    others = [f"{kind} {precision} ×{count}" for (kind, precision), count in layers.items() if kind not in _KERNELS]
    wide = ", ".join(text for text in others if text.split()[1] not in _INTEGERS)
    facts |= {"wide": wide} if wide else {}
    return Report("openvino", OPENVINO.version(), sum(layers.values()), refused, facts)


def _run(path: str) -> dict[str, Any]:
    """Compile, run once on zeros, and count the executed layers by kind and type."""
    import openvino

    try:
        compiled = openvino.Core().compile_model(path, "CPU")
        shape = [1 if side.is_dynamic else side.get_length() for side in compiled.input(0).partial_shape]
        kind = np.dtype(compiled.input(0).element_type.to_dtype())
        outputs = compiled(np.zeros(shape, kind))
    except Exception as error:
        return {"error": " ".join(str(error).split())}
    if not all(math.isfinite(float(np.float32(value).sum())) for value in outputs.values()):
        return {"error": "an output for a black image is not finite"}
    counts: Counter[tuple[str, str]] = Counter()
    for layer in compiled.get_runtime_model().get_ops():
        told = layer.get_rt_info()
        kind, precision = told["layerType"].astype(str), told["runtimePrecision"].astype(str)
        if kind not in _NO_WORK:
            counts[kind, precision] += 1
    return {"layers": [[kind, precision, count] for (kind, precision), count in counts.most_common()]}


if __name__ == "__main__":
    print(json.dumps(_run(sys.argv[1])))

"""Running an ONNX file in onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from keras_yolo_backbones.export.onnx.grids import Grid


def run_onnx(
    path: Path,
    name: str,
    images: np.ndarray,
    layout: str = "nhwc",
    *,
    grids: Mapping[str, Grid] | None = None,
    optimized: bool = True,
) -> dict[str, np.ndarray]:
    """Run an ONNX file in onnxruntime on the CPU.

    Args:
        path: the file.
        name: of its input.
        images: (batch, height, width, channels) float32, whatever the file's layout.
        layout: of the file.
        grids: of its input and outputs, for a file with integers at its ends.
        optimized: whether onnxruntime may fuse operators, as it does by default.

    Returns:
        Output name -> float32, channels last.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    fed = images.transpose(0, 3, 1, 2) if layout == "nchw" else images
    outputs = session.run(names, {name: grids[name].quantize(fed) if grids else fed})
    found = {}
    for output, value in zip(names, outputs, strict=True):
        real = grids[output].dequantize(value) if grids else value
        found[output] = real.transpose(0, 2, 3, 1) if layout == "nchw" else real
    return found

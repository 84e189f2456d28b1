"""The smallest network of every family as int8 ONNX: nothing in float, and the integers of its TFLite file."""

from __future__ import annotations

import numpy as np
import pytest
from onnxfiles import optimized, shares
from quantized import small

import keras_yolo_backbones as kyb
from keras_yolo_backbones.export.onnx.running import run_onnx
from keras_yolo_backbones.litert import LiteModel

SMALLEST = (
    *("v3-tiny", "v4-tiny", "v5-n", "v6-n", "v7-tiny", "v8-n", "v9-t", "v10-n", "v11-n", "v12-n", "v13-n", "v26-n"),
    *("yolox-nano", "rtmdet-tiny", "ppyoloe-s", "damo-ns", "nas-s"),
)
"""The smallest network of each family."""

LEAST = dict.fromkeys(("v11-n", "v12-n", "v13-n", "v26-n", "nas-s"), 0.85)
"""The share of values within a step of TFLite's, for networks that make much of one sum that is a step away: attention
carries it to every cell, and random weights amplify it."""


@pytest.mark.slow
@pytest.mark.parametrize("activation", [None, "relu6"])
@pytest.mark.parametrize("name", SMALLEST)
def test_every_family_in_integers(name, activation, photographs, tmp_path):
    """Nothing is computed in float, and the integers are those of TFLite where LiteRT computes as the plan says."""
    model = small(name, activation, photographs)
    plan = kyb.quantization.plan(model, photographs, method="minmax")
    file = kyb.export_onnx(model, tmp_path / "m.onnx", precision="int8", calibration=plan)
    found = optimized(file.path, tmp_path)
    assert found["QLinearConv"] == file.manifest["operators"]["Conv"]
    assert not {"Conv", "FusedConv", "MatMul", "Einsum", "Sigmoid", "Add", "Mul"} & set(found)
    assert (found["QuantizeLinear"], found["DequantizeLinear"]) == (1, 3)
    lite = kyb.export_tflite(model, tmp_path / "m.tflite", precision="int8", calibration=plan, least_snr_db=-100)
    images = np.float32(photographs) / 255
    wanted, integers = LiteModel(lite.path)(images), file.manifest["integers"]
    least = {}
    for how in (True, False):
        given = run_onnx(file.path, "images", images, optimized=how)
        least[how] = min(shares(given, wanted, integers).values())
    steps = {
        share: min(level[share] for level in file.manifest["steps"].values()) for share in ("within_1", "within_2")
    }
    print(
        f"\n{name:12} {activation or 'own':6} {least[True]:.4f} {least[False]:.4f} {steps}"
    )  # pytest -s shows the table
    assert least[True] >= LEAST.get(name, 0.99)
    assert least[False] >= 0.7

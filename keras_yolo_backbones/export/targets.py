"""Which operators of a TFLite file an accelerator takes, by the accelerators' public documentation.

- xnnpack: tensorflow/lite/delegates/xnnpack/README.md in github.com/tensorflow/tensorflow, its floating-point and its
  quantized operators.
- gpu: ai.google.dev/edge/litert/performance/gpu, "GPU ML operations support".
- edgetpu: coral.ai/docs/edgetpu/models-intro, "Supported operations".
- nnapi: developer.android.com/ndk/reference/group/neural-networks, up to feature level 4 (Android 11).

They are what is promised, kept by hand; a device's driver may take more, or less for some shapes. Where the device is
at hand, its own log has the last word.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

from keras_yolo_backbones.errors import one_of
from keras_yolo_backbones.export.litert import operators

_COMMON = {
    *("ADD", "AVERAGE_POOL_2D", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "LOGISTIC"),
    *("MAX_POOL_2D", "MUL", "PAD", "RESIZE_BILINEAR", "SUB", "TRANSPOSE_CONV"),
}
"""What all of them take."""

TARGETS: dict[str, set[str]] = {
    "xnnpack": _COMMON
    | {*("DEQUANTIZE", "ELU", "LEAKY_RELU", "MEAN", "QUANTIZE", "SLICE", "SPLIT", "TANH", "TRANSPOSE", "RESHAPE")}
    | {"RELU", "RELU6"},
    "gpu": _COMMON | {*("EXP", "MAXIMUM", "MINIMUM", "PRELU", "RELU", "RELU6", "RESHAPE", "SOFTMAX", "STRIDED_SLICE")},
    "edgetpu": _COMMON
    | {*("EXPAND_DIMS", "MAXIMUM", "MEAN", "MINIMUM", "PRELU", "QUANTIZE", "RELU", "RELU6", "RESHAPE", "SLICE")}
    | {*("RESIZE_NEAREST_NEIGHBOR", "SOFTMAX", "SPLIT", "SQUEEZE", "STRIDED_SLICE", "TANH", "TRANSPOSE")},
    "nnapi": _COMMON
    | {*("DEQUANTIZE", "ELU", "EXP", "HARD_SWISH", "LOG", "MAXIMUM", "MEAN", "MINIMUM", "PRELU", "QUANTIZE")}
    | {*("RELU", "RELU6", "RESHAPE", "RESIZE_NEAREST_NEIGHBOR", "SLICE", "SOFTMAX", "SPLIT", "SQUEEZE")}
    | {*("STRIDED_SLICE", "TANH", "TRANSPOSE")},
}
"""Accelerator -> operators that its documentation lists."""

_ONLY_FLOAT = {"xnnpack": {"AVERAGE_POOL_2D"}}
"""Accelerator -> operators that it takes in floating point only, as seen with LiteRT 2.3."""

ONLY_INTEGERS = ("edgetpu",)
"""Accelerators that take no float operator."""

_ADVICE = {
    **dict.fromkeys(
        ("LEAKY_RELU", "HARD_SWISH", "GELU", "LOG", "EXP", "TANH"), 'build the network with activation="relu6"'
    ),
    **dict.fromkeys(
        ("BATCH_MATMUL", "SOFTMAX", "TRANSPOSE", "RESHAPE"),
        "attention needs it: choose a family without (v5 … v9), or spp=False where the attention is the context block",
    ),
    "MAX_POOL_2D": "spp=False leaves the context block out",
    "RESIZE_NEAREST_NEIGHBOR": 'upsample with interpolation="bilinear", or run the neck on the CPU',
    **dict.fromkeys(("QUANTIZE", "DEQUANTIZE"), 'export with input_type="int8"'),
}


@dataclasses.dataclass(frozen=True)
class Refusal:
    """An operator that an accelerator won't take.

    Attributes:
        operator: its name.
        count: how many of them the file has.
        reason: why.
        advice: what to change.
    """

    operator: str
    count: int
    reason: str
    advice: str


def refusals(path: Path, target: str) -> list[Refusal]:
    """The operators of a TFLite file that run elsewhere (on the CPU) if it is given to an accelerator.

    Args:
        path: the file.
        target: key of `TARGETS`.

    Raises:
        ArgumentError: an unknown target.
        ExportError: the file is no TFLite file.
    """
    if target not in TARGETS:
        raise one_of("target", target, TARGETS)
    found = operators(path)
    counts = Counter(operator.name for operator in found)
    refused = [
        Refusal(name, count, f"{target} does not list it", _ADVICE.get(name, "replace it, or run this part on the CPU"))
        for name, count in counts.items()
        if name not in TARGETS[target]
    ]
    integers = Counter(
        operator.name
        for operator in found
        if operator.name in _ONLY_FLOAT.get(target, ()) and "INT8" in (*operator.inputs, *operator.outputs)
    )
    advice = "it runs beside the accelerator; a family without average pooling has none"
    refused += [Refusal(name, count, f"{target} takes it in float only", advice) for name, count in integers.items()]
    if target in ONLY_INTEGERS:
        floats = Counter(
            operator.name
            for operator in found
            if operator.name in TARGETS[target] and "FLOAT32" in (*operator.inputs, *operator.outputs)
        )
        advice = 'export with precision="int8", or use quantize_aware'
        refused += [Refusal(name, count, f"{target} takes integers only", advice) for name, count in floats.items()]
    return refused

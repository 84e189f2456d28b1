"""Which operators of a TFLite file a device does not run by its documentation, why, and what to change.

The lists are in `accelerators`, `converted` and `embedded`.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from keras_yolo_backbones.errors import one_of
from keras_yolo_backbones.litert import Operator, operators
from keras_yolo_backbones.targets.accelerators import ACCELERATORS
from keras_yolo_backbones.targets.converted import CONVERTED
from keras_yolo_backbones.targets.embedded import EMBEDDED
from keras_yolo_backbones.targets.report import Refusal

_RELU6 = 'build the network with activation="relu6"'
_ATTENTION = "attention needs it: spp=False leaves it out of v10, v11 and v26; v12 has it throughout, take v8 instead"
_ADVICE = {
    **dict.fromkeys(("ELU", "EXP", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOG", "TANH"), _RELU6),
    **dict.fromkeys(("BATCH_MATMUL", "RESHAPE", "SOFTMAX", "TRANSPOSE"), _ATTENTION),
    **dict.fromkeys(("DEQUANTIZE", "QUANTIZE"), 'export with input_type="int8" and without keep_float'),
    "AVERAGE_POOL_2D": "it runs beside the accelerator; of the families only v9 has average pooling",
    "RESIZE_NEAREST_NEIGHBOR": 'upsample with interpolation="bilinear"; v9-e has it within, take v9-c instead',
}
INTEGERS = 'export with precision="int8", or use quantize_aware'
_FLOAT = 'export with precision="float32"; its own tools quantize'
_OTHERWISE = "replace it, or run this part on the CPU"

LISTS = {**ACCELERATORS, **CONVERTED, **EMBEDDED}
"""Target -> what it supports by documentation."""


def refusals(path: Path, target: str) -> list[Refusal]:
    """The operators of a TFLite file that run elsewhere (on the CPU) if it is given to an accelerator.

    Args:
        path: the file.
        target: key of `LISTS`.

    Raises:
        ArgumentError: an unknown target.
        ExportError: the file is no TFLite file.
    """
    if target not in LISTS:
        raise one_of("target", target, LISTS)
    found = Counter((operator.name, *objection(operator, target)) for operator in operators(path))
    return [Refusal(name, count, reason, advice) for (name, reason, advice), count in found.items() if reason]


def advice_for(operator: str, target: str = "") -> str:
    """What to change where an operator of this name is not taken, by `target` if it has a way of its own."""
    own = (
        [condition.advice for condition in LISTS[target].conditions if operator in condition.operators]
        if target
        else []
    )
    return next(filter(None, own), _ADVICE.get(operator, _OTHERWISE))


def objection(operator: Operator, target: str) -> tuple[str, str]:
    """Why a target does not run an operator, and what to change; two empty strings if it does."""
    if operator.name == "DEQUANTIZE" and operator.inputs[0].constant:
        # Weights in float16. Most runtimes unpack them when they load the file; TFLite Micro's operator takes integers.
        return ("tflite-micro unpacks no float16 weights", INTEGERS) if target == "tflite-micro" else ("", "")
    accelerator = LISTS[target]
    advice = advice_for(operator.name)
    floating = any("FLOAT" in tensor.kind for tensor in operator.activations)
    kinds = {tensor.kind for tensor in operator.activations} & {"INT8", "UINT8", "INT16"}
    if kinds and not accelerator.integers:
        return f"{target} takes float files only", _FLOAT
    if "INT16" in kinds and target in ACCELERATORS:
        return f"{target} takes integers of 8 bits only", 'export with precision="int8"'
    if operator.name in accelerator.unlisted and target in CONVERTED:
        return (
            f"{target} does not name it, though its toolkit quantizes it",
            "only the vendor's converter tells: try it",
        )
    if operator.name in accelerator.unlisted:
        return f"{target} does not list it, though its source code takes it: try it on the device", advice
    if operator.name not in accelerator.floats | accelerator.integers:
        return f"{target} does not list it", advice
    if floating and operator.name not in accelerator.floats:
        integers = advice if operator.name == "QUANTIZE" else INTEGERS
        return f"{target} takes integers only", integers
    if not floating and operator.name not in accelerator.integers:
        return f"{target} takes it in float only", advice
    for condition in accelerator.conditions:
        if operator.name in (condition.operators or {operator.name}) and not condition.holds(operator):
            return f"{target} takes it only {condition.reason}", condition.advice or advice
    return "", ""

"""What accelerators support, operator by operator: their public documentation, kept by hand.

- xnnpack: "Limitations and supported operators" of tflite/delegates/xnnpack/README.md, commit 3a653aa8 of
  github.com/google-ai-edge/LiteRT. It can be watched at work, so where LiteRT 2.3.0 on x86-64 does otherwise, LiteRT
  has the last word: names ending in `_SEEN` and remarks with "seen" are not documented, all else is. Seen too: files
  with float16 or dynamic-range weights are taken whole, though the README rules the latter out.
- gpu: "GPU ML operations support" of developers.google.com/edge/litert/performance/gpu (before: ai.google.dev), and the
  same list in tflite/delegates/gpu/README.md, commit 736f8a13. The delegate computes 8-bit files in floating point. Its
  source, tflite/tools/versioning/gpu_compatibility.cc, commit 007226f4, takes more than is listed: `unlisted`.
- edgetpu: "Supported operations" of coral.ai/docs/edgetpu/models-intro, as copied at developer.axis.com, "ARTPEC-7,
  supported ops" (from ADD to RESIZE_BILINEAR), and in 2019 at github.com/dgist-datalab/Datalab_Intern (the rest). By
  issues of github.com/google-coral/edgetpu, TRANSPOSE came with compiler 16 (193), and TRANSPOSE_CONV is in the table
  (684). Some operators stay on the CPU "depending on input/output size" or "for large tensor sizes" (RESIZE_BILINEAR,
  RESIZE_NEAREST_NEIGHBOR, RESHAPE): only the compiler tells.
- nnapi: the operations of NeuralNetworksTypes.h in the Android NDK, as of feature level 6 (commit 4c76236b of Android's
  platform/packages/modules/NeuralNetworks), and which operators LiteRT turns into them:
  tflite/delegates/nnapi/nnapi_delegate.cc, commit 5c8a6d4b. What is asked for is feature level 4, Android 11, the first
  with signed 8-bit tensors. NNAPI is deprecated since Android 15, says its migration guide at developer.android.com.

These lists are promises; a device's driver may support less. If you have the device, trust its own log.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from keras_yolo_backbones.litert import Operator


class Condition(NamedTuple):
    """What an accelerator asks of an operator that it lists.

    Attributes:
        operators: their names; none for all.
        holds: whether an operator fulfils it.
        reason: what is asked, to be read after "takes it only".
        advice: what to change; empty where the operator's own advice will do.
    """

    operators: frozenset[str]
    holds: Callable[[Operator], bool]
    reason: str
    advice: str = ""


class Accelerator(NamedTuple):
    """What an accelerator supports.

    Attributes:
        floats: operators in floating point.
        integers: operators with 8-bit tensors.
        conditions: what it asks of them.
        unlisted: operators that its source code supports though its documentation does not list them.
    """

    floats: frozenset[str]
    integers: frozenset[str]
    conditions: tuple[Condition, ...] = ()
    unlisted: frozenset[str] = frozenset()


def names(text: str) -> frozenset[str]:
    """The words of a text, as a set of operators' names."""
    return frozenset(text.split())


_COMMON = names("""
    ADD CONCATENATION CONV_2D DEPTHWISE_CONV_2D FULLY_CONNECTED LOGISTIC MAX_POOL_2D MUL PAD RESHAPE RESIZE_BILINEAR SUB
    TRANSPOSE_CONV
""")
"""What all of them support in all types."""

_XNNPACK = _COMMON | names("""
    DEPTH_TO_SPACE DEQUANTIZE ELU LEAKY_RELU MEAN QUANTIZE SLICE SPACE_TO_DEPTH SPLIT TANH TRANSPOSE
""")
_XNNPACK_FLOATS = names("""
    ABS AVERAGE_POOL_2D CEIL DIV FLOOR HARD_SWISH MAXIMUM MINIMUM NEG PRELU RELU RELU6 RELU_N1_TO_1 ROUND SOFTMAX SQRT
    SQUARE SQUARED_DIFFERENCE STRIDED_SLICE
""")
_XNNPACK_SEEN = names("BATCH_MATMUL REDUCE_MAX SUM")
_XNNPACK_FLOATS_SEEN = names("EXP GELU LOG RSQRT")
_XNNPACK_INTEGERS_SEEN = names("AVERAGE_POOL_2D STRIDED_SLICE")

_GPU = _COMMON | names("AVERAGE_POOL_2D EXP MAXIMUM MINIMUM PRELU RELU RELU6 SOFTMAX STRIDED_SLICE")
_GPU_UNLISTED = names("""
    BATCH_MATMUL DEPTH_TO_SPACE DEQUANTIZE DIV ELU GELU HARD_SWISH LEAKY_RELU LOG MEAN MIRROR_PAD PACK PADV2 QUANTIZE
    REDUCE_MAX RESIZE_NEAREST_NEIGHBOR SLICE SPACE_TO_DEPTH SPLIT SPLIT_V SUM TANH TRANSPOSE
""")

_EDGETPU = _COMMON | names("""
    AVERAGE_POOL_2D EXPAND_DIMS L2_NORMALIZATION MAXIMUM MEAN MINIMUM PACK PRELU QUANTIZE REDUCE_MAX REDUCE_MIN RELU
    RELU6 RELU_N1_TO_1 RESIZE_NEAREST_NEIGHBOR SLICE SOFTMAX SPACE_TO_DEPTH SPLIT SQUEEZE STRIDED_SLICE TANH TRANSPOSE
""")

_NNAPI = _COMMON | names("""
    AVERAGE_POOL_2D BATCH_MATMUL DEPTH_TO_SPACE DEQUANTIZE EXPAND_DIMS HARD_SWISH MAXIMUM MEAN MINIMUM PADV2 PRELU
    QUANTIZE REDUCE_MAX REDUCE_MIN RELU RELU6 RELU_N1_TO_1 RESIZE_NEAREST_NEIGHBOR SLICE SOFTMAX SPACE_TO_DEPTH SPLIT
    SPLIT_V SQUEEZE STRIDED_SLICE TANH TRANSPOSE
""")
_NNAPI_FLOATS = names("ABS DIV ELU EXP LOG POW RSQRT SQRT SUM")
_NNAPI_UNLISTED = names("LEAKY_RELU")
"""The NDK has no such operation; the delegate writes it as PRELU."""


def _same_sign(operator: Operator) -> bool:
    return not {"INT8", "UINT8"} <= set(operator.kinds)


def _unit_strides(operator: Operator) -> bool:
    return set(operator.inputs[3].values) == {1}


def _scaled(least: float, most: float) -> Callable[[Operator], bool]:
    """Input scale : output scale within limits, where both have one."""

    def holds(operator: Operator) -> bool:
        out = operator.outputs[0].scale
        return all(least <= tensor.scale / out <= most for tensor in operator.inputs if tensor.scale and out)

    return holds


def _flat(operator: Operator) -> bool:
    *outer, last = operator.inputs[0].shape
    return math.prod(outer) == 1 and last <= 16_000


_UNIT_STRIDES = Condition(names("STRIDED_SLICE"), _unit_strides, "with strides of 1")

_SCALES = "if the scales of its tensors are of like size"
_CALIBRATE = "a branch is all but zero: train it, or calibrate with images like those in use"

_XNNPACK_CONDITIONS = (
    Condition(
        names("CONCATENATION"),
        lambda operator: len(operator.inputs) <= 5,  # seen; documented are 4
        "with five inputs at most",
        'export with target="xnnpack", which joins more than five in steps',
    ),
    Condition(
        names("AVERAGE_POOL_2D"),
        lambda operator: "FLOAT" in operator.outputs[0].kind,
        "in float",
        'export with target="xnnpack", which writes an average as a convolution',
    ),
    Condition(names("SPLIT"), lambda operator: len(operator.outputs) <= 4, "with four outputs at most"),
    _UNIT_STRIDES,
    Condition(names("QUANTIZE"), _same_sign, "from int8 to int8 or from float"),
    Condition(names("LEAKY_RELU QUANTIZE"), _scaled(1 / 256, 128), _SCALES),
    Condition(names("ADD SUB"), _scaled(1 / 1024, 256), _SCALES, _CALIBRATE),  # seen
    Condition(  # seen
        names("BATCH_MATMUL"),
        lambda operator: "INT8" not in operator.kinds or operator.inputs[1].zero_point == 0,
        "in float, or if the zero point of its second factor is 0",
    ),
)

_EDGETPU_CONDITIONS = (
    Condition(
        frozenset(),
        lambda operator: all(side == 1 for tensor in operator.activations for side in tensor.shape[:-3]),
        "with a size of 1 in all dimensions but the last three",
        "export with batch 1, and keep to three dimensions behind it",
    ),
    Condition(names("SOFTMAX"), _flat, "with one dimension, of 16,000 elements at most"),
    Condition(
        names("AVERAGE_POOL_2D CONCATENATION MAX_POOL_2D"),
        lambda operator: not operator.activated,
        "without an activation function",
        "put the activation on a convolution",
    ),
    Condition(
        names("PAD"), lambda operator: not any(operator.inputs[1].values[:-6]), "without padding along the batch"
    ),
    _UNIT_STRIDES,
)

_NNAPI_CONDITIONS = (
    Condition(names("BATCH_MATMUL"), lambda _: False, "from feature level 6 on, newer than Android 12"),
    Condition(
        frozenset(),
        lambda operator: all(len(tensor.shape) <= 4 for tensor in operator.activations),
        "with four dimensions at most",
    ),
)

ACCELERATORS = {
    "xnnpack": Accelerator(
        floats=_XNNPACK | _XNNPACK_SEEN | _XNNPACK_FLOATS | _XNNPACK_FLOATS_SEEN,
        integers=_XNNPACK | _XNNPACK_SEEN | _XNNPACK_INTEGERS_SEEN,
        conditions=_XNNPACK_CONDITIONS,
    ),
    "gpu": Accelerator(_GPU, _GPU, unlisted=_GPU_UNLISTED),
    "edgetpu": Accelerator(frozenset(), _EDGETPU, _EDGETPU_CONDITIONS),
    "nnapi": Accelerator(_NNAPI | _NNAPI_FLOATS, _NNAPI, _NNAPI_CONDITIONS, _NNAPI_UNLISTED),
}

"""What microcontrollers and their accelerators support, by documentation; `check` asks the real tools where it can.

- ethos-u55, ethos-u65, ethos-u85: SUPPORTED_OPS.md as Vela 5.2.0 writes it with `--supported-ops-report` (PyPI:
  ethos-u-vela): the operators, that tensors are integers, and for U55 and U65 the factors of nearest neighbours. It
  has more conditions than are here; Vela itself knows all.
- tflite-micro: the operators that its Python interpreter registers: python/tflite_micro/python_ops_resolver.cc of
  github.com/tensorflow/tflite-micro, commit 03e16b29. BATCH_MATMUL is not in that commit, but it was seen to run in
  the package 0.dev20261023, which computes LOG in float only.
"""

from __future__ import annotations

from keras_yolo_backbones.litert import Operator
from keras_yolo_backbones.targets.accelerators import Accelerator, Condition, names

_ETHOS_U55 = names("""
    ABS ADD ARG_MAX AVERAGE_POOL_2D BATCH_MATMUL CONCATENATION CONV_2D DEPTHWISE_CONV_2D ELU EXP EXPAND_DIMS
    FULLY_CONNECTED GELU HARD_SWISH LEAKY_RELU LOG LOGISTIC MAXIMUM MAX_POOL_2D MEAN MINIMUM MIRROR_PAD MUL NEG PACK PAD
    PADV2 PRELU QUANTIZE REDUCE_MAX REDUCE_MIN RELU RELU6 RELU_0_TO_1 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR
    RESIZE_NEAREST_NEIGHBOR REVERSE_V2 RSQRT SLICE SOFTMAX SPLIT SPLIT_V SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB
    SUM TANH TILE TRANSPOSE TRANSPOSE_CONV UNIDIRECTIONAL_SEQUENCE_LSTM UNPACK
""")
_ETHOS_U85 = _ETHOS_U55 | names("""
    ASSIGN_VARIABLE CAST DIV EQUAL GATHER GREATER GREATER_EQUAL LESS LESS_EQUAL LOGICAL_AND LOGICAL_NOT LOGICAL_OR
    NOT_EQUAL READ_VARIABLE REDUCE_ALL REDUCE_ANY SCATTER_ND SELECT SELECT_V2
""")

_MICRO = names("""
    ABS ADD ADD_N ARG_MAX ARG_MIN AVERAGE_POOL_2D BATCH_MATMUL BATCH_TO_SPACE_ND BROADCAST_ARGS BROADCAST_TO CAST
    CEIL CONCATENATION CONV_2D COS CUMSUM DEPTH_TO_SPACE DEPTHWISE_CONV_2D DEQUANTIZE DIV ELU EQUAL EXP EXPAND_DIMS
    FILL FLOOR FLOOR_DIV FLOOR_MOD FULLY_CONNECTED GATHER GATHER_ND GREATER GREATER_EQUAL HARD_SWISH
    L2_NORMALIZATION L2_POOL_2D LEAKY_RELU LESS LESS_EQUAL LOG LOGICAL_AND LOGICAL_NOT LOGICAL_OR LOGISTIC
    LOG_SOFTMAX MAX_POOL_2D MAXIMUM MEAN MINIMUM MIRROR_PAD MUL NEG NOT_EQUAL PACK PAD PADV2 PRELU QUANTIZE
    REDUCE_MAX RELU RELU6 RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR ROUND RSQRT SELECT_V2 SHAPE SIN SLICE
    SOFTMAX SPACE_TO_BATCH_ND SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB
    SUM SVDF TANH TRANSPOSE TRANSPOSE_CONV UNPACK WHILE ZEROS_LIKE
""")


def _by_2_4_or_8(operator: Operator) -> bool:
    (_, height, width, _), (_, high, wide, _) = operator.inputs[0].shape, operator.outputs[0].shape
    return (height, width) in ((1, 1), (high, wide)) or {high / height, wide / width} <= {2, 4, 8}


_NEAREST = Condition(
    names("RESIZE_NEAREST_NEIGHBOR"), _by_2_4_or_8, "by 2, 4 or 8", "enlarge by 2, 4 or 8, both sides alike"
)
_ETHOS = Accelerator(frozenset(), _ETHOS_U55, (_NEAREST,))

EMBEDDED = {
    "ethos-u55": _ETHOS,
    "ethos-u65": _ETHOS,
    "ethos-u85": Accelerator(frozenset(), _ETHOS_U85),
    "tflite-micro": Accelerator(_MICRO, _MICRO - {"LOG"}),
}

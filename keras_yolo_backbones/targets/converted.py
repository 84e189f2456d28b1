"""Accelerators that are given a float network and quantize it, or not, with their own tools: by documentation.

A file in integers is refused whole; a float file says which of its operators they take.

- coreml: "Supported ops" of the Core ML delegate, tensorflow/lite/g3doc/performance/coreml_delegate.md of
  github.com/tensorflow/tensorflow; it takes float32 and float16 files. RESHAPE is for Core ML 2 alone, the delegate
  targets 3 by default. coremltools 9.0 converts no TFLite file and says that it was not tested with TensorFlow above
  2.12; its library that runs a model is for macOS.
- hailo: the user guide of the Dataflow Compiler, with the list, is for registered users. Taken here are the layers that
  its public product brief names (release 3.7.0: convolutions, depthwise and transposed ones too, max and average
  pooling, dense, concat) and the operators of which the networks are made that Hailo publishes as compiled:
  hailo_model_zoo/cfg/networks (yolov10n, yolov11n and yolov12n among them) of github.com/hailo-ai/hailo_model_zoo,
  commits 08cf6ffc, d4c43ec1 and 0044d9aa. The compiler reads TFLite and ONNX in float32 and quantizes them itself, says
  developer.ridgerun.com/wiki ("Hailo Dataflow Compiler", December 2024).
- imx500: the operators that Sony's Model Compression Toolkit names for it, imx500_tpc/v1/tpc.py of
  github.com/sony/model_optimization, commit 2c49b892. Its converter takes no TFLite file but what that toolkit has
  quantized, Keras 2 or ONNX from PyTorch (Raspberry Pi's documentation, "AI Camera", model conversion): the operators
  alone are compared here.
"""

from __future__ import annotations

from keras_yolo_backbones.litert import Operator
from keras_yolo_backbones.targets.accelerators import Accelerator, Condition, names

_COREML = names("""
    ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D FULLY_CONNECTED HARD_SWISH LOGISTIC MAX_POOL_2D
    MIRROR_PAD MUL PAD PADV2 RELU RELU6 RELU_N1_TO_1 RESIZE_BILINEAR SOFTMAX TANH TRANSPOSE_CONV
""")

_HAILO = names("""
    ADD AVERAGE_POOL_2D BATCH_MATMUL CONCATENATION CONV_2D DEPTHWISE_CONV_2D FULLY_CONNECTED LOGISTIC MAX_POOL_2D MUL
    PAD RELU RELU6 RESHAPE RESIZE_NEAREST_NEIGHBOR SOFTMAX TRANSPOSE TRANSPOSE_CONV
""")

_IMX500 = names("""
    ADD CONV_2D DEPTHWISE_CONV_2D DIV FULLY_CONNECTED GATHER HARD_SWISH LEAKY_RELU LOGISTIC MAX_POOL_2D MUL PACK PAD
    PADV2 PRELU RELU RELU6 RELU_N1_TO_1 RESHAPE SPLIT SQUEEZE STRIDED_SLICE SUB TANH TRANSPOSE TRANSPOSE_CONV UNPACK
""")
_IMX500_DEFAULTS = names(
    "AVERAGE_POOL_2D BATCH_MATMUL CONCATENATION MEAN RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR SOFTMAX"
)
"""Not named: the toolkit quantizes them as it does everything; only the converter tells."""


def _along_channels(operator: Operator) -> bool:
    out = operator.outputs[0].shape
    return all(tensor.shape[:-1] == out[:-1] for tensor in operator.activations)


def _padded_maps(operator: Operator) -> bool:
    pads = operator.inputs[1].values
    return len(pads) == 8 and not any((*pads[:2], *pads[6:]))


_COREML_CONDITIONS = (
    Condition(names("CONCATENATION"), _along_channels, "along the channels"),
    Condition(names("MIRROR_PAD PAD PADV2"), _padded_maps, "along height and width"),
)

CONVERTED = {
    "coreml": Accelerator(_COREML, frozenset(), _COREML_CONDITIONS),
    "hailo": Accelerator(_HAILO, frozenset()),
    "imx500": Accelerator(_IMX500, frozenset(), unlisted=_IMX500_DEFAULTS),
}

"""From a model to the bytes of a TFLite file, and a look at whether an int8 file is integer throughout."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_yolo_backbones.errors import ExportError
from keras_yolo_backbones.export.function import deployable, frozen_function, save_signatures
from keras_yolo_backbones.export.passing import finished
from keras_yolo_backbones.garbage import old_objects_kept
from keras_yolo_backbones.graph.upsample import upsampling_as_resize
from keras_yolo_backbones.litert import Operator
from keras_yolo_backbones.quantization.calibration import Calibration
from keras_yolo_backbones.quantization.integer_form import conversions, integer_form
from keras_yolo_backbones.quantization.tfmot.engine import is_tfmot, tfmot_function
from keras_yolo_backbones.work_folders import scratch

INPUT_TYPES = {"int8": tf.int8, "uint8": tf.uint8, "float32": tf.float32}
OUTPUT_TYPES = {"int8": tf.int8, "float32": tf.float32}
WIDE_TYPES = {"int16": tf.int16, "float32": tf.float32}
"""Inputs and outputs of files with 16-bit activations."""


class ConversionError(ExportError):
    """The TFLite converter refuses a model, or leaves operators of it in float."""


def convert(
    model: keras.Model,
    name: str,
    size: tuple[int, int, int],
    precision: str,
    *,
    samples: Calibration | None = None,
    input_type: str = "int8",
    outputs: str = "int8",
) -> bytes:
    """A TFLite file of batch 1.

    Args:
        model: float; for int8 lowered or fake-quantized.
        name: of the input.
        size: (height, width, channels).
        precision: as in `export_tflite`.
        samples: images from which the converter takes the ranges of a lowered model.
        input_type: of an int8 or int16x8 file.
        outputs: the type of its outputs.

    Raises:
        ConversionError: the converter refuses the model.
    """
    # Signatures, and with them the names of the outputs, survive only on the way over a SavedModel.
    spec = tf.TensorSpec((1, *size), tf.float32, name=name)
    keeps_float = conversions(model)["float32"] > 0
    if is_tfmot(model):
        call = tfmot_function(model, spec)
    elif precision in ("int8", "int16x8"):
        call = frozen_function(upsampling_as_resize(integer_form(model)), spec)
    else:
        call = frozen_function(deployable(model), spec)
    with old_objects_kept(), scratch() as work:
        folder = work / "saved_model"
        save_signatures({"serving_default": call}, folder, holding=model if is_tfmot(model) else None)
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder))
        _set_precision(converter, precision, input_type, "float32" if precision == "int8" and keeps_float else outputs)
        if samples is not None:
            converter.representative_dataset = lambda: _representative(samples, name)
            kinds = tf.lite.OpsSet
            wide = kinds.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
            converter.target_spec.supported_ops = [wide if precision == "int16x8" else kinds.TFLITE_BUILTINS_INT8]
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=r"\s*Warning: tf.lite.Interpreter is deprecated")
                content = converter.convert()
        except Exception as error:
            reason = str(error).splitlines()[0]
            raise ConversionError(f"the TFLite converter refuses {model.name!r}: {reason}") from error
    return finished(content, float_outputs=outputs == "float32") if keeps_float else content


def _set_precision(converter: Any, precision: str, input_type: str, outputs: str) -> None:
    """The types of a file's weights, input and outputs."""
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if precision == "int8":
        converter.inference_input_type = INPUT_TYPES[input_type]
        converter.inference_output_type = OUTPUT_TYPES[outputs]
    if precision == "int16x8":
        converter.inference_input_type, converter.inference_output_type = WIDE_TYPES[input_type], WIDE_TYPES[outputs]


def _representative(samples: Calibration, name: str) -> Iterator[dict[str, np.ndarray]]:
    """The calibration images, with one pixel of the smallest and one of the largest value in the first.

    So the input's range is all that the model accepts and its scale 1/255: a byte of the camera is one of the network.
    """
    low, high = samples.preprocessing.range
    for index in range(len(samples)):
        image = samples[index]
        if index == 0:
            image = image.copy()
            image[:, 0, 0] = low
            image[:, -1, -1] = high
        yield {name: image}


def check_integer(listed: list[Operator], input_type: str, inside: dict[str, int], *, float_outputs: int = 0) -> None:
    """Check that every operator works on integers; those at the input and at float outputs may convert.

    Args:
        listed: the file's operators.
        input_type: of the file.
        inside: how many tensors become `"float32"` for layers that stay float, and how many become `"int8"` after them.
        float_outputs: how many outputs are float.

    Raises:
        ConversionError: an operator is float, or converts where none should.
    """
    names = [operator.name for operator in listed]
    most = {
        "QUANTIZE": inside["int8"] + (input_type not in ("int8", "int16")),
        "DEQUANTIZE": inside["float32"] + float_outputs,
    }
    floats = [
        operator.name
        for operator in listed
        if operator.name not in most and any("FLOAT" in kind for kind in operator.kinds)
    ]
    if floats and not inside["float32"]:
        raise ConversionError(f"operators that stay float in int8: {', '.join(sorted(set(floats)))}.")
    for name, count in most.items():
        rescales = name == "QUANTIZE" and input_type == "int16"  # the converter brings concats to one scale
        if names.count(name) > count and not rescales:
            raise ConversionError(f"{names.count(name)} {name} operators, at most {count} expected.")

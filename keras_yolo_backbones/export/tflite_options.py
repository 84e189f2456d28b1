"""Which options of `export_tflite` go together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_yolo_backbones.errors import ArgumentError, one_of
from keras_yolo_backbones.export.converter import INPUT_TYPES, OUTPUT_TYPES, WIDE_TYPES
from keras_yolo_backbones.quantization.integer_form import is_fake_quantized
from keras_yolo_backbones.quantization.ranges import as_plan
from keras_yolo_backbones.quantization.tfmot.engine import is_tfmot

PRECISIONS = ("float32", "float16", "dynamic", "int8", "int16x8")


def check_options(
    model: keras.Model,
    precision: str,
    calibration: Any,
    method: str | None,
    input_type: str | None,
    keep_float: Sequence[str],
    outputs: str | None,
) -> None:
    """Check the options of `export_tflite` that depend on each other.

    Raises:
        ArgumentError: a value that is not allowed, or an option that does not go with the precision or the model.
    """
    if precision not in PRECISIONS:
        raise one_of("precision", precision, PRECISIONS)
    if precision == "int16x8" and not has_ranges(model):
        _check_wide(calibration, method, input_type, keep_float, outputs)
        return
    if precision != "int8" and any((calibration is not None, method, input_type, keep_float, outputs)):
        raise ArgumentError(
            f'calibration, method, input_type, keep_float and outputs go with precision="int8", not {precision!r}.'
        )
    if has_ranges(model):
        if keep_float:
            raise ArgumentError(f"{model.name!r} is fake-quantized: say keep_float=… to quantize_aware.")
        if precision != "int8" or calibration is not None or method:
            raise ArgumentError(
                f"{model.name!r} is fake-quantized: its file is int8 and its ranges are its own; leave out precision, "
                "calibration and method, or export the float model."
            )
    elif precision == "int8" and calibration is None:
        raise ArgumentError(
            'precision="int8" needs calibration=…: a folder of photographs, an array, an iterable of batches, or a '
            "quantization plan."
        )
    if input_type is not None and input_type not in INPUT_TYPES:
        raise one_of("input_type", input_type, INPUT_TYPES)
    if outputs is not None and outputs not in OUTPUT_TYPES:
        raise one_of("outputs", outputs, OUTPUT_TYPES)


def _check_wide(
    calibration: Any, method: str | None, input_type: str | None, keep_float: Sequence[str], outputs: str | None
) -> None:
    """The options of int16x8."""
    if calibration is None or as_plan(calibration) is not None:
        raise ArgumentError('precision="int16x8" needs calibration images; plans are for 8 bits.')
    if method or keep_float:
        raise ArgumentError(
            'method and keep_float go with precision="int8": the converter gives a whole int16x8 file its own ranges, '
            "and files of both kinds it does not write."
        )
    for name, value in (("input_type", input_type), ("outputs", outputs)):
        if value is not None and value not in WIDE_TYPES:
            raise one_of(name, value, WIDE_TYPES)


def has_ranges(model: Any) -> bool:
    """Whether a model holds its own int8 ranges: of `quantize_aware`, or of tfmot."""
    return is_fake_quantized(model) or is_tfmot(model)

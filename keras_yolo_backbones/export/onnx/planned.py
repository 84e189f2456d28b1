"""The fake-quantized model that an int8 ONNX file is made of: the user's own, or one from a plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_yolo_backbones.errors import ArgumentError
from keras_yolo_backbones.graph.signature import image_input
from keras_yolo_backbones.quantization.aware import quantize_aware
from keras_yolo_backbones.quantization.calibration import Calibration, calibration_images
from keras_yolo_backbones.quantization.integer_form import fake_ranges, is_fake_quantized
from keras_yolo_backbones.quantization.planning import DEFAULT_METHOD
from keras_yolo_backbones.quantization.ranges import as_plan
from keras_yolo_backbones.quantization.scales import is_symmetric


def check_quantization(
    model: keras.Model,
    precision: str,
    *,
    calibration: Any,
    keep_float: Sequence[str],
    io: str,
    scheme: str,
    method: str | None,
    reduce_range: bool,
) -> None:
    """Raise `ArgumentError` unless the options of int8 go together and with the model."""
    if precision != "int8":
        if is_fake_quantized(model):
            raise ArgumentError(f'{model.name!r} is fake-quantized: its file is int8; leave out precision="float32".')
        if calibration is not None or keep_float or io != "float32" or scheme != "asymmetric" or method or reduce_range:
            raise ArgumentError(
                "calibration, method, scheme, io, reduce_range and keep_float go with "
                f'precision="int8", not {precision!r}.'
            )
        return
    if not is_fake_quantized(model):
        if calibration is None:
            raise ArgumentError(
                'precision="int8" needs calibration=…: a folder of photographs, an array, batches, or a Plan.'
            )
        if method and as_plan(calibration) is not None:
            raise ArgumentError("a plan has its method; leave out method, or pass images in place of the plan.")
        return
    if keep_float:
        raise ArgumentError(f"{model.name!r} is fake-quantized: say keep_float=… to quantize_aware.")
    if calibration is not None or method:
        raise ArgumentError(f"{model.name!r} is fake-quantized and holds its ranges; leave out calibration and method.")
    if scheme == "symmetric" and not is_symmetric(fake_ranges(model)):
        raise ArgumentError(
            f'scheme="symmetric": {model.name!r} has asymmetric ranges; make it by quantize_aware(…, symmetric=True).'
        )


def quantized_model(
    model: keras.Model,
    calibration: Any,
    method: str | None,
    scheme: str,
    image_size: int | tuple[int, int] | None,
    keep_float: Sequence[str],
) -> tuple[keras.Model, Calibration | None]:
    """The fake-quantized model, and the calibration images if there are any."""
    if is_fake_quantized(model):
        return model, None
    ready, samples = as_plan(calibration, model.name), None
    if ready is None:
        images = image_input(model)
        samples = calibration_images(calibration, shape=images.sized(image_size), preprocessing=images.preprocessing)
    aware = quantize_aware(
        model,
        samples if ready is None else ready,
        method=method or DEFAULT_METHOD,
        image_size=image_size,
        keep_float=keep_float,
        symmetric=scheme == "symmetric",
    )
    return aware, samples

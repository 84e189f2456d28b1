"""TFLite (LiteRT) files: float32, float16, dynamic range, or int8 through and through."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_yolo_backbones.arguments import check_model
from keras_yolo_backbones.errors import ArgumentError, ExportError, one_of
from keras_yolo_backbones.export.comparison import LEAST_SNR_DB, check_images, compare
from keras_yolo_backbones.export.function import deployable, frozen_function, save_signatures
from keras_yolo_backbones.export.manifest import Artifact, file_digest, make_manifest, write_manifest
from keras_yolo_backbones.export.passing import finished
from keras_yolo_backbones.files import check_file_target, scratch, staged_pair
from keras_yolo_backbones.graph.running import require_tensorflow
from keras_yolo_backbones.graph.signature import image_input
from keras_yolo_backbones.graph.upsample import upsampling_as_resize
from keras_yolo_backbones.litert import LiteModel, Operator, operators, tally
from keras_yolo_backbones.quantization.aware import quantize_aware
from keras_yolo_backbones.quantization.calibration import Calibration, calibration_images
from keras_yolo_backbones.quantization.integer_form import conversions, float_layers, integer_form, is_fake_quantized
from keras_yolo_backbones.quantization.lower import lower
from keras_yolo_backbones.quantization.tfmot.engine import is_tfmot, tfmot_function, tfmot_input

PRECISIONS = ("float32", "float16", "dynamic", "int8")
_ADVICE = (
    "Check that the weights are trained and finite and that the calibration images look like those in use; "
    "least_snr_db=… sets another bound."
)
INPUT_TYPES = {"int8": tf.int8, "uint8": tf.uint8, "float32": tf.float32}


def export_tflite(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    precision: str | None = None,
    calibration: Any = None,
    input_type: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    least_snr_db: float | None = None,
    keep_float: Sequence[str] = (),
) -> Artifact:
    """Write a TFLite file of batch 1 with one signature: the model's input name -> its output names.

    Args:
        model: a functional model with one image input, float or from `quantize_aware`; left untouched.
        path: the file, ending in `.tflite`. Its manifest goes beside it as `….tflite.json`.
        precision: `"float32"` (default); `"float16"` weights; `"dynamic"`, int8 weights with activations quantized on
            the fly; or `"int8"`, all tensors int8, which needs `calibration`. A model from `quantize_aware` is always
            `"int8"` and has its ranges within.
        calibration: representative images: a folder, an array or an iterable of batches.
        input_type: of an int8 file: `"int8"` (default), `"uint8"` for raw camera bytes, or `"float32"`; the latter two
            cost one QUANTIZE at the input. Outputs are int8.
        image_size: side or (height, width), for a model that leaves them open.
        least_snr_db: the weakest agreement that passes, by default `LEAST_SNR_DB[precision]`.
        keep_float: layers that stay float in an int8 file; see `quantize_aware`, which takes them for models that are
            trained.

    Returns:
        The file and its manifest, after the file has run and agreed with the model.

    Raises:
        ArgumentError: an option that is not allowed.
        CalibrationError: calibration images that cannot be used.
        ExportError: the path cannot be written, or the file disagrees with the model, or has float operators in int8.
    """
    require_tensorflow()
    if not is_tfmot(model):
        check_model(model)
    target = check_file_target(path, ".tflite")
    precision = precision or ("int8" if _has_ranges(model) else "float32")
    _check_options(model, precision, calibration, input_type, keep_float)
    images = tfmot_input(model) if is_tfmot(model) else image_input(model)
    size = images.sized(image_size)
    bound = LEAST_SNR_DB[precision] if least_snr_db is None else least_snr_db
    samples = None
    if calibration is not None:
        samples = calibration_images(calibration, shape=size, preprocessing=images.preprocessing)
    # The converter's own calibration knows no exceptions; a plan gives the same file and does.
    options: dict[str, Any] = {"image_size": image_size, "keep_float": keep_float}
    planned = quantize_aware(model, samples, **options) if keep_float else model
    kept = float_layers(planned)
    content = _convert(planned, images.name, size, precision, None if keep_float else samples, input_type or "int8")

    with staged_pair(target) as (temporary, manifest_file):
        temporary.write_bytes(content)
        listed = operators(temporary)
        if precision == "int8":
            _check_integer(listed, input_type or "int8", conversions(planned))
        random = check_images(size, images.preprocessing.range)
        batches: Sequence[np.ndarray] = samples[:4] if samples is not None else [random]
        runner = LiteModel(temporary)
        found = compare(model, runner, batches, what=target.name, least_snr_db=bound, advice=_ADVICE)
        manifest = make_manifest(
            model,
            images,
            format="tflite",
            precision=precision,
            size=size,
            agreement=found,
            checked_on=f"{len(batches)} calibration images" if samples is not None else "1 random image",
            least_snr_db=bound,
            quantization=runner.tensors(),
            operators=tally(listed),
            **({"float_layers": kept} if kept else {}),
        )
        manifest["sha256"]["file"] = file_digest(temporary)
        write_manifest(manifest, manifest_file)
    return Artifact(target, manifest)


def _check_options(
    model: keras.Model, precision: str, calibration: Any, input_type: str | None, keep_float: Sequence[str]
) -> None:
    if precision not in PRECISIONS:
        raise one_of("precision", precision, PRECISIONS)
    if precision != "int8" and (calibration is not None or input_type is not None or keep_float):
        raise ArgumentError(f'calibration, input_type and keep_float go with precision="int8", not {precision!r}.')
    if _has_ranges(model):
        if keep_float:
            raise ArgumentError(f"{model.name!r} is fake-quantized: say keep_float=… to quantize_aware.")
        if precision != "int8" or calibration is not None:
            raise ArgumentError(
                f"{model.name!r} is fake-quantized: its file is int8 and its ranges are its own; leave out precision "
                "and calibration, or export the float model."
            )
    elif precision == "int8" and calibration is None:
        raise ArgumentError(
            'precision="int8" needs calibration=…: a folder of photographs, an array or an iterable of batches.'
        )
    if input_type is not None and input_type not in INPUT_TYPES:
        raise one_of("input_type", input_type, INPUT_TYPES)


def _has_ranges(model: Any) -> bool:
    return is_fake_quantized(model) or is_tfmot(model)


def _convert(
    model: keras.Model,
    name: str,
    size: tuple[int, int, int],
    precision: str,
    samples: Calibration | None,
    input_type: str,
) -> bytes:
    # Signatures, and with them the names of the outputs, survive only on the way over a SavedModel.
    spec = tf.TensorSpec((1, *size), tf.float32, name=name)
    keeps_float = conversions(model)["float32"] > 0
    if is_tfmot(model):
        call = tfmot_function(model, spec)
    elif precision == "int8":
        call = frozen_function(upsampling_as_resize(integer_form(model if _has_ranges(model) else lower(model))), spec)
    else:
        call = frozen_function(deployable(model), spec)
    with scratch() as folder:
        save_signatures({"serving_default": call}, folder, holding=model if is_tfmot(model) else None)
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder))
        if precision != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if samples is not None:
            converter.representative_dataset = lambda: _representative(samples, name)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        if precision == "int8":
            converter.inference_input_type = INPUT_TYPES[input_type]
            converter.inference_output_type = tf.float32 if keeps_float else tf.int8
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=r"\s*Warning: tf.lite.Interpreter is deprecated")
                content = converter.convert()
        except Exception as error:
            raise ExportError(f"the TFLite converter refuses {model.name!r}: {str(error).splitlines()[0]}") from error
    return finished(content) if keeps_float else content


def _representative(samples: Calibration, name: str) -> Iterator[dict[str, np.ndarray]]:
    """The calibration images, the first with one black and one white pixel in its corners.

    So the input's range is the whole range whatever the images, its scale exactly 1/255, and a byte of the camera is a
    byte of the network.
    """
    low, high = samples.preprocessing.range
    for index in range(len(samples)):
        image = samples[index]
        if index == 0:
            image = image.copy()
            image[:, 0, 0] = low
            image[:, -1, -1] = high
        yield {name: image}


def _check_integer(listed: list[Operator], input_type: str, inside: dict[str, int]) -> None:
    """Raise unless every operator works on integers; the one at the input may convert.

    Args:
        listed: the file's operators.
        input_type: of the file.
        inside: how many tensors become `"float32"` for the layers that are kept so, and how many `"int8"` behind them.
    """
    names = [operator.name for operator in listed]
    most = {"QUANTIZE": inside["int8"] + (input_type != "int8"), "DEQUANTIZE": inside["float32"]}
    floats = [
        operator.name
        for operator in listed
        if operator.name not in most and any("FLOAT" in kind for kind in operator.kinds)
    ]
    if floats and not inside["float32"]:
        raise ExportError(f"operators that stay float in int8: {', '.join(sorted(set(floats)))}.")
    for name, count in most.items():
        if names.count(name) > count:
            raise ExportError(f"{names.count(name)} {name} operators, at most {count} expected.")

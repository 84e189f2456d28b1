"""TFLite (LiteRT) files: float32, float16, dynamic range, or int8 through and through."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras

from keras_yolo_backbones.arena import memory
from keras_yolo_backbones.arguments import check_model
from keras_yolo_backbones.errors import ArgumentError, GraphError
from keras_yolo_backbones.export.comparison import check_images
from keras_yolo_backbones.export.converter import ConversionError, check_integer, convert
from keras_yolo_backbones.export.for_targets import check_target, fitted
from keras_yolo_backbones.export.manifest import Artifact, file_digest, make_manifest, write_manifest
from keras_yolo_backbones.export.tflite_gate import Gate
from keras_yolo_backbones.export.tflite_options import check_options, has_ranges
from keras_yolo_backbones.files import check_file_target, staged_pair
from keras_yolo_backbones.graph.running import require_tensorflow
from keras_yolo_backbones.graph.signature import ImageInput, image_input
from keras_yolo_backbones.litert import LiteModel, operators, tally
from keras_yolo_backbones.progress import step
from keras_yolo_backbones.quantization.apply import apply
from keras_yolo_backbones.quantization.biases import correct_kernels
from keras_yolo_backbones.quantization.calibration import Calibration, calibration_images
from keras_yolo_backbones.quantization.integer_form import conversions, float_layers
from keras_yolo_backbones.quantization.planning import DEFAULT_METHOD, lowered, plan_lowered
from keras_yolo_backbones.quantization.ranges import Plan, as_plan
from keras_yolo_backbones.quantization.tfmot.engine import is_tfmot, tfmot_input
from keras_yolo_backbones.quantization.weighing import evenly


def export_tflite(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    precision: str | None = None,
    calibration: Any = None,
    method: str | None = None,
    input_type: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    least_snr_db: float | None = None,
    keep_float: Sequence[str] = (),
    outputs: str | None = None,
    target: str | None = None,
) -> Artifact:
    """Write a TFLite file of batch 1 with one signature: the model's input name -> its output names.

    An int8 file has the ranges of a plan (`quantization.plan`). A model with a layer that plans do not know gets the
    converter's own ranges; a warning and the manifest's `ranges` say so.

    Args:
        model: a functional model with one image input, float or from `quantize_aware`; left untouched.
        path: the file, ending in `.tflite`. Its manifest is written next to it as `….tflite.json`.
        precision: `"float32"` (default); `"float16"` weights; `"dynamic"`, int8 weights with activations quantized on
            the fly; `"int8"`, all tensors int8, which needs `calibration`; or `"int16x8"`, int8 weights with int16
            activations, which needs calibration images and has the converter's ranges; the mean shift that rounding
            kernels leaves is taken out of the biases. A model from `quantize_aware` is always `"int8"` and holds its
            own ranges.
        calibration: representative images: a folder, an array or an iterable of batches; or a `Plan`, or the `.json`
            file of one.
        method: how ranges are chosen, see `quantization.plan`.
        input_type: of an int8 file: `"int8"` (default), `"uint8"` for raw camera bytes, or `"float32"`; the latter two
            cost one QUANTIZE at the input. Of an int16x8 file: `"int16"` (default) or `"float32"`.
        image_size: side or (height, width), for a model that leaves them open.
        least_snr_db: the weakest agreement with `model` that passes, by default `LEAST_SNR_DB[precision]`, and
            that of `least_of_simulation` for a model from `quantize_aware`. A bound below the latter also holds for
            the agreement of an int8 file with its fake-quantized model.
        keep_float: layers that stay float in an int8 file; see `quantize_aware`, which accepts them for models that
            are trained.
        outputs: of an int8 file: `"int8"` (default), or `"float32"`, which costs one DEQUANTIZE each. Of an int16x8
            file: `"int16"` (default) or `"float32"`.
        target: `"xnnpack"` writes a concat of more than five tensors in steps, and int8 averages as convolutions: the
            numbers are the same. Int8 depthwise convolutions of more than 25 weights a channel, which XNNPACK computes
            many times slower than in float, go to LiteRT's own kernel, which can be a step off.

    Returns:
        The file and its manifest, after the file has run and agreed with the model: an int8 file also with the
        fake-quantized model that it was made from, to 20 dB (see `least_of_simulation`).

    Raises:
        ArgumentError: an option that is not allowed.
        CalibrationError: calibration images or a plan that cannot be used.
        ExportError: the path cannot be written, or the file disagrees with the model, or has float operators in int8.
    """
    require_tensorflow()
    if not is_tfmot(model):
        check_model(model)
    file = check_file_target(path, ".tflite")
    precision = precision or ("int8" if has_ranges(model) else "float32")
    check_options(model, precision, calibration, method, input_type, keep_float, outputs)
    check_target(target)
    images = tfmot_input(model) if is_tfmot(model) else image_input(model)
    size = images.sized(image_size)
    plan = as_plan(calibration, model.name)
    if plan is not None and method:
        raise ArgumentError("a plan has its method; leave out method, or pass images in place of the plan.")
    samples = None
    if calibration is not None and plan is None:
        samples = calibration_images(calibration, shape=size, preprocessing=images.preprocessing)
    integer = "int16" if precision == "int16x8" else "int8"
    job = _Job(model, images, size, precision, input_type or integer, outputs or integer, samples, least_snr_db, target)
    if precision == "int16x8" and samples is not None:
        ranges = {"from": "converter", "because": "plans are for 8 bits"}
        with step("correcting biases"):
            corrected = correct_kernels(lowered(model), evenly(samples))
        return job.export(file, _Form(corrected, ranges=ranges, samples=samples))
    if precision != "int8":
        return job.export(file, _Form(model))
    if has_ranges(model):
        return job.export(file, _Form(model, simulates=True, ranges={"from": "model"}))
    return _post_training(job, file, plan, method or DEFAULT_METHOD, keep_float)


class _Form(NamedTuple):
    """What is converted.

    Attributes:
        model: the model as given, or a lowered or fake-quantized one.
        simulates: whether it computes as the file will, so that the file has to agree with it.
        ranges: where an int8 file's ranges are from, for the manifest.
        samples: the images that the converter takes ranges from, if no plan does.
    """

    model: keras.Model
    simulates: bool = False
    ranges: dict[str, Any] | None = None
    samples: Calibration | None = None

    def told(self) -> dict[str, Any]:
        """What the manifest says of it."""
        kept = float_layers(self.model)
        return ({"ranges": self.ranges} if self.ranges else {}) | ({"float_layers": kept} if kept else {})


class _Job(NamedTuple):
    """One call of `export_tflite`: the model and the options, checked."""

    model: keras.Model
    images: ImageInput
    size: tuple[int, int, int]
    precision: str
    input_type: str
    outputs: str
    samples: Calibration | None
    least_snr_db: float | None
    target: str | None

    def export(self, target: Path, form: _Form) -> Artifact:
        """Convert `form`, check the file and publish it."""
        options: dict[str, Any] = {"samples": form.samples, "input_type": self.input_type, "outputs": self.outputs}
        with step("converting"):
            content = convert(form.model, self.images.name, self.size, self.precision, **options)
        content = fitted(content, self.target)
        with staged_pair(target) as (temporary, manifest_file), step("comparing with the model"):
            temporary.write_bytes(content)
            listed, runner = operators(temporary), LiteModel(temporary)
            if self.precision in ("int8", "int16x8"):
                floats = len(form.model.outputs) if self.outputs == "float32" else 0
                check_integer(listed, self.input_type, conversions(form.model), float_outputs=floats)
            manifest = make_manifest(
                self.model,
                self.images,
                format="tflite",
                precision=self.precision,
                size=self.size,
                quantization=runner.tensors(),
                operators=tally(listed),
                memory=memory(temporary),
                **self._checked(form, runner, target.name),
                **form.told(),
            )
            manifest |= {"target": self.target} if self.target else {}
            manifest["sha256"]["file"] = file_digest(temporary)
            write_manifest(manifest, manifest_file)
        return Artifact(target, manifest)

    def _checked(self, form: _Form, runner: LiteModel, what: str) -> dict[str, Any]:
        """The file against the model and against its fake-quantized form, for the manifest.

        Raises:
            ExportError: one of them is too far off.
        """
        batches: Any = (
            self.samples[:4] if self.samples is not None else [check_images(self.size, self.images.preprocessing.range)]
        )
        checked_on = f"{len(batches)} calibration images" if self.samples is not None else "1 random image"
        gate = Gate(runner, batches, checked_on, what, self.least_snr_db)
        if not form.simulates:
            return gate.follows(self.model, self.precision)
        if form.model is self.model:
            return gate.is_simulated_by(self.model)
        return gate.follows(self.model, self.precision, form.model)


def _post_training(job: _Job, target: Path, plan: Plan | None, method: str, keep_float: Sequence[str]) -> Artifact:
    """An int8 file of a float model: by a plan or, where that cannot be, by the converter's own calibration."""
    primitive = lowered(job.model)
    try:
        if plan is None:
            with step("choosing ranges"):
                plan = plan_lowered(primitive, job.model, job.samples, method=method, image_size=job.size[:2])
        planned = apply(plan, primitive, job.images.preprocessing.range, keep_float=keep_float)
        ranges = {"from": "plan", "method": plan.method, "images": plan.images}
        return job.export(target, _Form(planned, simulates=True, ranges=ranges))
    except (GraphError, ConversionError) as error:
        if job.samples is None or keep_float:
            raise
        ranges = {"from": "converter", "because": str(error)}
        artifact = job.export(target, _Form(primitive, ranges=ranges, samples=job.samples))
        warnings.warn(f"{target.name} has the ranges of the TFLite converter, not of a plan: {error}", stacklevel=3)
        return artifact

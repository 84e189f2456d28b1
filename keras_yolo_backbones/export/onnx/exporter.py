"""ONNX files, float or int8, run in onnxruntime before they are handed over."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras

from keras_yolo_backbones.arguments import check_model
from keras_yolo_backbones.errors import ArgumentError, one_of
from keras_yolo_backbones.export.comparison import LEAST_SNR_DB, check_images, compare
from keras_yolo_backbones.export.function import deployable
from keras_yolo_backbones.export.manifest import Artifact, file_digest, make_manifest, write_manifest
from keras_yolo_backbones.export.onnx.channels_first import attention_channels_first
from keras_yolo_backbones.export.onnx.converting import converted, finished
from keras_yolo_backbones.export.onnx.describing import inventory, metadata, turn_channels_first
from keras_yolo_backbones.export.onnx.grids import SCHEMES, Grid
from keras_yolo_backbones.export.onnx.hard_gates import hard_gates
from keras_yolo_backbones.export.onnx.planned import check_quantization, quantized_model
from keras_yolo_backbones.export.onnx.qdq import quantized
from keras_yolo_backbones.export.onnx.reduced import BITS, with_reduced_kernels
from keras_yolo_backbones.export.onnx.running import run_onnx
from keras_yolo_backbones.export.onnx.shuffles import shuffles_channels_first
from keras_yolo_backbones.export.onnx.stable import stabilize
from keras_yolo_backbones.export.onnx.steps import compare_steps
from keras_yolo_backbones.files import check_file_target, staged_pair
from keras_yolo_backbones.graph.running import require_tensorflow
from keras_yolo_backbones.graph.signature import image_input, named_outputs
from keras_yolo_backbones.progress import step
from keras_yolo_backbones.quantization.calibration import Calibration
from keras_yolo_backbones.quantization.integer_form import float_layers, is_fake_quantized
from keras_yolo_backbones.quantization.tfmot.engine import is_tfmot

OPSETS = range(13, 22)
LAYOUTS = ("nhwc", "nchw")
PRECISIONS = ("float32", "int8")
IO = ("float32", "int8")


def export_onnx(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    opset: int = 17,
    layout: str = "nhwc",
    precision: str | None = None,
    calibration: Any = None,
    method: str | None = None,
    scheme: str = "asymmetric",
    io: str = "float32",
    reduce_range: bool = False,
    image_size: int | tuple[int, int] | None = None,
    least_snr_db: float | None = None,
    keep_float: Sequence[str] = (),
) -> Artifact:
    """Write an ONNX file with a dynamic batch and the model's own input and output names.

    What a user of the file alone needs is in its `metadata_props`: `model`, `layout`, and as JSON `levels` (name ->
    stride and channels) and `preprocessing`; of int8 files also `quantization`.

    An int8 file holds the integers of the TFLite file of the same plan, as QuantizeLinear and DequantizeLinear ("QDQ")
    around float operators, which runtimes fuse to integer ones.

    Args:
        model: a functional model with one image input, float or from `quantize_aware`; left untouched.
        path: the file, ending in `.onnx`. Its manifest goes beside it as `….onnx.json`.
        opset: 13 … 21.
        layout: of the input and the outputs: `"nhwc"` as in Keras, or `"nchw"` as ONNX' own operators have it, which
            saves the Transpose at each of them. The backbones need no others.
        precision: `"float32"` (default) or `"int8"`, which needs `calibration`. A model from `quantize_aware` is always
            `"int8"` and has its ranges within.
        calibration: representative images (see `quantization.plan`), or a `Plan`, or the `.json` file of one.
        method: how ranges are chosen, see `quantization.plan`.
        scheme: of an int8 file: `"asymmetric"`, uint8 activations for onnxruntime, OpenVINO and QNN; or `"symmetric"`,
            int8 activations with zero points of 0 for TensorRT, which needs a symmetric plan or model.
        io: `"float32"`, or `"int8"` for an int8 file that takes and gives the integers of its scheme.
        reduce_range: of an int8 file: kernels of 7 bits, for x86 processors without VNNI, where onnxruntime's sums of
            8-bit products overflow. Not the integers of the TFLite file any more.
        image_size: side or (height, width) of the calibration images, for a model that leaves them open.
        least_snr_db: the weakest agreement that passes, by default `LEAST_SNR_DB[precision]`.
        keep_float: layers that stay float in an int8 file, see `quantize_aware`.

    Returns:
        The file and its manifest, after onnx has checked it, and onnxruntime has run it and it agreed with the model;
        an int8 file also in steps of its integers with the fake-quantized model.

    Raises:
        ArgumentError: an option that is not allowed.
        CalibrationError: calibration images that cannot be used, or a plan for another model.
        GraphError: a layer that quantization does not know, named.
        ExportError: the path cannot be written, or the file disagrees with the model.
    """
    require_tensorflow()
    if is_tfmot(model):
        raise ArgumentError('export_onnx takes models from quantize_aware(…, engine="keras"), not from engine="tfmot".')
    check_model(model)
    target = check_file_target(path, ".onnx")
    _check_form(model, opset, layout)
    precision = precision or ("int8" if is_fake_quantized(model) else "float32")
    for what, value, allowed in (("precision", precision, PRECISIONS), ("io", io, IO), ("scheme", scheme, SCHEMES)):
        if value not in allowed:
            raise one_of(what, value, allowed)
    options = {"calibration": calibration, "keep_float": keep_float, "io": io, "scheme": scheme, "method": method}
    check_quantization(model, precision, **options, reduce_range=reduce_range)
    aware, samples = None, None
    if precision == "int8":
        with step("choosing ranges"):
            aware, samples = quantized_model(model, calibration, method, scheme, image_size, keep_float)
        aware = with_reduced_kernels(aware) if reduce_range else aware
    bits = BITS if reduce_range else 8
    with step("converting"):
        written = _write(model, aware, opset=opset, layout=layout, scheme=scheme, io=io, bits=bits)
    bound = LEAST_SNR_DB[precision] if least_snr_db is None else least_snr_db
    with staged_pair(target) as (temporary, manifest_file), step("comparing with the model"):
        temporary.write_bytes(written.proto.SerializeToString())
        manifest = _checked(model, aware, written, temporary, _batches(model, image_size, samples), bound, target.name)
        manifest["sha256"]["file"] = file_digest(temporary)
        write_manifest(manifest, manifest_file)
    return Artifact(target, manifest)


class _Written(NamedTuple):
    """A file, and what it is.

    Attributes:
        proto: the file.
        grids: the integers of its input and outputs, of an int8 file.
        form: opset and, of an int8 file, scheme and the like, as the manifest says them.
        layout: of its input and outputs.
    """

    proto: Any
    grids: dict[str, Grid]
    form: dict[str, Any]
    layout: str


def _write(
    model: keras.Model, aware: keras.Model | None, *, opset: int, layout: str, scheme: str, io: str, bits: int
) -> _Written:
    images = image_input(model)
    form: dict[str, Any] = {}
    grids: dict[str, Grid] = {}
    if aware is None:
        passes = (deployable, hard_gates, shuffles_channels_first, attention_channels_first)
        ready = functools.reduce(lambda done, one: one(done), passes, model)
        proto = converted(ready, images, opset=opset, layout=layout)
        stabilize(proto.graph)
    else:
        proto, grids = quantized(aware, images, opset=opset, layout=layout, scheme=scheme, io=io, bits=bits)
        form = {"scheme": scheme, "io": io, "kernel_bits": bits}
        form["integers"] = {name: grid.describe() for name, grid in grids.items()}
        form |= {"float_layers": kept} if (kept := float_layers(aware)) else {}
    properties = metadata(model, layout, **({"quantization": form} if form else {}))
    proto = finished(proto, model, opset=opset, layout=layout, metadata=properties)
    return _Written(proto, grids, {"opset": opset, **form}, layout)


def _checked(
    model: keras.Model,
    aware: keras.Model | None,
    written: _Written,
    file: Path,
    batches: list[Any],
    bound: float,
    what: str,
) -> dict[str, Any]:
    """The manifest of a file, after it has run and agreed with the model."""
    images = image_input(model)
    raw = written.form.get("io") == "int8"
    runner = functools.partial(run_onnx, file, images.name, layout=written.layout, grids=written.grids if raw else None)
    steps: dict[str, Any] = (
        {} if aware is None else {"steps": compare_steps(aware, runner, batches, written.grids, what=what)}
    )
    manifest = make_manifest(
        model,
        images,
        format="onnx",
        precision="float32" if aware is None else "int8",
        size=images.shape,
        batch=None,
        agreement=compare(model, runner, batches, what=what, least_snr_db=bound),
        checked_on=f"{len(batches)} calibration images" if len(batches) > 1 else "2 random images",
        least_snr_db=bound,
        quantization=written.form["integers"] if raw else None,
        operators=inventory(written.proto),
        **written.form,
        **steps,
    )
    if written.layout == "nchw":
        turn_channels_first(manifest)
    return manifest


def _batches(model: keras.Model, image_size: Any, samples: Calibration | None) -> list[Any]:
    """Four of the calibration images, or one batch of two random ones."""
    if samples is not None:
        return [samples[index] for index in range(min(4, len(samples)))]
    images = image_input(model)
    size = images.any_size() if image_size is None else images.sized(image_size)
    return [check_images(size, images.preprocessing.range, count=2)]


def _check_form(model: keras.Model, opset: int, layout: str) -> None:
    if opset not in OPSETS:
        raise one_of("opset", opset, OPSETS)
    if layout not in LAYOUTS:
        raise one_of("layout", layout, LAYOUTS)
    if layout == "nchw" and any(len(tensor.shape) != 4 for tensor in named_outputs(model).values()):
        raise ArgumentError('layout="nchw": the model has outputs that are no feature maps; use "nhwc".')

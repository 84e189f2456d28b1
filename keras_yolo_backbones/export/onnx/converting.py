"""From a Keras model to an ONNX graph, by tf2onnx."""

from __future__ import annotations

import threading
from typing import Any

import keras
import tensorflow as tf

from keras_yolo_backbones.errors import ExportError
from keras_yolo_backbones.export.function import frozen_function
from keras_yolo_backbones.export.onnx.channels_first import SCORES, VALUES
from keras_yolo_backbones.export.onnx.einsum import keeping_einsum, restore_einsum
from keras_yolo_backbones.export.onnx.marking import keeping_marks
from keras_yolo_backbones.export.onnx.resizes import plain_resizes
from keras_yolo_backbones.export.onnx.transposes import cancel_transposes
from keras_yolo_backbones.fragile import tf2onnx_copies
from keras_yolo_backbones.graph.signature import ImageInput, named_outputs

_NEWEST = 18
"""The newest opset that tf2onnx writes; onnx brings files to later ones."""

_ALONE = threading.Lock()
"""Held while tf2onnx works: a variable of the process tells it how."""


def converted(model: keras.Model, images: ImageInput, *, opset: int, layout: str) -> Any:
    """A model, ready to be converted, as an `onnx.ModelProto` with a dynamic batch.

    Args:
        model: functional, its layers as they are to be in the file; it may have marks.
        images: its input.
        opset: 13 or later; above 18 the file has 18 and goes through `finished`.
        layout: of the input and the outputs, `"nhwc"` or `"nchw"`.

    Raises:
        ExportError: tf2onnx refuses the model.
    """
    spec = tf.TensorSpec((None, *images.shape), tf.float32, name=images.name)
    names = list(named_outputs(model))
    call: Any = frozen_function(model, spec)
    call.get_concrete_function()  # what fails in our own passes fails here, as itself
    options: dict[str, Any] = {"opset": min(opset, _NEWEST)}
    if layout == "nchw":
        options |= {"inputs_as_nchw": [spec.name], "outputs_as_nchw": names}
    try:
        proto = _proto(call, spec, options)
    except Exception as error:  # tf2onnx raises whatever it meets
        raise _refused(model, error) from error
    restore_einsum(proto.graph)
    cancel_transposes(proto.graph)
    plain_resizes(proto.graph)
    return proto


def _proto(call: Any, spec: tf.TensorSpec, options: dict[str, Any]) -> Any:
    """What tf2onnx makes of a function; where one of its improvements fails, without that one."""
    import tf2onnx

    def made() -> Any:
        kept = keeping_einsum((SCORES, VALUES)) | keeping_marks()
        return tf2onnx.convert.from_function(call, input_signature=[spec], custom_op_handlers=kept, **options)[0]

    with _ALONE:
        try:
            with tf2onnx_copies(False):
                return made()
        except Exception:  # copies let it leave out what fails
            with tf2onnx_copies(True):
                return made()


def finished(proto: Any, model: keras.Model, *, opset: int, layout: str, metadata: dict[str, str]) -> Any:
    """A converted file in its opset, with names for its open axes and its metadata, after onnx has checked it.

    Raises:
        ExportError: onnx refuses the file.
    """
    import onnx

    try:
        if opset > _NEWEST:
            proto = onnx.version_converter.convert_version(proto, opset)
        _name_dimensions(proto, layout)
        onnx.helper.set_model_props(proto, metadata)
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, RuntimeError) as error:
        raise _refused(model, error) from error
    return proto


def _refused(model: keras.Model, error: Exception) -> ExportError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return ExportError(f"{model.name!r} cannot be converted to ONNX: {reason}")


def _name_dimensions(proto: Any, layout: str) -> None:
    """Call the open axes of every input and output by what they are: batch, height, width, those of P3 P3_height, …."""
    axes = ("height", "width", "channels") if layout == "nhwc" else ("channels", "height", "width")
    for prefix, values in (("", proto.graph.input), ("{}_", proto.graph.output)):
        for value in values:
            dims = value.type.tensor_type.shape.dim
            dims[0].dim_param = "batch"
            names = axes if len(dims) == 4 else tuple(f"axis{index}" for index in range(1, len(dims)))
            for dim, axis in zip(dims[1:], names, strict=True):
                if not dim.HasField("dim_value"):
                    dim.dim_param = prefix.format(value.name) + axis

"""ONNX files through tf2onnx, run in onnxruntime before they are handed over."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_yolo_backbones.arguments import check_model
from keras_yolo_backbones.errors import ArgumentError, ExportError, one_of
from keras_yolo_backbones.export.comparison import LEAST_SNR_DB, check_images, compare
from keras_yolo_backbones.export.function import deployable, frozen_function
from keras_yolo_backbones.export.manifest import (
    Artifact,
    file_digest,
    make_manifest,
    origins,
    write_manifest,
)
from keras_yolo_backbones.export.onnx.channels_first import SCORES, VALUES, attention_channels_first
from keras_yolo_backbones.export.onnx.einsum import keeping_einsum, restore_einsum
from keras_yolo_backbones.export.onnx.transposes import cancel_transposes
from keras_yolo_backbones.files import check_file_target, staged_pair
from keras_yolo_backbones.graph.running import require_tensorflow
from keras_yolo_backbones.graph.signature import image_input, named_outputs
from keras_yolo_backbones.levels import stride_of
from keras_yolo_backbones.provenance import every_provenance
from keras_yolo_backbones.version import __version__

OPSETS = range(13, 19)
LAYOUTS = ("nhwc", "nchw")


def export_onnx(model: keras.Model, path: str | os.PathLike[str], *, opset: int = 17, layout: str = "nhwc") -> Artifact:
    """Write an ONNX file with a dynamic batch and the model's own input and output names.

    What a user of the file alone needs is in its `metadata_props`: `model`, `layout`, and as JSON `levels` (name ->
    stride and channels) and `preprocessing`.

    Args:
        model: a functional model with one image input; left untouched.
        path: the file, ending in `.onnx`. Its manifest goes beside it as `….onnx.json`.
        opset: 13 … 18.
        layout: of the input and the outputs: `"nhwc"` as in Keras, or `"nchw"` as ONNX' own operators have it, which
            saves the Transpose at each of them. The backbones need no others.

    Returns:
        The file and its manifest, after onnx has checked it, and onnxruntime has run it and it agreed with the model.

    Raises:
        ArgumentError: an opset or layout that is not allowed.
        ExportError: the path cannot be written, or the file disagrees with the model.
    """
    require_tensorflow()
    check_model(model)
    target = check_file_target(path, ".onnx")
    if opset not in OPSETS:
        raise one_of("opset", opset, OPSETS)
    if layout not in LAYOUTS:
        raise one_of("layout", layout, LAYOUTS)
    images = image_input(model)
    if layout == "nchw" and any(len(tensor.shape) != 4 for tensor in named_outputs(model).values()):
        raise ArgumentError('layout="nchw": the model has outputs that are no feature maps; use "nhwc".')
    proto = _convert(model, tf.TensorSpec((None, *images.shape), tf.float32, name=images.name), opset, layout)
    with staged_pair(target) as (temporary, manifest_file):
        temporary.write_bytes(proto.SerializeToString())
        found = compare(
            model,
            lambda batch: run_onnx(temporary, images.name, batch, layout),
            [check_images(images.any_size(), images.preprocessing.range, count=2)],
            what=target.name,
            least_snr_db=LEAST_SNR_DB["float32"],
        )
        manifest = make_manifest(
            model,
            images,
            format="onnx",
            precision="float32",
            size=images.shape,
            batch=None,
            agreement=found,
            checked_on="2 random images",
            least_snr_db=LEAST_SNR_DB["float32"],
            operators=_inventory(proto),
            opset=opset,
        )
        if layout == "nchw":
            _channels_first(manifest)
        manifest["sha256"]["file"] = file_digest(temporary)
        write_manifest(manifest, manifest_file)
    return Artifact(target, manifest)


def run_onnx(path: Path, name: str, images: np.ndarray, layout: str = "nhwc") -> dict[str, np.ndarray]:
    """Run an ONNX file in onnxruntime on the CPU; images and outputs are NHWC whatever the file's layout."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    channels_first = layout == "nchw"
    outputs = session.run(names, {name: images.transpose(0, 3, 1, 2) if channels_first else images})
    return {
        name: output.transpose(0, 2, 3, 1) if channels_first else output
        for name, output in zip(names, outputs, strict=True)
    }


def _convert(model: keras.Model, spec: tf.TensorSpec, opset: int, layout: str) -> Any:
    import onnx
    import tf2onnx

    names = list(named_outputs(model))
    channels_first = {"inputs_as_nchw": [spec.name], "outputs_as_nchw": names} if layout == "nchw" else {}
    call: Any = frozen_function(attention_channels_first(deployable(model)), spec)
    call.get_concrete_function()  # what fails in our own passes fails here, as itself
    try:
        proto, _ = tf2onnx.convert.from_function(
            call,
            input_signature=[spec],
            opset=opset,
            custom_op_handlers=keeping_einsum((SCORES, VALUES)),
            **channels_first,
        )
    except Exception as error:  # tf2onnx raises whatever it meets
        raise _refused(model, error) from error
    restore_einsum(proto.graph)
    cancel_transposes(proto.graph)
    _name_dimensions(proto, layout)
    onnx.helper.set_model_props(proto, _metadata(model, layout))
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise _refused(model, error) from error
    return proto


def _refused(model: keras.Model, error: Exception) -> ExportError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return ExportError(f"{model.name!r} cannot be converted to ONNX: {reason}")


def _metadata(model: keras.Model, layout: str) -> dict[str, str]:
    """What the file says about itself."""
    levels = {
        name: {"stride": stride, "channels": tensor.shape[-1]}
        for name, tensor in named_outputs(model).items()
        if (stride := stride_of(name))
    }
    return {
        "model": model.name,
        "layout": layout.upper(),
        "levels": json.dumps(levels),
        "preprocessing": json.dumps(image_input(model).preprocessing.describe()),
        "keras_yolo_backbones": __version__,
        **_origin(model),
    }


def _origin(model: keras.Model) -> dict[str, str]:
    """Licence and source of the weights, if they were loaded from a file."""
    found = every_provenance(model)
    if not found:
        return {}
    licences = dict.fromkeys(provenance.licence for provenance in found)
    return {"licence": ", ".join(licences), **{name: json.dumps(value) for name, value in origins(model).items()}}


def _channels_first(manifest: dict[str, Any]) -> None:
    """Say the shapes of a manifest in NCHW."""
    batch, height, width, channels = manifest["input"]["shape"]
    manifest["input"] |= {"layout": "NCHW", "shape": [batch, channels, height, width]}
    for output in manifest["outputs"].values():
        height, width, channels = output["shape"]
        output["shape"] = [channels, height, width]


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


def _inventory(proto: Any) -> dict[str, int]:
    from collections import Counter

    return dict(Counter(node.op_type for node in proto.graph.node).most_common())

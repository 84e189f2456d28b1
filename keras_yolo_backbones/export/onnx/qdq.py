"""Int8 in an ONNX graph: QuantizeLinear and DequantizeLinear ("QDQ") as the plan of a fake-quantized model says."""

from __future__ import annotations

from typing import Any

import keras

from keras_yolo_backbones.export.onnx.activations import absorb_activations
from keras_yolo_backbones.export.onnx.averages import averages_away_from_zero
from keras_yolo_backbones.export.onnx.converting import converted
from keras_yolo_backbones.export.onnx.editing import Editing
from keras_yolo_backbones.export.onnx.grids import SCHEMES, Grid, grid_of, read_grid
from keras_yolo_backbones.export.onnx.marking import marked
from keras_yolo_backbones.export.onnx.pads import fold_pads
from keras_yolo_backbones.export.onnx.pairs import drop_marks, marks_to_pairs, pair_moved, raw_ends
from keras_yolo_backbones.export.onnx.products import products_as_in_tflite
from keras_yolo_backbones.export.onnx.shapes import constant_shapes
from keras_yolo_backbones.export.onnx.slopes import slopes_in_256ths
from keras_yolo_backbones.export.onnx.ties import sums_as_in_tflite
from keras_yolo_backbones.export.onnx.weights import LARGEST, quantize_weights
from keras_yolo_backbones.graph.signature import ImageInput
from keras_yolo_backbones.graph.upsample import upsampling_as_resize


def quantized(
    aware: keras.Model, images: ImageInput, *, opset: int, layout: str, scheme: str, io: str, bits: int = 8
) -> tuple[Any, dict[str, Grid]]:
    """A fake-quantized model as an `onnx.ModelProto` in integers, and what `quantize_graph` returns."""
    proto = converted(marked(upsampling_as_resize(aware)), images, opset=opset, layout=layout)
    return proto, quantize_graph(proto.graph, scheme=scheme, io=io, bits=bits)


def quantize_graph(graph: Any, *, scheme: str, io: str, bits: int = 8) -> dict[str, Grid]:
    """Turn a converted graph with marks into one in integers.

    Kernels are int8 with a scale a channel, biases int32 with the scale of input times kernel, every tensor that the
    plan rounds has a pair, and so has what is only moved, in the same scale. SiLU is Sigmoid and Mul with a pair each,
    as in TFLite: onnxruntime has integer forms of both, none of the whole.

    Args:
        graph: an `onnx.GraphProto`, changed in place.
        scheme: key of `SCHEMES`.
        io: `"float32"`, or `"int8"` for integers at the input and the outputs.
        bits: of the kernels, which are rounded to so many already.

    Returns:
        Name of each input and output -> its integers, of those that have them.
    """
    dtype = SCHEMES[scheme]
    edit = Editing(graph)
    constant_shapes(edit)
    fold_pads(edit)
    steps = marks_to_pairs(edit, dtype)
    pair_moved(edit)
    quantize_weights(edit, dtype, steps, largest=LARGEST[bits])
    sums_as_in_tflite(edit)
    products_as_in_tflite(edit)
    averages_away_from_zero(edit)
    slopes_in_256ths(edit)
    absorb_activations(edit)
    drop_marks(edit)
    ends = {entry.name: _first_grid(edit, entry.name) for entry in graph.input}
    ends |= {entry.name: grid_of(edit, entry.name) for entry in graph.output}
    if io == "int8":
        raw_ends(edit, graph, dtype)
    edit.finish()
    return {name: grid for name, grid in ends.items() if grid is not None}


def _first_grid(edit: Editing, name: str) -> Grid | None:
    """What an input is rounded to."""
    rounding = edit.only_taker(name)
    return read_grid(edit, rounding) if rounding is not None and rounding.op_type == "QuantizeLinear" else None

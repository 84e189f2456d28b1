"""Quantization-aware training: a plan put into a model as fake quantization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_yolo_backbones.errors import ArgumentError, one_of
from keras_yolo_backbones.graph.ir import Node
from keras_yolo_backbones.graph.read import read
from keras_yolo_backbones.graph.rewrite import rebuild
from keras_yolo_backbones.graph.signature import image_input
from keras_yolo_backbones.quantization.apply import apply, copied
from keras_yolo_backbones.quantization.kernels import FLOAT, fake_quantized
from keras_yolo_backbones.quantization.layers import Converted, FakeQuant, Log, RoundedAdd
from keras_yolo_backbones.quantization.planning import lowered, plan_lowered
from keras_yolo_backbones.quantization.ranges import as_plan

ENGINES = ("keras", "tfmot")


def quantize_aware(
    model: keras.Model,
    calibration: Any,
    *,
    engine: str = "keras",
    method: str = "minmax",
    image_size: int | tuple[int, int] | None = None,
    learn_ranges: bool = False,
    keep_float: Sequence[str] = (),
) -> Any:
    """A model that computes as the int8 file will, and that can be trained.

    Batch norms are folded, kernels are rounded per channel and activations per tensor, in the ranges of a plan; before
    any training it is as accurate as post-training quantization. Train it with `fit` or any loop, save and load it,
    hand it to `export_tflite`.

    Args:
        model: a float functional model with one image input; left untouched.
        calibration: representative images (see `plan`), or a `Plan`, or the `.json` file of one.
        engine: `"keras"` gives a `keras.Model`; `"tfmot"` a `tf_keras.Model` made by tensorflow-model-optimization,
            with the same ranges and the same int8 file, for networks without attention.
        method: of the ranges, see `plan`.
        image_size: side or (height, width), for a model that leaves them open.
        learn_ranges: whether training also moves the ranges of activations (the roundings of biases and of ties in
            sums are then not simulated: they depend on ranges); engine `"keras"` only.
        keep_float: layers that stay float in the file, by the names that the plan and `report` give them; `"stage4"`
            means all of `"stage4.…"`, `*` and `?` are wildcards. There are as few conversions around them as can be;
            inputs and outputs stay int8. Engine `"keras"` only.

    Raises:
        ArgumentError: an option that is not allowed, or `keep_float` names a layer that the model lacks.
        CalibrationError: images that cannot be used, or a plan for another model.
        GraphError: a layer that quantization, or the engine, does not know, named.
    """
    if engine not in ENGINES:
        raise one_of("engine", engine, ENGINES)
    if learn_ranges and engine != "keras":
        raise ArgumentError(f'learn_ranges goes with engine="keras", not {engine!r}.')
    if keep_float and engine != "keras":
        raise ArgumentError(f'keep_float goes with engine="keras", not {engine!r}.')
    primitive = lowered(model)
    ready = as_plan(calibration)
    if ready is None:
        ready = plan_lowered(primitive, model, calibration, method=method, image_size=image_size)
    largest = image_input(model).largest
    if engine == "tfmot":
        from keras_yolo_backbones.quantization.tfmot import apply_tfmot

        return apply_tfmot(ready, primitive, largest)
    return apply(ready, primitive, largest, learn_ranges=learn_ranges, keep_float=keep_float)


def integer_form(model: keras.Model) -> keras.Model:
    """What converters get of a lowered or fake-quantized model: rounded kernels in plain layers, no floor under Log.

    Where an integer tensor is to become float, and then at the outputs too, stands a `ceil`: the converter has no
    integer form of that, so that it leaves what is behind in float. It is taken out of the file afterwards.
    """
    layers: dict[int, Any] = {}

    def rule(node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if isinstance(node.layer, Log):
            return Log(floor=0.0, name=node.layer.name)(args[0])
        if isinstance(node.layer, RoundedAdd):
            return keras.layers.Add(name=node.layer.name)(args[0])
        if isinstance(node.layer, Converted):
            return keras.ops.ceil(args[0]) if node.layer.to == "float32" else args[0]
        if type(node.layer) not in FLOAT:
            return NotImplemented
        if id(node.layer) not in layers:
            kind, axes = FLOAT[type(node.layer)]
            kernel, *rest = node.layer.get_weights()
            rounded = np.asarray(fake_quantized(keras.ops.convert_to_tensor(kernel), axes))
            weights = [rounded, *rest]
            layers[id(node.layer)] = copied(node.layer, kind, config=node.layer.plain_config(), weights=weights)
        return layers[id(node.layer)](*args, **kwargs)

    plain = rebuild(read(model), rule)
    if not conversions(model)["float32"]:
        return plain
    return keras.Model(plain.input, keras.tree.map_structure(keras.ops.ceil, plain.output), name=plain.name)


def is_fake_quantized(model: Any) -> bool:
    """Whether the model came from `quantize_aware`."""
    return any(isinstance(layer, FakeQuant) for layer in getattr(model, "layers", ()))


def conversions(model: keras.Model) -> dict[str, int]:
    """How many tensors become `"float32"` and how many `"int8"` within; none but in what `quantize_aware` made."""
    kinds = [layer.to for layer in model.layers if isinstance(layer, Converted)]
    return {to: kinds.count(to) for to in ("float32", "int8")}


def float_layers(model: keras.Model) -> list[str]:
    """The layers of a model from `quantize_aware` that are computed in float, in order."""
    if not conversions(model)["float32"]:
        return []
    found: dict[Node, str] = {}
    for node in read(model).nodes:
        if isinstance(node.layer, Converted):
            continue
        if any(_gives_float(value.node) or value.node in found for value in node.inputs):
            found[node] = node.name
    return list(found.values())


def _gives_float(node: Node) -> bool:
    return isinstance(node.layer, Converted) and node.layer.to == "float32"

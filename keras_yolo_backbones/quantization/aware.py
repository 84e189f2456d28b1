"""Quantization-aware training: a plan put into a model as fake quantization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_yolo_backbones.errors import ArgumentError, one_of
from keras_yolo_backbones.graph.signature import image_input
from keras_yolo_backbones.quantization.apply import apply
from keras_yolo_backbones.quantization.planning import DEFAULT_METHOD, lowered, plan_lowered
from keras_yolo_backbones.quantization.ranges import as_plan
from keras_yolo_backbones.quantization.scales import is_symmetric

ENGINES = ("keras", "tfmot")


def quantize_aware(
    model: keras.Model,
    calibration: Any,
    *,
    engine: str = "keras",
    method: str = DEFAULT_METHOD,
    image_size: int | tuple[int, int] | None = None,
    learn_ranges: bool = False,
    keep_float: Sequence[str] = (),
    symmetric: bool = False,
) -> Any:
    """A model that computes as the int8 file will, and that can be trained.

    Batch norms are folded, kernels are rounded per channel and activations per tensor, in the ranges of a plan; before
    any training it is as accurate as post-training quantization. Train it with `fit` or any loop, save and load it,
    hand it to `export_tflite`.

    Args:
        model: a float functional model with one image input; left untouched.
        calibration: representative images (see `plan`), or a `Plan`, or the `.json` file of one.
        engine: `"keras"` returns a `keras.Model`; `"tfmot"` a `tf_keras.Model` made by tensorflow-model-optimization,
            with the same ranges and the same int8 file, for networks without attention.
        method: of the ranges, see `plan`.
        image_size: side or (height, width), for a model that leaves them open.
        learn_ranges: whether training also moves the ranges of activations (the roundings of biases and of ties in
            sums are then not simulated: they depend on ranges); engine `"keras"` only.
        keep_float: layers that stay float in the file, by the names that the plan and `report` give them; `"stage4"`
            means all of `"stage4.…"`, `*` and `?` are wildcards. There are as few conversions around them as can be;
            inputs and outputs stay int8. Engine `"keras"` only.
        symmetric: zero in the middle of every range, see `plan`: for files with `scheme="symmetric"`.

    Raises:
        ArgumentError: an option that is not allowed, a plan that is not symmetric where that was asked for, or
            `keep_float` names a layer that the model lacks.
        CalibrationError: images that cannot be used, or a plan for a different model.
        GraphError: a layer that quantization, or the engine, does not know, named.
    """
    if engine not in ENGINES:
        raise one_of("engine", engine, ENGINES)
    if learn_ranges and engine != "keras":
        raise ArgumentError(f'learn_ranges goes with engine="keras", not {engine!r}.')
    if keep_float and engine != "keras":
        raise ArgumentError(f'keep_float goes with engine="keras", not {engine!r}.')
    primitive = lowered(model)
    ready = as_plan(calibration, model.name)
    if ready is None:
        ready = plan_lowered(primitive, model, calibration, method=method, image_size=image_size, symmetric=symmetric)
    elif symmetric and not is_symmetric(ready.ranges.values()):
        raise ArgumentError(
            f"the plan for {ready.model!r} is not symmetric; make it by plan(…, symmetric=True), or pass images."
        )
    preprocessing = image_input(model).preprocessing
    if engine == "tfmot":
        from keras_yolo_backbones.quantization.tfmot.engine import apply_tfmot

        return apply_tfmot(ready, primitive, preprocessing)
    return apply(ready, primitive, preprocessing.range, learn_ranges=learn_ranges, keep_float=keep_float)

"""Fusing: what a network needs only in training becomes part of its convolutions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras

from keras_yolo_backbones.errors import GraphError
from keras_yolo_backbones.graph.agreement import agreement, probe
from keras_yolo_backbones.graph.copies import is_known
from keras_yolo_backbones.graph.factors import factors_after_convs
from keras_yolo_backbones.graph.fold import Replacement, norms_after_convs
from keras_yolo_backbones.graph.ir import Graph, Node
from keras_yolo_backbones.graph.parallel import parallel_convs
from keras_yolo_backbones.graph.read import functional, read
from keras_yolo_backbones.graph.rewrite import Rule, keep, rebuild, recast
from keras_yolo_backbones.graph.running import watching
from keras_yolo_backbones.graph.shared_norm import norms_after_concats

TOLERANCE = {"float32": 1e-3, "float64": 1e-4, "bfloat16": 0.2, "float16": 0.05}
"""Largest error that the fused model may have, relative to the largest output, by compute dtype.

Rounding stays below 1e-5 on trained networks; deep ones with random weights may amplify it to 1e-4. A wrong rewrite is
off by 1e-1 and more.
"""

SMALL = 128
"""Side of the images, in pixels, that a model is checked on if its own are larger and its layers work on any size."""

_ANY_SIZE = (
    *(keras.layers.InputLayer, keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Conv2DTranspose),
    *(keras.layers.BatchNormalization, keras.layers.Rescaling, keras.layers.ZeroPadding2D, keras.layers.UpSampling2D),
    *(keras.layers.Activation, keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.Dropout),
    *(keras.layers.Add, keras.layers.Multiply, keras.layers.Concatenate),
    *(keras.layers.MaxPooling2D, keras.layers.AveragePooling2D),
)

Finder = Callable[[Graph], dict[Node, Replacement]]

RULES: tuple[tuple[Finder, ...], ...] = (
    (norms_after_convs, norms_after_concats),
    (factors_after_convs,),
    (parallel_convs,),
    (norms_after_convs,),
)
"""Each finds its calls in a graph and says what replaces them; later rules of a group win.

Each group sees the graph that the one before has made: a branch may be normalized and scaled before it is added, and
the sum may be normalized again.
"""


def fuse(model: keras.Model) -> keras.Model:
    """Make one convolution of what is one at inference.

    Every batch norm goes into the convolution or dense layer before it, also through a concat, and so does a scale;
    convolutions side by side (RepVGG and its kin) become one. Works on any functional or sequential model: a backbone,
    or one with a neck and head on it; nested models are read through. A batch norm without such a layer before it
    stays. The new model is for inference and export.

    Args:
        model: left untouched.

    Returns:
        A new functional model with the same inputs, output names and numbers (checked on random inputs).

    Raises:
        ArgumentError: `model` is no functional model.
        GraphError: it holds a layer that cannot be rebuilt, or the fused model disagrees.
    """
    model = functional(model)
    fused = fused_unchecked(model)
    allowed = max(TOLERANCE.get(layer.compute_dtype, 0.0) for layer in [model, *model.layers])
    if not _error(_on_small_images(model, fused) or _on_own_inputs(model, fused)) <= allowed:
        _check_copies(model, allowed)
        _check_in_float64(model)
    return fused


def _check_copies(model: keras.Model, allowed: float) -> None:
    """Check that copies of the layers compute what the layers do."""
    graph = read(model)
    error = _error(_on_own_inputs(model, rebuild(graph, keep)))
    if not error <= allowed:
        own = [f"{node.name!r} ({type(node.layer).__name__})" for node in graph.nodes if not is_known(node.layer)]
        reason = "are its weights and constants finite?"
        if own and math.isfinite(error):
            reason = (
                f"get_config() of {', '.join(own)} has to return all that decides what the layer computes, and has to "
                "do the same in every call."
            )
        raise GraphError(
            f"copies of the layers of {model.name!r} change its outputs by {error:.1e} of their largest value; {reason}"
        )


def _check_in_float64(model: keras.Model) -> None:
    """Check a rewrite where attention between random weights amplifies rounding beyond any bound."""
    exact = recast(model, "float64")
    error = _error(_on_own_inputs(exact, fused_unchecked(exact)))
    if not error <= TOLERANCE["float64"]:
        raise GraphError(
            f"rewriting {model.name!r} changed its outputs by {error:.1e} of their largest value, more than "
            f"{TOLERANCE['float64']:.0e}; are its weights finite?"
        )


def fused_unchecked(model: keras.Model) -> keras.Model:
    """`fuse` without running the two models: for what is asked of the graph alone."""
    fused = model
    for rules in RULES:
        graph = read(fused)
        replacements = _found(graph, rules)
        if replacements or fused is model:
            fused = rebuild(graph, replacing(replacements))
    return fused


def _error(outputs: list[list[Any]]) -> float:
    """Largest difference between the outputs of two models, relative to the largest value of each."""
    pairs = [
        [keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32")) for tensor in pair]
        for pair in zip(*outputs, strict=True)
    ]
    return max(agreement(*pair).relative for pair in pairs)


def _on_own_inputs(*models: keras.Model) -> list[list[Any]]:
    """The outputs of each on the same random inputs."""
    inputs = probe(models[0])
    return [keras.tree.flatten(model(inputs, training=False)) for model in models]


def _on_small_images(*models: keras.Model) -> list[list[Any]] | None:
    """The outputs of each where a model of large images is run on small ones, layer by layer, which tells as much in
    less time; `None` where some layer may depend on the size, or leave nothing of it."""
    shape = models[0].inputs[0].shape
    if len(models[0].inputs) != 1 or len(shape) != 4 or not all(shape[1:]) or max(shape[1:3]) <= SMALL:
        return None
    graphs = [read(model) for model in models]
    if not all(_works_on_any_size(node.layer) for graph in graphs for node in graph.nodes):
        return None
    (images,) = keras.tree.flatten(probe(models[0], most=SMALL))
    try:
        outputs = [watching(graph, keras.tree.flatten(graph.outputs))(images) for graph in graphs]
    except Exception:  # a map has become smaller than a window, or maps that meet differ: the own size decides
        return None
    return outputs if all(0 not in tensor.shape for tensor in outputs[0]) else None


def _works_on_any_size(layer: Any) -> bool:
    """Whether a layer is one of those of a backbone that take maps of any size, and leave most of a small one."""
    window: Any = getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", (1,))
    return type(layer) in _ANY_SIZE and (max(window) <= 3 or layer.padding == "same")


def _found(graph: Graph, rules: tuple[Finder, ...]) -> dict[Node, Replacement]:
    """Which calls `rules` would replace, and by what; later rules win."""
    replacements: dict[Node, Replacement] = {}
    for rule in rules:
        replacements |= rule(graph)
    return replacements


def replacing(replacements: dict[Node, Replacement]) -> Rule:
    """The rule that builds these replacements and keeps all else."""

    def replace(node: Node, args: tuple[Any, ...], _: dict[str, Any]) -> Any:
        return replacements[node](args) if node in replacements else NotImplemented

    return replace

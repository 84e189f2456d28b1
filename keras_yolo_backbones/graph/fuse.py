"""Fusing: what a network needs only in training becomes part of its convolutions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from keras_yolo_backbones.errors import GraphError
from keras_yolo_backbones.graph.agreement import agreement, probe
from keras_yolo_backbones.graph.factors import factors_after_convs
from keras_yolo_backbones.graph.fold import Replacement, norms_after_convs
from keras_yolo_backbones.graph.ir import Graph, Node
from keras_yolo_backbones.graph.parallel import parallel_convs
from keras_yolo_backbones.graph.read import functional, read
from keras_yolo_backbones.graph.rewrite import Rule, rebuild, recast
from keras_yolo_backbones.graph.shared_norm import norms_after_concats

TOLERANCE = {"float32": 1e-3, "float64": 1e-4, "bfloat16": 0.2, "float16": 0.05}
"""Largest error that the fused model may have, relative to the largest output, by compute dtype.

Rounding stays below 1e-5 on trained networks; deep ones with random weights may amplify it to 1e-4. A wrong rewrite is
off by 1e-1 and more.
"""

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
    if not _error(model, fused) <= allowed:
        # Attention between random weights amplifies rounding beyond any bound; in float64 a right rewrite stays right.
        exact = recast(model, "float64")
        error = _error(exact, fused_unchecked(exact))
        if not error <= TOLERANCE["float64"]:
            raise GraphError(
                f"rewriting {model.name!r} changed its outputs by {error:.1e} of their largest value, more than "
                f"{TOLERANCE['float64']:.0e}; are its weights finite?"
            )
    return fused


def fused_unchecked(model: keras.Model) -> keras.Model:
    """`fuse` without running the two models: for what is asked of the graph alone."""
    fused = model
    for rules in RULES:
        graph = read(fused)
        replacements = _found(graph, rules)
        if replacements or fused is model:
            fused = rebuild(graph, replacing(replacements))
    return fused


def _error(model: keras.Model, rewritten: keras.Model) -> float:
    """Largest difference between the outputs of both on random inputs, relative to the largest value of each."""
    inputs = probe(model)
    outputs, others = (keras.tree.flatten(m(inputs, training=False)) for m in (model, rewritten))
    pairs = [
        [keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32")) for tensor in pair]
        for pair in zip(outputs, others, strict=True)
    ]
    return max(agreement(*pair).relative for pair in pairs)


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

"""Ranges chosen by the error that they cause at the outputs of the network, not by the error of the tensor itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_yolo_backbones.graph.ir import Graph, Node, Value
from keras_yolo_backbones.graph.running import watching
from keras_yolo_backbones.quantization.calibration import Calibration
from keras_yolo_backbones.quantization.kernels import QUANTIZED
from keras_yolo_backbones.quantization.lower import activation_of
from keras_yolo_backbones.quantization.ranges import Range, balanced

BINS = 2048
"""Resolution of the weighted histograms."""

CANDIDATES = 256
"""How many ends of a range are tried on either side."""

MOST = 32
"""Images that errors are weighed on, of those given: each costs a pass forward and one back."""

Function = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Watched:
    """A tensor whose range is sought.

    Attributes:
        node: the call that computes it.
        group: the tensors that share its range.
        end: the call whose output shows the error: `node`, or the activation after it.
        function: what is computed from `node` to `end`, element by element.
    """

    node: Node
    group: str
    end: Node
    function: Function


def watch(graph: Graph, groups: Mapping[Node, str], nodes: Sequence[Node]) -> list[Watched]:
    """How the error of each of `nodes` is seen."""
    return [Watched(node, groups[node], *_activation_after(graph, node)) for node in nodes]


def _activation_after(graph: Graph, node: Node) -> tuple[Node, Function]:
    """The activation that alone uses the output of `node`, also one of several calls such as SiLU."""
    consumers = graph.consumers(node)
    sigmoids = [consumer for consumer in consumers if activation_of(consumer.layer) == "sigmoid"]
    products = [consumer for consumer in consumers if isinstance(consumer.layer, keras.layers.Multiply)]
    if len(consumers) == 2 and sigmoids and products and graph.only_consumer(sigmoids[0]) is products[0]:
        return products[0], _silu
    only = graph.only_consumer(node)
    name = activation_of(only.layer) if only is not None else None
    if only is None or name in (None, "softmax"):
        return node, lambda x: x
    return only, lambda x: np.asarray(only.layer(x.astype(np.float32)), np.float64)


def _silu(x: np.ndarray) -> np.ndarray:
    """x · sigmoid(x), without overflow."""
    return np.asarray(x * np.exp(-np.logaddexp(0, -x)))


class Weighed:
    """Histograms of tensors in which each value counts by what an error there does to the outputs.

    One random combination of the outputs, each output in units of its power, is differentiated for each image by the
    values at `Watched.end`. Errors by rounding are independent of each other: the squared slopes weigh them
    (Hutchinson's estimate). Errors by clipping have one sign and often lie side by side, so that they add up: their
    effect is the square of the sum of slope times error, for which the slopes themselves are summed, image by image.

    Attributes:
        watched: the tensors.
        squares: for each of them `BINS` sums of squared slopes, over its group's range.
        slopes: for each image, for each of them, `BINS` sums of slopes.
        powers: layer with a kernel -> mean square of each channel of its input.
    """

    def __init__(
        self, graph: Graph, watched: Sequence[Watched], ranges: Mapping[str, Range], images: Calibration
    ) -> None:
        kernels = [node for node in graph.nodes if type(node.layer) in QUANTIZED]
        returned = keras.tree.flatten(graph.outputs)
        asked = [
            *(Value(one.node, 0) for one in watched),
            *(Value(one.end, 0) for one in watched),
            *(node.inputs[0] for node in kernels),
            *returned,
        ]
        run = watching(graph, asked)
        bounds = [ranges[one.group] for one in watched]
        first, second, third = len(watched), 2 * len(watched), 2 * len(watched) + len(kernels)

        @tf.function(autograph=False)
        def measure(batch: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
            with tf.GradientTape() as tape:
                tape.watch(batch)
                tensors = run(batch)
                combined = tf.add_n([_random_sum(tensor, seed + i) for i, tensor in enumerate(tensors[third:])])
            ends = tensors[first:second]
            slopes = tape.gradient(combined, ends, unconnected_gradients=tf.UnconnectedGradients.ZERO)
            slopes = [tf.where(tf.math.is_finite(slope), slope, 0.0) for slope in slopes]
            rows = [binned(tensors[i], slopes[i], bounds[i]) for i in range(len(watched))]
            axes = [list(range(len(tensor.shape) - 1)) for tensor in tensors[second:third]]
            powers = [
                tf.reduce_mean(tf.square(tensor), axis)
                for tensor, axis in zip(tensors[second:third], axes, strict=True)
            ]
            return tf.stack(rows), powers

        self.watched = watched
        self.squares = np.zeros((len(watched), BINS))
        self.slopes: np.ndarray = np.zeros((len(images), len(watched), BINS), np.float32)
        powers: list[np.ndarray] = [np.zeros(()) for _ in kernels]
        for index in range(len(images)):
            rows, found = measure(tf.constant(images[index]), tf.constant(index * len(returned)))
            self.squares += rows[:, 0].numpy() / len(images)
            self.slopes[index] = rows[:, 1].numpy()
            powers = [total + power.numpy() / len(images) for total, power in zip(powers, found, strict=True)]
        self.powers = {node.layer.name: power for node, power in zip(kernels, powers, strict=True)}


def _random_sum(tensor: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """The sum of all values with random signs, in units of the tensor's power."""
    signs = tf.sign(tf.random.stateless_uniform(tf.shape(tensor), tf.stack([seed, 0]), -1.0, 1.0))
    power = tf.stop_gradient(tf.reduce_sum(tf.square(tensor))) + 1e-12
    return tf.reduce_sum(tensor * signs) / tf.sqrt(power)


def binned(tensor: tf.Tensor, slopes: tf.Tensor, bounds: Range) -> tf.Tensor:
    """(2, BINS): the sums of squared slopes and of slopes of the values in each bin."""
    low, high = bounds
    place = (tensor - low if low else tensor) * (BINS / (high - low))
    bins = tf.reshape(tf.clip_by_value(tf.cast(place, tf.int32), 0, BINS - 1), [1, -1])
    slopes = tf.reshape(slopes, [1, -1])
    return tf.concat([_sums(weights, bins) for weights in (tf.square(slopes), slopes)], 0)


def _sums(weights: tf.Tensor, bins: tf.Tensor) -> tf.Tensor:
    """(1, BINS): the sum of the weights of each bin, five times as fast as by `tf.math.unsorted_segment_sum`.

    One thread adds the values of a row in their order: the sums are the same in every run.
    """
    return tf.raw_ops.DenseBincount(input=bins, size=BINS, weights=weights, binary_output=False)


def evenly(images: Calibration) -> Calibration:
    """At most `MOST` of the images."""
    return images.evenly(MOST)


def choose(weighed: Weighed, ranges: Mapping[str, Range], *, centred: Collection[str] = ()) -> dict[str, Range]:
    """For each group the range within its own that causes the least error at the outputs; zero in the middle if asked.

    Args:
        weighed: the histograms.
        ranges: group -> the widest range allowed.
        centred: the groups whose range has zero in its middle.
    """
    members: dict[str, list[int]] = {}
    for index, one in enumerate(weighed.watched):
        members.setdefault(one.group, []).append(index)
    return {
        group: least_error(
            [Member(weighed.watched[i].function, weighed.squares[i], weighed.slopes[:, i]) for i in found],
            ranges[group],
            group in centred,
        )
        for group, found in members.items()
    }


class Member(NamedTuple):
    """A tensor that has the range that is sought, and histograms of it over the widest range allowed.

    Attributes:
        function: errors count after it.
        squares: (bins,) sums of squared slopes: what independent errors do.
        slopes: (images, bins) sums of slopes: what errors of one sign do.
    """

    function: Function
    squares: np.ndarray
    slopes: np.ndarray


def least_error(members: Sequence[Member], bounds: Range, symmetric: bool = False) -> Range:
    """The range that causes the least squared error at the outputs after rounding and clipping.

    Args:
        members: the tensors that have the range.
        bounds: the widest range allowed.
        symmetric: whether zero has to be in its middle.
    """
    edges = np.linspace(*bounds, BINS + 1)
    centres = (edges[1:] + edges[:-1]) / 2
    shares = np.linspace(0, 1, CANDIDATES + 1)[1:]
    lows, highs = bounds[0] * shares, bounds[1] * shares
    lows, highs = (ends if ends.any() else np.zeros(1) for ends in (lows, highs))
    images = len(members[0].slopes)
    below, above = np.zeros((len(lows), images)), np.zeros((len(highs), images))
    inside = np.zeros(BINS)
    for function, squares, slopes in members:
        values = function(centres)
        inside += squares * np.square(np.gradient(values, centres))
        below += (values - function(lows)[:, None]) * (centres < lows[:, None]) @ slopes.T
        above += (values - function(highs)[:, None]) * (centres > highs[:, None]) @ slopes.T
    if not inside.any():
        return bounds
    total = np.concatenate([[0.0], np.cumsum(inside)])
    rounded = total[np.searchsorted(edges, highs, "right") - 1][None] - total[np.searchsorted(edges, lows)][:, None]
    steps = (highs[None] - lows[:, None]) / 255
    if symmetric:
        steps = np.maximum(-lows[:, None] / 128, highs[None] / 127)
    clipped = [np.square(ends).mean(1) for ends in (below, above)]
    errors = clipped[0][:, None] + clipped[1][None] + rounded * np.square(steps) / 12
    low, high = np.unravel_index(np.argmin(errors), errors.shape)
    found = float(lows[low]), float(highs[high])
    return balanced(found) if symmetric else found

"""How much an error of each value of a tensor does to the outputs of the network, as histograms."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from keras_yolo_backbones.graph.ir import Graph, Node, Value
from keras_yolo_backbones.graph.running import watching
from keras_yolo_backbones.quantization.calibration import Calibration
from keras_yolo_backbones.quantization.kernels import QUANTIZED
from keras_yolo_backbones.quantization.lower import activation_of
from keras_yolo_backbones.quantization.observe import ends_of, widen
from keras_yolo_backbones.quantization.ranges import Range

BINS = 2048
"""Resolution of the weighted histograms."""

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

    An image's histograms are over its own values; `over` counts them once more over a range that holds those of all.

    Attributes:
        watched: the tensors.
        seen: group -> its smallest and largest value; 0 is always inside.
        powers: layer with a kernel -> mean square of each channel of its input.
    """

    def __init__(self, graph: Graph, watched: Sequence[Watched], images: Calibration) -> None:
        kernels = [node for node in graph.nodes if type(node.layer) in QUANTIZED]
        returned = keras.tree.flatten(graph.outputs)
        asked = [
            *(Value(one.node, 0) for one in watched),
            *(Value(one.end, 0) for one in watched),
            *(node.inputs[0] for node in kernels),
            *returned,
        ]
        run = watching(graph, asked)
        first, second, third = len(watched), 2 * len(watched), 2 * len(watched) + len(kernels)

        @tf.function(autograph=False)
        def measure(batch: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
            with tf.GradientTape() as tape:
                tape.watch(batch)
                tensors = run(batch)
                combined = tf.add_n([_random_sum(tensor, seed + i) for i, tensor in enumerate(tensors[third:])])
            ends = tensors[first:second]
            slopes = tape.gradient(combined, ends, unconnected_gradients=tf.UnconnectedGradients.ZERO)
            slopes = [_counted(tensor, slope) for tensor, slope in zip(tensors[:first], slopes, strict=True)]
            bounds = [ends_of(tensor) for tensor in tensors[:first]]
            rows = [binned(tensors[i], slopes[i], bounds[i]) for i in range(first)]
            axes = [list(range(len(tensor.shape) - 1)) for tensor in tensors[second:third]]
            powers = [
                tf.reduce_mean(tf.square(tensor), axis)
                for tensor, axis in zip(tensors[second:third], axes, strict=True)
            ]
            return tf.stack(rows), tf.stack(bounds), powers

        self.watched = watched
        self._rows: np.ndarray = np.zeros((len(images), len(watched), 2, BINS), np.float32)
        self._ends: np.ndarray = np.zeros((len(images), len(watched), 2))
        self.seen: dict[str, Range] = {}
        powers: list[np.ndarray] = [np.zeros(()) for _ in kernels]
        for index in range(len(images)):
            rows, bounds, found = measure(tf.constant(images[index]), tf.constant(index * len(returned)))
            self._rows[index], self._ends[index] = rows, bounds
            widen(self.seen, zip((one.group for one in watched), self._ends[index], strict=True))
            powers = [total + power.numpy() / len(images) for total, power in zip(powers, found, strict=True)]
        self.powers = {node.layer.name: power for node, power in zip(kernels, powers, strict=True)}

    def over(self, index: int, bounds: Range) -> tuple[np.ndarray, np.ndarray]:
        """Of one of the tensors: (BINS,) sums of squared slopes, their mean over images; (images, BINS) sums of slopes.

        Args:
            index: of the tensor in `watched`.
            bounds: the range that the bins are over.
        """
        low, high = bounds
        squares, slopes = np.zeros(BINS), np.zeros((len(self._rows), BINS))
        for image, (ends, rows) in enumerate(zip(self._ends[:, index], self._rows[:, index], strict=True)):
            bins = ((centres(*ends) - low) * (BINS / (high - low))).astype(int).clip(0, BINS - 1)
            squares += np.bincount(bins, rows[0], BINS) / len(self._rows)
            slopes[image] = np.bincount(bins, rows[1], BINS)
        return squares, slopes


def centres(low: float, high: float) -> np.ndarray:
    """The middle of each bin of a range."""
    edges = np.linspace(low, high, BINS + 1)
    return np.asarray((edges[1:] + edges[:-1]) / 2)


def _counted(tensor: tf.Tensor, slopes: tf.Tensor) -> tf.Tensor:
    """The slopes of values that rounding changes: a ReLU's zeros stay what they are in every range."""
    return tf.where(tf.math.is_finite(slopes) & (tensor != 0), slopes, 0.0)


def _random_sum(tensor: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """The sum of all values with random signs, in units of the tensor's power."""
    signs = tf.sign(tf.random.stateless_uniform(tf.shape(tensor), tf.stack([seed, 0]), -1.0, 1.0))
    power = tf.stop_gradient(tf.reduce_sum(tf.square(tensor))) + 1e-12
    return tf.reduce_sum(tensor * signs) / tf.sqrt(power)


def binned(tensor: tf.Tensor, slopes: tf.Tensor, ends: tf.Tensor) -> tf.Tensor:
    """(2, BINS): the sums of squared slopes and of slopes of the values in each bin; `ends` is `ends_of(tensor)`."""
    low, high = tf.unstack(ends)
    place = (tensor - low) * tf.math.divide_no_nan(float(BINS), high - low)
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

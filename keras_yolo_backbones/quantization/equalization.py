"""Equalization: channels of one tensor brought to like sizes by factors that the next convolution takes back.

Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (2019), with the sizes of
channels measured on images instead of derived from weights, and factors that are powers of two: nothing is rounded.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_yolo_backbones.arguments import check_model
from keras_yolo_backbones.graph.fuse import fuse
from keras_yolo_backbones.graph.ir import Graph, Node, Value
from keras_yolo_backbones.graph.read import read
from keras_yolo_backbones.graph.running import require_tensorflow, watching
from keras_yolo_backbones.graph.signature import image_input
from keras_yolo_backbones.quantization.calibration import Calibration, calibration_images
from keras_yolo_backbones.quantization.lower import activation_of

_LINEAR = ("linear", "relu", "leaky_relu")
"""Activations that a positive factor on a channel passes through."""

_PASSING = (keras.layers.ZeroPadding2D, keras.layers.MaxPooling2D, keras.layers.AveragePooling2D)
"""Layers that compute each channel by itself, linearly in a positive factor."""

_MOST = 6
"""Factors are between 2⁻⁶ and 2⁶."""


class _Pair(NamedTuple):
    """Two convolutions with nothing but channelwise linear layers between them; `end` is the last of these."""

    first: keras.layers.Layer
    end: Node
    second: keras.layers.Layer


def equalize(model: keras.Model, images: Any, *, image_size: int | tuple[int, int] | None = None) -> keras.Model:
    """The fused model, with the channels between pairs of convolutions brought to like sizes.

    A pair has no activation between, or a ReLU or leaky ReLU, and nothing else uses what is between. SiLU, ReLU6 and
    other curves are not linear in a factor: a network that has only these comes back as `fuse` makes it. One scale then
    fits all channels of the tensor between better; pass the result to `plan`, `quantize_aware` or `export_tflite`.

    Args:
        model: a float functional model with one image input; left untouched.
        images: as calibration images.
        image_size: side or (height, width), for a model that leaves them open.

    Returns:
        A model with the same inputs, output names and numbers, bit for bit: all factors are powers of two.

    Raises:
        CalibrationError: images that cannot be used.
        GraphError: the model cannot be fused.
    """
    require_tensorflow()
    check_model(model)
    signature = image_input(model)
    samples = calibration_images(images, shape=signature.sized(image_size), preprocessing=signature.preprocessing)
    fused = fuse(model)
    graph = read(fused)
    pairs = [pair for node in graph.nodes if (pair := _pair(graph, node))]
    if pairs:
        for pair, sizes in zip(pairs, _sizes(graph, pairs, samples), strict=True):
            _apply(pair, np.exp2(_exponents(sizes, _weights_by_input(pair.second))))
    return fused


def _pair(graph: Graph, node: Node) -> _Pair | None:
    """The pair that begins at `node`."""
    first = node.layer
    if not isinstance(first, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)) or not graph.called_once(first):
        return None
    if isinstance(first, keras.layers.Conv2DTranspose) or _function(first.activation) not in _LINEAR:
        return None
    end, following = node, graph.only_consumer(node)
    while following is not None and (
        activation_of(following.layer) in _LINEAR[1:] or type(following.layer) in _PASSING
    ):
        end, following = following, graph.only_consumer(following)
    if following is None or not graph.called_once(following.layer):
        return None
    second = following.layer
    plain = type(second) is keras.layers.Conv2D and second.groups == 1
    return _Pair(first, end, second) if plain or type(second) is keras.layers.DepthwiseConv2D else None


def _function(activation: Any) -> str:
    return getattr(activation, "__name__", "unknown")


def _sizes(graph: Graph, pairs: list[_Pair], images: Calibration) -> list[np.ndarray]:
    """For each pair the largest absolute value of each channel between its convolutions."""
    ends = watching(graph, [Value(pair.end, 0) for pair in pairs])

    @tf.function(autograph=False)
    def measure(batch: tf.Tensor) -> list[tf.Tensor]:
        return [tf.reduce_max(tf.abs(t), (0, 1, 2)) for t in ends(batch)]

    largest = [np.zeros(())] * len(pairs)
    for index in range(len(images)):
        found = measure(tf.constant(images[index]))
        largest = [np.maximum(old, new.numpy()) for old, new in zip(largest, found, strict=True)]
    return largest


def _weights_by_input(layer: keras.layers.Layer) -> np.ndarray | None:
    """For each input channel the largest weight, each in units of its filter's largest; `None` where each has its own
    step."""
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return None
    kernel = np.abs(np.asarray(layer.kernel))
    return (kernel / np.maximum(kernel.max((0, 1, 2)), 1e-12)).max((0, 1, 3))


def _exponents(sizes: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """The powers of two that channels are divided by: half of the way goes to the tensor, half to the next kernel."""
    used = sizes > 0 if weights is None else (sizes > 0) & (weights > 0)
    if not used.any():
        return np.zeros(len(sizes))
    found = np.log2(np.where(used, sizes, 1.0))
    if weights is not None:
        found = (found - np.log2(np.where(used, weights, 1.0))) / 2
    found = np.where(used, found - np.median(found[used]), 0.0)
    return np.clip(np.rint(found), -_MOST, _MOST)


def _apply(pair: _Pair, factors: np.ndarray) -> None:
    """Divide the channels after the first convolution, multiply them in the second."""
    kernel, *bias = pair.first.get_weights()
    shape = kernel.shape[-2:] if isinstance(pair.first, keras.layers.DepthwiseConv2D) else (-1,)
    pair.first.set_weights(
        [np.float32(kernel / factors.reshape(shape)), *(np.float32(part / factors) for part in bias)]
    )
    kernel, *bias = pair.second.get_weights()
    pair.second.set_weights([np.float32(kernel * factors[:, None]), *bias])

"""The network in operators that TensorFlow's CPU kernels fuse: padding, convolution, bias and activation in one.

Keras writes SiLU with a factor of 1 and a node for its gradient. TensorFlow's optimizer removes both, but only after it
has looked for what it can fuse, so that each activation reads and writes its map once more. Written plainly, SiLU
costs nothing beside its convolution, as ReLU6, leaky ReLU and Mish do anyway. Hard swish and GELU stay operators of
their own.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from keras_yolo_backbones.graph.copies import OnePerLayer, unbuilt_copy
from keras_yolo_backbones.graph.fold import pass_through
from keras_yolo_backbones.graph.ir import Graph, Node
from keras_yolo_backbones.graph.read import read
from keras_yolo_backbones.graph.rewrite import rebuild
from keras_yolo_backbones.marks import unmarked
from keras_yolo_backbones.quantization.lower import activation_of

Padding = str | list[list[int]]
"""As `tf.nn.conv2d` takes it."""


def fusable(model: keras.Model) -> keras.Model:
    """The same function as `model`, for a graph that is only run; its layers are not for training or saving.

    - A `ZeroPadding2D` goes into the convolution that alone uses it. Depthwise convolutions keep theirs: on one with
      explicit padding, TensorFlow's optimizer ends the process.
    - A depthwise convolution is held apart from what follows, unless that is its activation: of one in a sum, x +
      conv(y), the optimizer makes an operator without a name, fails, and the whole network runs as it was written.
    - A convolution with groups becomes several without. Keras compiles it with XLA, which TF Serving refuses to do
      unless it is told to.

    Args:
        model: a functional model; left untouched.
    """
    graph, once, gaps = read(model), OnePerLayer(), OnePerLayer()
    convs = {node: _padding(graph, node) for node in graph.nodes if _is_conv(node.layer)}
    absorbed = {node.inputs[0].node for node, padding in convs.items() if not isinstance(padding, str)}

    def rule(node: Node, args: tuple[Any, ...], _: dict[str, Any]) -> Any:
        layer, name = node.layer, graph.label(node)
        if node in absorbed:
            return pass_through(args)
        if node in convs:
            made = once(layer, lambda: _conv(layer, name, convs[node], args[0].shape))
            return made(args[0])
        if type(layer) is keras.layers.DepthwiseConv2D and not _has_activation(graph, node):
            conv = once(layer, lambda: _with_weights_of(layer, unbuilt_copy(layer, name=name), args[0].shape))
            return gaps(layer, lambda: Apart(name=f"{name}.apart"))(conv(args[0]))
        if _is_silu(layer):
            policy = getattr(layer, "dtype_policy", None)  # operations have none, and cast nothing
            return once(layer, lambda: SiLU(name=name, dtype=policy, autocast=policy is not None))(args[0])
        return NotImplemented

    return rebuild(graph, rule)


def _silu(x: Any) -> Any:
    """x · sigmoid(x), in these two operators."""
    return x * tf.sigmoid(x)


class SiLU(keras.layers.Layer):
    """`_silu` as a layer."""

    def call(self, x: Any) -> Any:
        """Same shape and dtype as `x`."""
        return _silu(x)


class Apart(keras.layers.Layer):
    """What it is called on; the optimizer fuses nothing across it."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)

    def call(self, x: Any) -> Any:
        """`x`."""
        return _apart(x)


def _apart(x: Any) -> Any:
    return tf.ensure_shape(x, x.shape)


class PaddedConv2D(keras.layers.Conv2D):
    """A convolution that also pads with zeros, and computes its groups one by one.

    Attributes:
        explicit: zeros on each side of each axis, or TensorFlow's name of a rule.
    """

    explicit: Padding = "VALID"

    def call(self, inputs: Any) -> Any:
        """(batch, height, width, channels in) -> (batch, new height, new width, filters)."""
        kernel = keras.ops.convert_to_tensor(self.kernel)
        bias = keras.ops.convert_to_tensor(self.bias) if self.use_bias else None
        if self.groups == 1:
            return self.activation(self._plain(inputs, kernel, bias))
        if self._is_depthwise():
            kernel = tf.reshape(kernel, (*self.kernel_size, self.groups, self.filters // self.groups))
            x = tf.nn.depthwise_conv2d(inputs, kernel, (1, *self.strides, 1), self.explicit)
            return self.activation(_apart(_biased(x, bias)))
        biases = [None] * self.groups if bias is None else tf.split(bias, self.groups)
        parts = tf.split(inputs, self.groups, -1), tf.split(kernel, self.groups, -1), biases
        return self.activation(tf.concat([self._plain(*part) for part in zip(*parts, strict=True)], -1))

    def _plain(self, x: Any, kernel: Any, bias: Any) -> Any:
        return _biased(tf.nn.conv2d(x, kernel, self.strides, self.explicit, dilations=self.dilation_rate), bias)

    def _is_depthwise(self) -> bool:
        """Whether every channel is a group, in a form that TensorFlow's depthwise convolution takes."""
        return (
            self.groups == self.input_spec.axes[-1] > 1
            and isinstance(self.explicit, str)
            and self.strides[0] == self.strides[1]
            and self.dilation_rate == (1, 1)
        )

    def compute_output_shape(self, input_shape: Any) -> Any:
        """That of a convolution of the padded input."""
        if isinstance(self.explicit, str):
            return super().compute_output_shape(input_shape)
        batch, *sides, channels = input_shape
        zeros = map(sum, self.explicit[1:3])
        padded = (None if side is None else side + more for side, more in zip(sides, zeros, strict=True))
        return super().compute_output_shape((batch, *padded, channels))


def _biased(x: Any, bias: Any) -> Any:
    return x if bias is None else tf.nn.bias_add(x, bias)


def _is_conv(layer: Any) -> bool:
    """Whether `PaddedConv2D` computes what this layer does."""
    return type(layer) is keras.layers.Conv2D and layer.data_format == "channels_last"


def _is_silu(layer: Any) -> bool:
    """Whether this is SiLU, as a layer or as an operation."""
    if type(layer) is keras.layers.Activation:
        return layer.activation is keras.activations.silu
    return isinstance(layer, keras.Operation) and type(layer).__name__ == "Silu" and activation_of(layer) == "silu"


def _has_activation(graph: Graph, conv: Node) -> bool:
    """Whether an activation is all that follows a convolution, in its own layer or the next."""
    if conv.layer.activation is not keras.activations.linear:
        return True
    after = graph.only_consumer(conv)
    return after is not None and activation_of(after.layer) not in (None, "linear")


def _padding(graph: Graph, conv: Node) -> Padding:
    """The padding of a convolution, together with that of a layer of zeros before it."""
    pad = conv.inputs[0].node
    if (
        conv.layer.padding == "valid"
        and conv.layer.groups == 1
        and graph.called_once(conv.layer)
        and type(pad.layer) is keras.layers.ZeroPadding2D
        and pad.layer.data_format == "channels_last"
        and graph.only_consumer(pad) is conv
    ):
        return [[0, 0], *map(list, pad.layer.padding), [0, 0]]
    return conv.layer.padding.upper()


def _conv(layer: Any, name: str, padding: Padding, shape: Any) -> keras.Layer:
    """A copy of a convolution, with its weights, that pads by itself."""
    made = unbuilt_copy(layer, PaddedConv2D, config=unmarked(layer.get_config()), name=name)
    made.explicit = padding
    if made.activation is keras.activations.silu:
        made.activation = _silu
    return _with_weights_of(layer, made, shape)


def _with_weights_of(layer: Any, made: Any, shape: Any) -> Any:
    """`made`, built for inputs of a shape, with the weights of `layer`."""
    made.build(shape)
    made.set_weights(layer.get_weights())
    return made

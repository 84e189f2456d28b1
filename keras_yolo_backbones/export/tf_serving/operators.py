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

from keras_yolo_backbones.graph.copies import copied, unbuilt_copy
from keras_yolo_backbones.graph.fold import pass_through
from keras_yolo_backbones.graph.ir import Graph, Node
from keras_yolo_backbones.graph.read import read
from keras_yolo_backbones.graph.rewrite import rebuild
from keras_yolo_backbones.marks import unmarked

Padding = str | list[list[int]]
"""As `tf.nn.conv2d` takes it."""


def fusable(model: keras.Model) -> keras.Model:
    """The same function as `model`, for a graph that is only run; its layers are not for training or saving.

    - A `ZeroPadding2D` goes into the convolution that alone uses it. Depthwise convolutions keep theirs: on one with
      explicit padding, TensorFlow's optimizer ends the process.
    - A sum with a depthwise convolution, x + conv(y), is written x − (−conv)(y), the same to the bit: of the sum, the
      optimizer makes an operator without a name, fails, and the whole network runs as it was written.

    Args:
        model: a functional model; left untouched.
    """
    graph = read(model)
    convs = {node: _padding(graph, node) for node in graph.nodes if _is_plain_conv(graph, node)}
    absorbed = {node.inputs[0].node for node, padding in convs.items() if not isinstance(padding, str)}
    sums = {node: term for node in graph.nodes if (term := _depthwise_term(graph, node))}
    negated = set(sums.values())

    def rule(node: Node, args: tuple[Any, ...], _: dict[str, Any]) -> Any:
        layer, name = node.layer, graph.label(node)
        if node in absorbed:
            return pass_through(args)
        if node in convs:
            return _conv(layer, name, convs[node])(args[0])
        if node in negated:
            return copied(layer, weights=[-weight for weight in layer.get_weights()], name=name)(args[0])
        if node in sums:
            last = node.inputs[1].node is sums[node]
            terms = args[0] if last else args[0][::-1]
            return keras.layers.Subtract(name=name, dtype=layer.dtype_policy)(terms)
        if type(layer) is keras.layers.Activation and layer.activation is keras.activations.silu:
            return SiLU(name=name, dtype=layer.dtype_policy)(args[0])
        return NotImplemented

    return rebuild(graph, rule)


class SiLU(keras.layers.Layer):
    """x · sigmoid(x), in these two operators."""

    def call(self, x: Any) -> Any:
        """Same shape and dtype as `x`."""
        return x * tf.sigmoid(x)


class PaddedConv2D(keras.layers.Conv2D):
    """A convolution that also pads with zeros.

    Attributes:
        explicit: zeros on each side of each axis, or TensorFlow's name of a rule.
    """

    explicit: Padding = "VALID"

    def call(self, inputs: Any) -> Any:
        """(batch, height, width, channels in) -> (batch, new height, new width, filters)."""
        x = tf.nn.conv2d(inputs, keras.ops.convert_to_tensor(self.kernel), self.strides, self.explicit)
        if self.use_bias:
            x = tf.nn.bias_add(x, keras.ops.convert_to_tensor(self.bias))
        return self.activation(x)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """That of a convolution of the padded input."""
        if isinstance(self.explicit, str):
            return super().compute_output_shape(input_shape)
        batch, *sides, channels = input_shape
        zeros = map(sum, self.explicit[1:3])
        padded = (None if side is None else side + more for side, more in zip(sides, zeros, strict=True))
        return super().compute_output_shape((batch, *padded, channels))


def _is_plain_conv(graph: Graph, node: Node) -> bool:
    """Whether `tf.nn.conv2d` computes what this layer does."""
    layer = node.layer
    return (
        type(layer) is keras.layers.Conv2D
        and layer.data_format == "channels_last"
        and layer.groups == 1
        and layer.dilation_rate == (1, 1)
        and graph.called_once(layer)
    )


def _padding(graph: Graph, conv: Node) -> Padding:
    """The padding of a convolution, together with that of a layer of zeros before it."""
    pad = conv.inputs[0].node
    if (
        conv.layer.padding == "valid"
        and type(pad.layer) is keras.layers.ZeroPadding2D
        and pad.layer.data_format == "channels_last"
        and graph.only_consumer(pad) is conv
    ):
        return [[0, 0], *map(list, pad.layer.padding), [0, 0]]
    return conv.layer.padding.upper()


def _conv(layer: Any, name: str, padding: Padding) -> keras.Layer:
    """A copy of a convolution, with its weights, that pads by itself."""
    made = unbuilt_copy(layer, PaddedConv2D, config=unmarked(layer.get_config()), name=name)
    made.explicit = padding
    made.build(layer.input.shape)
    made.set_weights(layer.get_weights())
    return made


def _depthwise_term(graph: Graph, total: Node) -> Node | None:
    """The term of a sum of two that is a depthwise convolution with a bias, used by nothing else."""
    if type(total.layer) is keras.layers.Add and len(total.inputs) == 2 and graph.called_once(total.layer):
        for node in (value.node for value in total.inputs):
            layer = node.layer
            if (
                type(layer) is keras.layers.DepthwiseConv2D
                and layer.use_bias
                and layer.activation is keras.activations.linear
                and graph.called_once(layer)
                and graph.only_consumer(node) is total
            ):
                return node
    return None

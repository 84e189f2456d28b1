"""Adding up parallel convolutions: RepVGG's branches become one convolution."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np

from keras_yolo_backbones.graph.fold import Replacement, affine, folds_into, is_norm, norm_axis, with_weights
from keras_yolo_backbones.graph.ir import Graph, Node, Value


@dataclasses.dataclass(frozen=True)
class Branch:
    """One way from a tensor to a sum: a convolution, a batch norm, or nothing at all.

    Attributes:
        source: the tensor.
        strides: of the convolution, along height and width.
        kernel: (height, width, channels in, channels out), depthwise (height, width, channels, 1); float64.
        bias: one entry a channel; float64.
        before: zeros that the convolution sees above and left of the tensor.
    """

    source: Value
    strides: tuple[int, int]
    kernel: np.ndarray
    bias: np.ndarray
    before: tuple[int, int]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the kernel."""
        return self.kernel.shape[:2]


def parallel_convs(graph: Graph) -> dict[Node, Replacement]:
    """The rule: convolutions of one tensor that only meet in a sum go into the largest of them.

    So do a batch norm of that tensor and the tensor itself, which are 1×1 convolutions. Batch norms after the
    convolutions have to be folded before.
    """
    found: dict[Node, Replacement] = {}
    for total in graph.nodes:
        if type(total.layer) is not keras.layers.Add or not graph.called_once(total.layer):
            continue
        values = total.inputs
        convs = {value: branch for value in values if (branch := _conv(graph, value, total))}
        if not convs or len(set(values)) < len(values) or not _one_shape(values):
            continue
        host = max(convs, key=lambda value: convs[value].size)
        others = [convs.get(value) or _identity(graph, value, total, host, convs[host]) for value in values]
        kernel, bias = np.zeros_like(convs[host].kernel), np.zeros_like(convs[host].bias)
        if all(_added(branch, convs[host], kernel, bias) for branch in others):
            found[host.node] = with_weights(host.node.layer, graph.label(host.node), [kernel, bias])
            found[total] = _taking(values.index(host))
    return found


def _conv(graph: Graph, value: Value, total: Node) -> Branch | None:
    """The branch that ends in a convolution which nothing but `total` uses."""
    layer = value.node.layer
    if not (folds_into(graph, value.node, total) and _plain(layer)):
        return None
    source, before = value.node.inputs[0], (0, 0)
    if layer.padding == "same":
        before = ((layer.kernel_size[0] - 1) // 2, (layer.kernel_size[1] - 1) // 2)
    pad = source.node
    if type(pad.layer) is keras.layers.ZeroPadding2D and pad.layer.data_format == "channels_last":
        (top, _), (left, _) = pad.layer.padding
        source, before = pad.inputs[0], (before[0] + top, before[1] + left)
    kernel, *rest = (np.asarray(weight, np.float64) for weight in layer.get_weights())
    bias = rest[0] if rest else np.zeros(layer.output.shape[-1])
    return Branch(source, tuple(layer.strides), kernel, bias, before)


def _plain(layer: keras.Layer) -> bool:
    """Whether `layer` is a convolution without groups, gaps, or a padding that depends on the image's size."""
    if type(layer) is keras.layers.Conv2D:
        whole = layer.groups == 1
    elif type(layer) is keras.layers.DepthwiseConv2D:
        whole = layer.depth_multiplier == 1
    else:
        return False
    strides = set(layer.strides) if layer.padding == "same" else {1}
    return whole and layer.data_format == "channels_last" and set(layer.dilation_rate) | strides == {1}


def _identity(graph: Graph, value: Value, total: Node, host: Value, conv: Branch) -> Branch | None:
    """The branch that is a batch norm or nothing, as a 1×1 convolution of the kind that `host` is."""
    channels = conv.bias.shape[0]
    scale, shift, source = np.ones(channels), np.zeros(channels), value
    if value != conv.source:
        norm = value.node
        if not is_norm(graph, norm) or graph.only_consumer(norm) is not total or norm_axis(norm.layer) != 3:
            return None
        scale, shift = affine(norm.layer)
        source = norm.inputs[0]
    depthwise = isinstance(host.node.layer, keras.layers.DepthwiseConv2D)
    kernel = scale[:, np.newaxis] if depthwise else np.diag(scale)
    return Branch(source, (1, 1), kernel[np.newaxis, np.newaxis], shift, (0, 0))


def _one_shape(values: list[Value]) -> bool:
    shapes = {keras.tree.flatten(value.node.layer.output)[value.index].shape for value in values}
    return len(values) > 1 and len(shapes) == 1


def _added(branch: Branch | None, host: Branch, kernel: np.ndarray, bias: np.ndarray) -> bool:
    """Add `branch` to `kernel` and `bias`, which are aligned as `host`; false if it does not fit in there."""
    if branch is None or (branch.source, branch.strides) != (host.source, host.strides):
        return False
    if branch.kernel.shape[2:] != host.kernel.shape[2:]:
        return False
    (top, left), (height, width) = (host.before[axis] - branch.before[axis] for axis in (0, 1)), branch.size
    if min(top, left) < 0 or top + height > host.size[0] or left + width > host.size[1]:
        return False
    kernel[top : top + height, left : left + width] += branch.kernel
    bias += branch.bias
    return True


def _taking(index: int) -> Replacement:
    """In place of a sum of which only one summand is left."""
    return lambda args: args[0][index]

"""Making a plan: lower the model, find what shares a scale, run calibration images through it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from keras_yolo_backbones.arguments import check_model
from keras_yolo_backbones.errors import ArgumentError, GraphError, one_of
from keras_yolo_backbones.graph.ir import Graph, Node, Value
from keras_yolo_backbones.graph.read import read
from keras_yolo_backbones.graph.running import require_tensorflow, watching
from keras_yolo_backbones.graph.signature import image_input
from keras_yolo_backbones.quantization.biases import mean_shifts
from keras_yolo_backbones.quantization.calibration import Calibration, calibration_images
from keras_yolo_backbones.quantization.choosing import choose
from keras_yolo_backbones.quantization.guard import guarded
from keras_yolo_backbones.quantization.kernels import QUANTIZED
from keras_yolo_backbones.quantization.layers import FakeQuant
from keras_yolo_backbones.quantization.lower import activation_of, lower, tensor_names
from keras_yolo_backbones.quantization.observe import NARROWING, extremes, histograms, kernel_limits
from keras_yolo_backbones.quantization.ranges import Plan, Range, balanced
from keras_yolo_backbones.quantization.scales import Scales
from keras_yolo_backbones.quantization.weighing import MOST, Weighed, evenly, watch

METHODS = ("auto", *NARROWING)
DEFAULT_METHOD = "auto"

_LEAST_SCORES = 1e-3
"""Width of a range: a softmax of scores within it is uniform to a thousandth, a quarter of int8's step."""


def plan(
    model: keras.Model,
    calibration: Any,
    *,
    method: str = DEFAULT_METHOD,
    image_size: int | tuple[int, int] | None = None,
    symmetric: bool = False,
) -> Plan:
    """The ranges that an integer version of `model` needs.

    Args:
        model: a float functional model with one image input: a backbone, or one with a neck and head. Untouched.
        calibration: representative images: a folder, an array or an iterable of batches; see `calibration_images`.
        method: how ranges are chosen. `"auto"`: by the error that they cause at the outputs of the network, those of
            kernels too; biases then take out the shift that rounding leaves in the mean of a channel. Where images have
            little contrast, and `"minmax"` is better with more of it, the plan is that one. `"minmax"`: the smallest
            and largest value seen. `"percentile"`: the same without one value in 100 000 at either end. `"mse"`: by the
            squared error of the tensor itself, those of kernels too.
        image_size: side or (height, width), for a model that leaves them open.
        symmetric: zero in the middle of every range, so that all zero points are 0, as TensorRT asks. One-sided tensors
            (images, ReLU) then have half as many steps. Sigmoid and softmax keep the scale that TFLite fixes. Without
            it, only the second factors of matrix products (attention) have zero in the middle, see `Scales.centred`.

    Raises:
        ArgumentError: an unknown method, or a model that is fake-quantized already.
        CalibrationError: calibration images that cannot be used.
        GraphError: a layer that quantization does not know, named; or a model without any layer that int8 rounds.
    """
    return plan_lowered(lowered(model), model, calibration, method=method, image_size=image_size, symmetric=symmetric)


def lowered(model: keras.Model) -> keras.Model:
    """`lower(model)`, after seeing that it is a float model."""
    require_tensorflow()
    check_model(model)
    if any(isinstance(layer, FakeQuant) for layer in model.layers):
        raise ArgumentError(f"{model.name!r} is fake-quantized already; pass the float model.")
    return lower(model)


def plan_lowered(
    primitive: keras.Model,
    model: keras.Model,
    calibration: Any,
    *,
    method: str,
    image_size: int | tuple[int, int] | None,
    symmetric: bool = False,
) -> Plan:
    """`plan`, given what `lower` made of the model."""
    if method not in METHODS:
        raise one_of("method", method, METHODS)
    images = image_input(model)
    samples = calibration_images(calibration, shape=images.sized(image_size), preprocessing=images.preprocessing)
    graph = read(primitive)
    scales, names = Scales(graph, images.preprocessing.range, symmetric=symmetric), tensor_names(graph)
    kept = [node for node in graph.nodes if not scales.absorbed(node)]
    groups = {node: names[scales.group(node)] for node in kept}
    ranges = {groups[node]: fixed for node in kept if (fixed := scales.fixed(node))}
    seen = [node for node in kept if scales.rounds(node) and groups[node] not in ranges]
    if not seen:
        raise GraphError(
            f"{model.name!r} has no convolution, no dense layer and no ReLU or the like: a plan would choose nothing."
        )
    centred = frozenset(groups[node] for node in seen if scales.centred(node))
    observed = _Observed(graph, seen, [groups[node] for node in seen], samples, centred)

    def made(method: str, found: dict[str, Range], powers: Mapping[str, np.ndarray]) -> Plan:
        found = ranges | found
        found |= {groups[node]: _wide(found[groups[node]]) for node in seen if _is_score(graph, node)}
        return Plan(
            model=model.name,
            method=method,
            images=len(samples),
            tensors={names[node]: groups[node] for node in kept},
            ranges={group: found[group] for group in dict.fromkeys(groups.values())},
            kernels={
                layer.name: _limits(layer, method, powers.get(layer.name))
                for layer in primitive.layers
                if type(layer) in QUANTIZED
            },
        )

    if method != "auto":
        return made(method, observed.narrowed(method), {})
    errors = observed.weighed()
    widest = observed.widest(errors)
    chosen = made("auto", choose(errors, widest, centred=centred), errors.powers)
    chosen = dataclasses.replace(chosen, biases=mean_shifts(graph, chosen, evenly(samples)))
    return guarded(chosen, lambda: made("minmax", widest, {}), primitive, samples)


@dataclasses.dataclass(frozen=True)
class _Observed:
    """The tensors that int8 rounds, while calibration images run through the network.

    Attributes:
        graph: of the lowered model.
        nodes: whose outputs are watched.
        groups: the group of each.
        samples: the images.
        centred: the groups that have zero in the middle of their range.
    """

    graph: Graph
    nodes: list[Node]
    groups: list[str]
    samples: Calibration
    centred: frozenset[str]

    @functools.cached_property
    def _watched(self) -> Callable[[Any], list[Any]]:
        return watching(self.graph, [Value(node, 0) for node in self.nodes])

    def widest(self, errors: Weighed | None = None) -> dict[str, Range]:
        """Smallest and largest value of each group; `errors` knows those of the images that it was made on."""
        rest, known = (self.samples.split(MOST)[1], errors.seen) if errors else (self.samples, {})
        return self._allowed(extremes(self._watched, self.groups, rest, known))

    def narrowed(self, method: str) -> dict[str, Range]:
        """The ranges by one of the methods that look at a tensor alone."""
        widest, narrow = self.widest(), NARROWING[method]
        if narrow is None:
            return widest
        counts = histograms(self._watched, self.groups, widest, self.samples)
        return self._allowed({group: narrow(counts[group], bounds) for group, bounds in widest.items()})

    def weighed(self) -> Weighed:
        """Histograms that count values by what their errors do to the outputs."""
        watched = watch(self.graph, dict(zip(self.nodes, self.groups, strict=True)), self.nodes)
        return Weighed(self.graph, watched, evenly(self.samples))

    def _allowed(self, ranges: dict[str, Range]) -> dict[str, Range]:
        return {group: balanced(bounds) if group in self.centred else bounds for group, bounds in ranges.items()}


def _is_score(graph: Graph, node: Node) -> bool:
    """Whether a softmax is taken of what `node` computes."""
    after = graph.only_consumer(node)
    return after is not None and activation_of(after.layer) == "softmax"


def _wide(bounds: Range) -> Range:
    """A range of scores that is as wide as a softmax can tell: TFLite Micro aborts on steps below 2^-26.

    Only networks that were never trained have such scores.
    """
    stretched = max(1.0, _LEAST_SCORES / (bounds[1] - bounds[0]))
    return bounds[0] * stretched, bounds[1] * stretched


def _limits(layer: keras.Layer, method: str, powers: np.ndarray | None) -> tuple[float, ...]:
    _, axes = QUANTIZED[type(layer)]
    kernel = np.asarray(layer.get_weights()[0])
    limits = kernel_limits(kernel, axes, least_error=method in ("auto", "mse"), powers=powers)
    return tuple(float(limit) for limit in limits)

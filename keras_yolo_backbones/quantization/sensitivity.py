"""How much noise of a level is gone when one unit of a network is not rounded."""

from __future__ import annotations

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_yolo_backbones.graph.cost import macs_of
from keras_yolo_backbones.graph.ir import Graph, Value
from keras_yolo_backbones.graph.read import read
from keras_yolo_backbones.graph.running import run
from keras_yolo_backbones.graph.signature import named_outputs
from keras_yolo_backbones.quantization.calibration import Calibration
from keras_yolo_backbones.quantization.kernels import FLOAT
from keras_yolo_backbones.quantization.layers import FakeQuant
from keras_yolo_backbones.quantization.segments import Call, float_calls, whole

TRIED = 4
"""Images that units are tried on."""


class Unit(NamedTuple):
    """A convolution and what belongs to it by name.

    Attributes:
        name: as `keep_float` takes it.
        gain: share of the level's noise that is gone when the unit alone is computed in float.
        macs: share of the network's multiply-accumulates.
    """

    name: str
    gain: float
    macs: float


def units_by_gain(
    aware: keras.Model, base: keras.Model, wanted: keras.Model, images: Calibration, level: str
) -> list[Unit]:
    """The units whose float form lowers the noise of `level`, those first that do it for the fewest operations.

    Args:
        aware: from `quantize_aware`.
        base: the lowered float network whose weights units in float have.
        wanted: the float model, for the numbers to reach.
        images: that noise is measured on.
        level: name of an output.
    """
    graph = read(aware)
    floats = float_calls(graph, base)
    part = whole(graph)
    batch = images.chosen(range(min(TRIED, len(images)))).batch()
    goal = run(wanted, batch)[level]
    at = [part.end, *part.returned].index(_value(graph, aware, level))

    def noise(calls: dict[int, Call]) -> float:
        found = part.run(tf.constant(batch), calls)[at]
        return float(np.mean(np.square(np.asarray(found) - goal)))

    before = noise({})
    layers = {id(node.layer): node.layer for node in graph.nodes}.values()
    kernels = [layer for layer in layers if type(layer) in FLOAT]
    total = sum(macs_of(layer) for layer in kernels)
    costs: dict[str, float] = {}
    for layer in kernels:
        name = unit_of(layer.name)
        costs[name] = costs.get(name, 0.0) + macs_of(layer) / total
    found = []
    for name, cost in costs.items():
        inside = _inside(graph, name)
        gain = 1 - noise({key: call for key, call in floats.items() if key in inside}) / before
        found.append(Unit(name, gain, cost))
    return sorted((unit for unit in found if unit.gain > 0), key=lambda unit: -unit.gain / unit.macs)


def _inside(graph: Graph, unit: str) -> set[int]:
    """The layers of a unit, without the rounding of what other units read: the file converts that to integers."""
    own = {node for node in graph.nodes if node.name == unit or node.name.startswith(f"{unit}.")}
    return {
        id(node.layer)
        for node in own
        if not isinstance(node.layer, FakeQuant) or (graph.consumers(node) and own.issuperset(graph.consumers(node)))
    }


def unit_of(name: str) -> str:
    """The unit of a convolution: `stage2.cv1` of `stage2.cv1.at0.conv`."""
    parts = name.split(".")
    while len(parts) > 1 and (parts[-1] in ("conv", "conv1x1") or parts[-1].startswith("at")):
        parts.pop()
    return ".".join(parts)


def _value(graph: Graph, aware: keras.Model, level: str) -> Value:
    outputs = graph.outputs
    if isinstance(outputs, dict):
        return outputs[level]
    return keras.tree.flatten(outputs)[list(named_outputs(aware)).index(level)]

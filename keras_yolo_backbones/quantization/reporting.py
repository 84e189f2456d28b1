"""Where an int8 file loses signal: its tensors against those of the float model, layer by layer and level by level."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_yolo_backbones.arguments import check_model
from keras_yolo_backbones.errors import ArgumentError
from keras_yolo_backbones.files import staged
from keras_yolo_backbones.graph.agreement import Agreement, agreement
from keras_yolo_backbones.graph.ir import Node, Value
from keras_yolo_backbones.graph.read import read
from keras_yolo_backbones.graph.rewrite import keep, rebuild
from keras_yolo_backbones.graph.running import run
from keras_yolo_backbones.graph.signature import image_input
from keras_yolo_backbones.quantization.calibration import calibration_images
from keras_yolo_backbones.quantization.int8_files import Int8File, open_int8
from keras_yolo_backbones.quantization.lower import lower, tensor_names

MOST = 16
"""Images that a report is made from, of those given."""


@dataclasses.dataclass(frozen=True)
class LayerLoss:
    """What int8 costs at one tensor.

    Attributes:
        name: of the layer whose output it is.
        snr_db: of the int8 tensor against the float one.
        drop_db: by how much that is below the weakest of the layer's inputs: the loss that arises here.
        cosine: between the two, as vectors.
        saturation: share of the float values that lie outside the tensor's range.
        dtype: what the file computes it in: `"int8"`, or `"float32"` for what `keep_float` named.
    """

    name: str
    snr_db: float
    drop_db: float
    cosine: float
    saturation: float
    dtype: str = "int8"


@dataclasses.dataclass(frozen=True)
class Report:
    """An int8 file against its float model.

    Attributes:
        file: name of the file.
        images: how many images were compared.
        levels: output name -> agreement.
        layers: in the network's order.
        size: of the file, in bytes.
        conversions: QUANTIZE and DEQUANTIZE operators in it.
    """

    file: str
    images: int
    levels: dict[str, Agreement]
    layers: list[LayerLoss]
    size: int
    conversions: int

    def worst(self, count: int = 5) -> list[LayerLoss]:
        """The layers where most signal is lost, most first."""
        return sorted(self.layers, key=lambda layer: -layer.drop_db)[:count]

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain data, for JSON."""
        return dataclasses.asdict(self) | {"worst": [layer.name for layer in self.worst()]}

    def gains(self, before: Report) -> dict[str, float]:
        """Output name -> by how many dB its signal-to-noise ratio is above that in `before`."""
        return {name: found.snr_db - before.levels[name].snr_db for name, found in self.levels.items()}

    def bought(self, before: Report) -> str:
        """What the float layers of this file brought and cost, against a file of the same model without them."""
        count = sum(layer.dtype == "float32" for layer in self.layers)
        cost = f"{self.conversions - before.conversions:+d} conversions, {(self.size - before.size) / 1e3:+.0f} kB"
        gains = ", ".join(f"{name} {gain:+.1f} dB" for name, gain in self.gains(before).items())
        return f"{count} tensors in float bring {gains}; {cost}"

    def __str__(self) -> str:
        header = f"{'SNR dB':>7} {'drop':>6} {'cosine':>7} {'clipped':>8}"
        lines = [f"{self.file} against float, {self.images} images", header]
        for layer in self.layers:
            mark = "  float" if layer.dtype == "float32" else "  ← worst" if layer in self.worst(3) else ""
            lines.append(_line(layer.snr_db, layer.drop_db, layer.cosine, layer.saturation, layer.name) + mark)
        for name, found in self.levels.items():
            lines.append(f"{found.snr_db:7.1f} {'':>6} {found.cosine:7.4f} {'':>8}  {name} (output)")
        return "\n".join(lines)

    def save_plot(self, path: str | os.PathLike[str]) -> None:
        """Draw the signal-to-noise ratio along the network, the worst layers named; needs matplotlib."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(max(8, len(self.layers) / 6), 4.5), layout="constrained")
        axes = figure.subplots()
        axes.plot([layer.snr_db for layer in self.layers], marker=".")
        for layer in self.worst():
            position = self.layers.index(layer)
            axes.annotate(layer.name, (position, layer.snr_db), rotation=45, fontsize=7, color="tab:red")
        for number, (name, found) in enumerate(self.levels.items(), start=1):
            label = f"{name} {found.snr_db:.1f} dB"
            axes.axhline(found.snr_db, linestyle=":", linewidth=1.2, color=f"C{number}", label=label)
        axes.set(xlabel="layer, in the network's order", ylabel="SNR of int8 against float, dB", title=self.file)
        axes.legend()
        with staged(Path(path)) as temporary:
            figure.savefig(temporary)


def report(model: keras.Model, int8_file: str | os.PathLike[str], images: Any) -> Report:
    """Compare an int8 file with the float model that it was made from.

    Args:
        model: the float model.
        int8_file: a `.tflite` or `.onnx` file of it, by post-training quantization or by quantization-aware training.
            Of an ONNX file, layers that stay float are left out, and conversions are its QuantizeLinear operators.
        images: as calibration images; better others than those that the ranges come from.

    Raises:
        ArgumentError: the file is none of this model.
        CalibrationError: images that cannot be used.
        ExportError: the file is no TFLite or ONNX file.
    """
    check_model(model)
    path = Path(int8_file)
    file = open_int8(path)
    signature = image_input(model)
    samples = calibration_images(
        images, shape=file.input_shape, preprocessing=signature.preprocessing, fewest=1, most=MOST
    )
    graph = read(lower(model))
    names = tensor_names(graph)
    tensors = file.tensors(set(names.values()))
    nodes = [node for node in graph.nodes if names[node] in tensors]
    seen = [node for node in nodes if not isinstance(node.layer, keras.layers.InputLayer)]
    if not seen:
        raise ArgumentError(
            f"{path.name} has no tensor that is called like a layer of {model.name!r}: is it of a different model?"
        )
    watched = rebuild(graph, keep, outputs=[Value(node, 0) for node in seen])
    floats = _joined([[np.asarray(t) for t in keras.tree.flatten(watched(image, training=False))] for image in samples])
    details = [tensors[names[node]] for node in seen]
    integers = _joined([file.values(details, image) for image in samples])
    found = {
        node: (agreement(a, _aligned(a, b)), tensors[names[node]], _outside(a, tensors[names[node]]))
        for node, a, b in zip(seen, floats, integers, strict=True)
    }
    layers = [_loss(node, names[node], found) for node in seen]
    levels = _levels(model, file, samples)
    return Report(path.name, len(samples), levels, layers, path.stat().st_size, file.conversions)


def _loss(node: Node, name: str, found: dict[Node, tuple[Agreement, dict[str, Any], float]]) -> LayerLoss:
    own, tensor, outside = found[node]
    before = min((found[source][0].snr_db for source in _measured(node, found)), default=math.inf)
    start = min(before, 60.0)  # images are exact: no loss to speak of is 60 dB
    return LayerLoss(name, own.snr_db, start - own.snr_db, own.cosine, outside, np.dtype(tensor["dtype"]).name)


def _measured(node: Node, found: dict[Node, Any]) -> list[Node]:
    """The nearest measured nodes before `node`."""
    sources: list[Node] = []
    for value in node.inputs:
        sources += [value.node] if value.node in found else _measured(value.node, found)
    return sources


def _levels(model: keras.Model, file: Int8File, samples: Sequence[np.ndarray]) -> dict[str, Agreement]:
    pairs = [(run(model, image), file(image)) for image in samples]
    return {
        name: agreement(*(np.concatenate([pair[side][name] for pair in pairs]) for side in (0, 1)))
        for name in pairs[0][0]
    }


def _aligned(floats: np.ndarray, integers: np.ndarray) -> np.ndarray:
    """A file's tensor with its axes in the model's order: ONNX files have the channels of maps first."""
    turned = [integers, integers.transpose(0, 2, 3, 1)] if integers.ndim == 4 else [integers]
    fitting = [candidate for candidate in turned if candidate.shape == floats.shape]
    if not fitting:
        return integers.reshape(floats.shape)
    return max(fitting, key=lambda candidate: agreement(floats, candidate).snr_db)


def _joined(images: list[list[np.ndarray]]) -> list[np.ndarray]:
    return [np.concatenate(tensors) for tensors in zip(*images, strict=True)]


def _outside(values: np.ndarray, tensor: dict[str, Any]) -> float:
    """Share of the values that int8 cuts off: beyond half a step outside the range."""
    if tensor["dtype"] == np.float32:
        return 0.0
    scale, zero_point = tensor["quantization"]
    limits = np.iinfo(tensor["dtype"])
    low, high = ((limit - zero_point) * scale for limit in (limits.min - 0.5, limits.max + 0.5))
    return float(np.mean((values < low) | (values > high)))


def _line(snr_db: float, drop_db: float, cosine: float, saturation: float, name: str) -> str:
    return f"{snr_db:7.1f} {drop_db:6.1f} {cosine:7.4f} {saturation:8.2%}  {name}"

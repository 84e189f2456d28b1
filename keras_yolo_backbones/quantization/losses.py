"""The report on an int8 file: what it says, prints and draws."""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path
from typing import Any

from keras_yolo_backbones.files import staged
from keras_yolo_backbones.graph.agreement import Agreement
from keras_yolo_backbones.quantization.frontier import new_figure

LISTED = 10
"""Layers that a report prints, of those where most signal is lost."""

_BEST = 60.0
"""Images are exact: from here on there is no loss to speak of, in dB."""


@dataclasses.dataclass(frozen=True)
class LayerLoss:
    """What int8 costs at one tensor.

    Attributes:
        name: of the layer whose output it is.
        snr_db: of the int8 tensor against the float one.
        drop_db: by how much that is below the weakest of the layer's inputs, both counted up to 60 dB.
        added: noise that arises here, as a share of the signal's power: what would be gone were the layer exact.
        cosine: between the two, as vectors.
        saturation: share of the float values that lie outside the tensor's range.
        dtype: what the file computes it in: `"int8"`, or `"float32"` for what `keep_float` named.
    """

    name: str
    snr_db: float
    drop_db: float
    added: float
    cosine: float
    saturation: float
    dtype: str = "int8"

    @classmethod
    def of(cls, name: str, own: Agreement, weakest_input: float, saturation: float, dtype: str) -> LayerLoss:
        """The loss between inputs of `weakest_input` dB and an output of `own`."""
        before, after = min(weakest_input, _BEST), min(own.snr_db, _BEST)
        added = max(0.0, 10 ** (-after / 10) - 10 ** (-before / 10))
        return cls(name, own.snr_db, before - after, added, own.cosine, saturation, dtype)

    def __str__(self) -> str:
        mark = "  float" if self.dtype == "float32" else ""
        numbers = f"{_db(self.snr_db)} {self.drop_db:6.1f} {self.added:7.2%} {self.saturation:8.2%}"
        return f"{numbers}  {self.name}{mark}"


@dataclasses.dataclass(frozen=True)
class Report:
    """An int8 file against the float network that it was made from.

    Attributes:
        file: name of the file.
        reference: `"float model"`, or `"trained network"`: the weights of a fake-quantized model, without rounding.
        images: how many images were compared.
        levels: output name -> agreement.
        layers: in the network's order.
        size: of the file, in bytes.
        conversions: QUANTIZE and DEQUANTIZE operators in it.
    """

    file: str
    reference: str
    images: int
    levels: dict[str, Agreement]
    layers: list[LayerLoss]
    size: int
    conversions: int

    def worst(self, count: int = 5) -> list[LayerLoss]:
        """The layers where most noise arises, most first."""
        return sorted(self.layers, key=lambda layer: -layer.added)[:count]

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
        """The levels, and the layers where most noise arises."""
        listed = self.worst(LISTED)
        advice = f"most noise arises in {len(listed)} of {len(self.layers)} tensors; print(report.table()) shows all"
        return "\n".join([*self._levels(), advice, _HEADER, *map(str, listed)])

    def table(self) -> str:
        """All layers, in the network's order."""
        return "\n".join([*self._levels(), _HEADER, *map(str, self.layers)])

    def _levels(self) -> list[str]:
        title = f"{self.file} against the {self.reference}, {self.images} images"
        return [title, *(f"{_db(found.snr_db)} dB  {name} (output)" for name, found in self.levels.items())]

    def save_plot(self, path: str | os.PathLike[str]) -> None:
        """Draw the signal-to-noise ratio along the network, the worst layers named; needs matplotlib."""
        figure = new_figure(max(8, len(self.layers) / 6), 4.5)
        axes = figure.subplots()
        axes.plot([min(layer.snr_db, _BEST) for layer in self.layers], marker=".")
        for layer in self.worst():
            position = self.layers.index(layer)
            height = min(layer.snr_db, _BEST)
            axes.plot([position], [height], marker="o", color="tab:red")
            axes.annotate(
                layer.name,
                (position, height),
                xytext=(-2, -5),
                textcoords="offset points",
                rotation=-35,
                rotation_mode="anchor",
                va="top",
                fontsize=7,
                color="tab:red",
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5},
            )
        for number, (name, found) in enumerate(self.levels.items(), start=1):
            label = f"output {name}, {found.snr_db:.1f} dB"
            axes.axhline(min(found.snr_db, _BEST), linestyle=":", linewidth=1.2, color=f"C{number}", label=label)
        label = f"SNR of int8 against the {self.reference}, dB"
        title = f"{self.file}: where int8 loses signal; named are the tensors that add most noise"
        axes.set(xlabel="tensor, in the network's order", ylabel=label, title=title)
        axes.margins(y=0.2)
        axes.legend()
        with staged(Path(path)) as temporary:
            figure.savefig(temporary)


_HEADER = f"{'SNR dB':>7} {'drop':>6} {'adds':>7} {'clipped':>8}"


def _db(ratio: float) -> str:
    return f"{ratio:7.1f}" if math.isfinite(ratio) else f"{'exact' if ratio > 0 else 'none':>7}"

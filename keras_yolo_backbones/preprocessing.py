"""What a network takes, as data: order of the colours, scale, mean and deviation, and the colour of letterbox bars."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

COLORS = ("RGB", "BGR", "grey", "")
"""Orders of channels; "" for channels that are no colours, which are left as they are."""

GREY = 114
"""The grey that letterboxing pads with, as in the originals."""


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """What is done to the RGB bytes of a letterboxed photograph before a network gets them.

    Each channel becomes (byte · largest / 255 − mean) / deviation. The default is this package's contract: RGB in
    [0, 1].

    Attributes:
        color: order of the channels, one of `COLORS`.
        largest: what the byte 255 becomes before mean and deviation: 1.0 or 255.0.
        mean: one number a channel in the order of `color`, in the scale of `largest`; () for 0.
        deviation: as `mean`; () for 1.
        padding: colour of the letterbox bars, red, green, blue in 0…255.
    """

    color: str = "RGB"
    largest: float = 1.0
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()
    padding: tuple[int, int, int] = (GREY, GREY, GREY)

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest value that a byte can become."""
        scale, offset = self.standardization()
        return min(offset), max(s + o for s, o in zip(scale, offset, strict=True))

    def apply(self, pixels: Any) -> Any:
        """Float32 values that the network takes.

        Args:
            pixels: (…, channels) uint8, RGB where the channels are colours; a numpy array or a TensorFlow tensor.
        """
        values = _as_float(pixels)
        if self.color == "BGR":
            values = values[..., ::-1]
        if self.largest != 255:
            values = values * (self.largest / 255)
        if self.mean:
            values = values - np.float32(self.mean)
        if self.deviation:
            values = values / np.float32(self.deviation)
        return values

    @property
    def standardizes(self) -> bool:
        """Whether there is a mean or a deviation."""
        return bool(self.mean or self.deviation)

    def standardization(self) -> tuple[list[float], list[float]]:
        """Scale and offset, in the order RGB, that do all of this but the order of the colours to RGB in [0, 1]."""
        channels = max(len(self.mean), len(self.deviation), 1)
        means, deviations = self.mean or (0.0,) * channels, self.deviation or (1.0,) * channels
        pairs = [(self.largest / d, 0.0 - m / d) for m, d in zip(means, deviations, strict=True)]
        scale, offset = zip(*(pairs[::-1] if self.color == "BGR" else pairs), strict=True)
        return list(scale), list(offset)

    def describe(self) -> dict[str, Any]:
        """The same for a manifest: what has to be done to a photograph, in words and numbers."""
        bars = self.padding[0] if len(set(self.padding)) == 1 else list(self.padding)
        return {
            "color": self.color or None,
            "range": list(self.range),
            "resize": f"letterbox: keep proportions, centre, pad with {bars}",
            "divide_pixels_by": 255 / self.largest if self.largest != 255 else 1,
            **({"mean": list(self.mean)} if self.mean else {}),
            **({"deviation": list(self.deviation)} if self.deviation else {}),
        }

    @classmethod
    def from_description(cls, said: Mapping[str, Any]) -> Preprocessing:
        """The value that `describe` gave, from a manifest; of the bars' colour only if it is grey."""
        largest = 255.0 / said["divide_pixels_by"]
        return cls(said["color"] or "", largest, tuple(said.get("mean", ())), tuple(said.get("deviation", ())))

    def __str__(self) -> str:
        """Such as `"BGR in [0, 255]"`."""
        text = f"{self.color or 'channels'} in [0, {self.largest:g}]"
        if self.mean:
            text += f", minus {_numbers(self.mean)}"
        return text + (f", divided by {_numbers(self.deviation)}" if self.deviation else "")

    def as_json(self) -> str:
        """One line of JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_data(cls, data: Any) -> Preprocessing:
        """The value whose `dataclasses.asdict`, or JSON, this is.

        Raises:
            ValueError: it is something else, for it may come from a stranger's file.
        """
        try:
            data = json.loads(data) if isinstance(data, (str, bytes)) else data
            color, largest = data["color"], float(data["largest"])
            mean, deviation = (tuple(float(number) for number in data[key]) for key in ("mean", "deviation"))
            red, green, blue = (int(number) for number in data["padding"])
        except (TypeError, ValueError, KeyError, RecursionError, OverflowError) as error:
            raise ValueError(f"no description of preprocessing: {str(data)[:100]}") from error
        numbers_fit = 0 < largest <= 65535 and max(len(mean), len(deviation)) <= 16 and all(d > 0 for d in deviation)
        if color not in COLORS or not numbers_fit or not all(abs(m) <= 65535 for m in mean):
            raise ValueError(f"no preprocessing that this package knows: {str(data)[:100]}")
        return cls(color, largest, mean, deviation, (red, green, blue))


def for_channels(channels: int | None) -> Preprocessing:
    """The contract for a network of so many channels: colours are claimed of three only."""
    return Preprocessing(color={1: "grey", 3: "RGB"}.get(channels or 0, ""))


RGB = Preprocessing()
"""This package's contract."""

RGB_PIXELS = Preprocessing(largest=255.0)
BGR_PIXELS = Preprocessing("BGR", 255.0)


def _as_float(pixels: Any) -> Any:
    if type(pixels).__module__.partition(".")[0] == "tensorflow":
        import tensorflow as tf

        return tf.cast(pixels, tf.float32)
    return pixels.astype("float32")


def _numbers(values: tuple[float, ...]) -> str:
    return f"({', '.join(f'{value:g}' for value in values)})"

"""Networks that were published together, and where they come from: plain data around a network function."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

import keras

from keras_yolo_backbones.blocks import Style
from keras_yolo_backbones.families.frame.layout import Layout
from keras_yolo_backbones.preprocessing import RGB, Preprocessing


class Spec(Protocol):
    """What a row of a size table must have; the rest is between the table and its network."""

    @property
    def top(self) -> int:
        """The highest level, n of Pn."""
        ...


Network = Callable[..., dict[str, keras.KerasTensor]]
"""`(images, spec, style, *, spp) -> {"P2": …, "P3": …, …}`, all levels of one network.

`spp` is what the user asked for: `True`, `False`, or `"linear"` in the sizes of `Release.linear_spp`.
"""


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where a network comes from.

    Attributes:
        project: name of the original project.
        url: its home.
        version: the version or commit that the numbers were measured on.
        licence: SPDX identifier of the original's code.
        weights_licence: SPDX identifier under which the original's trained weights are published.
        paper: title and identifier, or "" if there is none.
    """

    project: str
    url: str
    version: str
    licence: str
    weights_licence: str
    paper: str = ""


@dataclasses.dataclass(frozen=True)
class Published:
    """What is known of one network besides how to build it.

    Attributes:
        files: names of the original's checkpoint files, as they were published.
        image_size: side of the square images that the original was trained on.
        activations: all that the network uses, where its release's style does not say it.
    """

    files: tuple[str, ...] = ()
    image_size: int = 640
    activations: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Release:
    """Networks that were published together: one topology, one style, a table of sizes.

    Attributes:
        network: the builder of the levels.
        sizes: size name -> what `network` needs to know of it.
        style: the activation and batch norm that the original was trained with.
        origin: where it comes from.
        layout: `spec -> Layout`, where the original's checkpoints keep each tensor.
        published: size name -> `Published`, for the sizes of which there is something to say.
        other_layouts: `spec -> Layouts` of other known files of the same networks.
        preprocessing: what the published weights take; `load_weights` makes RGB in [0, 1] of it.
        linear_spp: the sizes whose context block also exists with `spp="linear"`.
    """

    network: Network
    sizes: Mapping[str, Any]
    style: Style
    origin: Origin
    layout: Callable[[Any], Layout]
    published: Mapping[str, Published] = dataclasses.field(default_factory=dict)
    other_layouts: Callable[[Any], Sequence[Layout]] = lambda _: ()
    preprocessing: Preprocessing = RGB
    linear_spp: Collection[str] = ()

    def facts(self, size: str) -> Published:
        """What is known of the network of one size; `activations` is never empty."""
        known = self.published.get(size, Published())
        return dataclasses.replace(known, activations=known.activations or (self.style.activation,))

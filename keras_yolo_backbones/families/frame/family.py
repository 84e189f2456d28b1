"""The frame around every network: one signature, checked arguments, named levels."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras

from keras_yolo_backbones.blocks import check_activation, conv
from keras_yolo_backbones.errors import ArgumentError, one_of
from keras_yolo_backbones.families.frame.checks import (
    check_backend,
    check_epsilon,
    check_levels,
    check_neck_channels,
    check_spp,
    check_stem_stride,
    image_tensor,
    sources,
)
from keras_yolo_backbones.families.frame.release import Origin, Published, Release
from keras_yolo_backbones.families.frame.scale import scaled
from keras_yolo_backbones.multiples import Multiples
from keras_yolo_backbones.preprocessing import Preprocessing
from keras_yolo_backbones.sides import check_sides

__all__ = ["Family", "Origin", "Published", "Release"]

ARGUMENTS = """

Args:
    size: one of {sizes}.
    release: {releases}.
    input_shape: (height, width, channels). Height and width are multiples of the largest stride, or `None`: then images
        of any such size. A call, exporters and `preprocess` refuse other sizes. Only Keras' own clones and saved files
        lose the check of a call.
    levels: which feature maps to return, in this order: `"P2"` (stride 4), `"P3"` (8), … up to the network's top.
        `None` is P3 and everything above, with `stem_stride=1` P2.
    activation: {activations}. `None` keeps the family's own.
    spp: keep the context block on top (SPP, SPPF, PSA, …); `False` leaves the plain last stage. `"linear"` is an SPP
        or SPPF whose first conv has no activation, as some newer versions of the originals train it.
    epsilon: batch normalization's epsilon; `None` keeps the family's own.
    width: multiplies all channels, in place of the size's own; for the families that are scaled so.
    depth: multiplies the units of each stage, likewise.
    max_channels: caps the channels before they are multiplied, likewise.
    stem_stride: 1 computes all maps twice as large, for objects of a few pixels; the same layers and weights at four
        times the cost. Levels keep their strides: what is P3 with 2 is returned as P2 (stride 4), and so on.
    neck_channels: filters of a 1×1 conv-BN-activation that is put on every level.
    sync_batchnorm: batch statistics over all replicas of a distribution strategy.
    include_rescaling: take pixels 0…255 and divide by 255 in the graph; otherwise inputs are RGB in [0, 1].
    input_tensor: a Keras tensor (batch, height, width, channels) to build on, in place of `input_shape`. With a `name`
        too, the backbone is one layer of that name on it, so that several on one tensor fit into one model.
    name: the model's name.
    dtype: a Keras dtype policy such as `"mixed_bfloat16"`; `None` is the global one.

Returns:
    A functional `keras.Model`. Its input is called `images`, (batch, height, width, channels) float32; its output is a
    dict from level name to (batch, height / stride, width / stride, channels of the level).

Raises:
    ArgumentError: a value that is not allowed; the message lists those that are.
"""


class Family:
    """A YOLO family: call it to build one of its backbones.

    Attributes:
        name: such as `"v8"`.
        releases: release name -> `Release`, the default first.
        default_size: the size that a call without one builds.
    """

    def __init__(self, name: str, releases: Release | Mapping[str, Release], *, default_size: str, doc: str | None):
        self.name = self.__name__ = name
        self.releases = {"": releases} if isinstance(releases, Release) else dict(releases)
        self.default_size = default_size
        sizes = {size: None for release in self.releases.values() for size in release.sizes}
        self.__doc__ = (
            (doc or "").strip()
            + _sources(self.releases)
            + ARGUMENTS.format(
                sizes=", ".join(map(repr, sizes)),
                releases=", ".join(map(repr, self.releases)) if len(self.releases) > 1 else "published once; leave it",
                activations="silu, relu, relu6, leaky_relu, mish, hard_swish or gelu",
            )
        )

    def __repr__(self) -> str:
        return f"<backbone family {self.name}: {', '.join(self.variants())}>"

    def variants(self) -> dict[str, tuple[str, str]]:
        """Registry name -> (release, size) of every network of the family: `{"v8-s": ("", "s"), …}`."""
        default = next(iter(self.releases))
        return {
            "-".join(filter(None, [self.name, "" if release == default else release, size])): (release, size)
            for release, published in self.releases.items()
            for size in published.sizes
        }

    def release(self, name: str | None) -> Release:
        """The release of that name, the default one for `None`; `ArgumentError` if there is none."""
        if name is None:
            return next(iter(self.releases.values()))
        if name not in self.releases:
            known = [release for release in self.releases if release]
            if not known:
                raise ArgumentError(f"release {name!r}: {self.name} was published once; leave `release` out.")
            raise one_of(f"release of {self.name}", name, known)
        return self.releases[name]

    def spec(self, size: str, release: str | None = None) -> Any:
        """The row of the size table; `ArgumentError` for a size that the release does not have."""
        sizes = self.release(release).sizes
        if size not in sizes:
            others = [r for r, published in self.releases.items() if size in published.sizes]
            hint = f"release={others[0]!r} has {size!r}." if others else ""
            raise one_of(f"size of {self.name}", size, sizes, hint=hint)
        return sizes[size]

    def __call__(
        self,
        size: str | None = None,
        *,
        release: str | None = None,
        input_shape: tuple[int | None, int | None, int] = (640, 640, 3),
        levels: Sequence[str] | None = None,
        activation: str | None = None,
        spp: bool | str = True,
        epsilon: float | None = None,
        width: float | None = None,
        depth: float | None = None,
        max_channels: int | None = None,
        stem_stride: int = 2,
        neck_channels: int | None = None,
        sync_batchnorm: bool = False,
        include_rescaling: bool = False,
        input_tensor: keras.KerasTensor | None = None,
        name: str | None = None,
        dtype: Any = None,
        **unknown: Any,
    ) -> keras.Model:
        check_backend()
        self.check_options(unknown)
        size = self.default_size if size is None else size
        published = self.release(release)
        multiples = Multiples.checked(width, depth, max_channels)
        spec = scaled(self.spec(size, release), multiples, self.variant(size, release))
        shift = 2 - check_stem_stride(stem_stride)
        levels = check_levels(levels, spec, published, family=self.name, shift=shift)
        check_spp(spp, size, published, family=self.name)
        check_neck_channels(neck_channels)
        style = dataclasses.replace(published.style, synchronized=sync_batchnorm, dtype=dtype, stem_stride=stem_stride)
        if activation is not None:
            style = dataclasses.replace(style, activation=check_activation(activation), forced=True)
        if epsilon is not None:
            style = dataclasses.replace(style, epsilon=check_epsilon(epsilon))

        largest = 2 ** (spec.top - shift)
        images = x = image_tensor(input_shape, input_tensor, stride=largest)
        nested = input_tensor is not None and name is not None
        if nested:  # a layer of that name: two backbones on one tensor, in one model, keep their layers apart
            images = x = keras.Input(images.shape[1:], dtype=images.dtype, name="images")
        if include_rescaling:
            x = keras.layers.Rescaling(1 / 255, name="rescaling", dtype=dtype)(x)
        x = _standardized(x, published.preprocessing, dtype)
        pyramid = published.network(x, spec, style, spp=spp)
        outputs = {level: pyramid[f"P{int(level[1:]) + shift}"] for level in levels}
        if neck_channels is not None:
            outputs = {k: conv(x, neck_channels, style=style, name=f"neck.{k}") for k, x in outputs.items()}
        name = name or f"{self.variant(size, release)}{multiples}"
        model = keras.Model(images if nested else sources(images), outputs, name=name)
        if None in images.shape[1:3]:
            check_sides(model, images, largest)
        return keras.Model(sources(input_tensor), model(input_tensor), name=name) if nested else model

    def check_options(self, options: Iterable[str]) -> None:
        """Raise `ArgumentError` for a name that is no option of the builders."""
        parameters = inspect.signature(self).parameters.values()
        allowed = [one.name for one in parameters if one.kind is one.KEYWORD_ONLY]
        for option in options:
            if option == "weights":
                raise ArgumentError(
                    f"{self.name} is built without weights; load them into it: kyb.load_weights(model, path). "
                    "kyb.from_checkpoint(path) builds what the file says and loads it."
                )
            if option not in allowed:
                raise one_of("option", option, allowed)

    def variant(self, size: str, release: str | None = None) -> str:
        """Registry name of a network, such as `"v8-s"`."""
        wanted = (release or next(iter(self.releases)), size)
        return next(variant for variant, key in self.variants().items() if key == wanted)


def _standardized(x: keras.KerasTensor, original: Preprocessing, dtype: Any) -> keras.KerasTensor:
    """The mean and deviation that the original was trained with, for RGB in [0, 1]; before the padding of the stem."""
    if not original.standardizes or x.shape[-1] != 3:
        return x
    scale, offset = original.standardization()
    return keras.layers.Rescaling(scale, offset, name="normalization", dtype=dtype)(x)


def _sources(releases: Mapping[str, Release]) -> str:
    """Where the releases come from, for a docstring."""
    lines = ["", "", "Sources:"]
    for name, release in releases.items():
        origin, style = release.origin, release.style
        title = f"{name}: " if name else ""
        lines.append(f"    {title}{origin.project} {origin.version}, {origin.url}")
        lines.append(f"        Licence of the code {origin.licence}, of the weights {origin.weights_licence}.")
        lines.append(
            f"        Activation {style.activation}, batch norm epsilon {style.epsilon:g}. {origin.paper}".rstrip()
        )
    return "\n".join(lines)

"""Every network by name: `"v8-s"` -> family, release and size."""

from __future__ import annotations

import functools
import re
from typing import Any, NamedTuple

import keras

from keras_yolo_backbones.errors import ArgumentError, one_of
from keras_yolo_backbones.families import FAMILIES, Family, Origin, Release
from keras_yolo_backbones.families.frame.release import Published
from keras_yolo_backbones.families.frame.scale import scaled
from keras_yolo_backbones.multiples import Multiples


class Variant(NamedTuple):
    """One published network.

    Attributes:
        name: `"v8-s"`; a release that is not the family's default is named in the middle: `"v5-5.0-s"`.
        family: its family.
        release: key of `family.releases`.
        size: key of the release's sizes.
        multiples: what a user asked for in place of the size's own.
    """

    name: str
    family: Family
    release: str
    size: str
    multiples: Multiples = Multiples()

    @property
    def published(self) -> Release:
        """The release that it belongs to."""
        return self.family.release(self.release or None)

    @property
    def spec(self) -> Any:
        """Its row of the release's size table."""
        return scaled(self.published.sizes[self.size], self.multiples, self.name)

    @property
    def origins(self) -> list[Origin]:
        """Where it comes from: its release's origin, then those of the same network written by others."""
        others = (layout.origin for layout in self.published.other_layouts(self.spec))
        return [self.published.origin, *(origin for origin in others if origin)]

    @property
    def facts(self) -> Published:
        """What is known of it besides how to build it."""
        return self.published.facts(self.size)


def variants() -> dict[str, Variant]:
    """All networks by name, family by family."""
    return {
        name: Variant(name, family, release, size)
        for family in FAMILIES.values()
        for name, (release, size) in family.variants().items()
    }


def find(name: str) -> Variant:
    """The network called `name`; a family's name alone means its default size.

    `"v8-s-w0.125-d0.33"` is v8-s with that width and depth; `-c512` is a channel cap. The originals' own names are
    understood too: `"yolov8n"`, `"yolo11n"`, `"yolov5su"`, `"yolov8n-seg.pt"`.

    Raises:
        ArgumentError: there is none; the message names the nearest.
    """
    known = variants()
    if name in known:
        return known[name]
    base, multiples = Multiples.of(str(name))
    if base in known and any(multiples):
        return known[base]._replace(name=name, multiples=multiples)
    family = FAMILIES.get(name)
    if family:
        return known[family.variant(family.default_size)]
    original = _original(str(name))
    if original:
        return known[original]
    family = FAMILIES.get(str(name).split("-")[0])
    raise one_of("model", name, family.variants() if family else FAMILIES, hint="" if family else "See list_models().")


_TASKS = re.compile(r"-(seg|pose|obb|det|detect)$")
"""Endings of the originals' files for other tasks, whose backbones are the same."""


def _original(name: str) -> str:
    """The registry name of a network by the name of one of its published files, "" if there is none."""
    file, files = name.lower().rpartition("/")[2], _files()
    stem = _TASKS.sub("", re.sub(r"\.(pt|pth|weights)$", "", file))
    # Ultralytics trains YOLOv5's backbones with a head of its own: their names end in u.
    candidates = (file, stem, _spelled(stem), _spelled(stem.removesuffix("u")))
    return next((files[candidate] for candidate in candidates if candidate in files), "")


@functools.cache
def _files() -> dict[str, str]:
    """Names of published files, with and without their ending, and as `_spelled` writes them -> registry name."""
    # Reversed, so that of two networks with files of one name the first counts.
    files = [(file, variant.name) for variant in reversed(variants().values()) for file in variant.facts.files]
    stems = {file.rpartition(".")[0]: name for file, name in files}
    return {_spelled(stem): name for stem, name in stems.items()} | stems | dict(files)


def _spelled(stem: str) -> str:
    """One way of writing what the originals write in several: YOLOv8 and YOLO11 with and without the v."""
    return stem.replace("yolov", "yolo").replace("_", "-")


def described() -> dict[str, dict[str, Any]]:
    """What `catalogue` says of all networks, from the networks themselves."""
    rows = {}
    for name, variant in variants().items():
        release = variant.published
        facts = release.facts(variant.size)
        rows[name] = {
            "levels": [f"P{level}" for level in range(2, variant.spec.top + 1)],
            "activations": list(facts.activations),
            "image_size": facts.image_size,
            "project": release.origin.project,
            "licence": release.origin.licence,
            "weights_licence": release.origin.weights_licence,
            "files": list(facts.files),
            "licences": [[origin.licence, origin.weights_licence] for origin in variant.origins],
        }
    return rows


def create(name: str, **options: Any) -> keras.Model:
    """Build a network by name: `create("v8-s", activation="relu6")`.

    Args:
        name: a name that `list_models` gives, or an original's such as `"yolov8n"`.
        **options: arguments of the builders, except `size` and `release`, which the name says.

    Raises:
        ArgumentError: an unknown name or a value that is not allowed.
    """
    variant = find(name)
    given = variant.multiples.given()
    for said in ("size", "release", *given):
        if said in options:
            raise ArgumentError(f"{said}={options[said]!r}: the name {name!r} says the {said} already.")
    variant.family.check_options(options)
    return variant.family(variant.size, release=variant.release or None, **given, **options)

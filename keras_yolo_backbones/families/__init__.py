"""The families, in the order of their publication."""

from keras_yolo_backbones.families.family import Family, Origin, Release
from keras_yolo_backbones.families.layout import Layout
from keras_yolo_backbones.families.v8 import v8

FAMILIES: dict[str, Family] = {family.name: family for family in (v8,)}

__all__ = ["FAMILIES", "Family", "Layout", "Origin", "Release", "v8"]

"""The families: those called YOLO by number, then the others."""

from keras_yolo_backbones.families.damo import damo
from keras_yolo_backbones.families.frame.family import Family, Origin, Release
from keras_yolo_backbones.families.frame.layout import Layout
from keras_yolo_backbones.families.nas import nas
from keras_yolo_backbones.families.ppyoloe import ppyoloe
from keras_yolo_backbones.families.rtmdet import rtmdet
from keras_yolo_backbones.families.v3 import v3
from keras_yolo_backbones.families.v4 import v4
from keras_yolo_backbones.families.v5 import v5
from keras_yolo_backbones.families.v6 import v6
from keras_yolo_backbones.families.v7 import v7
from keras_yolo_backbones.families.v8 import v8
from keras_yolo_backbones.families.v9 import v9
from keras_yolo_backbones.families.v10 import v10
from keras_yolo_backbones.families.v11 import v11
from keras_yolo_backbones.families.v12 import v12
from keras_yolo_backbones.families.v13 import v13
from keras_yolo_backbones.families.v26 import v26
from keras_yolo_backbones.families.yolox import yolox

_ALL = (v3, v4, v5, v6, v7, v8, v9, v10, v11, v12, v13, v26, yolox, rtmdet, ppyoloe, damo, nas)

FAMILIES: dict[str, Family] = {family.name: family for family in _ALL}

__all__ = [
    "FAMILIES",
    "Family",
    "Layout",
    "Origin",
    "Release",
    "damo",
    "nas",
    "ppyoloe",
    "rtmdet",
    "v3",
    "v4",
    "v5",
    "v6",
    "v7",
    "v8",
    "v9",
    "v10",
    "v11",
    "v12",
    "v13",
    "v26",
    "yolox",
]

"""What the networks are made of. Imports only `keras`, so that they build under every backend."""

from keras_yolo_backbones.blocks.conv import conv, pad, split_conv
from keras_yolo_backbones.blocks.csp import Unit, add, bottleneck, c2f, concat
from keras_yolo_backbones.blocks.pooling import max_pool, sppf
from keras_yolo_backbones.blocks.style import ACTIVATIONS, Style, check_activation

__all__ = [
    "ACTIVATIONS",
    "Style",
    "Unit",
    "add",
    "bottleneck",
    "c2f",
    "check_activation",
    "concat",
    "conv",
    "max_pool",
    "pad",
    "split_conv",
    "sppf",
]

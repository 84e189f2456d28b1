"""What the networks are made of. Imports only `keras`, so that they build under every backend."""

from keras_yolo_backbones.blocks.conv import conv, depthwise, pad, split_conv
from keras_yolo_backbones.blocks.csp import Unit, add, bottleneck, c2f, c3, chain, concat, merge, two_convs
from keras_yolo_backbones.blocks.pooling import halve, max_pool, pools, spp_darknet, sppf
from keras_yolo_backbones.blocks.style import ACTIVATIONS, Style, check_activation

__all__ = [
    "ACTIVATIONS",
    "Style",
    "Unit",
    "add",
    "bottleneck",
    "c2f",
    "c3",
    "chain",
    "check_activation",
    "concat",
    "conv",
    "depthwise",
    "halve",
    "max_pool",
    "merge",
    "pad",
    "split_conv",
    "pools",
    "spp_darknet",
    "sppf",
    "two_convs",
]

"""What the networks are made of. Imports only `keras`, so that they build under every backend."""

from keras_yolo_backbones.blocks.conv import conv, depthwise, pad, split_conv
from keras_yolo_backbones.blocks.csp import Unit, add, bottleneck, c2f, c3, chain, concat, merge, two_convs
from keras_yolo_backbones.blocks.elan import conv_down, elan, pooled_down, two_elans
from keras_yolo_backbones.blocks.pooling import (
    Pooling,
    halve,
    largest_first,
    max_pool,
    pooled_branch,
    pools,
    sppcspc,
    sppf,
)
from keras_yolo_backbones.blocks.style import ACTIVATIONS, Style, check_activation

__all__ = [
    "ACTIVATIONS",
    "Pooling",
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
    "conv_down",
    "depthwise",
    "elan",
    "halve",
    "largest_first",
    "max_pool",
    "merge",
    "pad",
    "split_conv",
    "pooled_branch",
    "pooled_down",
    "pools",
    "sppcspc",
    "sppf",
    "two_convs",
    "two_elans",
]

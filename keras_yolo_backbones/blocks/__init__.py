"""What the networks are made of. Imports only `keras`, so that they build under every backend."""

from keras_yolo_backbones.blocks.attention import AREA_HEAD, a2c2f, attention, psa, scaled_a2c2f
from keras_yolo_backbones.blocks.c3k2 import C3K, SLIM, C3k2Stage, c3k2_trunk
from keras_yolo_backbones.blocks.channel_attention import channel_attention, squeeze_excitation
from keras_yolo_backbones.blocks.conv import conv, depthwise, grouped_conv, pad, separable, split_conv
from keras_yolo_backbones.blocks.csp import (
    Unit,
    add,
    bottleneck,
    c2f,
    c2f_links,
    c3,
    chain,
    concat,
    cross_stage,
    merge,
    two_convs,
)
from keras_yolo_backbones.blocks.darknet import DARKNET53, Stage, darknet_trunk, residuals
from keras_yolo_backbones.blocks.elan import conv_down, elan, pooled_down, two_elans
from keras_yolo_backbones.blocks.gelan import average_down, gelan, mixed_down, rep_csp, spp_elan
from keras_yolo_backbones.blocks.layers import LearnedScale, MatMul, ReshapeLike, SplitAreas
from keras_yolo_backbones.blocks.pooling import (
    SPPF,
    Pooling,
    halve,
    largest_first,
    linear_sppf,
    max_pool,
    pooled_branch,
    pools,
    sppcspc,
    sppf,
)
from keras_yolo_backbones.blocks.rep import rep_branches, rep_conv, rep_depthwise, rep_vgg
from keras_yolo_backbones.blocks.shared_norm import bottleneck_csp, sppcsp
from keras_yolo_backbones.blocks.shuffle import halves, interleaved
from keras_yolo_backbones.blocks.style import ACTIVATIONS, Style, check_activation

__all__ = [
    "ACTIVATIONS",
    "AREA_HEAD",
    "C3K",
    "DARKNET53",
    "LearnedScale",
    "MatMul",
    "Pooling",
    "ReshapeLike",
    "SLIM",
    "SPPF",
    "C3k2Stage",
    "Stage",
    "c3k2_trunk",
    "darknet_trunk",
    "residuals",
    "SplitAreas",
    "Style",
    "Unit",
    "a2c2f",
    "add",
    "attention",
    "average_down",
    "bottleneck",
    "bottleneck_csp",
    "c2f",
    "c2f_links",
    "c3",
    "chain",
    "channel_attention",
    "check_activation",
    "concat",
    "conv",
    "conv_down",
    "cross_stage",
    "depthwise",
    "elan",
    "gelan",
    "grouped_conv",
    "halve",
    "halves",
    "interleaved",
    "largest_first",
    "linear_sppf",
    "max_pool",
    "merge",
    "mixed_down",
    "pad",
    "scaled_a2c2f",
    "separable",
    "split_conv",
    "pooled_branch",
    "pooled_down",
    "pools",
    "sppcsp",
    "psa",
    "rep_branches",
    "rep_conv",
    "rep_csp",
    "rep_depthwise",
    "rep_vgg",
    "sppcspc",
    "squeeze_excitation",
    "spp_elan",
    "sppf",
    "two_convs",
    "two_elans",
]

"""Large int8 depthwise convolutions, which LiteRT computes faster by itself than XNNPACK does.

XNNPACK has depthwise kernels of up to 25 weights a channel. Above that it computes one convolution per channel with the
kernel that it has for many: 7×7 over 20×20×64 took 12.7 ms, LiteRT's own kernel 0.2 ms, and XNNPACK in float 0.6 ms
(LiteRT 2.3 on a processor with VNNI).
"""

from __future__ import annotations

from typing import Any

from keras_yolo_backbones.fragile import lite_schema
from keras_yolo_backbones.litert import XNNPACK_DEPTHWISE


def large_depthwise_for_litert(model: Any, names: list[str]) -> bool:
    """Have LiteRT compute the large int8 depthwise convolutions of a TFLite model; returns whether there was one.

    The field `depth_multiplier` is redundant: LiteRT takes it from the shapes, and ignores what the file says. XNNPACK
    leaves a convolution alone where it is 0. LiteRT's kernel rounds in integers: its result can be a step off that of
    XNNPACK where the exact one is close to halfway.

    Args:
        model: a TFLite file with one subgraph, as objects; changed in place.
        names: of its operators.
    """
    graph, integer, changed = model.subgraphs[0], lite_schema().TensorType.INT8, False
    for operator, name in zip(graph.operators, names, strict=True):
        if name != "DEPTHWISE_CONV_2D":
            continue
        kernel = graph.tensors[int(operator.inputs[1])]
        if kernel.type == integer and int(kernel.shape[1]) * int(kernel.shape[2]) > XNNPACK_DEPTHWISE:
            operator.builtinOptions.depthMultiplier, changed = 0, True
    return changed

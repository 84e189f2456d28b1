"""Context blocks: max pools of several sizes over the topmost features."""

from __future__ import annotations

import keras

from keras_yolo_backbones.blocks.conv import conv
from keras_yolo_backbones.blocks.csp import concat
from keras_yolo_backbones.blocks.style import Style


def max_pool(x: keras.KerasTensor, size: int, *, style: Style, name: str) -> keras.KerasTensor:
    """Max pool of odd `size` and stride 1; shape stays. "same" pads with −∞ here, never with zeros."""
    return keras.layers.MaxPooling2D(
        size, strides=1, padding="same", data_format="channels_last", name=name, dtype=style.dtype
    )(x)


def sppf(x: keras.KerasTensor, channels: int, *, size: int = 5, style: Style, name: str) -> keras.KerasTensor:
    """Spatial pyramid pooling, fast: three chained pools see 5×5, 9×9 and 13×13 (YOLOv5, release 6.0).

    Args:
        x: (batch, height, width, channels in).
        channels: output channels.
        size: side of each pool.

    Returns:
        (batch, height, width, channels).
    """
    pools = [conv(x, x.shape[-1] // 2, style=style, name=f"{name}.cv1")]
    for i in range(3):
        pools.append(max_pool(pools[-1], size, style=style, name=f"{name}.pool{i}"))
    return conv(concat(pools, style=style, name=name), channels, style=style, name=f"{name}.cv2")

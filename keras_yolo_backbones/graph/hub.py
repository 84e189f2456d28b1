"""A backbone as keras-hub takes image encoders."""

from __future__ import annotations

from typing import Any

import keras

from keras_yolo_backbones.errors import ArgumentError
from keras_yolo_backbones.levels import pyramid


def to_keras_hub(model: keras.Model) -> Any:
    """The same layers as a `keras_hub.models.FeaturePyramidBackbone`, for `RetinaNetBackbone` and its kin.

        encoder = kyb.to_keras_hub(kyb.v8("s", activation="relu6"))
        keras_hub.models.RetinaNetBackbone(encoder, min_level=3, max_level=7, use_p5=False)

    Weights are shared with `model`, and provenance stays. keras-hub's own preprocessing scales pixels in its own way:
    feed images as the backbone takes them, RGB in [0, 1].

    Args:
        model: its outputs are levels, `{"P3": …, "P4": …}`.

    Raises:
        ArgumentError: keras-hub is not installed, or the outputs are no levels.
    """
    pyramid(model)
    try:
        from keras_yolo_backbones.graph.hub_backbone import YOLOBackbone
    except ImportError as error:
        raise ArgumentError(f"to_keras_hub needs keras-hub (pip install keras-hub): {error}") from error
    return YOLOBackbone(model)

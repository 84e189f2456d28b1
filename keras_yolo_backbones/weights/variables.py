"""A model's variables as Keras' own weight files name them: by layer, and by place in the layer."""

from __future__ import annotations

import keras

from keras_yolo_backbones.weights.slots import Slot


def keras_slots(model: keras.Model) -> list[Slot]:
    """Every variable that `save_weights` writes."""
    found = []
    for layer in model.layers:
        trained, others = ([v for v in layer.weights if v.trainable is wanted] for wanted in (True, False))
        ordered = layer.weights if not layer.trainable else [*trained, *others]
        found += [Slot(v, f"{layer.name}.{v.name}", f"{layer.name}/{i}") for i, v in enumerate(ordered)]
    return found

"""Networks of other projects, for `zoo/benchmark.py`: those whose packages are installed (`make bench-peers`)."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from keras_yolo_backbones.benchmark import Candidate, saved_model_runner, trained_like

KERAS_CV = {
    "v8-n": {"stackwise_channels": [32, 64, 128, 256], "stackwise_depth": [1, 2, 2, 1]},
    "v8-s": {"stackwise_channels": [64, 128, 256, 512], "stackwise_depth": [1, 2, 2, 1]},
}
"""Network -> arguments of keras-cv's YOLOV8Backbone that make the same one; its convolutions are the same in number."""

KYOLO = {"v8-n": "yolov8n", "v8-s": "yolov8s"}
"""Network -> kyolo's detector on the same backbone, of which only the backbone is measured."""

KYOLO_LEVELS = {"P3": "model-4-cv2-act", "P4": "model-6-cv2-act", "P5": "model-9-cv2-act"}
"""Level -> the layer of kyolo's detectors that computes it."""


def peers(name: str, side: int, folder: Path) -> dict[str, Candidate]:
    """What others make of a network: form -> a function that runs it.

    Args:
        name: of the network, such as `v8-s`.
        side: of the image, in pixels.
        folder: where the files go.
    """
    found: dict[str, Candidate] = {}
    if name in KERAS_CV and importlib.util.find_spec("keras_cv"):
        found["saved_model of keras-cv"] = saved_model_runner(_keras_cv(name, side, folder))
    if name in KYOLO and importlib.util.find_spec("kyolo"):
        found["saved_model of kyolo"] = saved_model_runner(_kyolo(name, side, folder))
    if importlib.util.find_spec("litert_torch"):
        from peers_torch import torch_peers

        found |= torch_peers(name, side, folder)
    return found


def _keras_cv(name: str, side: int, folder: Path) -> Path:
    """A SavedModel of keras-cv's backbone, written as Keras writes it, with the three levels as outputs."""
    import keras
    import keras_cv

    options: dict[str, Any] = {"include_rescaling": False, "activation": "swish", "input_shape": (side, side, 3)}
    backbone = keras_cv.models.YOLOV8Backbone(**KERAS_CV[name], **options)
    layers = {level: backbone.pyramid_level_inputs[level] for level in ("P3", "P4", "P5")}
    outputs = {level: backbone.get_layer(layer).output for level, layer in layers.items()}
    model = trained_like(keras.Model(backbone.inputs, outputs))
    target = folder / "keras-cv"
    model.export(str(target), verbose=False)
    return target


def _kyolo(name: str, side: int, folder: Path) -> Path:
    """A SavedModel of kyolo's backbone, written as Keras writes it."""
    import keras
    import kyolo.models

    detector = getattr(kyolo.models, KYOLO[name])(nc=80, input_shape=(side, side, 3))
    outputs = {level: detector.get_layer(layer).output for level, layer in KYOLO_LEVELS.items()}
    target = folder / "kyolo"
    trained_like(keras.Model(detector.inputs, outputs)).export(str(target), verbose=False)
    return target

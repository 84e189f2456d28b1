"""Objects out of a served detector: its outputs decoded, boxes taken back to the image, the best of each object."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_yolo_backbones.errors import ArgumentError

SIGNATURES = ("detect", "encoded_detect")
"""Float images as the model takes them, or files -> `boxes`, `scores`, `classes`, `count`; see `suppressed`."""

Tensors = dict[str, tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Detect:
    """How the outputs of a detector become objects, for `export_saved_model(…, detect=kyb.Detect(decode))`.

    Attributes:
        decode: the model's outputs by name -> boxes, (batch, cells, 4) float32, left, top, right, bottom in pixels of
            the model's input; and probabilities, (batch, cells, classes) float32. It becomes part of the graph, so it
            is written in `keras.ops` or TensorFlow.
        least: the probability from which something is an object, 0…1.
        overlap: the IoU above which two boxes of one class are one object, 0…1.
        most: the largest number of objects of an image.

    Raises:
        ArgumentError: a value is not allowed.
    """

    decode: Callable[[Tensors], Any]
    least: float = 0.25
    overlap: float = 0.7
    most: int = 300

    def __post_init__(self) -> None:
        if not callable(self.decode):
            raise ArgumentError(f"decode {self.decode!r}: expected a function from outputs to boxes and probabilities.")
        for name in ("least", "overlap"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value <= 1:
                raise ArgumentError(f"{name} {value!r}: expected a number from 0 to 1.")
        if not isinstance(self.most, int) or isinstance(self.most, bool) or self.most < 1:
            raise ArgumentError(f"most {self.most!r}: expected a positive integer.")

    def decoded(self, outputs: Tensors) -> tuple[tf.Tensor, tf.Tensor]:
        """What `decode` returns, after a look at its shapes; `ArgumentError` if they are others or if it fails."""
        try:
            result = self.decode(outputs)
        except Exception as error:
            shapes = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in outputs.items())
            reason = str(error).split("\n")[0]
            raise ArgumentError(
                f"decode failed on outputs of the shapes {shapes} ({type(error).__name__}: {reason}); where a side is "
                "None, build the model for one image size."
            ) from error
        if not isinstance(result, tuple | list) or len(result) != 2:
            raise ArgumentError(f"decode returned {type(result).__name__}; expected the pair (boxes, probabilities).")
        boxes, scores = (tf.cast(tf.convert_to_tensor(part), tf.float32) for part in result)
        if not (boxes.shape.rank == scores.shape.rank == 3 and boxes.shape[-1] == 4):
            raise ArgumentError(
                f"decode returned the shapes {tuple(boxes.shape)} and {tuple(scores.shape)}; "
                "expected (batch, cells, 4) and (batch, cells, classes)."
            )
        if not boxes.shape[:2].is_compatible_with(scores.shape[:2]):
            raise ArgumentError(f"decode returned {boxes.shape[1]} boxes and {scores.shape[1]} rows of probabilities.")
        return boxes, scores


def detections(detect: Detect, outputs: Tensors, scale: tf.Tensor, padding: tf.Tensor, size: tf.Tensor) -> Tensors:
    """The objects of a batch, in pixels of the images that were fitted into the model's input.

    Args:
        detect: the detector's.
        outputs: of the model, by name.
        scale: (batch,), input pixels per image pixel.
        padding: (batch, 2), top and left, in input pixels.
        size: (batch, 2), height and width of the images, where boxes are cut off.
    """
    boxes, scores = detect.decoded(outputs)
    origin, borders = (tf.tile(tf.reverse(pair, [1]), [1, 2])[:, None] for pair in (padding, size))
    boxes = tf.clip_by_value((boxes - origin) / scale[:, None, None], 0.0, borders)
    return suppressed(detect, boxes, scores)


def suppressed(detect: Detect, boxes: tf.Tensor, scores: tf.Tensor) -> Tensors:
    """Non-maximum suppression within each class.

    Returns:
        `boxes` (batch, most, 4) float32, left, top, right, bottom; `scores` (batch, most) float32, the highest first;
        `classes` (batch, most) int32; `count` (batch,) int32: the rows that are objects. The others are 0.
    """
    found = tf.image.combined_non_max_suppression(
        boxes[:, :, None], scores, detect.most, detect.most, detect.overlap, detect.least, clip_boxes=False
    )
    boxes, scores, classes, count = found
    return {"boxes": boxes, "scores": scores, "classes": tf.cast(classes, tf.int32), "count": count}

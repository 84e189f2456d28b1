"""A model as one TensorFlow function with its weights inside: the input of every converter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_yolo_backbones.errors import ExportError
from keras_yolo_backbones.fragile import autograph_sources_in
from keras_yolo_backbones.graph.fuse import fuse
from keras_yolo_backbones.graph.rewrite import recast
from keras_yolo_backbones.graph.running import named_tensors, require_tensorflow
from keras_yolo_backbones.graph.upsample import upsampling_as_resize


def frozen_function(
    model: keras.Model, images: tf.TensorSpec, *, jit_compile: bool = False
) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """A `tf.function` from images to float32 outputs by name, with all weights as constants.

    No variable is left that a converter could lose or a checkpoint could hold twice.

    Args:
        model: a functional model under the TensorFlow backend.
        images: shape, dtype and name of the input.
        jit_compile: mark the function for compilation by XLA.
    """
    require_tensorflow()
    trainable = [variable.numpy() for variable in model.trainable_variables]
    fixed = [variable.numpy() for variable in model.non_trainable_variables]

    @tf.function(input_signature=[images], autograph=False, jit_compile=jit_compile or None)
    def call(images: tf.Tensor) -> dict[str, tf.Tensor]:
        weights = [[tf.constant(value) for value in values] for values in (trainable, fixed)]
        outputs, _ = model.stateless_call(*weights, images, training=False)
        return named_tensors(model, outputs)

    return call


def deployable(model: keras.Model) -> keras.Model:
    """The model in the form that suits converters: float32, batch norms folded, upsampling as one operator."""
    return upsampling_as_resize(fuse(recast(model, "float32")))


def save_signatures(signatures: dict[str, Any], folder: Path, *, holding: Any = None) -> None:
    """Write functions as the signatures of a SavedModel.

    Args:
        signatures: name -> `tf.function`.
        folder: to be made in a folder from `scratch`, where TensorFlow leaves sources of its own beside it.
        holding: the object that owns the variables, if the functions use any: they are saved with it.

    Raises:
        ExportError: the disk is full, or the system refuses to write.
    """
    module = tf.Module()
    module.holding = holding
    try:
        with autograph_sources_in(folder.parent):
            tf.saved_model.save(module, str(folder), signatures=signatures)
    except (tf.errors.OpError, OSError) as error:
        reason = getattr(error, "message", None) or error.strerror or str(error)
        raise ExportError(f"cannot write the SavedModel: {reason}.") from error

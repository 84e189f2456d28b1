"""Warm-up requests: what TF Serving runs before it calls a version ready, so that no client meets a cold graph.

The file is a TFRecord of `PredictionLog` messages. The few fields that it needs are declared here, so that exporting
needs no tensorflow-serving-api; the message names and numbers are those of its public protocol.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from keras_yolo_backbones.datasets import elements
from keras_yolo_backbones.errors import ExportError
from keras_yolo_backbones.export.tf_serving.session import ServingSession
from keras_yolo_backbones.graph.signature import ImageInput
from keras_yolo_backbones.preprocessing import GREY, Preprocessing

WARMUP = Path("assets.extra") / "tf_serving_warmup_requests"
MOST_RECORDS = 1000
"""TF Serving refuses a model with more."""

_MESSAGES = {
    "ModelSpec": {"name": (1, "string"), "signature_name": (3, "string")},
    "Input": {"key": (1, "string"), "value": (2, "bytes")},
    "PredictRequest": {"model_spec": (1, "ModelSpec"), "inputs": (2, "Input*")},
    "PredictLog": {"request": (1, "PredictRequest")},
    "PredictionLog": {"predict_log": (6, "PredictLog")},
}
"""Message -> field -> number and type. A map of tensors is, on the wire, a list of pairs with the tensor as bytes."""


class Request(NamedTuple):
    """One call of a signature.

    Attributes:
        signature: its name.
        inputs: name -> `TensorProto`.
    """

    signature: str
    inputs: dict[str, Any]


def write_warmup(
    session: ServingSession, folder: Path, model: str, images: ImageInput, batch_sizes: tuple[int, ...]
) -> int:
    """Write one request for every signature and batch size: grey images, stored as one number each.

    Args:
        session: the SavedModel.
        folder: where it lies.
        model: its name at the server.
        images: its input.
        batch_sizes: those that the server is configured for.

    Returns:
        How many.
    """
    path = folder / WARMUP
    path.parent.mkdir(exist_ok=True)
    count = 0
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, definition in session.signatures.items():
            ((key, tensor),) = definition.inputs.items()
            for size in batch_sizes:
                grey = _grey(tf.as_dtype(tensor.dtype), (size, *images.any_size()), images.preprocessing)
                writer.write(_serialize(model, Request(signature, {key: grey})))
                count += 1
    return count


def replay_warmup(session: ServingSession, folder: Path) -> int:
    """Read the requests back and run those that tell something new: each signature once, each batch size once.

    One that fails would keep the server from loading the version. Signatures share one network, so that a batch size
    that one of them can run, all can.

    Returns:
        How many were run.

    Raises:
        ExportError: a record cannot be read or run.
    """
    signatures, sizes = set(), set()
    count = 0
    for number, request in enumerate(read_warmup(folder)):
        inputs = {name: _array(tensor) for name, tensor in request.inputs.items()}
        size = len(next(iter(inputs.values()), ()))
        if request.signature in signatures and size in sizes:
            continue
        signatures.add(request.signature)
        sizes.add(size)
        count += 1
        try:
            session.run(inputs, request.signature)
        except (ExportError, KeyError) as error:
            raise ExportError(f"warm-up request {number} fails: {error}") from error
    return count


def read_warmup(folder: Path) -> Iterator[Request]:
    """The warm-up requests of a version folder."""
    for record in elements(tf.data.TFRecordDataset(str(folder / WARMUP))):
        request = _message("PredictionLog").FromString(record).predict_log.request
        tensors = {pair.key: type(tf.make_tensor_proto(0)).FromString(pair.value) for pair in request.inputs}
        yield Request(request.model_spec.signature_name, tensors)


def _serialize(model: str, request: Request) -> bytes:
    log = _message("PredictionLog")()
    log.predict_log.request.model_spec.name = model
    log.predict_log.request.model_spec.signature_name = request.signature
    for name, tensor in request.inputs.items():
        log.predict_log.request.inputs.add(key=name, value=tensor.SerializeToString())
    return log.SerializeToString()


def _grey(kind: tf.DType, shape: tuple[int, ...], preprocessing: Preprocessing) -> Any:
    """Grey images as a `TensorProto`, in which one value is stored for all pixels."""
    low, high = preprocessing.range
    proto = tf.make_tensor_proto(low + GREY / 255 * (high - low), tf.float32)
    if kind == tf.uint8:
        proto = tf.make_tensor_proto(GREY, tf.uint8)
    if kind == tf.string:
        file = tf.io.encode_jpeg(np.full(shape[1:], GREY, np.uint8)).numpy()
        return tf.make_tensor_proto([file] * shape[0])
    proto.tensor_shape.CopyFrom(tf.TensorShape(shape).as_proto())
    return proto


def _array(tensor: Any) -> Any:
    array = tf.make_ndarray(tensor)
    return array.tolist() if array.dtype == object else array


@functools.cache
def _message(name: str) -> Any:
    """A message class of the protocol."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="warmup.proto", package="warmup", syntax="proto3")
    for message, fields in _MESSAGES.items():
        declared = file.message_type.add(name=message)
        for field, (number, kind) in fields.items():
            added = declared.field.add(name=field, number=number, label=kinds.LABEL_OPTIONAL)
            if kind.endswith("*"):
                added.label = kinds.LABEL_REPEATED
            if kind in ("string", "bytes"):
                added.type = getattr(kinds, f"TYPE_{kind.upper()}")
            else:
                added.type, added.type_name = kinds.TYPE_MESSAGE, f".warmup.{kind.rstrip('*')}"
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"warmup.{name}"))

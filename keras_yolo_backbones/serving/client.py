"""A client of TF Serving: arrays or image files in, a dict of levels out."""

from __future__ import annotations

import json
import math
import numbers
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from keras_yolo_backbones.errors import ArgumentError, ServingError
from keras_yolo_backbones.extras import how_to_install
from keras_yolo_backbones.serving.reply import arrays

MAX_REPLY_BYTES = 2**29
"""The limit on a reply: five times what the largest network returns for 8 images of 640 pixels."""

MOST_RETRIES = 4
"""gRPC makes no more than five attempts."""

_BACKOFF = {"initialBackoff": "0.1s", "maxBackoff": "1s", "backoffMultiplier": 2}

_HINTS = {
    "UNAVAILABLE": "Is the server running, and is this its gRPC port?",
    "NOT_FOUND": "Does the server serve a model of this name and version?",
    "DEADLINE_EXCEEDED": "timeout=… sets another deadline.",
}


class Client:
    """Calls a model on a server over gRPC. Thread-safe; close it, or use it in a `with`.

    Args:
        target: host and port of the server's gRPC interface, such as `"host:8500"`.
        model: its name at the server.
        version: the version to ask for, the server's latest by default.
        timeout: seconds until a call is given up, retries included.
        retries: how often gRPC repeats a call that ended with UNAVAILABLE, 0 … 4: the server was not there, or died
            during the call, in which case it may have run the model already. No other error is retried.
        input_name: of the signatures that take images.
        credentials: `grpc.ChannelCredentials` for TLS; none by default.
        max_reply_bytes: larger replies are refused.

    Raises:
        ArgumentError: a value that is not allowed.
        ServingError: the extra `serving` is not installed.
    """

    def __init__(
        self,
        target: str,
        model: str,
        *,
        version: int | None = None,
        timeout: float = 10.0,
        retries: int = 3,
        input_name: str = "images",
        credentials: Any = None,
        max_reply_bytes: int = MAX_REPLY_BYTES,
    ):
        if not _is_whole(retries) or not 0 <= retries <= MOST_RETRIES:
            raise ArgumentError(f"retries {retries!r}: expected 0 … {MOST_RETRIES}.")
        if not _is_whole(max_reply_bytes) or max_reply_bytes <= 0:
            raise ArgumentError(f"max_reply_bytes {max_reply_bytes!r}: expected a positive integer.")
        try:
            import grpc
            from tensorflow_serving.apis import prediction_service_pb2_grpc
        except ImportError as error:
            raise ServingError(
                f"the client needs tensorflow-serving-api ({error}): {how_to_install('serving')}."
            ) from None
        options = _options(retries, max_reply_bytes)
        if credentials is None:
            self._channel = grpc.insecure_channel(target, options=options)
        else:
            self._channel = grpc.secure_channel(target, credentials, options=options)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._target, self._model, self._version = target, model, version
        self._timeout, self._input_name, self._max_reply_bytes = _seconds(timeout), input_name, max_reply_bytes

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def __call__(
        self,
        images: np.ndarray | Iterable[bytes],
        *,
        signature: str | None = None,
        outputs: Sequence[str] = (),
        timeout: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Call the model.

        Args:
            images: (batch, height, width, channels), floats as the model expects them, or uint8 pixels; or the
                contents of JPEG or PNG files.
            signature: by default what fits the images: `"serving_default"`, `"uint8"` or `"encoded"`.
            outputs: names of those to return, all by default; fewer are less to transfer.
            timeout: seconds, the client's by default.

        Returns:
            Output name -> array, such as `{"P3": (batch, height/8, width/8, channels) float32, …}`.

        Raises:
            ArgumentError: what was passed is neither images nor files.
            ServingError: the server refuses, is not there or does not answer in time (`code` says which), its reply is
                damaged or not what was asked for, or the client is closed.
        """
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        fitting, name, value = self._input(images)
        wanted = [outputs] if isinstance(outputs, str) else list(outputs)
        try:
            request = predict_pb2.PredictRequest(output_filter=wanted)
            self._address(request.model_spec)
            request.model_spec.signature_name = signature or fitting
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value, shape=np.shape(value)))
        except (TypeError, ValueError) as error:
            raise ArgumentError(f"no request can be made of this: {str(error).splitlines()[0]}") from None
        response = self._call(self._stub.Predict, request, timeout)
        try:
            return arrays(response.outputs, wanted=wanted, batch=len(value), max_bytes=self._max_reply_bytes)
        except ServingError as error:
            raise self._failed(str(error)) from None

    def signatures(self, *, timeout: float | None = None) -> dict[str, dict[str, tuple[str, tuple[int | None, ...]]]]:
        """What the server says that the model has: signature -> input or output name -> dtype and shape."""
        import tensorflow as tf
        from google.protobuf.message import DecodeError
        from tensorflow_serving.apis import get_model_metadata_pb2

        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        self._address(request.model_spec)
        response = self._call(self._stub.GetModelMetadata, request, timeout)
        found = get_model_metadata_pb2.SignatureDefMap()
        try:
            if not response.metadata["signature_def"].Unpack(found):
                raise ValueError("the reply holds none")
            return {
                signature: {
                    name: (tf.as_dtype(info.dtype).name, tuple(tf.TensorShape(info.tensor_shape)))
                    for name, info in [*definition.inputs.items(), *definition.outputs.items()]
                }
                for signature, definition in found.signature_def.items()
                if definition.method_name
            }
        except (TypeError, ValueError, DecodeError) as error:
            raise self._failed(f"its signatures cannot be read: {str(error).splitlines()[0]}") from None

    def _input(self, images: np.ndarray | Iterable[bytes]) -> tuple[str, str, Any]:
        """The signature for what was passed, its input and the value."""
        wrong = images.ndim != 4 if isinstance(images, np.ndarray) else isinstance(images, (str, bytes, dict))
        if wrong or not isinstance(images, Iterable):
            raise ArgumentError(
                f"expected a batch (batch, height, width, channels) or a list of files, not {_said(images)}."
            )
        if not isinstance(images, np.ndarray):
            files = list(images)
            if not all(isinstance(file, bytes) for file in files):
                raise ArgumentError("files are passed as a list of bytes: [path.read_bytes(), …].")
            return "encoded", "image_bytes", np.array(files, object)
        if images.dtype == np.uint8:
            return "uint8", self._input_name, images
        if np.issubdtype(images.dtype, np.floating):
            return "serving_default", self._input_name, images.astype(np.float32, copy=False)
        raise ArgumentError(f"images are {images.dtype}; expected floats as the model takes them, or uint8 pixels.")

    def _address(self, spec: Any) -> None:
        spec.name = self._model
        if self._version is not None:
            spec.version.value = self._version

    def _call(self, method: Callable[..., Any], request: Any, timeout: float | None) -> Any:
        import grpc

        seconds = self._timeout if timeout is None else _seconds(timeout)
        try:
            return method(request, timeout=seconds)
        except grpc.RpcError as error:
            raise self._refused(error) from None
        except ValueError as error:  # what gRPC raises for a closed channel
            raise self._failed(str(error)) from None

    def _refused(self, error: Any) -> ServingError:
        code = error.code().name
        hint = f". {_HINTS[code]}" if code in _HINTS else ""
        return self._failed(f"{code}: {error.details()}{hint}", code)

    def _failed(self, reason: str, code: str = "") -> ServingError:
        return ServingError(f"model {self._model!r} at {self._target}: {reason}", code)


def _options(retries: int, max_reply_bytes: int) -> list[tuple[str, Any]]:
    """Options of the channel: limits on sizes, and which calls gRPC repeats."""
    retry = {"maxAttempts": retries + 1, **_BACKOFF, "retryableStatusCodes": ["UNAVAILABLE"]}
    config = {"methodConfig": [{"name": [{}], "retryPolicy": retry}]} if retries else {}
    return [
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", min(max_reply_bytes + 2**16, 2**31 - 1)),
        ("grpc.per_rpc_retry_buffer_size", 2**31 - 1),  # larger requests would not be repeated
        ("grpc.enable_retries", int(retries > 0)),
        ("grpc.service_config", json.dumps(config)),
    ]


def _seconds(timeout: Any) -> float:
    number = isinstance(timeout, numbers.Real) and not isinstance(timeout, bool)
    if not number or not math.isfinite(timeout) or timeout <= 0:
        raise ArgumentError(f"timeout {timeout!r}: expected a positive number of seconds.")
    return min(float(timeout), 1e9)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _said(images: Any) -> str:
    if isinstance(images, bytes):
        return "the bytes of one file"
    return f"an array of the shape {images.shape}" if isinstance(images, np.ndarray) else f"{type(images).__name__}"

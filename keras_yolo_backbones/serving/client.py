"""A client of TF Serving: arrays or image files in, a dict of levels out."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from keras_yolo_backbones.errors import ArgumentError, ServingError

BACKOFF = 0.1
"""Seconds before the first retry; doubled for every further one, and up to a half of it added at random."""

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
        retries: how often a call is repeated that met a server which is not there (UNAVAILABLE); no other error is
            retried, because the server may have done the work.
        input_name: of the signatures that take images.
        credentials: `grpc.ChannelCredentials` for TLS; none by default.

    Raises:
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
    ):
        try:
            import grpc
            from tensorflow_serving.apis import prediction_service_pb2_grpc
        except ImportError as error:
            raise ServingError(
                f"the client needs tensorflow-serving-api ({error}): pip install 'keras-yolo-backbones[serving]'."
            ) from None
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        if credentials is None:
            self._channel = grpc.insecure_channel(target, options=options)
        else:
            self._channel = grpc.secure_channel(target, credentials, options=options)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._target, self._model, self._version = target, model, version
        self._timeout, self._retries, self._input_name = timeout, retries, input_name

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def __call__(
        self,
        images: np.ndarray | Sequence[bytes],
        *,
        signature: str | None = None,
        outputs: Sequence[str] = (),
        timeout: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Call the model.

        Args:
            images: (batch, height, width, channels), floats as the model takes them or uint8 pixels; or the contents of
                JPEG or PNG files.
            signature: by default what fits the images: `"serving_default"`, `"uint8"` or `"encoded"`.
            outputs: names of those to return, all by default; fewer are less to transfer.
            timeout: seconds, the client's by default.

        Returns:
            Output name -> array, such as `{"P3": (batch, height/8, width/8, channels) float32, …}`.

        Raises:
            ArgumentError: what was passed is neither images nor files.
            ServingError: the server refuses, is not there or does not answer in time; `code` says which.
        """
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        fitting, name, value = self._input(images)
        request = predict_pb2.PredictRequest(output_filter=outputs)
        self._address(request.model_spec)
        request.model_spec.signature_name = signature or fitting
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value, shape=np.shape(value)))
        response = self._call(self._stub.Predict, request, timeout)
        return {name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()}

    def signatures(self, *, timeout: float | None = None) -> dict[str, dict[str, tuple[str, tuple[int | None, ...]]]]:
        """What the server says that the model has: signature -> input or output name -> dtype and shape."""
        import tensorflow as tf
        from tensorflow_serving.apis import get_model_metadata_pb2

        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        self._address(request.model_spec)
        response = self._call(self._stub.GetModelMetadata, request, timeout)
        found = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(found)
        return {
            signature: {
                name: (tf.as_dtype(info.dtype).name, tuple(tf.TensorShape(info.tensor_shape)))
                for name, info in [*definition.inputs.items(), *definition.outputs.items()]
            }
            for signature, definition in found.signature_def.items()
            if definition.method_name
        }

    def _input(self, images: np.ndarray | Sequence[bytes]) -> tuple[str, str, Any]:
        """The signature for what was passed, its input and the value."""
        if isinstance(images, bytes) or (isinstance(images, np.ndarray) and images.ndim != 4):
            raise ArgumentError(
                f"expected a batch (batch, height, width, channels) or a list of files, not {_said(images)}."
            )
        if not isinstance(images, np.ndarray):
            if not all(isinstance(file, bytes) for file in images):
                raise ArgumentError("files are passed as a list of bytes: [path.read_bytes(), …].")
            return "encoded", "image_bytes", np.array(list(images), object)
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
        """Call, and call again while the server is not there and time is left."""
        import grpc

        deadline = time.monotonic() + (self._timeout if timeout is None else timeout)
        for attempt in range(self._retries + 1):
            try:
                return method(request, timeout=max(0.0, deadline - time.monotonic()))
            except grpc.RpcError as error:
                pause = BACKOFF * 2**attempt * random.uniform(1, 1.5)
                last = attempt == self._retries or time.monotonic() + pause >= deadline
                if error.code() != grpc.StatusCode.UNAVAILABLE or last:
                    raise self._error(error) from None
                time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _error(self, error: Any) -> ServingError:
        code = error.code().name
        what = f"model {self._model!r} at {self._target}: {code}: {error.details()}"
        return ServingError(f"{what}. {_HINTS[code]}" if code in _HINTS else what, code)


def _said(images: Any) -> str:
    return "the bytes of one file" if isinstance(images, bytes) else f"an array of the shape {images.shape}"

"""Small servers for tests that speak TF Serving's protocols over its session loader: gRPC, and REST's `:predict`.

They stand in for the official server, which comes as a container only: same messages, same loader, not the same binary.
"""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

from keras_yolo_backbones.errors import ExportError
from keras_yolo_backbones.export.tf_serving.session import ServingSession

NUMBERS = {"float32": "float_val", "int32": "int_val"}
"""Where a TensorProto has the numbers of a dtype one by one."""


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata for one model; `before` is called at the start of each Predict."""

    def __init__(self, session: ServingSession, name: str):
        self.session, self.name = session, name
        self.calls = 0
        self.before = lambda _context: None
        self._lock = threading.Lock()

    def Predict(self, request, context):  # noqa: N802
        with self._lock:
            self.calls += 1
        self.before(context)
        self._check_model(request, context)
        signature = request.model_spec.signature_name or "serving_default"
        if signature not in self.session.signatures:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{signature}" not found.')
        definition = self.session.signatures[signature]
        for alias, known in ((request.inputs, definition.inputs), (request.output_filter, definition.outputs)):
            strange = sorted(set(alias) - set(known))
            if strange:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"tensor alias not found in signature: {strange[0]}")
        inputs = {}
        for name, tensor in request.inputs.items():
            value = tf.make_ndarray(tensor)
            inputs[name] = value.tolist() if value.dtype == object else value
        try:
            outputs = self.session.run(inputs, signature, list(request.output_filter) or None)
        except ExportError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        response = predict_pb2.PredictResponse()
        for name, value in outputs.items():  # numbers one by one, as the official server sends them
            response.outputs[name].dtype = tf.as_dtype(value.dtype).as_datatype_enum
            response.outputs[name].tensor_shape.CopyFrom(tf.TensorShape(value.shape).as_proto())
            getattr(response.outputs[name], NUMBERS[value.dtype.name]).extend(value.ravel().tolist())
        return response

    def GetModelMetadata(self, request, context):  # noqa: N802
        self._check_model(request, context)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        found = get_model_metadata_pb2.SignatureDefMap()
        for name, definition in self.session.signatures.items():
            found.signature_def[name].CopyFrom(definition)
        response.metadata["signature_def"].Pack(found)
        return response

    def _check_model(self, request, context):
        if request.model_spec.name != self.name:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {request.model_spec.name}")


@contextlib.contextmanager
def grpc_server(service, workers=8):
    """Serve on a free port of this machine; gives `"localhost:port"`."""
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), ("grpc.so_reuseport", 0)]
    server = grpc.server(futures.ThreadPoolExecutor(workers), options=options)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    port = server.add_insecure_port("localhost:0")
    server.start()
    try:
        yield f"localhost:{port}"
    finally:
        server.stop(None).wait()


@contextlib.contextmanager
def rest_server(session, name):
    """REST's `:predict` with columns ("inputs" in, "outputs" out); gives `"http://localhost:port"`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path != f"/v1/models/{name}:predict":
                return self._answer(404, {"error": f"Servable not found for request: {self.path}"})
            signature = body.get("signature_name", "serving_default")
            if signature not in session.signatures:
                return self._answer(400, {"error": f'Serving signature key "{signature}" not found.'})
            try:
                outputs = session.run(columns(session, signature, body["inputs"]), signature)
            except ExportError as error:
                return self._answer(400, {"error": str(error)})
            return self._answer(200, {"outputs": {key: value.tolist() for key, value in outputs.items()}})

        def _answer(self, code, body):
            content = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("localhost", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://localhost:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def columns(session, signature, inputs):
    """JSON's columns as what the signature takes; `{"b64": …}` stands for bytes."""
    found = {}
    for name, value in inputs.items():
        kind = tf.as_dtype(session.signatures[signature].inputs[name].dtype)
        if kind == tf.string:
            found[name] = [base64.b64decode(item["b64"]) for item in value]
        else:
            found[name] = np.array(value, kind.as_numpy_dtype)
    return found

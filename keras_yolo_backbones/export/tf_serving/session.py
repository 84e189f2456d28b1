"""Running a SavedModel the way TF Serving does: through the session loader of TensorFlow's C API.

Python's `tf.saved_model.load` accepts models that this loader, and so the server, refuses.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import tensorflow as tf

from keras_yolo_backbones.errors import ExportError

_STRING = 7
_STRING_BYTES = 24
"""Size of a `TF_TString`, by which string tensors are laid out."""

_POINTERS = (
    *("TF_NewBuffer", "TF_NewGraph", "TF_NewSessionOptions", "TF_NewStatus", "TF_LoadSessionFromSavedModel"),
    *("TF_AllocateTensor", "TF_GraphOperationByName", "TF_StringGetDataPointer", "TF_TensorData"),
)
_SIZES = ("TF_StringGetSize", "TF_TensorByteSize")


class _Output(ctypes.Structure):
    _fields_ = (("operation", ctypes.c_void_p), ("index", ctypes.c_int))


class _Buffer(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p), ("length", ctypes.c_size_t), ("deallocator", ctypes.c_void_p))


@functools.cache
def library() -> ctypes.CDLL:
    """TensorFlow's C API, which the Python wheel carries.

    Raises:
        ExportError: it is not where the wheels for Linux and macOS have it.
    """
    folder = Path(tf.sysconfig.get_lib())
    for name in ("libtensorflow_cc.so.2", "libtensorflow_cc.2.dylib"):
        if (folder / name).exists():
            loaded = ctypes.CDLL(str(folder / name))
            for function in _POINTERS:
                getattr(loaded, function).restype = ctypes.c_void_p
            for function in _SIZES:
                getattr(loaded, function).restype = ctypes.c_size_t
            loaded.TF_Message.restype = ctypes.c_char_p
            loaded.TF_Dim.restype = ctypes.c_int64
            return loaded
    raise ExportError(f"no libtensorflow_cc in {folder}: SavedModels are checked through it; export on Linux or macOS.")


class ServingSession:
    """A SavedModel, loaded as TF Serving loads it. Thread-safe; close it, or use it in a `with`.

    Args:
        folder: a version folder, with `saved_model.pb` in it.

    Attributes:
        signatures: name -> `SignatureDef` of those that can be called.
        graph_versions: producer and oldest consumer of the graph, as numbers of TensorFlow's graph format.

    Raises:
        ExportError: the loader refuses the folder.
    """

    def __init__(self, folder: Path):
        self._api = library()
        self._graph = ctypes.c_void_p(self._api.TF_NewGraph())
        options, meta = (ctypes.c_void_p(made()) for made in (self._api.TF_NewSessionOptions, self._api.TF_NewBuffer))
        tags = (ctypes.c_char_p * 1)(b"serve")
        with self._status(f"the session loader refuses {folder}") as status:
            path = str(folder).encode()
            self._session = ctypes.c_void_p(
                self._api.TF_LoadSessionFromSavedModel(options, None, path, tags, 1, self._graph, meta, status)
            )
        content = ctypes.cast(meta, ctypes.POINTER(_Buffer)).contents
        definition = tf.compat.v1.MetaGraphDef.FromString(ctypes.string_at(content.data, content.length))
        self._api.TF_DeleteBuffer(meta)
        self._api.TF_DeleteSessionOptions(options)
        self.signatures = {name: value for name, value in sorted(definition.signature_def.items()) if value.method_name}
        self.graph_versions = definition.graph_def.versions

    def __enter__(self) -> ServingSession:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Free the graph."""
        if self._session:
            with self._status("closing the session") as status:
                self._api.TF_CloseSession(self._session, status)
                self._api.TF_DeleteSession(self._session, status)
            self._api.TF_DeleteGraph(self._graph)
            self._session = ctypes.c_void_p()

    def run(
        self, inputs: Mapping[str, Any], signature: str = "serving_default", names: list[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Call a signature.

        Args:
            inputs: name -> array, of the dtype and rank that the signature says; strings as a list of `bytes`.
            signature: key of `signatures`.
            names: the outputs to compute, all by default.

        Raises:
            ExportError: the graph cannot be run on these inputs; the message is TensorFlow's.
        """
        definition = self.signatures[signature]
        names = list(definition.outputs) if names is None else names
        feeds = [self._tensor(definition.inputs[name].name) for name in inputs]
        fetches = [self._tensor(definition.outputs[name].name) for name in names]
        given = (ctypes.c_void_p * len(feeds))()
        results = (ctypes.c_void_p * len(fetches))()
        try:
            for position, value in enumerate(inputs.values()):
                given[position] = self._to_tensor(value)
            with self._status(f"signature {signature!r}") as status:
                self._api.TF_SessionRun(
                    *(self._session, None),
                    *((_Output * len(feeds))(*feeds), given, len(feeds)),
                    *((_Output * len(fetches))(*fetches), results, len(fetches)),
                    *(None, 0, None, status),
                )
            return {name: self._to_array(tensor) for name, tensor in zip(names, results, strict=True)}
        finally:
            for tensor in (*given, *results):
                if tensor:
                    self._api.TF_DeleteTensor(ctypes.c_void_p(tensor))

    @contextlib.contextmanager
    def _status(self, what: str) -> Iterator[ctypes.c_void_p]:
        status = ctypes.c_void_p(self._api.TF_NewStatus())
        try:
            yield status
            if self._api.TF_GetCode(status):
                raise ExportError(f"{what}: {self._api.TF_Message(status).decode(errors='replace')}")
        finally:
            self._api.TF_DeleteStatus(status)

    def _tensor(self, name: str) -> _Output:
        operation, index = name.split(":")
        return _Output(self._api.TF_GraphOperationByName(self._graph, operation.encode()), int(index))

    def _to_tensor(self, value: Any) -> int:
        if isinstance(value, list):
            return self._to_strings(value)
        array = np.ascontiguousarray(value)
        kind = tf.as_dtype(array.dtype).as_datatype_enum
        tensor = self._allocate(kind, array.shape, array.nbytes)
        ctypes.memmove(self._api.TF_TensorData(ctypes.c_void_p(tensor)), array.ctypes.data, array.nbytes)
        return tensor

    def _to_strings(self, values: list[bytes]) -> int:
        tensor = self._allocate(_STRING, (len(values),), len(values) * _STRING_BYTES)
        start = self._api.TF_TensorData(ctypes.c_void_p(tensor)) if values else 0
        for position, value in enumerate(values):
            place = ctypes.c_void_p(start + position * _STRING_BYTES)
            self._api.TF_StringInit(place)
            self._api.TF_StringCopy(place, value, ctypes.c_size_t(len(value)))
        return tensor

    def _allocate(self, kind: int, shape: tuple[int, ...], size: int) -> int:
        dimensions = (ctypes.c_int64 * len(shape))(*shape)
        return self._api.TF_AllocateTensor(kind, dimensions, len(shape), ctypes.c_size_t(size))

    def _to_array(self, address: int) -> np.ndarray:
        tensor = ctypes.c_void_p(address)
        kind = tf.as_dtype(self._api.TF_TensorType(tensor)).as_numpy_dtype
        shape = [self._api.TF_Dim(tensor, axis) for axis in range(self._api.TF_NumDims(tensor))]
        size = self._api.TF_TensorByteSize(tensor)
        data = ctypes.string_at(self._api.TF_TensorData(tensor), size) if size else b""
        return np.frombuffer(data, kind).reshape(shape).copy()

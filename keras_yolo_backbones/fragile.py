"""What is used of Keras, LiteRT and TensorFlow though they promise nothing about it, gathered in one place.

CONTRIBUTING lists these and the others, which have a module of their own; `tests/test_fragile_ground.py` tests each.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import types
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

_SOURCES: ContextVar[str | None] = ContextVar("_SOURCES", default=None)
"""Where autograph writes its sources; by default to the system's folder for temporary files."""


@contextlib.contextmanager
def without_values() -> Iterator[None]:
    """Give the variables that layers create in the block a shape and no value: building is then much faster.

    Such models are to be looked at, not called. At the end of a stateless scope Keras would draw the initial values
    after all, for all variables that wait for theirs.
    """
    import keras
    from keras.src.backend.common import global_state

    waiting = "uninitialized_variables"
    before = global_state.get_global_attribute(waiting)
    with keras.StatelessScope(initialize_variables=False):
        global_state.set_global_attribute(waiting, [])
        try:
            yield
        finally:
            global_state.set_global_attribute(waiting, before or [])


@contextlib.contextmanager
def tf2onnx_copies(wanted: bool) -> Iterator[None]:
    """Whether tf2onnx copies all weights before each of its two dozen improvements, to go on where one fails. Without
    copies it is an error in the block."""
    name = "TF2ONNX_CATCH_ERRORS"  # in versions 1.16 and 1.17 any value switches copies off
    before = os.environ.pop(name, None)
    if not wanted:
        os.environ[name] = "false"
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before


def call_of(tensor: Any) -> Any:
    """Keras' note of the call that made a `KerasTensor`: `operation`, `arguments` and `outputs`."""
    operation, index, _ = tensor._keras_history
    return operation._inbound_nodes[index]


def maker_of(tensor: Any) -> Any:
    """The layer or operation that made a `KerasTensor`."""
    return tensor._keras_history.operation


def call_number(tensor: Any) -> int:
    """Which of the calls of its layer or operation made a `KerasTensor`."""
    return int(tensor._keras_history.node_index)


def output_of(tensor: Any) -> tuple[Any, int]:
    """The layer or operation that made a `KerasTensor`, and which of its outputs it is."""
    operation, _, index = tensor._keras_history
    return operation, index


def calls_of(operation: Any) -> list[Any]:
    """Keras' notes of all calls of a layer or operation."""
    return list(operation._inbound_nodes)


def toolbox_of(thing: Any) -> str:
    """The package that the class of an object is from, such as `"keras"` or `"tf_keras"`."""
    return type(thing).__module__.partition(".")[0]


def lite_schema() -> Any:
    """The generated reader of TFLite's flatbuffers."""
    from ai_edge_litert import schema_py_generated

    return schema_py_generated


def lite_tools() -> Any:
    """TensorFlow's functions that turn TFLite files into objects and back."""
    from tensorflow.lite.tools import flatbuffer_utils

    return flatbuffer_utils


@contextlib.contextmanager
def autograph_sources_in(folder: Path) -> Iterator[None]:
    """Let autograph write the sources that it generates to `folder`, in this thread and within the block.

    It would write them to the system's folder for temporary files, and a killed process would leave them there.
    """
    from tensorflow.python.autograph.pyct import loader

    def file(**options: Any) -> Any:
        return tempfile.NamedTemporaryFile(dir=_SOURCES.get(), **options)

    loader.tempfile = types.SimpleNamespace(NamedTemporaryFile=file)
    token = _SOURCES.set(str(folder))
    try:
        yield
    finally:
        _SOURCES.reset(token)


def recording_interpreter(path: Path) -> Any:
    """A LiteRT interpreter that keeps the values of all tensors, and runs one operator after another.

    Delegates, which compute several operators at once and keep nothing between them, are off.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Interpreter(
            model_path=str(path),
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )


def bare_interpreter(path: Path) -> Any:
    """A LiteRT interpreter without delegates; its tensors are not allocated yet."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    return Interpreter(model_path=str(path), experimental_op_resolver_type=resolver)


def operator_list(interpreter: Any) -> list[dict[str, Any]]:
    """An interpreter's operators: `op_name`, and `inputs` and `outputs` as indices of tensors.

    Those that a delegate adds come after those of the file.
    """
    return interpreter._get_ops_details()

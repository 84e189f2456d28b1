"""What is used of Keras, LiteRT and TensorFlow though they promise nothing about it, gathered in one place.

CONTRIBUTING lists these and the others, which have a module of their own; `tests/test_fragile_ground.py` tests each.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any


def call_of(tensor: Any) -> Any:
    """Keras' note of the call that made a `KerasTensor`: `operation`, `arguments` and `outputs`."""
    operation, index, _ = tensor._keras_history
    return operation._inbound_nodes[index]


def maker_of(tensor: Any) -> Any:
    """The layer or operation that made a `KerasTensor`."""
    return tensor._keras_history.operation


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

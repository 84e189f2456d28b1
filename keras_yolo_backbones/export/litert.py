"""Running and reading TFLite files through LiteRT. Imports neither TensorFlow nor Keras."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_yolo_backbones.errors import ExportError


class Operator(NamedTuple):
    """One operator of a TFLite file.

    Attributes:
        name: such as `"CONV_2D"`.
        inputs: element types of the tensors it takes, such as `"INT8"`.
        outputs: element types of those it gives.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class LiteModel:
    """A TFLite file, ready to run.

    Args:
        path: the file.
        threads: CPU threads.

    Raises:
        ExportError: the file is no TFLite model.
    """

    def __init__(self, path: Path, *, threads: int = 1):
        from ai_edge_litert.interpreter import Interpreter

        if not path.is_file() or path.stat().st_size == 0:
            raise ExportError(f"{path} is no file, or an empty one.")
        try:
            self._interpreter = Interpreter(model_path=str(path), num_threads=threads)
            self._runner = self._interpreter.get_signature_runner()
        except (ValueError, RuntimeError) as error:
            raise ExportError(f"{path} is no TFLite model that LiteRT can run: {error}") from None
        self._inputs = self._runner.get_input_details()
        self._outputs = self._runner.get_output_details()

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        _, height, width, channels = next(iter(self._inputs.values()))["shape"]
        return int(height), int(width), int(channels)

    def tensors(self) -> dict[str, dict[str, Any]]:
        """Name of every input and output -> dtype and, for integers, scale and zero point."""
        return {name: _details(tensor) for name, tensor in (self._inputs | self._outputs).items()}

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Run on (batch, height, width, channels) float32, one image after another; outputs as float32 by name."""
        results = [self._run(image[np.newaxis]) for image in images]
        return {name: np.concatenate([result[name] for result in results]) for name in results[0]}

    def _run(self, image: np.ndarray) -> dict[str, np.ndarray]:
        ((name, tensor),) = self._inputs.items()
        outputs = self._runner(**{name: quantize(image, tensor)})
        return {name: dequantize(value, self._outputs[name]) for name, value in outputs.items()}


def quantize(array: np.ndarray, tensor: dict[str, Any]) -> np.ndarray:
    """Float values as the tensor holds them: round(value / scale) + zero point, cut off at the type's limits."""
    if tensor["dtype"] == np.float32:
        return array.astype(np.float32)
    scale, zero_point = tensor["quantization"]
    limits = np.iinfo(tensor["dtype"])
    return np.clip(np.rint(array / scale) + zero_point, limits.min, limits.max).astype(tensor["dtype"])


def dequantize(array: np.ndarray, tensor: dict[str, Any]) -> np.ndarray:
    """The float values that a tensor stands for: (value − zero point) · scale."""
    if tensor["dtype"] == np.float32:
        return array
    scale, zero_point = tensor["quantization"]
    return (array.astype(np.float32) - zero_point) * np.float32(scale)


def operators(path: Path) -> list[Operator]:
    """All operators of a TFLite file, in order."""
    from ai_edge_litert import schema_py_generated as schema

    kinds = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    types = {value: name for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    graph = model.Subgraphs(0)

    def element_types(indices: Any) -> tuple[str, ...]:
        found = [] if isinstance(indices, int) else [int(index) for index in indices]
        return tuple(types[graph.Tensors(index).Type()] for index in found if index >= 0)

    found = []
    for position in range(graph.OperatorsLength()):
        operator = graph.Operators(position)
        code = model.OperatorCodes(operator.OpcodeIndex())
        kind = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        name = code.CustomCode().decode() if kinds[kind] == "CUSTOM" else kinds[kind]
        found.append(Operator(name, element_types(operator.InputsAsNumpy()), element_types(operator.OutputsAsNumpy())))
    return found


def inventory(path: Path) -> dict[str, int]:
    """Operator name -> how many of them a TFLite file has, most frequent first."""
    return tally(operators(path))


def tally(listed: list[Operator]) -> dict[str, int]:
    """Operator name -> how many of them are listed, most frequent first."""
    return dict(Counter(operator.name for operator in listed).most_common())


def _details(tensor: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"dtype": np.dtype(tensor["dtype"]).name}
    if found["dtype"] != "float32":
        scale, zero_point = tensor["quantization"]
        found |= {"scale": float(scale), "zero_point": int(zero_point)}
    return found

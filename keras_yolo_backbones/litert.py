"""Running and reading TFLite files through LiteRT. Imports neither TensorFlow nor Keras."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_yolo_backbones.errors import ExportError, shown
from keras_yolo_backbones.fragile import lite_schema
from keras_yolo_backbones.strangers import typed

XNNPACK_DEPTHWISE = 25
"""Weights a channel of the largest int8 depthwise convolution that XNNPACK has a fast kernel for."""


class Tensor(NamedTuple):
    """One tensor of a TFLite file.

    Attributes:
        kind: element type, such as `"INT8"`.
        shape: its shape.
        scale: the float value of one integer step; 0 if there is none, or one for each channel.
        zero_point: the integer that means 0.0; 0 if there is none.
        constant: whether the file holds its values.
        values: those of an INT32 constant (axes, strides, paddings), in a row; of other tensors none.
    """

    kind: str
    shape: tuple[int, ...]
    scale: float
    zero_point: int
    constant: bool
    values: tuple[int, ...]


class Operator(NamedTuple):
    """One operator of a TFLite file.

    Attributes:
        name: such as `"CONV_2D"`.
        inputs: its input tensors, constants too.
        outputs: its output tensors.
        activated: whether it ends in an activation function.
    """

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    activated: bool

    @property
    def kinds(self) -> tuple[str, ...]:
        """Element types of all its tensors, constants too."""
        return tuple(tensor.kind for tensor in (*self.inputs, *self.outputs))

    @property
    def activations(self) -> tuple[Tensor, ...]:
        """Its tensors but the constants."""
        return tuple(tensor for tensor in (*self.inputs, *self.outputs) if not tensor.constant)


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
            self._inputs = self._runner.get_input_details()
            self._outputs = self._runner.get_output_details()
        except Exception as error:  # damaged files bring KeyError, UnicodeDecodeError and others
            raise ExportError(f"{path} is no TFLite model that LiteRT can run: {shown(error, 200)}") from None

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        _, height, width, channels = next(iter(self._inputs.values()))["shape"]
        return int(height), int(width), int(channels)

    def tensors(self) -> dict[str, dict[str, Any]]:
        """Name of every input and output -> dtype and, for integers, scale and zero point."""
        return {name: _details(tensor) for name, tensor in (self._inputs | self._outputs).items()}

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Run on (batch, height, width, channels) float32, one image at a time; outputs as float32 by name."""
        results = [self._run(image[np.newaxis]) for image in images]
        return {name: np.concatenate([result[name] for result in results]) for name in results[0]}

    def _run(self, image: np.ndarray) -> dict[str, np.ndarray]:
        ((name, tensor),) = self._inputs.items()
        outputs = self._runner(**{name: quantize(image, tensor)})
        return {name: dequantize(value, self._outputs[name]) for name, value in outputs.items()}


def plain_interpreter(path: Path) -> Any:
    """LiteRT's interpreter as it comes: XNNPACK computes what it can."""
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(model_path=str(path))


def run_raw(interpreter: Any, values: np.ndarray) -> list[np.ndarray]:
    """Run an interpreter on an input in its own type; outputs in their own types, in the order of the file."""
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values)
    interpreter.invoke()
    return [interpreter.get_tensor(entry["index"]) for entry in interpreter.get_output_details()]


def quantize(array: np.ndarray, tensor: dict[str, Any]) -> np.ndarray:
    """Float values as the tensor holds them: round(value / scale) + zero point, cut off at the type's limits."""
    if tensor["dtype"] == np.float32:
        return array.astype(np.float32)
    scale, zero_point = tensor["quantization"]
    limits = np.iinfo(tensor["dtype"])
    return np.clip(np.rint(array / scale) + zero_point, limits.min, limits.max).astype(tensor["dtype"])


def dequantize(array: np.ndarray, tensor: dict[str, Any]) -> np.ndarray:
    """The float values of a tensor: (value − zero point) · scale."""
    if tensor["dtype"] == np.float32:
        return array
    scale, zero_point = tensor["quantization"]
    return (array.astype(np.float32) - zero_point) * np.float32(scale)


def operators(path: Path) -> list[Operator]:
    """All operators of a TFLite file, in order; `ExportError` if it is none, or damaged."""
    return typed(path, "TFLite model", lambda: _operators(path.read_bytes()))


def _operators(data: bytes) -> list[Operator]:
    if data[4:8] != b"TFL3":
        raise ValueError("its first bytes are not those of one")
    schema = lite_schema()
    kinds = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    model = schema.Model.GetRootAs(data, 0)
    graph = model.Subgraphs(0)
    if max(graph.OperatorsLength(), graph.TensorsLength()) > len(data) // 4:
        raise ValueError("it claims more operators or tensors than it has room for")
    tensors = _tensors(model)

    def those(indices: Any) -> tuple[Tensor, ...]:
        found = [] if isinstance(indices, int) else [int(index) for index in indices]
        return tuple(tensors[index] for index in found if index >= 0)

    found = []
    for position in range(graph.OperatorsLength()):
        operator = graph.Operators(position)
        code = model.OperatorCodes(operator.OpcodeIndex())
        kind = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        name = code.CustomCode().decode() if kinds[kind] == "CUSTOM" else kinds[kind]
        options = schema.OperatorT.InitFromObj(operator).builtinOptions
        activated = bool(getattr(options, "fusedActivationFunction", 0))
        found.append(Operator(name, those(operator.InputsAsNumpy()), those(operator.OutputsAsNumpy()), activated))
    return found


def _tensors(model: Any) -> list[Tensor]:
    schema = lite_schema()

    types = {value: name for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
    graph = model.Subgraphs(0)
    found = []
    for index in range(graph.TensorsLength()):
        tensor = graph.Tensors(index)
        kind = types[tensor.Type()]
        shape = () if tensor.ShapeIsNone() else tuple(int(side) for side in tensor.ShapeAsNumpy())
        scale, zero_point = _quantization(tensor.Quantization())
        content = model.Buffers(tensor.Buffer())
        values = content.DataAsNumpy().view(np.int32) if kind == "INT32" and content.DataLength() else ()
        constant = content.DataLength() > 0
        found.append(Tensor(kind, shape, scale, zero_point, constant, tuple(int(value) for value in values)))
    return found


def _quantization(parameters: Any) -> tuple[float, int]:
    """Scale and zero point where a tensor has one of each."""
    if parameters is None or parameters.ScaleLength() != 1:
        return 0.0, 0
    return float(parameters.Scale(0)), int(parameters.ZeroPoint(0)) if parameters.ZeroPointLength() else 0


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

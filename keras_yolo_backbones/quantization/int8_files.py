"""The tensors of an int8 file by the names of the layers that they come from, whether it is TFLite or ONNX."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from keras_yolo_backbones.errors import ArgumentError
from keras_yolo_backbones.fragile import recording_interpreter
from keras_yolo_backbones.litert import LiteModel, dequantize, operators, quantize
from keras_yolo_backbones.strangers import check_runs, read_onnx, typed

Detail = dict[str, Any]
"""`index`, `dtype` and `quantization` (scale, zero point) of a tensor, as LiteRT says them."""


class Int8File(Protocol):
    """What a report asks of a file."""

    input_shape: tuple[int, int, int]
    conversions: int

    def tensors(self, names: set[str]) -> dict[str, Detail]:
        """Layer name -> its tensor, of the layers that the file has."""

    def values(self, details: Sequence[Detail], image: np.ndarray) -> list[np.ndarray]:
        """The real values of tensors for a batch of one."""

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Outputs for a batch of one, float32, channels last."""


def open_int8(path: Path) -> Int8File:
    """A `.tflite` or `.onnx` file, after a trial in a process of its own; `ExportError` if it is none, or damaged."""
    check_runs(path)
    return _OnnxFile(path) if path.suffix == ".onnx" else _LiteFile(path)


class _LiteFile:
    def __init__(self, path: Path) -> None:
        self._path, self._model = path, LiteModel(path)
        self.input_shape = self._model.input_shape
        kinds = [operator.name for operator in operators(path)]
        self.conversions = kinds.count("QUANTIZE") + kinds.count("DEQUANTIZE")
        self._interpreter = recording_interpreter(path)
        self._interpreter.allocate_tensors()

    def tensors(self, names: set[str]) -> dict[str, Detail]:
        """`stem.act_1/Relu6;stem.conv_1/BiasAdd` is stem.act.

        Constants may be called like the layer too; they come first and have no batch of 1.
        """
        found = {}
        for tensor in self._interpreter.get_tensor_details():
            scales = len(tensor["quantization_parameters"]["scales"])
            if (tensor["dtype"], scales) not in ((np.int8, 1), (np.float32, 0)) or list(tensor["shape"][:1]) != [1]:
                continue
            scope = tensor["name"].split(";")[0].split("/")[0]
            name = scope if scope in names else re.sub(r"_\d+$", "", scope)
            if name in names:
                found[name] = tensor
        return found

    def values(self, details: Sequence[Detail], image: np.ndarray) -> list[np.ndarray]:
        (entry,) = self._interpreter.get_input_details()
        self._interpreter.set_tensor(entry["index"], quantize(image, entry))
        self._interpreter.invoke()
        return [dequantize(self._interpreter.get_tensor(tensor["index"]), tensor) for tensor in details]

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        return self._model(image)


def _integers(text: str) -> dict[str, Detail]:
    """dtype, scale and zero point of the integers that a file takes and gives; none if it takes and gives floats."""
    said = json.loads(text)
    entries = said["integers"] if said["io"] == "int8" else {}
    return {
        name: {
            "dtype": np.dtype(entry["dtype"]).name,
            "scale": float(entry["scale"]),
            "zero_point": int(entry["zero_point"]),
        }
        for name, entry in entries.items()
    }


class _OnnxFile:
    """A file that `export_onnx` wrote: its metadata say layout and integers, its tensors are called like layers."""

    def __init__(self, path: Path) -> None:
        self._proto = read_onnx(path)
        notes = {entry.key: entry.value for entry in self._proto.metadata_props}
        if "quantization" not in notes:
            raise ArgumentError(f"{path.name} is no int8 ONNX file that export_onnx wrote; export it with int8.")
        self._channels_first = notes.get("layout") == "NCHW"
        self._integers = typed(path, "int8 ONNX file of export_onnx", lambda: _integers(notes["quantization"]))
        (self._entry,) = typed(path, "ONNX file with one input", lambda: tuple(self._proto.graph.input))
        self.input_shape = self._size(path)
        self.conversions = sum(node.op_type == "QuantizeLinear" for node in self._proto.graph.node)
        self._outputs = [output.name for output in self._proto.graph.output]
        self._session: tuple[list[str], Any] | None = None

    def tensors(self, names: set[str]) -> dict[str, Detail]:
        from onnx import numpy_helper

        constants = {tensor.name: tensor for tensor in self._proto.graph.initializer}
        found = {}
        for node in self._proto.graph.node:
            name = node.input[0].removesuffix(".int8") if node.op_type == "DequantizeLinear" else ""
            if name in names and node.input[0] not in constants:
                scale, zero_point = (numpy_helper.to_array(constants[part]) for part in node.input[1:])
                quantization = float(scale), int(zero_point)
                found[name] = {"index": node.input[0], "dtype": zero_point.dtype, "quantization": quantization}
        return found

    def values(self, details: Sequence[Detail], image: np.ndarray) -> list[np.ndarray]:
        found = self._run([detail["index"] for detail in details], image)
        return [dequantize(value, detail) for value, detail in zip(found, details, strict=True)]

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        found = dict(zip(self._outputs, self._run(self._outputs, image), strict=True))
        if self._integers:
            found = {name: dequantize(value, self._detail(name)) for name, value in found.items()}
        return {name: value.transpose(0, 2, 3, 1) if self._channels_first else value for name, value in found.items()}

    def _run(self, names: list[str], image: np.ndarray) -> list[np.ndarray]:
        fed = image.transpose(0, 3, 1, 2) if self._channels_first else image
        if self._integers:
            fed = quantize(fed, self._detail(self._entry.name))
        return self._giving(names).run(names, {self._entry.name: fed})

    def _giving(self, names: list[str]) -> Any:
        """A session that gives these tensors, kept for the next image."""
        import onnx
        import onnxruntime

        if self._session is None or self._session[0] != names:
            proto = onnx.ModelProto()
            proto.CopyFrom(self._proto)
            given = {output.name for output in proto.graph.output}
            proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in given)
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            content = proto.SerializeToString()
            session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
            self._session = names, session
        return self._session[1]

    def _detail(self, name: str) -> Detail:
        entry = self._integers[name]
        return {"dtype": np.dtype(entry["dtype"]).type, "quantization": (entry["scale"], entry["zero_point"])}

    def _size(self, path: Path) -> tuple[int, int, int]:
        sizes = [axis.dim_value for axis in self._entry.type.tensor_type.shape.dim[1:]]
        if not all(sizes):
            raise ArgumentError(f"{path.name} leaves its image size open; a report needs a file of one size.")
        height, width, channels = (*sizes[1:], sizes[0]) if self._channels_first else sizes
        return height, width, channels

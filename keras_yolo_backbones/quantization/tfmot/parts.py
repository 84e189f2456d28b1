"""Instructions for tensorflow-model-optimization: ranges from a plan, kernels per channel, and none of its defaults.

Importing this module imports that package; only `engine.py` does.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
import tensorflow_model_optimization as tfmot

from keras_yolo_backbones.quantization.kernels import fake_quantized

_api: Any = tfmot.quantization.keras


class PlannedRange(_api.quantizers.Quantizer):
    """Rounds a tensor to the 256 values of a fixed range."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:  # noqa: ARG002
        return {}

    def __call__(self, inputs: Any, training: bool, weights: Any, **_: Any) -> Any:  # noqa: ARG002
        return tf.quantization.fake_quant_with_min_max_args(inputs, self.low, self.high)

    def get_config(self) -> dict[str, Any]:
        return {"low": self.low, "high": self.high}


class PlannedKernel(_api.quantizers.Quantizer):
    """Rounds a kernel to 255 values for each of its output channels."""

    def __init__(self, axes: Any) -> None:
        self.axes = tuple(axes)

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:  # noqa: ARG002
        return {}

    def __call__(self, inputs: Any, training: bool, weights: Any, **_: Any) -> Any:  # noqa: ARG002
        if not _as_constants.get():
            return fake_quantized(inputs, self.axes)
        with tf.init_scope():
            rounded = fake_quantized(inputs.read_value(), self.axes).numpy()
        return tf.constant(rounded)

    def get_config(self) -> dict[str, Any]:
        return {"axes": list(self.axes)}


_as_constants = contextvars.ContextVar("_as_constants", default=False)


@contextlib.contextmanager
def kernels_as_constants() -> Iterator[None]:
    """Functions traced in this block hold rounded kernels as constants: the form that the TFLite converter accepts."""
    token = _as_constants.set(True)
    try:
        yield
    finally:
        _as_constants.reset(token)


class PlannedConfig(_api.QuantizeConfig):
    """How one layer is quantized.

    Args:
        output: (low, high) of its output; `None` leaves that as it is.
        axes: those of its kernel that run over output channels; `None` for a layer without a kernel.
    """

    def __init__(self, output: Any = None, axes: Any = None) -> None:
        self.output, self.axes = output, axes

    def get_weights_and_quantizers(self, layer: Any) -> list[Any]:
        return [(getattr(layer, _kernel(layer)), PlannedKernel(self.axes))] if self.axes else []

    def set_quantize_weights(self, layer: Any, quantize_weights: list[Any]) -> None:
        if quantize_weights:
            setattr(layer, _kernel(layer), quantize_weights[0])

    def get_activations_and_quantizers(self, layer: Any) -> list[Any]:  # noqa: ARG002
        return []

    def set_quantize_activations(self, layer: Any, quantize_activations: list[Any]) -> None:
        """Nothing: activations are layers of their own."""

    def get_output_quantizers(self, layer: Any) -> list[Any]:  # noqa: ARG002
        return [PlannedRange(*self.output)] if self.output else []

    def get_config(self) -> dict[str, Any]:
        return {"output": self.output, "axes": self.axes}


class AsAnnotated(_api.QuantizeScheme, _api.QuantizeLayoutTransform, _api.QuantizeRegistry):
    """The scheme that changes no layer and adds nothing to what was annotated."""

    def get_layout_transformer(self) -> Any:
        return self

    def get_quantize_registry(self) -> Any:
        return self

    def apply(self, model: Any, layer_quantize_map: Any) -> tuple[Any, Any]:
        return model, layer_quantize_map

    def supports(self, layer: Any) -> bool:  # noqa: ARG002
        return False

    def get_quantize_config(self, layer: Any) -> None:
        """Never asked for: nothing is supported."""


OBJECTS = {kind.__name__: kind for kind in (PlannedRange, PlannedKernel, PlannedConfig)}


def _kernel(layer: Any) -> str:
    return "depthwise_kernel" if hasattr(layer, "depthwise_kernel") else "kernel"

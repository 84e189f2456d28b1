"""Latency of one network in every form it can be deployed in, measured against each other in the same run."""

from __future__ import annotations

import functools
import importlib.util
import math
import os
import random
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import keras

Candidate = Callable[[np.ndarray], Any]
"""Runs one batch of images, (1, height, width, channels) float32."""


class Latency(NamedTuple):
    """How long one image takes.

    Attributes:
        seconds: median over the rounds.
        least: the shortest round, in seconds.
        spread: how far the middle half of the rounds lies apart, as a share of the median.
        ratio: median over the rounds of this candidate's time over the reference's time in the same round.
        least_ratio: this candidate's shortest round over the reference's.
        peak_share: multiply-accumulates a second, as a share of the best float32 matrix product between the rounds;
            an integer network may exceed 1.
    """

    seconds: float
    least: float
    spread: float
    ratio: float
    least_ratio: float
    peak_share: float


def threads() -> int:
    """CPU threads that every candidate may use: those this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def deployed(model: keras.Model, folder: Path, calibration: Any) -> dict[str, Candidate]:
    """Export a model in every form and load each.

    Args:
        model: a functional model with one fixed image size.
        folder: where the files go.
        calibration: images for the int8 files, as `quantization.plan` takes them.

    Returns:
        Form -> a function that runs it; `"keras"` is the model itself. OpenVINO takes part where it is installed.
    """
    from keras_yolo_backbones.export.onnx.exporter import export_onnx
    from keras_yolo_backbones.export.tf_serving.saved_model import export_saved_model
    from keras_yolo_backbones.export.tflite import export_tflite
    from keras_yolo_backbones.litert import LiteModel
    from keras_yolo_backbones.quantization.planning import plan

    plain = export_saved_model(model, folder / "plain", fused=False)
    fused = export_saved_model(model, folder / "fused")
    float32 = export_tflite(model, folder / "float32.tflite")
    ranges = plan(model, calibration)
    int8 = export_tflite(model, folder / "int8.tflite", precision="int8", calibration=ranges)
    onnx = export_onnx(model, folder / "model.onnx")
    onnx_int8 = export_onnx(model, folder / "int8.onnx", precision="int8", calibration=ranges)
    found: dict[str, Candidate] = {
        "keras": model.predict_on_batch,
        "saved_model, unfused": saved_model_runner(plain.path),
        "saved_model": saved_model_runner(fused.path),
        "onnxruntime": onnx_runner(onnx.path),
        "onnxruntime int8": onnx_runner(onnx_int8.path),
        "tflite float32": LiteModel(float32.path, threads=threads()),
        "tflite int8": LiteModel(int8.path, threads=threads()),
    }
    if importlib.util.find_spec("openvino"):
        found |= {"openvino": openvino_runner(onnx.path), "openvino int8": openvino_runner(onnx_int8.path)}
    return found


def trained_like(model: keras.Model) -> keras.Model:
    """The model itself, after its batch norms got random statistics, as a trained network has.

    Fresh ones are folded into biases of zero. TensorFlow's optimizer removes those, and then fuses less.
    """
    random = np.random.default_rng(0)
    for layer in model.layers:
        for name in ("gamma", "beta", "moving_mean"):
            if (weight := getattr(layer, name, None)) is not None:
                weight.assign(weight.numpy() + 0.1 * random.standard_normal(weight.shape).astype(np.float32))
    return model


def noise(model: keras.Model, count: int = 8) -> np.ndarray:
    """Random pixels to calibrate on where only speed matters, (count, height, width, channels) uint8."""
    return np.random.default_rng(0).integers(0, 256, (count, *model.inputs[0].shape[1:]), np.uint8)


def measure(
    candidates: Mapping[str, Candidate],
    model: keras.Model,
    *,
    reference: str = "keras",
    rounds: int = 15,
    yardstick: bool = True,
) -> dict[str, Latency]:
    """Time the candidates in turns, in a new order each round, and compare within the round.

    Runtimes leave threads spinning, which would slow the next candidate down. So each candidate starts after a pause
    and one untimed call.

    Args:
        candidates: name -> what to run.
        model: its image size and cost are used.
        reference: the candidate that the ratios refer to.
        rounds: how often each is timed.
        yardstick: whether matrix products are timed too, which `peak_share` needs; it is nan without them.
    """
    from keras_yolo_backbones.graph.cost import macs

    shape = (1, *model.inputs[0].shape[1:])
    images = np.random.default_rng(0).random(shape, np.float32)
    times: dict[str, list[float]] = {name: [] for name in candidates}
    order, shuffle = list(candidates), random.Random(0).shuffle
    peak = 0.0 if yardstick else math.nan
    for _ in range(rounds):
        if yardstick:
            peak = max(peak, matrix_rate())
        shuffle(order)
        for name in order:
            time.sleep(0.05)
            candidates[name](images)
            times[name].append(_seconds(functools.partial(candidates[name], images)))
    work = macs(model)
    found = {}
    for name, own in times.items():
        seconds = statistics.median(own)
        ratio = statistics.median(a / b for a, b in zip(own, times[reference], strict=True))
        first, _, third = statistics.quantiles(own, n=4) if len(own) > 1 else own * 3
        found[name] = Latency(
            seconds=seconds,
            least=min(own),
            spread=(third - first) / seconds,
            ratio=ratio,
            least_ratio=min(own) / min(times[reference]),
            peak_share=work / min(own) / peak,
        )
    return found


def matrix_rate(side: int = 2048) -> float:
    """Multiply-accumulates a second of a float32 matrix product: the best of three of each library's that is here."""
    a, b = (np.random.default_rng(seed).random((side, side), np.float32) for seed in (0, 1))
    products = _products(side)
    for product in products:
        product(a, b)
    return side**3 / min(_seconds(functools.partial(product, a, b)) for product in products * 3)


@functools.cache
def _products(side: int) -> list[Callable[[np.ndarray, np.ndarray], Any]]:
    """NumPy's matrix product, TensorFlow's and onnxruntime's: OpenBLAS, oneDNN or Eigen, and MLAS."""
    import onnxruntime
    import tensorflow as tf
    from onnx import TensorProto, helper

    square = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (side, side)) for name in "abc"]
    graph = helper.make_graph([helper.make_node("MatMul", ["a", "b"], ["c"])], "product", square[:2], square[2:])
    file = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    session = onnxruntime.InferenceSession(file.SerializeToString(), providers=["CPUExecutionProvider"])
    return [
        lambda a, b: a @ b,
        lambda a, b: tf.linalg.matmul(a, b).numpy(),
        lambda a, b: session.run(None, {"a": a, "b": b}),
    ]


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def saved_model_runner(folder: Path) -> Candidate:
    """The `serving_default` signature of a SavedModel, loaded in Python."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        outputs = loaded.signatures["serving_default"](tf.constant(images))
        return {name: tensor.numpy() for name, tensor in outputs.items()}

    return run


def onnx_runner(path: Path) -> Candidate:
    """An ONNX file in onnxruntime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})


def openvino_runner(path: Path) -> Candidate:
    """An ONNX file in OpenVINO on the CPU."""
    import openvino

    options = {"INFERENCE_NUM_THREADS": threads(), "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.Core().compile_model(str(path), "CPU", options)
    return lambda images: compiled(images)

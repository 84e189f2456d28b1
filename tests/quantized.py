"""What the tests of quantization share."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from conftest import DATA

import keras_yolo_backbones as kyb
from keras_yolo_backbones.graph.running import run
from keras_yolo_backbones.litert import LiteModel, operators, quantize


def settled(model: keras.Model, images: np.ndarray) -> keras.Model:
    """Give every batch norm the statistics of these images, mostly, so that no signal dies or explodes."""
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for norm in norms:
        norm.momentum = 0.3
    model(images, training=True)
    return model


def small(name: str, activation: str | None, photographs: np.ndarray) -> keras.Model:
    """A network at 64 pixels that passes signals on. The gates of its channel attention are closed to fully open."""
    keras.utils.set_random_seed(0)
    model = settled(kyb.create(name, activation=activation, input_shape=(64, 64, 3)), np.float32(photographs) / 255)
    random = np.random.default_rng(0)
    for layer in model.layers:
        if layer.name.endswith((".attention.fc", ".attn.fc", ".se.conv2")):
            layer.bias.assign(random.uniform(-4, 4, layer.bias.shape))
    return model


def element_types(path: Path) -> set[str]:
    """Of all tensors that the operators of a TFLite file take and give."""
    return {kind for operator in operators(path) for kind in operator.kinds}


def kernels_per_channel(path: Path) -> tuple[int, int]:
    """How many convolution kernels a TFLite file has, and how many of them have a scale for each channel."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    graph = model.Subgraphs(0)
    codes = schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.DEPTHWISE_CONV_2D
    kernels = channels = 0
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        if model.OperatorCodes(operator.OpcodeIndex()).BuiltinCode() not in codes:
            continue
        kernel = graph.Tensors(operator.Inputs(1))
        axis = kernel.Quantization().QuantizedDimension()
        kernels += 1
        channels += kernel.Quantization().ScaleLength() == kernel.Shape(axis)
    return kernels, channels


def outputs(path: Path, images: np.ndarray) -> dict[str, np.ndarray]:
    """What a TFLite file gives for uint8 photographs."""
    return LiteModel(path)(np.float32(images) / 255)


def share_equal(path, aware, images):
    """Output name -> share of the values that are the same integer in file and model."""
    runner = Interpreter(model_path=str(path)).get_signature_runner()
    (entry,) = runner.get_input_details().values()
    files = [runner(images=quantize(image[np.newaxis], entry)) for image in images]
    found = {}
    for name, wanted in run(aware, images).items():
        scale, zero_point = runner.get_output_details()[name]["quantization"]
        integers = np.rint(wanted / scale) + zero_point
        found[name] = float(np.mean(integers == np.concatenate([file[name] for file in files])))
    return found


def trained_digits(activation: str) -> keras.Model:
    """A small detector of digits, trained for half an hour; kernels were stored in half precision.

    images (64, 64, 3) -> {"P3", "P4": levels, "scores": (8, 8, 10), "boxes": (8, 8, 4)}.
    """
    backbone = kyb.create("v8-n", activation=activation, input_shape=(64, 64, 3), levels=("P3", "P4"))
    top = keras.layers.UpSampling2D(2, name="neck.up")(backbone.output["P4"])
    x = keras.layers.Concatenate(name="neck.cat")([top, backbone.output["P3"]])
    x = _unit(x, 64, 1, activation, "neck.cv")
    outputs = {}
    for part, channels in (("scores", 10), ("boxes", 4)):
        y = _unit(x, 64, 3, activation, f"head.{part}.cv")
        outputs[part] = keras.layers.Conv2D(channels, 1, name=f"head.{part}")(y)
    model = keras.Model(backbone.input, {**backbone.output, **outputs}, name=f"digits-v8-n-{activation}")
    trained = keras.Model(backbone.input, outputs)  # with the weights in the order of the file
    with np.load(DATA / "digits" / f"v8-n-{activation}.npz") as content:
        trained.set_weights([np.float32(content[name]) for name in content.files])
    return model


def _unit(x: keras.KerasTensor, channels: int, kernel: int, activation: str, name: str) -> keras.KerasTensor:
    x = keras.layers.Conv2D(channels, kernel, padding="same", use_bias=False, name=name)(x)
    x = keras.layers.BatchNormalization(momentum=0.97, epsilon=1e-3, name=f"{name}.bn")(x)
    return keras.layers.Activation(activation, name=f"{name}.act")(x)

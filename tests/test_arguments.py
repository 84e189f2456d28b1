"""Every public function that takes a model refuses what is none, in the same words."""

from __future__ import annotations

import inspect
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_yolo_backbones as kyb

IMAGES = np.zeros((8, 32, 32, 3), np.uint8)

VALUES = {"calibration": IMAGES, "images": IMAGES}
"""What the other arguments get; a path gets a file that does not exist."""


class Subclassed(keras.Model):
    def call(self, x):
        return x


def tf_keras_model():
    import tf_keras

    return tf_keras.Sequential([tf_keras.Input((8, 8, 3)), tf_keras.layers.Conv2D(4, 3)])


WRONG = {
    "none": (lambda: None, "is None;"),
    "path": (lambda: "v8s.keras", "is a path, 'v8s.keras' (kyb.load_model opens .keras files);"),
    "pathlib": (lambda: Path("v8s.keras"), "is a path, 'v8s.keras' (kyb.load_model opens .keras files);"),
    "subclassed": (lambda: Subclassed(name="mine"), "is 'mine', a subclassed model (Subclassed), which has no graph"),
    "unbuilt": (
        lambda: keras.Sequential([keras.layers.Dense(4)], name="plain"),
        "is the Sequential 'plain', which has no input shape yet (give it a keras.Input first);",
    ),
    "tf_keras": (tf_keras_model, "is a tf_keras Sequential, which Keras 3 cannot read;"),
    "layer": (lambda: keras.layers.Dense(4), "is of the type Dense;"),
    "array": (lambda: IMAGES, "is of the type ndarray;"),
    "class": (lambda: keras.Model, "is the class Model itself;"),
    "builder": (lambda: kyb.v8, "is of the type Family;"),
}
EXPECTED = "; expected a functional Keras 3 model: a backbone such as kyb.v8(), or keras.Model(inputs, outputs)."


def doors() -> list[tuple[str, object, str]]:
    """Every argument of a public function that is a model: the function's name, the function, the argument."""
    found = {}
    for module in (kyb, kyb.quantization):
        for name in dir(module):
            value = getattr(module, name)
            if not inspect.isfunction(value):
                continue
            for parameter in inspect.signature(value).parameters.values():
                if str(parameter.annotation).startswith("keras.Model"):
                    found[f"{value.__module__}.{name}-{parameter.name}"] = value, parameter.name
    return [(name, *door) for name, door in sorted(found.items())]


DOORS = doors()


def test_the_doors_are_found():
    names = {function.__name__ for _, function, _ in DOORS}
    assert names >= {
        *("distill", "export_onnx", "export_saved_model", "export_tflite", "export_weights", "extract_features"),
        *("fuse", "get_provenance", "load_weights", "macs", "plan", "pyramid", "quantize_aware", "report"),
        *("save_weights", "to_tf_keras"),
    }
    assert {argument for _, _, argument in DOORS} == {"model", "student", "teacher"}


@pytest.fixture(scope="module")
def right():
    """For the other model of a function that takes two."""
    return keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(4, 3)])


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize(("function", "argument"), [door[1:] for door in DOORS], ids=[door[0] for door in DOORS])
def test_what_is_no_model_is_refused_in_one_line(function, argument, wrong, right, tmp_path):
    make, said = WRONG[wrong]
    value = make()
    given = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name == argument:
            given[name] = value
        elif str(parameter.annotation).startswith("keras.Model"):
            given[name] = right
        elif parameter.default is inspect.Parameter.empty:
            given[name] = VALUES.get(name, tmp_path / "new" / "file")
    with pytest.raises(kyb.ArgumentError) as caught:
        function(**given)
    assert str(caught.value).startswith(f"{argument} {said}")
    assert str(caught.value).endswith(EXPECTED)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())

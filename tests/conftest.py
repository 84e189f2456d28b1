"""What the tests share: small real photographs, one small network, and its exported files, made once."""

from __future__ import annotations

import gc
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import importlib
import subprocess
import sys
from pathlib import Path

import fuzzing
import numpy as np
import pytest
from hypothesis import HealthCheck, is_hypothesis_test, settings

# A slow machine is no fault of the code; the limits of the readers have tests of their own.
_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile("short", max_examples=60, deadline=None, derandomize=True, suppress_health_check=_SLOW)
settings.register_profile("fuzz", max_examples=300, deadline=None, database=None, suppress_health_check=_SLOW)
settings.load_profile("short")

_REPEATED = pytest.StashKey["fuzzing.Repeated"]()


@pytest.hookimpl(trylast=True)  # after what -k leaves out
def pytest_collection_modifyitems(config, items):
    """With `FUZZ_SECONDS`: random tests only."""
    if seconds := float(os.environ.get("FUZZ_SECONDS", "0")):
        items[:] = [item for item in items if is_hypothesis_test(item.function)]
        config.stash[_REPEATED] = repeated = fuzzing.Repeated(seconds)
        repeated.waiting = len(items)


def pytest_collection_finish():
    """Take what was imported, half a million objects, out of every later garbage collection, and collect less often.

    TensorFlow's converter asks for a whole collection at each file.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 10)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem):
    result = yield
    if repeated := pyfuncitem.config.stash.get(_REPEATED, None):
        arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
        repeated.run(lambda: pyfuncitem.obj(**arguments))
    return result


def pytest_terminal_summary(terminalreporter):
    """What hostile and random files cost, where they were read in this process."""
    if fuzzing.COSTS:
        terminalreporter.section("hostile files: worst processor time and memory, outcomes")
        for test, cost in fuzzing.COSTS.items():
            terminalreporter.write_line(f"{cost}  {test}")
        terminalreporter.write_line(f"{fuzzing.total()}  all {len(fuzzing.COSTS)} tests")


SIDE = 64
ROOT = Path(__file__).parents[1]
DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def photographs() -> np.ndarray:
    return crops()


def crops() -> np.ndarray:
    """Sixteen crops of scikit-learn's two photographs, (16, 64, 64, 3) uint8."""
    from sklearn.datasets import load_sample_images

    found = []
    for photograph in load_sample_images().images:
        for index in range(8):
            top, left = 40 * index, 70 * index
            found.append(photograph[top : top + SIDE, left : left + SIDE])
    return np.stack(found)


@pytest.fixture(scope="session")
def model():
    """YOLOv8-n with ReLU6 at 64 pixels, with batch norms that do something."""
    import keras_yolo_backbones as kyb

    return disturbed(kyb.v8("n", activation="relu6", input_shape=(SIDE, SIDE, 3)))


@pytest.fixture(scope="module")
def from_example():
    """Imports a module of examples/detector by its name."""
    folder = str(ROOT / "examples" / "detector")
    sys.path.insert(0, folder)
    before = set(sys.modules)
    yield importlib.import_module
    sys.path.remove(folder)
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(folder):
            del sys.modules[name]


@pytest.fixture(scope="module")
def make_digits(from_example):
    """What makes the digits task of examples/detector."""
    return from_example("digits").make_digits


def disturbed(model, seed: int = 0):
    """Give `model` weights like those of a trained network: batch norms hold the statistics of what they normalize."""
    import keras

    random = np.random.default_rng(seed)
    norms = []
    for layer in flat_layers(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            norms.append(layer)
            channels = layer.moving_mean.shape[0]
            layer.gamma.assign(random.uniform(0.6, 1.5, channels))
            layer.beta.assign(random.uniform(-0.5, 0.5, channels))
        elif hasattr(layer, "kernel"):
            kernel = layer.kernel
            fan_in = np.prod(kernel.shape) / kernel.shape[-1]
            kernel.assign(random.uniform(-1, 1, kernel.shape) * np.sqrt(3 / fan_in))
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    model(random.random((8, *(side or 64 for side in model.inputs[0].shape[1:]))).astype(np.float32), training=True)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return model


def flat_layers(model):
    """The layers of a model and of the models in it."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from flat_layers(layer)
        else:
            yield layer


def in_subprocess(code: str, *, environment: dict[str, str] | None = None, timeout: int = 300) -> str:
    """Run Python code in a fresh process from the project's root and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | (environment or {}),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout

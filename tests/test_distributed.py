"""Training on many devices: batch statistics over all of them, and going on after a worker was killed."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
from conftest import ROOT, in_subprocess

EXAMPLE = ROOT / "examples" / "train_distributed.py"

MIRRORED = """
import argparse, sys
sys.path.insert(0, "examples")
import keras, numpy as np, tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
import keras_yolo_backbones as kyb
import train_distributed as example

args = argparse.Namespace(model="v8-n", side=32, batch=16, dtype="float32")
create = kyb.create

def train(strategy, sync):
    keras.utils.set_random_seed(0)
    kyb.create = lambda *names, **options: create(*names, **{**options, "levels": ("P2",), "sync_batchnorm": sync})
    with strategy.scope():
        model = example.build(args)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.05), loss)
    model.fit(example.images(args).take(2), shuffle=False, verbose=0)
    return {weight.path: weight.numpy() for weight in model.weights}

single = train(tf.distribute.get_strategy(), False)
both = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
assert both.num_replicas_in_sync == 2
for name, sync in (("synchronized", True), ("plain", False)):
    found = train(both, sync)
    for part in ("moving_", "kernel"):
        print(name, part, max(np.abs(single[path] - value).max() for path, value in found.items() if part in path))
"""


def test_synchronized_statistics_on_two_devices_are_those_of_one():
    lines = in_subprocess(MIRRORED).splitlines()
    words = [line.split() for line in lines if line.startswith(("synchronized", "plain"))]
    errors = {(name, part): float(error) for name, part, error in words}
    assert errors["synchronized", "moving_"] < 1e-5
    assert errors["synchronized", "kernel"] < 1e-5
    assert errors["plain", "moving_"] > 1e-3
    assert errors["plain", "kernel"] > 1e-4


JAX = """
import os
import jax, keras, numpy as np
import keras_yolo_backbones as kyb
assert keras.backend.backend() == "jax" and len(jax.devices()) == 2
random = np.random.default_rng(0)
images, labels = random.random((32, 32, 32, 3), np.float32), random.integers(0, 4, 32)

def train():
    keras.utils.set_random_seed(0)
    backbone = kyb.v8("n", input_shape=(32, 32, 3), levels=("P2",), sync_batchnorm=True)
    x = keras.layers.GlobalAveragePooling2D()(backbone.output["P2"])
    model = keras.Model(backbone.input, keras.layers.Dense(4)(x))
    model.compile(keras.optimizers.SGD(0.05), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(images, labels, batch_size=16, shuffle=False, verbose=0)
    return [(weight.path, np.asarray(weight.value), len(weight.value.sharding.device_set)) for weight in model.weights]

single = train()
keras.distribution.set_distribution(keras.distribution.DataParallel(devices=keras.distribution.list_devices()))
both = train()
assert {devices for *_, devices in single} == {1} and {devices for *_, devices in both} == {2}
for part in ("moving_", "kernel"):
    print(part, max(np.abs(a[1] - b[1]).max() for a, b in zip(single, both) if part in a[0]))
"""


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")
def test_data_parallelism_under_jax_has_global_statistics():
    environment = {"KERAS_BACKEND": "jax", "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    lines = in_subprocess(JAX, environment=environment).splitlines()
    errors = {words[0]: float(words[1]) for words in map(str.split, lines) if words[0] in ("moving_", "kernel")}
    assert errors["moving_"] < 1e-5
    assert errors["kernel"] < 1e-5


ARGUMENTS = ["--side", "32", "--batch", "16", "--steps", "12", "--every", "3", "--dtype", "float32"]


def start(out, workers):
    """The processes of a training, each with its part of the cluster in TF_CONFIG."""
    sockets = [socket.create_server(("localhost", 0)) for _ in range(workers)]
    addresses = [f"localhost:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    processes = []
    for index in range(workers):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = {**os.environ, "TF_CONFIG": json.dumps(config), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, EXAMPLE, "workers", *ARGUMENTS, "--out", out]
        processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
    return processes


def finish(processes):
    said = [process.communicate(timeout=400)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    return said


def weights(path):
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def difference(a, b):
    assert a.keys() == b.keys()
    return max(np.abs(a[name] - b[name]).max() for name in a)


@pytest.mark.slow
def test_two_workers_train_as_one_and_go_on_after_a_kill(tmp_path):
    finish(start(tmp_path / "one", 1))
    finish(start(tmp_path / "two", 2))
    one, two, other = (
        weights(tmp_path / name) for name in ("one/model.weights.h5", "two/model.weights.h5", "two/unused-1.weights.h5")
    )
    assert difference(two, other) == 0
    print(f"two workers and one differ by {difference(one, two):.1e}")
    assert difference(one, two) < 1e-5

    chief, worker = start(tmp_path / "killed", 2)
    while not (tmp_path / "killed" / "checkpoints" / "ckpt-6.index").exists():
        assert chief.poll() is None
        time.sleep(0.05)
    worker.send_signal(signal.SIGKILL)
    worker.communicate()
    begin = time.monotonic()
    try:
        chief.communicate(timeout=120)
        print(f"the other worker ended with {chief.returncode} after {time.monotonic() - begin:.0f} s")
    except subprocess.TimeoutExpired:
        print("the other worker waits")
        chief.kill()
        chief.communicate()
    assert not (tmp_path / "killed" / "model.weights.h5").exists()
    said = finish(start(tmp_path / "killed", 2))
    assert all("going on from step " in text for text in said)
    resumed = weights(tmp_path / "killed" / "model.weights.h5")
    print(f"resumed and uninterrupted differ by {difference(two, resumed):.1e}")
    assert difference(two, resumed) < 1e-5


@pytest.mark.slow
def test_fit_goes_on_after_a_kill(tmp_path):
    def command(out):
        return [sys.executable, EXAMPLE, "mirrored", *ARGUMENTS, "--out", out]

    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(command(tmp_path / "whole"), env=environment, check=True, capture_output=True)
    with subprocess.Popen(command(tmp_path / "killed"), env=environment, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith("Epoch 3/4"):
                break
        process.kill()
    done = subprocess.run(command(tmp_path / "killed"), env=environment, check=True, capture_output=True, text=True)
    assert "Epoch 1/4" not in done.stdout
    assert "Epoch 4/4" in done.stdout

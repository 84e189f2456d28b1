"""Train a backbone with a classification head on many devices, or on many machines.

python examples/train_distributed.py mirrored                 # all devices of this machine, through model.fit
python examples/train_distributed.py workers --processes 2    # two processes here; on a cluster, start one a machine

On a cluster every machine runs `python examples/train_distributed.py workers` with TensorFlow's TF_CONFIG set. When a
worker dies the others stop with an error; start all of them again, and they go on from the last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import tensorflow as tf

import keras_yolo_backbones as kyb

CLASSES = 4


def main() -> None:
    """Train, or start the processes that do."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("strategy", choices=("mirrored", "workers"))
    parser.add_argument("--model", default="v8-n")
    parser.add_argument("--side", type=int, default=64, help="of the images")
    parser.add_argument("--batch", type=int, default=32, help="over all devices together")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--every", type=int, default=10, help="steps between checkpoints")
    parser.add_argument("--dtype", default="mixed_bfloat16", help="mixed_bfloat16, mixed_float16 or float32")
    parser.add_argument("--out", type=Path, default=Path("train"))
    parser.add_argument("--processes", type=int, default=0, help="start so many workers on this machine")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(0)
    if args.strategy == "mirrored":
        train_mirrored(args)
    elif args.processes:
        raise SystemExit(launch(args.processes))
    else:
        train_workers(args)


def build(args: argparse.Namespace) -> keras.Model:
    """Backbone, pooled top level, classes; batch norms over all replicas, the head in float32."""
    backbone = kyb.create(
        args.model, input_shape=(args.side, args.side, 3), levels=("P3",), sync_batchnorm=True, dtype=args.dtype
    )
    (top,) = backbone.output.values()
    x = keras.layers.GlobalAveragePooling2D(dtype="float32")(top)
    return keras.Model(backbone.input, keras.layers.Dense(CLASSES, dtype="float32", name="classes")(x))


def images(args: argparse.Namespace, first: int = 0) -> tf.data.Dataset:
    """Endless batches for the steps from `first` on: noise with a bright square in one of the quarters, which is the
    class. The same step gives the same batch, on any number of workers."""

    def batch(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        half = args.side // 2
        seed = tf.stack([tf.cast(step, tf.int32), 1])
        labels = tf.random.stateless_uniform((args.batch,), seed, 0, CLASSES, tf.int32)
        noise = tf.random.stateless_uniform((args.batch, args.side, args.side, 3), seed)
        quarters = tf.reshape(tf.one_hot(labels, CLASSES), (-1, 2, 2, 1))
        return 0.7 * noise + 0.3 * tf.repeat(tf.repeat(quarters, half, 1), half, 2), labels

    return tf.data.Dataset.counter(first).map(batch).prefetch(2)


def train_mirrored(args: argparse.Namespace) -> keras.Model:
    """All devices of one machine through `fit`. Interrupted, it goes on with the epoch that was not finished."""
    strategy = tf.distribute.MirroredStrategy()
    with strategy.scope():
        model = build(args)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss, metrics=["accuracy"])
    model.fit(
        images(args),
        epochs=max(1, args.steps // args.every),
        steps_per_epoch=args.every,
        callbacks=[keras.callbacks.BackupAndRestore(args.out / "backup")],
        shuffle=False,
        verbose=2,
    )
    model.save_weights(args.out / "model.weights.h5")
    return model


def train_workers(args: argparse.Namespace) -> keras.Model:
    """One of several machines. Keras 3's `fit` does not train under MultiWorkerMirroredStrategy; this loop does."""
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    task = strategy.cluster_resolver.task_id or 0
    with strategy.scope():
        model = build(args)
        optimizer = keras.optimizers.SGD(0.05, momentum=0.9)
        optimizer.build(model.trainable_variables)
    state = tf.train.Checkpoint(model=model, optimizer=optimizer)
    last, first = tf.train.latest_checkpoint(str(args.out / "checkpoints")), 0
    if last:
        state.restore(last).assert_existing_objects_matched()
        first = int(last.rsplit("-", 1)[1])
        print(f"going on from step {first}", flush=True)
    # All workers save, because saving may read a variable from all of them; the chief's files are those that count.
    own = args.out / ("checkpoints" if task == 0 else f"unused-{task}")
    checkpoints = tf.train.CheckpointManager(state, str(own), max_to_keep=2)

    def replica(inputs: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = model(inputs, training=True)
            losses = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
            loss = tf.nn.compute_average_loss(losses, global_batch_size=args.batch)
        optimizer.apply(tape.gradient(loss, model.trainable_variables))  # adds the gradients of all replicas
        return loss

    @tf.function
    def train(inputs: Any, labels: Any) -> tf.Tensor:
        return strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(replica, (inputs, labels)), axis=None)

    def part(context: tf.distribute.InputContext) -> tf.data.Dataset:
        """This worker's part of every batch, cut up for its devices."""
        size = args.batch // context.num_input_pipelines
        rows = slice(context.input_pipeline_id * size, (context.input_pipeline_id + 1) * size)
        batches = images(args, first).map(lambda inputs, labels: (inputs[rows], labels[rows]))
        return batches.unbatch().batch(context.get_per_replica_batch_size(args.batch))

    batches = iter(strategy.distribute_datasets_from_function(part))
    for step in range(first + 1, args.steps + 1):
        loss = train(*next(batches))
        if step % args.every == 0 or step == args.steps:
            checkpoints.save(checkpoint_number=step)
            print(f"step {step}: loss {float(loss):.4f}", flush=True)
    model.save_weights(args.out / ("model.weights.h5" if task == 0 else f"unused-{task}.weights.h5"))
    return model


def launch(processes: int) -> int:
    """Start workers on this machine, wait for them, and stop the others when one fails."""
    sockets = [socket.create_server(("localhost", 0)) for _ in range(processes)]
    addresses = [f"localhost:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    workers = []
    for index in range(processes):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = {**os.environ, "TF_CONFIG": json.dumps(config)}
        workers.append(subprocess.Popen([sys.executable, *sys.argv, "--processes", "0"], env=environment))
    while all(worker.poll() in (None, 0) for worker in workers) and any(worker.poll() is None for worker in workers):
        time.sleep(0.2)
    for worker in workers:
        worker.kill()
    return max(abs(worker.wait()) for worker in workers)


if __name__ == "__main__":
    main()

"""Single images from many clients at once, put together by TensorFlow's batch scheduler, as TF Serving does it.

    python zoo/batching.py [--model v8-s] [--image-size 640] [--clients 32] [--seconds 10] [--batch-threads 1 2 4]

The scheduler has the numbers that `batching_params.pbtxt` beside the exported model has, except for
`num_batch_threads`, which the rows compare: images a second, and how long a client waits. Shares are of the first row,
where the server runs one request after the other, as it does without batching.
"""

from __future__ import annotations

import argparse
import re
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table

import keras_yolo_backbones as kyb
from keras_yolo_backbones.benchmark import threads, trained_like

Model = Callable[[tf.Tensor], Any]


def main() -> None:
    """Export, load, and let the clients ask."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="v8-s")
    parser.add_argument("--image-size", type=int, default=640)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--batch-threads", type=int, nargs="+", default=[1, 2, 4])
    args = parser.parse_args()
    shape = (args.image_size, args.image_size, 3)
    with tempfile.TemporaryDirectory() as folder:
        model = trained_like(kyb.create(args.model, input_shape=shape))
        artifact = kyb.export_saved_model(model, Path(folder) / "served", signatures=("serving_default",))
        numbers = parameters(artifact.path.parent / "server" / "batching_params.pbtxt")
        network = tf.saved_model.load(str(artifact.path)).signatures["serving_default"]
        images = tf.constant(np.random.default_rng(0).random((1, *shape), np.float32))
        for size in numbers["allowed_batch_sizes"]:
            network(tf.repeat(images, size, axis=0))
        rows = {"no batching": asked(one_at_a_time(network), images, args.clients, args.seconds)}
        for count in args.batch_threads:
            rows[f"{count} batch threads"] = asked(batched(network, count, numbers), images, args.clients, args.seconds)
    show(f"{args.model}, {args.clients} clients, {threads()} cores", rows)


def parameters(file: Path) -> dict[str, Any]:
    """The numbers of a file of batching parameters."""
    text = file.read_text()
    values = {key: int(value) for key, value in re.findall(r"(\w+) { value: (\d+) }", text)}
    return values | {"allowed_batch_sizes": [int(size) for size in re.findall(r"allowed_batch_sizes: (\d+)", text)]}


def batched(network: Model, count: int, numbers: dict[str, Any]) -> Model:
    """A network behind the scheduler, with `count` threads that run batches."""

    @tf.nondifferentiable_batch_function(
        num_batch_threads=count,
        max_batch_size=numbers["max_batch_size"],
        batch_timeout_micros=numbers["batch_timeout_micros"],
        allowed_batch_sizes=numbers["allowed_batch_sizes"],
        max_enqueued_batches=numbers["max_enqueued_batches"],
        autograph=False,
    )
    def together(images: tf.Tensor) -> list[tf.Tensor]:
        return list(network(images).values())

    return tf.function(together, autograph=False)


def one_at_a_time(network: Model) -> Model:
    """A network that clients take turns at."""
    turn = threading.Lock()

    def run(images: tf.Tensor) -> Any:
        with turn:
            return network(images)

    return run


def asked(run: Model, images: tf.Tensor, clients: int, seconds: float) -> dict[str, float]:
    """Images a second, and the median and the 99th percentile of the time that a client waits, in seconds."""
    waits: list[float] = []
    run(images)
    end = time.perf_counter() + seconds

    def ask() -> None:
        while (start := time.perf_counter()) < end:
            run(images)
            waits.append(time.perf_counter() - start)

    crowd = [threading.Thread(target=ask) for _ in range(clients)]
    start = time.perf_counter()
    for client in crowd:
        client.start()
    for client in crowd:
        client.join()
    rate = len(waits) / (time.perf_counter() - start)
    return {"rate": rate, "median": statistics.median(waits), "slow": float(np.percentile(waits, 99))}


def show(title: str, rows: dict[str, dict[str, float]]) -> None:
    """Print the table."""
    table = Table(box=None, pad_edge=False)
    table.add_column(title, no_wrap=True)
    for head in ("images/s", "share", "median wait", "99 % wait"):
        table.add_column(head, justify="right", no_wrap=True)
    first = next(iter(rows.values()))["rate"]
    for name, row in rows.items():
        waits = (f"{row[key]:.2f} s" for key in ("median", "slow"))
        table.add_row(name, f"{row['rate']:.1f}", f"{row['rate'] / first:.2f}", *waits)
    Console().print(table)


if __name__ == "__main__":
    main()

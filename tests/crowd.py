"""A hundred clients with a bomb in every tenth request, against a server of its own: `python tests/crowd.py SECONDS`.

The server loads the SavedModel as TF Serving does and speaks its gRPC interface. Each minute a line says how many
answers were right, how many bombs were refused, and how much memory the server holds.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import tensorflow as tf
from prediction_service import PredictionService, grpc_server
from test_serving_bundle import black_png

import keras_yolo_backbones as kyb
from keras_yolo_backbones.errors import ServingError
from keras_yolo_backbones.export.tf_serving.session import ServingSession
from keras_yolo_backbones.serving import Client

SIDE, CLIENTS, EVERY = 64, 100, 10
SIGNATURE = "encoded_embedding"
BOMB = 20_000
"""Pixels a side: 1.2 GB when they are decoded."""


def serve(folder: str) -> None:
    """Serve until standard input ends."""
    with ServingSession(Path(folder)) as session, grpc_server(PredictionService(session, "v8n"), workers=8) as address:
        print(address, flush=True)
        sys.stdin.read()


def resident(process: int) -> float:
    """Memory of a process, in MB."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmRSS:")[2].split(None, 1)[0]) / 1024


class Crowd:
    """Clients that call until they are told to stop, and what came of their calls."""

    def __init__(self, address: str, files: list[bytes], wanted: np.ndarray):
        self.address, self.files, self.wanted = address, files, wanted
        self.bomb = black_png(BOMB)
        self.outcomes: Counter[str] = Counter()
        self.numbers = itertools.count()
        self.done = threading.Event()

    def client(self) -> None:
        with Client(self.address, "v8n", timeout=120) as client:
            while not self.done.is_set():
                number = next(self.numbers)
                at = number % len(self.files)
                try:
                    if number % EVERY == 0:
                        client([self.bomb, self.files[at]], signature=SIGNATURE)
                        self.outcomes["bombs answered"] += 1
                        continue
                    found = client([self.files[at]], signature=SIGNATURE, outputs=["P5"])["P5"]
                except ServingError as error:
                    refused = number % EVERY == 0 and error.code == "INVALID_ARGUMENT" and "pixels" in str(error)
                    self.outcomes["bombs refused" if refused else f"other errors ({error.code})"] += 1
                    continue
                self.outcomes["right" if np.array_equal(found[0], self.wanted[at]) else "wrong"] += 1


def run(seconds: float) -> tuple[Counter[str], list[float]]:
    """Export, serve, call. Returns the outcomes, and the server's memory at the start and after each minute, in MB."""
    images = np.random.default_rng(0).integers(0, 256, (16, SIDE, SIDE, 3), np.uint8)
    files = [tf.io.encode_png(image).numpy() for image in images]
    with tempfile.TemporaryDirectory() as folder:
        path = kyb.export_saved_model(kyb.v8("n", input_shape=(SIDE, SIDE, 3)), folder, batch_sizes=(1,)).path
        command = [sys.executable, __file__, "serve", str(path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
            address = server.stdout.readline().strip()
            with Client(address, "v8n", timeout=120) as client:
                wanted = np.stack([client([file], signature=SIGNATURE, outputs=["P5"])["P5"][0] for file in files])
            crowd = Crowd(address, files, wanted)
            threads = [threading.Thread(target=crowd.client) for _ in range(CLIENTS)]
            for thread in threads:
                thread.start()
            memory, end = watch(crowd, server.pid, seconds), time.monotonic()
            crowd.done.set()
            for thread in threads:
                thread.join()
            print(f"the last calls ended {time.monotonic() - end:.1f} s later")
            server.stdin.close()
    return crowd.outcomes, memory


def watch(crowd: Crowd, server: int, seconds: float) -> list[float]:
    begin, memory = time.monotonic(), []
    while True:
        passed = time.monotonic() - begin
        outcomes = ", ".join(f"{count} {outcome}" for outcome, count in sorted(crowd.outcomes.items()))
        memory.append(resident(server))
        print(f"{passed:4.0f} s  {memory[-1]:5.0f} MB  {outcomes}", flush=True)
        if passed >= seconds:
            return memory
        time.sleep(min(60.0, seconds - passed) if len(memory) > 1 else min(10.0, seconds))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        run(float(sys.argv[1]))

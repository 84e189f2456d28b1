"""Images a second of `extract_features`, as a share of those of the network alone, in turns.

    python zoo/throughput.py [--models v8-s …] [--image-size 640] [--ray 2]

`--ray 2` measures the same job on Ray with two actors on this machine, after they have started; it needs the extra
`scale`.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from keras_yolo_backbones.benchmark import trained_like
from keras_yolo_backbones.commands.common import working
from keras_yolo_backbones.quiet import native_noise_hidden

BATCH, BATCHES, ROUNDS = 16, 8, 5
RAY_IMAGES = 768


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["v8-s"])
    parser.add_argument("--image-size", type=int, default=640)
    parser.add_argument("--ray", type=int, default=0, metavar="ACTORS", help="measure on Ray with so many actors")
    args = parser.parse_args()
    console = Console()
    for name in args.models:
        with working(console, f"features of many files with {name}, {ROUNDS} rounds"):
            found = {kind: spread(each) for kind, each in rounds(name, args.image_size).items()}
        if args.ray:
            with working(console, f"the same on Ray with {args.ray} actors"):
                found[f"Ray, {args.ray} actors, fitting"] = f"{on_ray(name, args.image_size, args.ray):.2f}"
        for kind, text in found.items():
            console.print(f"{name}, {kind}: {text} of the network alone", highlight=False)


def spread(ratios: list[float]) -> str:
    """Median, smallest and largest."""
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def shares(name: str, side: int) -> dict[str, float]:
    """The medians of `rounds`."""
    return {kind: statistics.median(found) for kind, found in rounds(name, side).items()}


def rounds(name: str, side: int) -> dict[str, list[float]]:
    """Images a second as a share of those of the bare model loop, round by round, in jobs of 128 images.

    Starting a job takes some 0.3 s, which counts. The files are JPEGs of real photographs that fill the network's frame
    ("fitting"), and the same with sides four times as long ("large"), which are scaled; "reduced" is large files by
    `reduced_decoding`.
    """
    from keras_yolo_backbones.features.extract import Extractor, bare_loop
    from keras_yolo_backbones.features.job import make_job

    model = network(name, side)
    plain = Extractor(model, batch_size=BATCH)
    extractors = {
        "fitting": plain,
        "large": plain,
        "reduced": Extractor(model, batch_size=BATCH, reduced_decoding=True),
    }
    ratios: dict[str, list[float]] = {kind: [] for kind in extractors}
    with tempfile.TemporaryDirectory() as folder:
        for kind, scale in (("fitting", 1), ("large", 4)):
            write_photographs(Path(folder) / kind, side * scale, BATCH * BATCHES)
        folders = {kind: Path(folder) / ("fitting" if kind == "fitting" else "large") for kind in extractors}
        for attempt in range(-1, ROUNDS):  # the first traces functions
            for kind, found in ratios.items():
                out = Path(folder) / f"{kind}{attempt}"
                out.mkdir()
                job, extractor = make_job(folders[kind], out, BATCH * BATCHES), extractors[kind]
                start = time.perf_counter()
                bare_loop(extractor, BATCHES)
                middle = time.perf_counter()
                list(extractor.run(job, job.shards))
                if attempt >= 0:
                    found.append((middle - start) / (time.perf_counter() - middle))
    return ratios


def on_ray(name: str, side: int, actors: int) -> float:
    """The same share on Ray, between the first and the last shard: starting actors takes some ten seconds."""
    import keras_yolo_backbones as kyb
    from keras_yolo_backbones.features.extract import Extractor, bare_loop

    model = network(name, side)
    extractor = Extractor(model, batch_size=BATCH)
    bare_loop(extractor, 1)
    start = time.perf_counter()
    bare_loop(extractor, BATCHES)
    bare = BATCH * BATCHES / (time.perf_counter() - start)
    seen: list[tuple[float, int]] = []
    with tempfile.TemporaryDirectory() as folder:
        write_photographs(Path(folder) / "images", side, RAY_IMAGES)

        def progress(done: int, _: int) -> None:
            seen.append((time.perf_counter(), done))

        options: dict[str, Any] = {"shard_size": 2 * BATCH, "batch_size": BATCH, "progress": progress}
        kyb.extract_features(
            model, Path(folder) / "images", Path(folder) / "out", engine="ray", workers=actors, **options
        )
    (first, before), *_, (last, after) = seen[actors - 1 :]  # by then all actors work
    return (after - before) / (last - first) / bare


def network(name: str, side: int) -> Any:
    """The network with one level of features."""
    import keras_yolo_backbones as kyb

    return trained_like(kyb.create(name, input_shape=(side, side, 3), levels=("P5",)))


def write_photographs(folder: Path, side: int, count: int) -> None:
    """JPEG files of scikit-learn's photographs, scaled to (side, side), each a little different."""
    import numpy as np
    import tensorflow as tf
    from sklearn.datasets import load_sample_images

    folder.mkdir()
    frames = [tf.image.resize(image, (side, side)).numpy() for image in load_sample_images().images]
    for index in range(count):
        pixels = np.roll(frames[index % len(frames)], index, axis=1).astype(np.uint8)
        (folder / f"{index}.jpg").write_bytes(tf.io.encode_jpeg(pixels).numpy())


if __name__ == "__main__":
    with native_noise_hidden():
        main()

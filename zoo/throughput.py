"""Images a second of `extract_features`, as a share of those of the network alone, in turns; and of those that the
network and the files would take alone, each with all cores: where images are large, decoding them takes its share.

    python zoo/throughput.py [--models v8-s …] [--image-size 640] [--ray 2]

`--ray 2` measures the same job on Ray with two actors on this machine, after they have started; it needs the extra
`scale`.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

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
            found = rounds(name, args.image_size)
        for kind, each in found.items():
            alone, both = spread([one.share for one in each]), spread([one.share_of_both for one in each])
            console.print(f"{name}, {kind}: {alone} of the network alone, {both} of network and files", highlight=False)
        if args.ray:
            with working(console, f"the same on Ray with {args.ray} actors"):
                share = on_ray(name, args.image_size, args.ray)
            console.print(f"{name}, Ray, {args.ray} actors, fitting: {share:.2f} of the network alone", highlight=False)


def spread(ratios: list[float]) -> str:
    """Median, smallest and largest."""
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


class Round(NamedTuple):
    """Seconds of the network alone, of the files alone, and of the job that has both."""

    network: float
    files: float
    job: float

    @property
    def share(self) -> float:
        """The job's images a second, as a share of the network's."""
        return self.network / self.job

    @property
    def share_of_both(self) -> float:
        """The same, as a share of what network and files take one after the other."""
        return (self.network + self.files) / self.job


def shares(name: str, side: int) -> dict[str, float]:
    """The medians of `rounds`, as shares of the network alone."""
    return {kind: statistics.median([one.share for one in found]) for kind, found in rounds(name, side).items()}


def rounds(name: str, side: int) -> dict[str, list[Round]]:
    """What jobs of 128 images take, round by round.

    Starting a job takes some 0.3 s, which counts. The files are JPEGs of real photographs that fill the network's frame
    ("fitting"), and the same with sides four times as long ("large"), which are scaled; "reduced" is large files by
    `reduced_decoding`.
    """
    from keras_yolo_backbones.features.extract import Extractor
    from keras_yolo_backbones.features.job import make_job

    model = network(name, side)
    plain = Extractor(model, batch_size=BATCH)
    extractors = {
        "fitting": plain,
        "large": plain,
        "reduced": Extractor(model, batch_size=BATCH, reduced_decoding=True),
    }
    measured: dict[str, list[Round]] = {kind: [] for kind in extractors}
    with tempfile.TemporaryDirectory() as folder:
        for kind, scale in (("fitting", 1), ("large", 4)):
            write_photographs(Path(folder) / kind, side * scale, BATCH * BATCHES)
        folders = {kind: Path(folder) / ("fitting" if kind == "fitting" else "large") for kind in extractors}
        for attempt in range(-1, ROUNDS):  # the first traces functions
            for kind, found in measured.items():
                out = Path(folder) / f"{kind}{attempt}"
                out.mkdir()
                one = one_round(extractors[kind], make_job(folders[kind], out, BATCH * BATCHES))
                if attempt >= 0:
                    found.append(one)
    return measured


def one_round(extractor: Any, job: Any) -> Round:
    """Network, files and job in turns."""
    from keras_yolo_backbones.features.extract import bare_loop, bare_reading

    files = [str(job.root / member) for shard in job.shards for member in job.members(shard)]
    return Round(
        seconds(lambda: bare_loop(extractor, BATCHES)),
        seconds(lambda: bare_reading(extractor, files)),
        seconds(lambda: list(extractor.run(job, job.shards))),
    )


def seconds(do: Callable[[], Any]) -> float:
    """How long it takes."""
    start = time.perf_counter()
    do()
    return time.perf_counter() - start


def on_ray(name: str, side: int, actors: int) -> float:
    """The same share on Ray, between the first and the last shard: starting actors takes some ten seconds."""
    import keras_yolo_backbones as kyb
    from keras_yolo_backbones.features.extract import Extractor, bare_loop

    model = network(name, side)
    extractor = Extractor(model, batch_size=BATCH)
    bare_loop(extractor, 1)
    bare = BATCH * BATCHES / seconds(lambda: bare_loop(extractor, BATCHES))
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

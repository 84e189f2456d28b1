"""Which images make up which shard, and whether a folder holds the same job already."""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import json
from pathlib import Path
from typing import Any

from keras_yolo_backbones.errors import ArgumentError
from keras_yolo_backbones.files import staged
from keras_yolo_backbones.images import SUFFIXES, find_images

PLAN = "plan.json"


@dataclasses.dataclass(frozen=True)
class Job:
    """A list of images, cut into shards of equal size in the order of their names.

    Attributes:
        root: what the names are relative to.
        names: of all images, sorted; what the shards say in their column `path`.
        shard_size: images of a shard; the last may have fewer.
        out: the folder that the shards go to.
    """

    root: Path
    names: tuple[str, ...]
    shard_size: int
    out: Path

    @property
    def shards(self) -> range:
        """Numbers of all shards."""
        return range(-(-len(self.names) // self.shard_size))

    def members(self, shard: int) -> tuple[str, ...]:
        """Names of a shard's images."""
        return self.names[shard * self.shard_size : (shard + 1) * self.shard_size]

    def features_file(self, shard: int) -> Path:
        """The shard's file; when it is there, the shard is complete."""
        return self.out / f"features-{shard:06d}.parquet"

    def errors_file(self, shard: int) -> Path:
        """The side table with the images of the shard that could not be read; only there if there are any."""
        return self.out / f"errors-{shard:06d}.parquet"

    def pending(self) -> list[int]:
        """The shards that are not there yet."""
        return [shard for shard in self.shards if not self.features_file(shard).exists()]


def make_job(images: str | Path, out: Path, shard_size: int) -> Job:
    """List the images.

    Args:
        images: a folder, searched below, or a pattern such as `"photos/**/*.jpg"`.
        out: the folder for the shards.
        shard_size: images of a shard.

    Raises:
        ArgumentError: no images, or a shard size below 1.
    """
    if not isinstance(shard_size, int) or shard_size < 1:
        raise ArgumentError(f"shard_size {shard_size!r}: expected a positive integer.")
    root = Path(images)
    if root.is_dir():
        names = [path.relative_to(root).as_posix() for path in find_images(root)]
    else:
        root = Path()
        names = [name for name in glob.glob(str(images), recursive=True) if Path(name).is_file()]
    if not names:
        raise ArgumentError(
            f"no images in {images}: expected a folder with {', '.join(SUFFIXES)} files, or a pattern in quotes such "
            "as 'photos/**/*.jpg'."
        )
    return Job(root, tuple(sorted(names)), shard_size, out)


def settle(job: Job, conditions: dict[str, Any]) -> None:
    """Write what the job is into its folder, or check that the folder holds this very job.

    Args:
        job: the images.
        conditions: everything else that the features depend on, as JSON values.

    Raises:
        ArgumentError: the folder holds another job.
    """
    listed = hashlib.sha256("\0".join(job.names).encode(errors="surrogateescape")).hexdigest()
    wanted = {**conditions, "images": len(job.names), "images_sha256": listed, "shard_size": job.shard_size}
    path = job.out / PLAN
    if path.exists():
        present = json.loads(path.read_text(encoding="utf-8"))
        different = [key for key in wanted if present.get(key) != wanted[key]]
        if different:
            raise ArgumentError(
                f"{job.out} holds the features of another job, which differs in {', '.join(different)}; "
                "choose another folder, or delete this one."
            )
        return
    with staged(path) as temporary:
        temporary.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")

"""Which images make up which shard, and whether a folder holds the same job already."""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from keras_yolo_backbones.errors import ArgumentError
from keras_yolo_backbones.features.parquet import read_mark
from keras_yolo_backbones.files import staged
from keras_yolo_backbones.images import SUFFIXES, readable

PLAN = "plan.json"
"""Says what the job is, for people; every shard says it too, and that counts."""


@dataclasses.dataclass(frozen=True)
class Job:
    """A list of images, cut into shards of equal size in the order of their names.

    Attributes:
        root: what the names are relative to.
        names: of all images, sorted; what the shards say in their column `path`.
        shard_size: images of a shard; the last may have fewer.
        out: the folder that the shards go to.
        conditions: everything else that the features depend on, as JSON values.
    """

    root: Path
    names: tuple[str, ...]
    shard_size: int
    out: Path
    conditions: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def shards(self) -> range:
        """Numbers of all shards."""
        return range(-(-len(self.names) // self.shard_size))

    def members(self, shard: int) -> tuple[str, ...]:
        """Names of a shard's images."""
        return self.names[shard * self.shard_size : (shard + 1) * self.shard_size]

    def features_file(self, shard: int) -> Path:
        """The shard's file."""
        return self.out / f"features-{shard:06d}.parquet"

    def errors_file(self, shard: int) -> Path:
        """The side table with the images of the shard that could not be read; only there if there are any."""
        return self.out / f"errors-{shard:06d}.parquet"

    def everything(self) -> dict[str, Any]:
        """What the job is: its conditions, its images, and how they are cut."""
        listed = hashlib.sha256("\0".join(self.names).encode(errors="surrogateescape")).hexdigest()
        return {
            **self.conditions,
            "images": len(self.names),
            "images_sha256": listed,
            "shard_size": self.shard_size,
        }

    def digest(self, shard: int) -> str:
        """sha256 of the names of a shard's images, their sizes in bytes, and the times of their last change."""
        digest = hashlib.sha256()
        for name in self.members(shard):
            try:
                found = (self.root / name).stat()
                state = f"{found.st_size} {found.st_mtime_ns}"
            except OSError:
                state = "gone"
            digest.update(os.fsencode(name) + f"\0{state}\0".encode())
        return digest.hexdigest()

    def pending(self) -> list[int]:
        """The shards that are not there, are damaged, or whose images have changed since."""
        return [shard for shard in self.shards if not self._done(shard)]

    def _done(self, shard: int) -> bool:
        mark = read_mark(self.features_file(shard))
        if mark is None or mark.get("digest") != self.digest(shard):
            return False
        errors = self.errors_file(shard)
        return errors.exists() == bool(mark.get("errors")) and (
            not errors.exists() or read_mark(errors) == {**mark, "table": "errors"}
        )


def make_job(images: str | Path, out: Path, shard_size: int) -> Job:
    """List the images.

    Args:
        images: a folder, searched below for names that end as those of images do, or a pattern such as
            `"photos/**/*.jpg"`. What has such a name and is no file is listed too, to become an error.
        out: the folder for the shards.
        shard_size: images of a shard.

    Raises:
        ArgumentError: no images, or a shard size below 1.
    """
    if not isinstance(shard_size, int) or isinstance(shard_size, bool) or shard_size < 1:
        raise ArgumentError(f"shard_size {shard_size!r}: expected a positive integer.")
    root = Path(images)
    if root.is_dir():
        found = list(root.rglob("*"))
        suffixes = readable(path for path in found if path.is_file())
        names = {path.relative_to(root).as_posix() for path in found if path.suffix.lower() in suffixes}
    else:
        root = Path()
        found = [Path(name) for name in glob.glob(str(images), recursive=True)]
        names = {str(path) for path in found if path.suffix.lower() in SUFFIXES or not path.is_dir()}
    if not names:
        raise ArgumentError(
            f"no images in {images}: expected a folder with {', '.join(SUFFIXES)} files, or a pattern in quotes such "
            "as 'photos/**/*.jpg'."
        )
    return Job(root, tuple(sorted(names)), shard_size, out)


def settle(job: Job) -> None:
    """See that the folder holds nothing of a different job, and write what this job is.

    Raises:
        ArgumentError: it does.
    """
    wanted = job.everything()
    for file in (job.out / PLAN, *sorted(job.out.glob("features-*.parquet"))):
        present = _read_plan(file) if file.name == PLAN else (read_mark(file) or {}).get("job")
        different = [key for key in wanted if present and present.get(key) != wanted[key]]
        if different:
            raise ArgumentError(
                f"{job.out} holds the features of another job, which differs in {', '.join(different)}; "
                "choose another folder, or delete this one."
            )
    if _read_plan(job.out / PLAN) != wanted:
        with staged(job.out / PLAN) as temporary:
            temporary.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")


def _read_plan(path: Path) -> dict[str, Any] | None:
    """The content of the file; `None` if it is missing or damaged: the shards hold the same."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None

"""Where the variables of a Keras HDF5 file lie. Run as a program of its own, never imported by the package.

The HDF5 library can crash or loop for ever on a hostile file, so it only ever meets one in here: in a child process
with little memory and little time, which reads the file from its standard input and prints a JSON list of
[layer, index, element type, shape, offset]. The values are read by the parent, with checked bounds.

Usage: h5_index.py OFFSET SIZE < FILE, where the HDF5 data is the given part of the file.
"""

import io
import json
import os
import sys
from typing import Any

MAX_VARIABLES = 100_000
MAX_DEPTH = 8
MAX_MEMORY = 1 << 30


class Window(io.RawIOBase):
    """A part of an open file, as a file."""

    def __init__(self, descriptor: int, offset: int, size: int):
        self.descriptor, self.offset, self.size, self.at = descriptor, offset, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self.at = offset + {0: 0, 1: self.at, 2: self.size}[whence]
        return self.at

    def tell(self) -> int:
        return self.at

    def readinto(self, buffer: Any) -> int:
        count = max(0, min(len(buffer), self.size - self.at))
        os.lseek(self.descriptor, self.offset + self.at, os.SEEK_SET)
        data = os.read(self.descriptor, count)
        buffer[: len(data)] = data
        self.at += len(data)
        return len(data)


def index(file: Any) -> list:
    """Every variable below `layers`."""
    import h5py

    found = []

    def walk(group: Any, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise ValueError("its groups are nested too deep")
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ValueError("it links to somewhere else")
            child = group[name]
            if isinstance(child, h5py.Group):
                walk(child, depth + 1)
            elif isinstance(child, h5py.Dataset):
                found.append([_layer(group), int(name), child.dtype.str, list(child.shape), _offset(child)])
            if len(found) > MAX_VARIABLES:
                raise ValueError("it holds too many variables")

    if "layers" not in file:
        raise ValueError("it has no layers: not written by Keras 3's save_weights")
    walk(file["layers"], 0)
    return found


def _layer(group: Any) -> str:
    name = group.attrs.get("name")
    if not isinstance(name, str):
        raise ValueError("its variables do not say which layer they belong to; save it again with Keras ≥ 3.8")
    parts = group.name.split("/")
    return name if len(parts) == 4 else "/".join([name, *parts[2:-1]])


def _offset(dataset: Any) -> int:
    offset = dataset.id.get_offset()
    if dataset.is_virtual or dataset.external or offset is None or dataset.chunks:
        raise ValueError("it keeps a variable outside of itself, or compressed")
    return offset


def main(offset: int, size: int) -> None:
    """Print the index, or the reason why there is none."""
    try:
        import resource

        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        most = MAX_MEMORY if hard == resource.RLIM_INFINITY else min(MAX_MEMORY, hard)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    except ImportError:  # Windows
        pass
    import h5py

    try:
        with h5py.File(Window(0, offset, size), "r") as file:
            provenance = file.attrs.get("kyb_provenance", "")
            result = {"variables": index(file), "provenance": provenance if isinstance(provenance, str) else ""}
    except Exception as error:
        result = {"error": str(error)[:200]}
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))

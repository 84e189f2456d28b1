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

MAX_VARIABLES = 20_000
MAX_DEPTH = 8
MAX_GROUPS = 20_000
MAX_NAME = 500
MAX_PROVENANCE = 10_000
MAX_MEMORY = 640 << 20
MAX_SECONDS = 4
SECONDS_A_BYTE = 1e-7


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

    found: list = []
    visited = 0

    def walk(group: Any, depth: int) -> None:
        nonlocal visited
        if depth > MAX_DEPTH:
            raise ValueError("its groups are nested too deep")
        for name in group:
            visited += 1
            if visited > MAX_GROUPS or len(name) > MAX_NAME:
                raise ValueError("it holds too many groups, or names that are too long")
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ValueError("it links to somewhere else")
            child = group[name]
            if isinstance(child, h5py.Group):
                walk(child, depth + 1)
            elif isinstance(child, h5py.Dataset):
                found.append([_layer(group), _number(name), child.dtype.str, list(child.shape), _offset(child)])
            if len(found) > MAX_VARIABLES:
                raise ValueError("it holds too many variables")

    if "layers" not in file:
        raise ValueError("it has no layers: not written by Keras 3's save_weights")
    walk(file["layers"], 0)
    return found


def _number(name: str) -> int:
    if not (name.isascii() and name.isdigit() and len(name) < 10):
        raise ValueError(f"it holds a variable called {name[:40]!r}; Keras numbers them")
    return int(name)


def _text(attributes: Any, name: str, most: int) -> str | None:
    """A text among attributes; `None` if there is none. Its size is looked at before it is read."""
    if name not in attributes:
        return None
    long = attributes.get_id(name).get_storage_size() > most
    value = None if long else attributes[name]
    if long or (isinstance(value, str) and len(value) > most):
        raise ValueError(f"its attribute {name!r} is too long")
    return value if isinstance(value, str) else None


def _layer(group: Any) -> str:
    name = _text(group.attrs, "name", MAX_NAME)
    if name is None:
        raise ValueError("its variables do not say which layer they belong to; save it again with Keras ≥ 3.8")
    parts = group.name.split("/")
    return name if len(parts) == 4 else "/".join([name, *parts[2:-1]])


def _offset(dataset: Any) -> int:
    offset = dataset.id.get_offset()
    if dataset.is_virtual or dataset.external or offset is None or dataset.chunks:
        raise ValueError("it keeps a variable outside of itself, or compressed")
    return offset


def _limit(size: int) -> None:
    """Little memory, and time by the size of the file."""
    try:
        import resource
    except ImportError:  # Windows
        return
    seconds = int(MAX_SECONDS + SECONDS_A_BYTE * size)
    for kind, most in ((resource.RLIMIT_AS, MAX_MEMORY), (resource.RLIMIT_CPU, seconds)):
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))


def main(offset: int, size: int) -> None:
    """Print the index, or the reason why there is none."""
    _limit(size)
    import h5py

    try:
        with h5py.File(Window(0, offset, size), "r") as file:
            provenance = _text(file.attrs, "kyb_provenance", MAX_PROVENANCE) or ""
            result = {"variables": index(file), "provenance": provenance}
    except Exception as error:
        result = {"error": str(error)[:200]}
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))

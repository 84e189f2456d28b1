"""Where an original checkpoint keeps the tensors of our layers: plain data, read by the weight import."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keras_yolo_backbones.families.frame.release import Origin


@dataclasses.dataclass(frozen=True)
class Piece:
    """One of our modules that is a rearranged part of an original module.

    Attributes:
        original: the original's name of the module, such as `"attn.qkv"` for our `"attn.q"`.
        take: original tensor -> ours, both in torch's layout (output channels first). It may only pick and reorder
            elements, so that it can be run backwards. It gets kernels (4-d) and batch norm vectors (1-d).
        shape: gets the shape of our pieces, joined along the output channels; returns the original tensor's shape. The
            two are equal, except for a Focus.
    """

    original: str
    take: Callable[[Any], Any]
    shape: Callable[[tuple[int, ...]], tuple[int, ...]] = tuple


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the original's state-dict keys follow from our layer names.

    Below a prefix the paths are the same but for `names`, with one exception known to all: `.atN` marks the slice of
    an original conv that starts at its output channel N.

    Attributes:
        prefixes: our module path -> the original's, such as `{"stage3": "model.4"}`; the longest that fits counts.
        names: parts of a path below a prefix that the original calls otherwise, such as `{"cv1": "conv1"}`.
        pieces: tail of our module path -> what it is made of, for the few modules that are written differently.
        unused: parts of keys of tensors that the original stores and does not compute with.
        origin: who wrote these files, where that is not the release's origin.
    """

    prefixes: Mapping[str, str]
    names: Mapping[str, str] = dataclasses.field(default_factory=dict)
    pieces: Mapping[str, Piece] = dataclasses.field(default_factory=dict)
    unused: tuple[str, ...] = ()
    origin: Origin | None = None

    @functools.cached_property
    def originals(self) -> frozenset[str]:
        """The original's modules that the backbone is made of."""
        return frozenset(self.prefixes.values())

    def holds(self, key: str) -> bool:
        """Whether a state-dict key is of the backbone: below one of its modules, and computed with."""
        if any(part in self.unused for part in key.split(".")):
            return False
        while "." in key:
            key = key.rpartition(".")[0]
            if key in self.originals:
                return True
        return False

    def original(self, path: str) -> str | None:
        """The original's path of our module or layer `path`; `None` if the original has none."""
        head = path
        while head not in self.prefixes:
            if "." not in head:
                return None
            head = head.rpartition(".")[0]
        below = path[len(head) :].split(".")
        return self.prefixes[head] + ".".join(self.names.get(part, part) for part in below)

    def piece(self, path: str) -> tuple[str, Piece] | None:
        """The longest tail of our module `path` that is a piece, with the piece."""
        tails = [tail for tail in self.pieces if path == tail or path.endswith(f".{tail}")]
        return max(((tail, self.pieces[tail]) for tail in tails), key=lambda found: len(found[0]), default=None)


def numbered(modules: Iterable[str | None], before: str = "") -> dict[str, str]:
    """Prefixes for an original that numbers its layers through: module -> `before` and its place in the list.

    Args:
        modules: our modules in the original's order, `None` for each of its layers that has no weights.
        before: what precedes the number, such as `"model."`.
    """
    return {module: f"{before}{i}" for i, module in enumerate(modules) if module is not None}


def paired(top: int, *context: str) -> dict[str, str]:
    """Prefixes of Ultralytics' YAML files: the stem, a `down` and a `stage` for every level, then what is on top.

    Args:
        top: the highest level.
        context: modules on top of the last stage.
    """
    pairs = [f"{module}{level}" for level in range(2, top + 1) for module in ("down", "stage")]
    return numbered(["stem", *pairs, *context], "model.")


def per_head(original: str, size: int, part: slice) -> Piece:
    """The part of an attention's joint conv that is one of q, k and v.

    Args:
        original: the joint conv, such as `"attn.qkv"`.
        size: its output channels for each head; the heads are in sequence.
        part: which of a head's channels these are.
    """

    def take(tensor: Any) -> Any:
        rest = tensor.shape[1:]
        return tensor.reshape(-1, size, *rest)[:, part].reshape(-1, *rest)

    return Piece(original, take)


def half(original: str, which: int) -> Piece:
    """The first (0) or second (1) half of a joint conv's output channels."""
    return Piece(original, lambda tensor: tensor.reshape(2, -1, *tensor.shape[1:])[which])


def psa_pieces(channels: int) -> dict[str, Piece]:
    """q, k and v of the attention in a PSA block on `channels` channels."""
    width = channels // max(channels // 64, 1)
    key = width // 2
    parts = {"attn.q": slice(key), "attn.k": slice(key, 2 * key), "attn.v": slice(2 * key, None)}
    return {name: per_head("attn.qkv", 2 * key + width, part) for name, part in parts.items()}


def _focus(tensor: Any) -> Any:
    if tensor.ndim != 4:
        return tensor
    filters = tensor.shape[0]
    # The 12 inputs are (column parity, row parity, colour); a tap of the 6×6 kernel is 2 × (tap of the 3×3) + parity.
    return tensor.reshape(filters, 2, 2, -1, 3, 3).transpose(0, 3, 4, 2, 5, 1).reshape(filters, -1, 6, 6)


def _focus_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) != 4:
        return shape
    filters, colours, height, width = shape
    return filters, 4 * colours, height // 2, width // 2


FOCUS = Piece("stem", _focus, _focus_shape)
"""A 6×6 stem of stride 2 that the original wrote as Focus (space to depth) and a 3×3 conv."""

"""Generators of pickles that would keep a careless reader busy, or fill its memory."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from torchfile import Name, Reference, encode

MODULE = encode(Name("a.b", "C")) + b"q\x00"
"""A class at place 0 of the memo."""

NEW = b"h\x00)\x81"


def memo(index: int) -> bytes:
    return b"r" + struct.pack("<I", index)


def get(index: int) -> bytes:
    return b"j" + struct.pack("<I", index)


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def modules(names: dict[str, bytes]) -> bytes:
    """The state of a module with these children."""
    inner = b"".join(text(name) + value for name, value in names.items())
    return b"}" + text("_modules") + b"}(" + inner + b"us" + b"b"


def whole(*parts: bytes) -> bytes:
    return b"\x80\x02" + b"".join(parts) + b"."


def itself_under_many_names(count: int) -> bytes:
    inner = b"".join(text(f"n{i}") + get(1) for i in range(count))
    return whole(MODULE, b"0", NEW, memo(1), b"}", text("_modules"), b"}(", inner, b"us", b"b")


def doubled_at_every_level(depth: int, width: int) -> bytes:
    parts = [MODULE, b"0", NEW, memo(1), b"0"]
    for level in range(1, depth):
        children = {f"c{i}": get(level) for i in range(width)}
        parts += [NEW, memo(level + 1), modules(children), b"0"]
    return whole(*parts, get(depth))


def many_states(states: int, visits: int) -> bytes:
    """One module with many BUILDs, visited many times."""
    one = b"".join(b"}" + text(f"s{i}") + b"Nsb" for i in range(states))
    parts = [MODULE, b"0", NEW, memo(1), one, b"0"]
    return whole(*parts, NEW, modules({f"n{i}": get(1) for i in range(visits)}))


def shared_buffers(buffers: int, visits: int) -> bytes:
    nothing = b"}(" + b"".join(text(f"b{i}") + b"N" for i in range(buffers)) + b"u"
    parts = [MODULE, b"0", nothing, memo(2), b"0"]
    children = {f"n{i}": NEW + b"}" + text("_buffers") + get(2) + b"sb" for i in range(visits)}
    return whole(*parts, NEW, modules(children))


def probe_cycle(size: int) -> Iterator[int]:
    """The order in which CPython's dict of 2^k places looks for a small number that collides with 0."""
    at = 0
    for _ in range(size):
        yield at
        at = (5 * at + 1) % size


def colliding_keys(bits: int, again: int) -> bytes:
    """Numbers along the probe cycle as keys, and one more that collides with all of them, set again and again."""
    count = (1 << bits) * 3 // 5
    keys = [key for key, _ in zip(probe_cycle(1 << bits), range(count), strict=False)]
    filled = b"}(" + b"".join(b"J" + struct.pack("<i", key) + b"N" for key in keys) + b"u"
    return whole(
        filled, b"J" + struct.pack("<i", 1 << 30), memo(0), (b"0" + get(0) + b"N" + b"s" + get(0)) * again, b"0"
    )


def colliding_memo(bits: int, again: int) -> bytes:
    count = (1 << bits) * 3 // 5
    puts = [memo(key) for key, _ in zip(probe_cycle(1 << bits), range(count), strict=False)]
    return whole(b"N", *puts, get(1 << 30) * again)


def long_keys(size: int, again: int) -> bytes:
    """Two equal long texts as keys: each setting compares them."""
    key = text("k" * size)
    return whole(b"}", key, memo(1), b"Ns", key, memo(2), b"0", (get(2) + b"Ns") * again)


def merged_states(count: int) -> bytes:
    """Each BUILD adds to an ever larger state."""
    return whole(MODULE, b"0", NEW, b"".join(b"}" + text(f"a{i}") + b"Nsb" for i in range(count)))


def deep_wrappers(depth: int) -> bytes:
    """Dicts whose wrapper keys all lead to the same inner dict."""
    parts = [b"}", memo(1), b"0"]
    wrappers = ("ema", "model", "net", "state_dict", "module", "network", "weights", "params")
    for level in range(1, depth):
        inner = b"".join(text(key) + get(level) for key in wrappers)
        parts += [b"}(", inner, b"u", memo(level + 1), b"0"]
    return whole(*parts, get(depth))


def unsaved_buffers(count: int, visits: int) -> bytes:
    unsaved = b"](" + b"".join(text(f"x{i}") for i in range(count)) + b"e"
    buffers = b"}(" + b"".join(text(f"b{i}") + b"N" for i in range(count)) + b"u"
    parts = [MODULE, b"0", unsaved, memo(2), b"0", buffers, memo(3), b"0"]
    state = b"}" + text("_buffers") + get(3) + b"s" + text("_non_persistent_buffers_set") + get(2) + b"s"
    return whole(*parts, NEW, modules({f"n{i}": NEW + state + b"b" for i in range(visits)}))


def shared(depth: int) -> bytes:
    """A tuple of tuples whose text would have 2^depth characters, at the top of the stack."""
    return b")" + memo(0) + b"".join(b"0" + get(i) + get(i) + b"\x86" + memo(i + 1) for i in range(depth))


def as_slope(depth: int) -> bytes:
    """An activation with a bomb as its slope."""
    state = b"}" + text("negative_slope") + shared(depth) + b"sb"
    leaky = encode(Name("torch.nn.modules.activation", "LeakyReLU")) + b")\x81" + state
    return whole(encode(Name("a.b", "C")) + b")\x81", modules({"act": leaky}))


def as_shape(depth: int) -> bytes:
    """A tensor with a bomb as its shape."""
    storage = encode(Reference(("storage", Name("torch", "FloatStorage"), "0", "cpu", 8)))
    rebuild = encode(Name("torch._utils", "_rebuild_tensor_v2"))
    return whole(rebuild, b"(", storage, b"K\x00", shared(depth), b"K\x01K\x01\x86\x89}tR")


PICKLES = {
    "itself under 3,000 names": itself_under_many_names(3_000),
    "itself under 50,000 names": itself_under_many_names(50_000),
    "two children, 60 levels": doubled_at_every_level(60, 2),
    "100 children, 60 levels": doubled_at_every_level(60, 100),
    "many states": many_states(10_000, 10_000),
    "merged states": merged_states(40_000),
    "shared buffers": shared_buffers(20_000, 10_000),
    "unsaved buffers": unsaved_buffers(5_000, 5_000),
    "colliding keys": colliding_keys(16, 30_000),
    "colliding places of the memo": colliding_memo(16, 30_000),
    "long equal keys": long_keys(300_000, 40_000),
    "wrappers in wrappers": deep_wrappers(60),
    "a slope of 2^60 characters": as_slope(60),
    "a shape of 2^60 characters": as_shape(60),
    "only marks and lists": whole(b"(" * 199, b"]" * 700_000, b"t" * 199),
    "only dicts": whole(b"(", b"}" * 900_000, b"t"),
    "only objects": whole(MODULE, b"0(", NEW * 200_000, b"t"),
    "only numbers": whole(b"(", b"J\xff\xff\xff\x7f" * 190_000, b"t"),
    "distinct keys": whole(b"}(", b"".join(b"J" + struct.pack("<i", i) + b"N" for i in range(150_000)), b"u"),
}

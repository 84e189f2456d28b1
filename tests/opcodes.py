"""Random pickles: opcodes in any order, and values that are made of all opcodes in an order that has a meaning."""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Iterator

from hypothesis import strategies as st
from torchfile import Name, encode


def every_opcode() -> Iterator[bytes]:
    """Every opcode of every protocol, each with an argument that it takes."""
    for opcode in pickletools.opcodes:
        code = opcode.code.encode("latin1")
        count = opcode.arg.n if opcode.arg else 0
        if count >= 0:
            yield code + bytes([1, 0, 0, 0, 0, 0, 0, 0])[:count]
        elif count == pickletools.UP_TO_NEWLINE:
            yield code + (b"a.b\nC\n" if opcode.name in ("GLOBAL", "INST") else b"1\n")
        else:
            width = {
                pickletools.TAKEN_FROM_ARGUMENT1: "<B",
                pickletools.TAKEN_FROM_ARGUMENT4: "<i",
                pickletools.TAKEN_FROM_ARGUMENT4U: "<I",
                pickletools.TAKEN_FROM_ARGUMENT8U: "<Q",
            }[count]
            yield code + struct.pack(width, 3) + b"abc"


WORDS = (
    "model",
    "_modules",
    "_parameters",
    "_buffers",
    "act",
    "eps",
    "names",
    "yaml",
    "storage",
    "0",
    "cpu",
    "a.weight",
)
NAMES = (
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
    "torch._tensor._rebuild_from_type_v2",
    "torch.FloatStorage",
    "torch.nn.modules.batchnorm.BatchNorm2d",
    "torch.nn.modules.activation.LeakyReLU",
    "numpy.dtype",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.numeric._frombuffer",
    "_codecs.encode",
    "collections.OrderedDict",
    "builtins.set",
    "argparse.Namespace",
    "copyreg._reconstructor",
    "a.b.C",
)
STORAGE = encode(("storage", Name("torch", "FloatStorage"), "0", "cpu", 2)) + b"Q"
TENSOR = encode(Name("torch._utils", "_rebuild_tensor_v2")) + b"(" + STORAGE + b"K\x00K\x02\x85K\x01\x85\x89}tR"
GLOBALS = [encode(Name(*name.rsplit(".", 1))) for name in NAMES]
PARTS = [
    *every_opcode(),
    *(b"h" + bytes([i]) for i in range(8)),
    *(b"q" + bytes([i]) for i in range(8)),
    *map(encode, [*WORDS, 0, 1, 3, 1 << 61, -1, 0.1]),
    *GLOBALS,
    STORAGE,
    encode(Name("a.b", "C")) + b")\x81",
]
"""Opcodes with what they take, and names that mean something to the readers."""


def sized(opcode: bytes, width: str):
    return lambda content: opcode + struct.pack(width, len(content)) + content


_FORMS = ((b"\x8c", "<B"), (b"X", "<I"), (b"\x8d", "<Q"), (b"U", "<B"), (b"T", "<i"))
_texts = st.sampled_from([*(word.encode() for word in WORDS), b"\xc3\xa9", b"f4", b"<", b"latin1"])
_contents = st.binary(max_size=9)
_leaves = st.one_of(
    st.sampled_from([b"N", b"\x88", b"\x89", b")", b"]", b"}", b"\x8f", STORAGE, TENSOR, *GLOBALS]),
    st.integers(-(2**31), 2**31 - 1).map(lambda value: b"J" + struct.pack("<i", value)),
    st.integers(0, 255).map(lambda value: b"K" + bytes([value])),
    st.integers(0, 65535).map(lambda value: b"M" + struct.pack("<H", value)),
    st.floats().map(lambda value: b"G" + struct.pack(">d", value)),
    *(_contents.map(sized(*form)) for form in ((b"\x8a", "<B"), (b"\x8b", "<i"))),
    *(_contents.map(sized(*form)) for form in ((b"C", "<B"), (b"B", "<I"), (b"\x8e", "<Q"), (b"\x96", "<Q"))),
    *(
        _texts.map(sized(*form))
        for form in ((b"\x8c", "<B"), (b"X", "<I"), (b"\x8d", "<Q"), (b"U", "<B"), (b"T", "<i"))
    ),
    st.sampled_from([b"h\x00", b"j\0\0\0\0"]),
)
"""Opcodes that push one value."""


def _larger(inner):
    several = st.lists(inner, max_size=4).map(b"".join)
    pairs = st.lists(st.tuples(_texts.map(sized(b"X", "<I")), inner).map(b"".join), max_size=4).map(b"".join)
    tuples = st.one_of(several.map(lambda values: b"(" + values + b"t"), inner.map(lambda value: value + b"\x85"))
    dicts = pairs.map(lambda values: b"}(" + values + b"u")
    calls = st.tuples(st.sampled_from(GLOBALS), tuples).map(b"".join)
    return st.one_of(
        tuples,
        dicts,
        st.tuples(inner, inner, st.just(b"\x86")).map(b"".join),
        st.tuples(inner, inner, inner, st.just(b"\x87")).map(b"".join),
        st.tuples(st.just(b"("), several, st.sampled_from([b"l", b"\x91"])).map(b"".join),
        st.tuples(st.just(b"]"), inner, st.just(b"a")).map(b"".join),
        st.tuples(st.just(b"]("), several, st.just(b"e")).map(b"".join),
        st.tuples(st.just(b"\x8f("), several, st.just(b"\x90")).map(b"".join),
        st.tuples(st.just(b"}"), _texts.map(sized(b"U", "<B")), inner, st.just(b"s")).map(b"".join),
        calls.map(lambda call: call + b"R"),
        calls.map(lambda call: call + b"\x81"),
        st.tuples(calls, dicts, st.just(b"\x92")).map(b"".join),
        st.tuples(calls, st.sampled_from([b"\x81", b"R"]), dicts | tuples, st.just(b"b")).map(b"".join),
        st.tuples(inner, st.sampled_from([b"\x94", b"q\x00", b"q\x01", b"r\x02\0\0\0"])).map(b"".join),
        st.tuples(inner, inner, st.just(b"0")).map(b"".join),
        st.tuples(inner, st.just(b"("), several, st.just(b"1")).map(b"".join),
        st.just(encode("a.b") + encode("C") + b"\x93"),
    )


values = st.recursive(_leaves, _larger, max_leaves=25).map(lambda made: b"Nq\x000" + made)
"""Opcodes that push one value, made of others; place 0 of the memo holds something."""

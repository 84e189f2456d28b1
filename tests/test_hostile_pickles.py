"""Pickles that were made to do harm: each is refused with one typed error, and nothing of them runs."""

from __future__ import annotations

import struct

import pytest
from hostile import PAYLOAD, VALUES, archive, reading, refused
from torchfile import ORDERED_DICT, Call, Instance, Name, Raw, Writer, encode


def test_the_good_file_that_the_bad_ones_are_made_from_is_read(tmp_path):
    assert reading(archive(tmp_path / "good.pt")) == "read 1"


def stack(*parts: bytes) -> bytes:
    return b"\x80\x02" + b"".join(parts) + b"."


def deep(count: int) -> bytes:
    return b")" + b"\x85" * count


DAG = b")q\x00" + b"".join(b"h" + bytes([i]) + b"\x86q" + bytes([i + 1]) for i in range(100))

PICKLES = {
    "os.system": (stack(encode(PAYLOAD)), "names os.system. "),
    "posix.system": (stack(encode(Call(Name("posix", "system"), ("touch PWNED",)))), "names posix.system. "),
    "subprocess": (stack(encode(Call(Name("subprocess", "Popen"), (["touch"],)))), "names subprocess.Popen. "),
    "builtins.eval": (stack(encode(Call(Name("builtins", "eval"), ("1",)))), "names builtins.eval. "),
    "__builtin__.exec": (stack(encode(Call(Name("__builtin__", "exec"), ("1",)))), "names __builtin__.exec. "),
    "stack_global": (stack(b"X\x02\0\0\0osq\x00", b"X\x06\0\0\0systemq\x01", b"h\x00h\x01\x93"), "names os.system"),
    "dotted name": (stack(b"ccollections\nOrderedDict.__class__\n"), "is no class or function"),
    "odd name": (stack(b"cos;x\nsystem\n"), "is no class or function"),
    "inst": (stack(b"(X\x01\0\0\0xios\nsystem\n"), "the opcode INST"),
    "obj": (stack(b"(cos\nsystem\nX\x01\0\0\0xo"), "names os.system. "),
    "obj of a harmless class": (stack(b"(", encode(ORDERED_DICT), b"o"), "the opcode OBJ"),
    "ext1": (stack(b"\x82\x01"), "the opcode EXT1"),
    "newobj_ex": (stack(encode(ORDERED_DICT), b")}\x92"), "holds no state dict"),
    "build dunder": (
        stack(encode(Instance(Name("a.b", "C"), {"__class__": 1}))),
        "sets the attribute '__class__'",
    ),
    "build dunder in slots": (
        stack(encode(Name("a.b", "C")), b")\x81", encode(({}, {"__reduce__": 1})), b"b"),
        "sets the attribute '__reduce__'",
    ),
    "memo bomb": (stack(b"N", b"r" + struct.pack("<I", 1 << 27), b"0"), "at place 134217728 of its memo"),
    "nine bytes": (b"\x80\x02Nr\x00\x00\x00\x08.", "at place 134217728 of its memo"),
    "memo of nothing": (stack(b"h\x05"), "where nothing is"),
    "dag bomb": (stack(DAG), "holds no state dict"),
    "dag as a key": (stack(b"}", DAG, b"Ns"), "holds no state dict"),
    "nesting": (stack(deep(500)), "more than 200 deep"),
    "deep nesting": (stack(deep(900_000)), "more than 200 deep"),
    "marks": (stack(b"(" * 100_000), "nests marks"),
    "giant long": (stack(b"\x8b" + struct.pack("<i", 1 << 20) + b"\x01" * (1 << 20)), "an integer of 8388608 bits"),
    "long of 255 bytes": (stack(b"\x8a\xff" + b"\x01" * 255), "holds no state dict"),
    "decimal of a million digits": (stack(b"L" + b"9" * 1_000_000 + b"L\n"), "the opcode LONG"),
    "binunicode8": (stack(b"\x8d" + struct.pack("<Q", 1 << 40)), "is cut off"),
    "binbytes8": (stack(b"\x8e" + struct.pack("<Q", 1 << 40)), "is cut off"),
    "bytearray8": (stack(b"\x96" + struct.pack("<Q", 1 << 40)), "is cut off"),
    "long string": (stack(b"X" + struct.pack("<I", 2 << 20) + b"x" * (2 << 20)), "holds no state dict"),
    "payload before corruption": (stack(encode(PAYLOAD), b"\xff"), "names os.system. "),
    "corruption": (stack(b"}\xff"), "broken"),
    "two pickles": (stack(b"}") + stack(encode(PAYLOAD)), "bytes after its end"),
    "protocol 6": (b"\x80\x06}.", "protocol 6"),
    "protocol 1": (b"\x80\x01}.", "protocol 1"),
    "no end": (b"\x80\x02}", "is cut off"),
    "nothing": (b"\x80\x02.", "does not end with one value"),
    "empty stack": (stack(b"R"), "empty stack"),
    "many opcodes": (stack(b"]0" * 3_000_000), "more than 1000000 opcodes"),
    "many lists": (stack(b"(" + b"]" * 3_000_000 + b"l"), "more than 1000000 opcodes"),
    "attributes of many": (
        stack(
            b"](" + b"}q\x00(" + b"".join(encode(str(i)) + b"N" for i in range(5_000)) + b"u",
            b"".join(b"ca.b\nC\n)\x81h\x00b" for _ in range(5_000)) + b"e",
        ),
        "takes more work to read than its size explains",
    ),
    "a module in itself": (
        stack(b"ca.b\nC\n)\x81q\x00}(", encode("_modules"), b"}(", encode("again"), b"h\x00uub"),
        "a module that contains itself",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PICKLES)
def test_a_hostile_pickle_is_refused(tmp_path, case):
    pickle, reason = PICKLES[case]
    refused(archive(tmp_path / "bad.pt", pickle=pickle), reason)


def test_modules_that_double_at_every_level_end_at_a_limit(tmp_path):
    module = Instance(Name("a.b", "C"), {"_modules": {}})
    data = encode(module) + b"q\x00"
    for i in range(40):
        inner = {"a": Raw(b"h" + bytes([i])), "b": Raw(b"h" + bytes([i]))}
        data += encode(Instance(Name("a.b", "C"), {"_modules": inner})) + b"q" + bytes([i + 1])
    data = b"(" + data + b"t"
    pickle = b"\x80\x02}" + encode("all") + data + b"s" + encode("model") + b"h\x28s."
    refused(archive(tmp_path / "bad.pt", pickle=pickle), "takes more work to read than its size explains")


def test_code_beside_good_weights_is_refused_and_not_run(tmp_path):
    refused(archive(tmp_path / "bad.pt", PAYLOAD), "names os.system. Nothing in a pickle is executed here")


def test_an_unknown_class_is_inert(tmp_path):
    content = Call(Name("ultralytics.nn.tasks", "system"), ("touch PWNED",))
    assert reading(archive(tmp_path / "odd.pt", content)) == "read 1"


def test_setting_an_item_of_a_tensor_is_refused(tmp_path):
    writer = Writer()
    tensor = encode(writer.tensor(VALUES))
    refused(writer.write(tmp_path / "bad.pt", Raw(tensor + b"NNs")), "sets an item of a value")


def test_code_in_the_older_format_is_refused(tmp_path):
    path = tmp_path / "legacy.pt"
    path.write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + stack(encode(PAYLOAD)))
    refused(path, "names os.system")

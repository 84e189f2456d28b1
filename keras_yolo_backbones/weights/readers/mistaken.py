"""Files that people take for weight files: named as what they are, with what to do."""

from __future__ import annotations

from collections.abc import Iterable

from keras_yolo_backbones.errors import shown
from keras_yolo_backbones.weights.readers.source import Source

_EXPORT = "which is an export; load the checkpoint it was made from (.pt, .pth, .safetensors)."
_PACKED = "is compressed with {}; unpack it first."

_HEADS = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the file itself; run `git lfs pull`."),
    (b"\x1f\x8b", _PACKED.format("gzip")),
    (b"\xfd7zXZ\0", _PACKED.format("xz")),
    (b"BZh", _PACKED.format("bzip2")),
    (b"\x28\xb5\x2f\xfd", _PACKED.format("zstd")),
    (b"7z\xbc\xaf\x27\x1c", _PACKED.format("7-Zip")),
    (b"Rar!", _PACKED.format("RAR")),
    (b"\x93NUMPY", "is one NumPy array without a name; a checkpoint has named tensors."),
    (b"ftrt", f"is a TensorRT engine, {_EXPORT}"),
    (b"7767517", f"is an NCNN model, {_EXPORT}"),
    (b"PK\5\6", "is an empty zip archive; download it again."),
    (b"<?xml", f"is XML, perhaps of an OpenVINO model, {_EXPORT}"),
    (b"<", "is a web page, not a weight file; download it again, from the link to the file itself."),
)
"""How files begin -> what they are."""

_MEMBERS = (
    ("/code/", f"is a TorchScript archive, {_EXPORT}"),
    ("/constants.pkl", f"is a TorchScript archive, {_EXPORT}"),
    (".npy", "is a NumPy archive (.npz), which is not read; write it again as safetensors."),
    (".mlmodel", f"is a Core ML package, {_EXPORT}"),
    ("saved_model.pb", f"is a zipped SavedModel, {_EXPORT}"),
    ("metadata.json", "is a Keras archive without weights in it; save the model again."),
    (".pt", "is a zip archive around a checkpoint; unpack it first."),
    (".pth", "is a zip archive around a checkpoint; unpack it first."),
    (".safetensors", "is a zip archive around a checkpoint; unpack it first."),
    (".weights", "is a zip archive around a checkpoint; unpack it first."),
)
"""What the names in a zip archive contain (from "/" to "/") or end with -> what the archive is."""


def explain(source: Source, head: bytes) -> str:
    """What a file is that is none of the weight files; `head` is its first 512 bytes or fewer."""
    for start, meaning in _HEADS:
        if head.lstrip().startswith(start):
            return meaning
    if head[4:8] == b"TFL3":
        return f"is a TFLite file, {_EXPORT}"
    if head[4:5] == b"{" and int.from_bytes(head[:4], "little") < source.size:
        return f"is a TensorRT engine, {_EXPORT}"
    if head[257:262] == b"ustar":
        return "is a tar archive; unpack it first (torch before 0.2 wrote such files: save it again with a newer one)."
    if _is_text(head):
        return f"is a text, not a weight file: it begins with {shown(head, 40)!r}; download it again."
    return (
        "is none of: torch checkpoint (.pt, .pth, .ckpt), safetensors, ONNX, darknet .weights, Paddle .pdparams, "
        "Keras .weights.h5."
    )


def explain_archive(names: Iterable[str]) -> str:
    """What a zip archive with these names in it is; "" if it may be a checkpoint."""
    names = list(names)
    known = any(name.endswith("data.pkl") or name == "model.weights.h5" for name in names)
    for part, meaning in _MEMBERS[: 2 if known else len(_MEMBERS)]:
        if any(part in name if part.endswith("/") else name.endswith(part) for name in names):
            return meaning
    return ""


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # more than one character cut in two
            return False
        text = head[: error.start].decode()
    return len(text) > 8 and all(char.isprintable() or char in "\r\n\t" for char in text)

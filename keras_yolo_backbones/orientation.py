"""Turning photographs upright: cameras store pixels as the sensor lay, and in EXIF how to turn them.

TensorFlow's decoders do not look at EXIF. What is here runs in a graph, so also inside a served model.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

_HEAD = 1 << 17
"""So many bytes of a file are searched; EXIF is among the first segments, and no segment is longer than 64 KB."""

_MOST_ENTRIES = 512
_ORIENTATION = 0x0112


def jpeg_orientation(file: Any) -> Any:
    """The EXIF orientation 1 … 8 of a JPEG file, 1 (upright) for any other file and where there is none.

    Args:
        file: scalar string tensor, the file's content.

    Returns:
        Scalar int64 tensor.
    """
    import tensorflow as tf

    return _compiled()(file) if tf.executing_eagerly() else _jpeg_orientation(file)


@functools.cache
def _compiled() -> Callable[[Any], Any]:
    """One call for the three hundred small operators, which take 15 ms one by one."""
    import tensorflow as tf

    return tf.function(_jpeg_orientation, input_signature=[tf.TensorSpec((), tf.string)], autograph=False)


def _jpeg_orientation(file: Any) -> Any:
    import tensorflow as tf

    head = _Bytes(tf.strings.substr(file, 0, _HEAD))
    start, wanted = tf.constant(2, tf.int64), [ord(character) for character in "Exif\0\0"]

    def is_exif(at: Any) -> Any:
        name = tf.stack([head.byte(at + 4 + index) for index in range(len(wanted))])
        return (head.byte(at + 1) == 0xE1) & tf.reduce_all(name == tf.constant(wanted, tf.int64))

    def is_other_segment(at: Any) -> Any:
        marker = head.byte(at + 1)
        return (head.byte(at) == 0xFF) & (marker != 0xDA) & (at < head.size) & ~is_exif(at)

    def following(at: Any) -> list[Any]:
        return [at + 2 + head.number(at + 2, 2, little=False)]

    (at,) = tf.while_loop(is_other_segment, following, [start])
    found = (head.number(0, 2, little=False) == 0xFFD8) & is_exif(at)
    return tf.where(found, head.orientation(at + 10), 1)


def tiff_orientation(block: bytes) -> int:
    """The orientation in a block of EXIF data, as files other than JPEG hold it."""
    return int(_Bytes(block.removeprefix(b"Exif\0\0")[:_HEAD]).orientation(0))


def upright(image: Any, orientation: Any) -> Any:
    """Turn and mirror an image of that orientation.

    Args:
        image: (height, width, channels) tensor.
        orientation: scalar int64 tensor, 1 … 8.
    """
    import tensorflow as tf

    def when(values: tuple[int, ...], image: Any, change: Any) -> Any:
        wanted = tf.reduce_any(orientation == tf.constant(values, tf.int64))
        return tf.cond(wanted, lambda: change(image), lambda: image)

    def turned() -> Any:
        swapped = when((5, 6, 7, 8), image, lambda x: tf.transpose(x, (1, 0, 2)))
        mirrored = when((2, 3, 6, 7), swapped, lambda x: tf.reverse(x, [1]))
        return when((3, 4, 7, 8), mirrored, lambda x: tf.reverse(x, [0]))

    return tf.cond(orientation == 1, lambda: image, turned)


class _Bytes:
    """The bytes of a string tensor as numbers; those behind its end are 0."""

    def __init__(self, content: Any) -> None:
        import tensorflow as tf

        values = tf.cast(tf.io.decode_raw(content, tf.uint8), tf.int64)
        self.size = tf.size(values, tf.int64)
        self._values = tf.pad(values, [[0, 1]])

    def byte(self, at: Any) -> Any:
        import tensorflow as tf

        return tf.gather(self._values, tf.clip_by_value(tf.cast(at, tf.int64), 0, self.size))

    def number(self, at: Any, count: int, *, little: Any) -> Any:
        """An unsigned number of `count` bytes."""
        import tensorflow as tf

        digits = [self.byte(at + index) for index in range(count)]
        big = sum(digit * 256 ** (count - 1 - index) for index, digit in enumerate(digits))
        return tf.where(little, sum(digit * 256**index for index, digit in enumerate(digits)), big)

    def orientation(self, tiff: Any) -> Any:
        """Of the TIFF structure that starts at `tiff`: the entry of its first directory, 1 if it has none."""
        import tensorflow as tf

        little = self.byte(tiff) == ord("I")
        directory = tiff + self.number(tiff + 4, 4, little=little)
        count = tf.minimum(self.number(directory, 2, little=little), _MOST_ENTRIES)
        entries = directory + 2 + 12 * tf.range(count)
        tags, values = (self.number(entries + offset, 2, little=little) for offset in (0, 8))
        found = tf.reduce_max(tf.where(tags == _ORIENTATION, values, 0))
        return tf.where((found >= 1) & (found <= 8), found, 1)

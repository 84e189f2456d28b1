"""How many pixels an image file says it has, read from its header before anything is decoded.

A PNG of 64 kB can hold 500 million pixels. What decodes files of strangers asks here first.
"""

from __future__ import annotations

from typing import Any

MAX_PIXELS = 64_000_000
"""More pixels than this are refused by default: 192 MB as RGB bytes."""

_HEAD = 64
"""So many bytes hold the sizes of all formats but JPEG."""

_REFUSED = -1


def within_limit(file: Any, max_pixels: int = MAX_PIXELS) -> Any:
    """The same content, after a check of its header; in eager TensorFlow, or in a graph.

    GIF files are refused: their frames are all unpacked before the first is returned, and no header counts them.

    Args:
        file: scalar string tensor, the content of a JPEG, PNG or BMP file. Other content is left to the decoder.
        max_pixels: height × width that is still decoded.

    Raises:
        tf.errors.InvalidArgumentError: more pixels than that, or a GIF file; in a graph when it is run.
    """
    import tensorflow as tf

    pixels = _declared(file)
    checks = (
        tf.debugging.Assert(pixels != _REFUSED, ["GIF files are not decoded; convert it to PNG or JPEG"]),
        tf.debugging.Assert(
            pixels <= max_pixels, ["the image has", pixels, "pixels, more than the limit of", max_pixels]
        ),
    )
    with tf.control_dependencies([check for check in checks if check is not None]):
        return tf.identity(file)


def _declared(file: Any) -> Any:
    """Height × width as an int64 tensor; 0 for content of no known kind, which no decoder takes."""
    import tensorflow as tf

    head = tf.cast(tf.io.decode_raw(tf.strings.substr(file, 0, _HEAD), tf.uint8), tf.int64)
    head = tf.pad(head, [[0, _HEAD - tf.size(head)]])

    def begins(magic: bytes) -> Any:
        return tf.reduce_all(head[: len(magic)] == tf.constant(list(magic), tf.int64))

    def number(start: int, stop: int, *, little: bool) -> Any:
        """A whole number; little-endian ones are signed, as BMP's heights are."""
        part = head[start:stop]
        part = part[::-1] if little else part
        value = tf.reduce_sum(part * tf.constant([256**i for i in reversed(range(stop - start))], tf.int64))
        half = 2 ** (8 * (stop - start) - 1)
        return tf.abs(tf.where(value >= half, value - 2 * half, value)) if little else value

    def product(*sides: Any) -> Any:
        """Height × width, that cannot overflow: each is below 2³²."""
        return tf.minimum(sides[0], 2**31) * tf.minimum(sides[1], 2**31)

    def jpeg() -> Any:
        return tf.reduce_prod(tf.cast(tf.image.extract_jpeg_shape(file)[:2], tf.int64))

    return tf.case(
        [
            (begins(b"\xff\xd8\xff"), jpeg),
            (begins(b"\x89PNG"), lambda: product(number(16, 20, little=False), number(20, 24, little=False))),
            (begins(b"BM"), lambda: product(number(18, 22, little=True), number(22, 26, little=True))),
            (begins(b"GIF8"), lambda: tf.constant(_REFUSED, tf.int64)),
        ],
        default=lambda: tf.constant(0, tf.int64),
    )

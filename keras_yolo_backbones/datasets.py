"""What every use of tf.data here has in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def elements(dataset: Any) -> Iterator[Any]:
    """The elements of a `tf.data.Dataset` as NumPy arrays, without the thread that tunes it while it runs.

    That thread sleeps between its rounds, and the end of the elements sometimes waits until it wakes up: more than two
    seconds in which nothing is computed.
    """
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options).as_numpy_iterator()

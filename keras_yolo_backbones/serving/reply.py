"""What a server answered, as arrays: a reply is a stranger's bytes, checked before anything of its size is made."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_yolo_backbones.errors import ServingError


def arrays(outputs: Mapping[str, Any], *, wanted: Sequence[str], batch: int, max_bytes: int) -> dict[str, np.ndarray]:
    """The outputs of a reply.

    Args:
        outputs: name -> `TensorProto`.
        wanted: names that must be among them; none for whatever the model has.
        batch: images that were sent: the first side of every output.
        max_bytes: of all outputs together.

    Raises:
        ServingError: the reply is not what was asked for, or damaged; the message says what is wrong with it.
    """
    missing = [name for name in wanted if name not in outputs]
    if missing or not outputs:
        lacks, has = ", ".join(missing) or "any output", ", ".join(outputs) or "none"
        raise ServingError(f"the reply lacks {lacks}; it has {has}.")
    found: dict[str, np.ndarray] = {}
    left = max_bytes
    for name, tensor in outputs.items():
        kind, shape = _kind(name, tensor), _shape(name, tensor)
        if shape[:1] != (batch,):
            raise ServingError(f"output {name!r} of the reply has the shape {shape}; {batch} images were sent.")
        left -= math.prod(shape) * kind.itemsize
        if left < 0:
            raise ServingError(f"the reply has more than {max_bytes} bytes; max_reply_bytes=… sets another limit.")
        found[name] = _values(name, tensor, kind, shape)
    return found


def _kind(name: str, tensor: Any) -> np.dtype:
    import tensorflow as tf

    try:
        kind = tf.as_dtype(tensor.dtype)
    except TypeError:
        raise ServingError(f"output {name!r} of the reply has an unknown type: {tensor.dtype}.") from None
    if not (kind.is_floating or kind.is_integer or kind.is_bool) or kind.is_quantized:
        raise ServingError(f"output {name!r} of the reply is {kind.name}; expected numbers.")
    return np.dtype(kind.as_numpy_dtype)


def _shape(name: str, tensor: Any) -> tuple[int, ...]:
    shape = tuple(side.size for side in tensor.tensor_shape.dim)
    if tensor.tensor_shape.unknown_rank or any(side < 0 for side in shape):
        raise ServingError(f"output {name!r} of the reply has the shape {shape}.")
    return shape


def _values(name: str, tensor: Any, kind: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """The numbers: as bytes, one by one, or one for all."""
    import tensorflow as tf

    count = math.prod(shape)
    sizes = {len(values) for field, values in tensor.ListFields() if field.name.endswith("_val")}
    whole = len(tensor.tensor_content) == count * kind.itemsize if tensor.tensor_content else sizes <= {1, count}
    if not whole or (count and not tensor.tensor_content and not sizes):
        raise ServingError(f"output {name!r} of the reply does not hold the {count} numbers of its shape {shape}.")
    try:
        return tf.make_ndarray(tensor)
    except (TypeError, ValueError) as error:
        raise ServingError(f"output {name!r} of the reply cannot be read: {str(error).splitlines()[0]}") from None

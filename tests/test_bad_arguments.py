"""What a wrong argument is told: the value, what is allowed, the nearest match."""

from __future__ import annotations

import keras
import pytest

import keras_yolo_backbones as kyb


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": "q"}, "unknown size of v8: 'q'. Allowed: n, s, m, l, x, n6, s6, m6, l6, x6."),
        ({"size": "s7"}, "unknown size of v8: 's7'; did you mean 's'?"),
        ({"release": "2.0"}, "unknown release of v8: '2.0'. Allowed: detect, cls."),
        ({"activation": "sillu"}, "unknown activation: 'sillu'; did you mean 'silu'?"),
        ({"levels": ()}, "levels is empty"),
        ({"levels": ("P3", "P3")}, "levels names P3 2 times: ('P3', 'P3'); name it once."),
        ({"levels": ("P9",)}, "unknown level of this v8: 'P9'"),
        ({"levels": ("P3", "P6")}, "Allowed: P2, P3, P4, P5. v8 has P6 in the sizes n6, s6, m6, l6, x6."),
        (
            {"input_shape": (600, 640, 3)},
            "height 600 is no multiple of 32, the network's largest stride; use 576 or 608.",
        ),
        ({"input_shape": (640, 16, 3)}, "width 16 is no multiple of 32, the network's largest stride; use 32."),
        ({"size": "n6", "input_shape": (640, 672, 3)}, "width 672 is no multiple of 64"),
        ({"input_shape": (640, 640)}, "input_shape (640, 640): expected (height, width, channels)"),
        ({"input_shape": (640, -32, 3)}, "width must be a positive integer or None."),
        ({"input_shape": (640, 640, None)}, "the last entry is the number of channels, 3 for RGB."),
        ({"input_shape": 640}, "input_shape 640: expected (height, width, channels)"),
        ({"neck_channels": 0}, "neck_channels must be a positive integer or None, not 0."),
        ({"input_tensor": "images"}, "input_tensor must be a Keras tensor such as keras.Input(…), not 'images'."),
    ],
)
def test_message(arguments, message):
    with pytest.raises(kyb.ArgumentError) as caught:
        kyb.v8(**arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_family_that_was_published_once_has_no_releases():
    with pytest.raises(kyb.ArgumentError, match=r"release '2.0': v10 was published once; leave `release` out."):
        kyb.v10("n", release="2.0")


def test_given_tensor_is_checked_like_a_shape():
    with pytest.raises(kyb.ArgumentError, match=r"shape of input_tensor .*height 50 is no multiple of 32"):
        kyb.v8("n", input_tensor=keras.Input((50, 64, 3)))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("v88-s", {}, "unknown model: 'v88-s'; did you mean 'v8'?"),
        ("v8-z", {}, "Allowed: v8-n, v8-s, v8-m"),
        ("", {}, "unknown model: ''"),
        ("v8-s", {"size": "m"}, "size='m': the name 'v8-s' says the size already."),
        ("v8-s", {"weights": "imagenet"}, "v8 is built without weights; load them into it: kyb.load_weights"),
        ("v8-s", {"activations": "relu"}, "unknown option: 'activations'; did you mean 'activation'?"),
    ],
)
def test_create(name, options, message):
    with pytest.raises(kyb.ArgumentError) as caught:
        kyb.create(name, **options)
    assert message in str(caught.value)


def test_errors_are_value_errors_too():
    with pytest.raises(ValueError, match="unknown size"):
        kyb.v8("q")


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_other_backends_are_one_line(monkeypatch, backend):
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    with pytest.raises(kyb.ArgumentError, match=f"={backend}: the networks build under tensorflow and jax"):
        kyb.v8("n")

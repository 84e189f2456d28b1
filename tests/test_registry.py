"""Names of networks, and levels of models."""

from __future__ import annotations

import keras
import pytest

import keras_yolo_backbones as kyb
from keras_yolo_backbones.registry import find


def test_names_and_patterns():
    assert kyb.list_models("v8-*") == [
        *(f"v8-{size}" for size in ("n", "s", "m", "l", "x", "n6", "s6", "m6", "l6", "x6")),
        *(f"v8-cls-{size}" for size in ("n", "s", "m", "l", "x")),
    ]
    assert "v8-s" in kyb.list_models("v*-s")
    assert kyb.list_models("nothing") == []
    assert len(kyb.list_models()) == len(set(kyb.list_models()))


def test_what_closed_products_may_use():
    names = kyb.list_models(licence="permissive")
    families = {name.split("-")[0] for name in names}
    assert families == {"v3", "v4", "v9", "yolox", "rtmdet", "ppyoloe", "damo"}
    assert kyb.list_models("v9*", licence="permissive") == ["v9-t", "v9-s", "v9-m", "v9-c"]
    assert kyb.list_models("v[34]-*", licence="permissive") == [
        "v3-base",
        "v3-spp",
        "v3-tiny",
        "v4-base",
        "v4-tiny",
        "v4-csp",
    ]
    assert kyb.list_models(licence="MIT") == ["v9-t", "v9-s", "v9-m", "v9-c"]
    assert kyb.list_models("nas-*", licence="permissive") == []


def test_an_unknown_licence():
    with pytest.raises(kyb.ArgumentError, match=r"unknown licence: 'BSD'. Allowed: permissive, AGPL-3\.0, "):
        kyb.list_models(licence="BSD")


def test_create_builds_what_the_name_says():
    model = kyb.create("v8-n6", activation="relu", input_shape=(64, 64, 3))
    assert model.name == "v8-n6"
    assert kyb.pyramid(model)[-1] == kyb.Level("P6", 64, 256, "spp.cv2.act", "spp")


def test_a_family_alone_is_its_default_size():
    assert kyb.create("v8", input_shape=(64, 64, 3)).name == "v8-s"


@pytest.mark.parametrize(
    ("original", "name"),
    [
        ("yolov8n", "v8-n"),
        ("yolov8x-seg.pt", "v8-x"),
        ("YOLO11m", "v11-m"),
        ("yolov11m", "v11-m"),
        ("yolov5su", "v5-s"),
        ("yolov5n6u", "v5-n6"),
        ("yolov3-tinyu", "v3-u-tiny"),
        ("yolov3-tiny", "v3-tiny"),
        ("yolov3-tiny.pt", "v3-torch-tiny"),
        ("yolov9c", "v9-c"),
        ("yolox_nano.pth", "yolox-nano"),
        ("yolo12n", "v12-n"),
        ("yolov12n", "v12-turbo-n"),
        ("weights/yolov4.weights", "v4-base"),
    ],
)
def test_the_originals_names_are_understood(original, name):
    assert find(original).name == name


def test_a_name_of_nothing_is_not():
    with pytest.raises(kyb.ArgumentError, match="unknown model: 'yolov8q'"):
        find("yolov8q")


def test_swish_is_silu():
    model = kyb.v8("n", activation="swish", input_shape=(32, 32, 3))
    assert model.get_layer("stem.act").get_config()["activation"] == "silu"


def test_every_name_is_fit_for_a_file_name():
    for name in kyb.list_models():
        assert name.replace("-", "").replace(".", "").isalnum()


def test_pyramid_of_a_model_with_a_neck():
    backbone = kyb.v8("n", input_shape=(64, 64, 3))
    neck = {name: keras.layers.Conv2D(7, 1)(tensor) for name, tensor in backbone.output.items()}
    assert [level[:3] for level in kyb.pyramid(keras.Model(backbone.input, neck))] == [
        ("P3", 8, 7),
        ("P4", 16, 7),
        ("P5", 32, 7),
    ]


def test_pyramid_says_where_a_level_is_made():
    backbone = kyb.v8("n", input_shape=(64, 64, 3))
    assert [level[3:] for level in kyb.pyramid(backbone)] == [
        ("stage3.cv2.act", "stage3"),
        ("stage4.cv2.act", "stage4"),
        ("spp.cv2.act", "spp"),
    ]


def test_pyramid_of_detectors():
    """Outputs that are called after levels, and a backbone nested in a model whose outputs are not."""
    backbone = kyb.v8("n", input_shape=(64, 64, 3))
    head = keras.layers.Conv2D(5, 1, name="head")
    detector = keras.Model(backbone.input, {"P4_scores": head(backbone.output["P4"])})
    assert kyb.pyramid(detector) == (("P4_scores", 16, 5, "head", "head"),)
    images = keras.Input((64, 64, 3))
    nested = keras.Model(images, {"boxes": keras.layers.Conv2D(4, 1)(backbone(images)["P3"])})
    assert kyb.pyramid(nested) == kyb.pyramid(backbone)
    assert kyb.pyramid(keras.Model(images, backbone(images))) == kyb.pyramid(backbone)


def test_pyramid_of_something_else():
    images = keras.Input((8, 8, 3))
    with pytest.raises(kyb.ArgumentError, match="has no dict of outputs; expected outputs"):
        kyb.pyramid(keras.Model(images, images))
    with pytest.raises(kyb.ArgumentError, match=r"has outputs called boxes; expected outputs that"):
        kyb.pyramid(keras.Model(images, {"boxes": images}))

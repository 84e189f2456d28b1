"""`kyb.draw`: the picture of a network says what the model is."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import keras
import pytest

import keras_yolo_backbones as kyb
from keras_yolo_backbones.fragile import without_values
from keras_yolo_backbones.graph.draw import LETTER, TEXT, svg
from keras_yolo_backbones.graph.parts import parts_of

SVG = "{http://www.w3.org/2000/svg}"


def built(network: str, **options) -> keras.Model:
    with without_values():
        return kyb.create(network, **options)


def test_the_parts_of_a_network():
    model = built("v8-n", input_shape=(64, 96, 3), levels=("P2", "P5"))
    parts = {part.name: part for part in parts_of(model)}
    stages = [name for level in (2, 3, 4, 5) for name in (f"down{level}", f"stage{level}")]
    assert list(parts) == ["images", "stem", *stages, "spp"]
    assert (parts["images"].size, parts["stage2"].size, parts["spp"].size) == ((64, 96, 3), (16, 24, 32), (2, 3, 256))
    assert parts["stage2"].outputs == {"P2": (16, 24, 32)}
    assert parts["spp"].outputs == {"P5": (2, 3, 256)}
    assert [len(part.sources) for part in parts.values()] == [0] + [1] * 10
    assert parts["stage4"].contents == "3 convs 1×1, 4 convs 3×3, concat, 2 sums"
    assert parts["spp"].contents == "2 convs 1×1, concat, 3 max pools"
    assert sum(part.parameters for part in parts.values()) == model.count_params()


def test_the_parts_of_two_passes_and_of_two_backbones():
    names = [part.name for part in parts_of(built("v9-e", input_shape=(64, 64, 3)))]
    assert names[:3] == ["images", "pre.stem", "pre.down2"]
    assert len(names) == len(set(names)) == 30
    with without_values():
        images = keras.Input((32, 32, 3), name="images")
        left, right = (kyb.v3("tiny", input_tensor=images, name=name).output["P4"] for name in ("left", "right"))
        both = keras.Model(images, keras.layers.Add(name="sum")([left, right]))
    found = {part.name: part for part in parts_of(both)}
    assert {"left.stage4", "right.stage4", "sum"} <= set(found)
    assert (len(found["sum"].sources), found["sum"].outputs) == (2, {"0": (2, 2, 256)})


def test_a_part_that_is_interrupted_is_there_twice():
    last = parts_of(built("damo-ns", input_shape=(64, 64, 3)))[-3:]
    assert [(part.name, list(part.outputs)) for part in last] == [("group5", []), ("spp", []), ("group5", ["P5"])]
    assert [part.sources for part in last] == [[5], [6], [7]]


@pytest.mark.parametrize("name", ["v9-e", "v10-n", "damo-ns", "rtmdet-tiny"])
def test_the_picture(name):
    model = built(name, input_shape=(64, 64, 3))
    model = keras.Model(model.input, model.output, name="a <b> & c")
    tree = ElementTree.fromstring(svg(model))
    texts = ["".join(text.itertext()) for text in tree.iter(f"{SVG}text")]
    assert texts[0] == "a <b> & c"
    assert f"{kyb.macs(model) / 1e9:.2f} G multiply-accumulates" in texts[1]
    for level in kyb.pyramid(model):
        assert f"{level.name}  {64 // level.stride}×{64 // level.stride}×{level.channels}" in texts
    parts = parts_of(model)
    boxes = [box for box in tree.iter(f"{SVG}rect") if box.get("rx") == "5"]
    assert len(boxes) == len(parts)
    arrows = [line for line in tree.iter(f"{SVG}path") if line.get("class") == "line"]
    assert len(arrows) == len(model.output) + sum(len(part.sources) for part in parts)
    height, width = int(tree.get("height")), int(tree.get("width"))
    assert all(TEXT + LETTER * len(part.contents) <= width for part in parts)
    assert all(0 <= float(box.get("y")) <= height - float(box.get("height")) for box in boxes)
    for line in arrows:
        assert all(0 <= float(x) <= width for x in re.findall(r"([\d.]+) [\d.]+", line.get("d")))


def test_the_file(tmp_path):
    model = built("v3-tiny", input_shape=(64, 64, 3))
    assert kyb.draw(model, tmp_path / "v3.svg") == tmp_path / "v3.svg"
    assert (tmp_path / "v3.svg").read_text(encoding="utf-8") == svg(model)
    with pytest.raises(kyb.ExportError, match=r"\.svg"):
        kyb.draw(model, tmp_path / "v3.png")
    with pytest.raises(kyb.GraphError, match="open shape"):
        kyb.draw(built("v3-tiny", input_shape=(None, None, 3)), tmp_path / "open.svg")
    assert [path.name for path in tmp_path.iterdir()] == ["v3.svg"]

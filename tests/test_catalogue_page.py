"""The catalogue: its data, its JavaScript in V8, and, slow, the page in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import sys

import pytest
from conftest import ROOT
from py_mini_racer import MiniRacer

import keras_yolo_backbones as kyb

sys.path.insert(0, str(ROOT / "zoo" / "site"))

import catalogue_data
import catalogue_page

ROWS = {row["name"]: row for row in catalogue_data.rows()}
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def js():
    """catalogue.js in V8, with the rows as ROWS; call it with an expression."""
    engine = MiniRacer()
    engine.eval((ROOT / "zoo" / "site" / "catalogue.js").read_text("utf-8"))
    engine.eval(f"const ROWS = {json.dumps(list(ROWS.values()))}; const names = rows => rows.map(row => row.name);")
    return lambda expression: json.loads(engine.eval(f"JSON.stringify({expression})"))


def test_every_network_is_in_it_with_its_own_numbers():
    assert list(ROWS) == kyb.list_models()
    v8 = ROWS["v8-n"]
    assert (v8["parameters"], v8["macs"], v8["channels"]) == (1272656, 1577779200, [32, 64, 128, 256])
    assert (v8["licence"], v8["group"], v8["attention"]) == ("AGPL-3.0", "AGPL-3.0", False)
    assert ROWS["v9-t"]["licence"] == "GPL-3.0 or MIT"
    assert ROWS["v9-t"]["permissive"]
    assert ROWS["nas-s"]["group"] == "non-commercial"
    assert {row["family"] for row in ROWS.values() if row["attention"]} == {"v10", "v11", "v12", "v13", "v26"}
    assert len({row["family"] for row in ROWS.values()}) == 17


def test_measurements_are_those_of_the_table_of_devices():
    found = [row for row in ROWS.values() if row["measured"]]
    table = json.loads((ROOT / "tflite" / "devices.json").read_text())
    assert {row["name"] for row in found} == {row["network"] for row in table if row["side"] == 192}
    nano = ROWS["yolox-nano"]["measured"]["relu6"]
    assert (nano["operators"], round(nano["u55_ms"], 1), nano["u55_share"]) == (66, 2.1, 1)
    assert ROWS["v9-t"]["measured"]["relu6"]["xnnpack_share"] == 115 / 118


def test_arenas_are_measured_or_predicted():
    assert ROWS["v8-n"]["arena"] == ROWS["v8-n"]["measured"]["relu6"]["arena"] == 332832
    assert not ROWS["v8-m"]["measured"]
    assert ROWS["v8-m"]["arena"] == ROWS["v8-m"]["predicted"] > 900_000
    least, most = catalogue_page.errors()
    assert -0.01 < least < most < 0.01
    assert ROWS["v4-scaled-p7"]["arena"] is None  # its strides do not divide 192
    known = [row for row in ROWS.values() if row["arena"]]
    assert len(known) >= 115
    assert all(100_000 < row["arena"] < 7_000_000 for row in known)


def test_the_page_loads_nothing_from_elsewhere():
    page = catalogue_page.page(home="index.html")
    code = re.sub(r'<script type="application/json".*?</script>', "", page, flags=re.S)
    assert len(page) - len(code) > 50_000
    assert re.findall(r"(?:src|href)=[\"']?([^\"' >]+)", code) == ["data:,", "index.html"]
    assert not re.findall(r"@import|url\(|fetch\(|XMLHttpRequest|import\(|\{\{\w+\}\}", code)
    assert set(re.findall(r"https?://[^\s\"'`)]+", code)) == {"http://www.w3.org/2000/svg"}  # a name, not an address
    assert "index.html" not in catalogue_page.page()


def test_filters(js):
    assert len(js("keep(ROWS, {})")) == 153
    assert js('names(keep(ROWS, {text: "V8 n6"}))') == ["v8-n6"]
    assert js('names(keep(ROWS, {licence: "permissive"}))') == kyb.list_models(licence="permissive")
    assert js('names(keep(ROWS, {licence: "non-commercial"}))') == ["nas-s", "nas-m", "nas-l"]
    assert js('names(keep(ROWS, {families: ["nas"], macs: "15"}))') == ["nas-s"]
    assert js('names(keep(ROWS, {top: "P7"}))') == ["v4-scaled-p7"]
    assert js('names(keep(ROWS, {device: "measured", attention: "yes"}))') == [
        *("v10-n", "v10-s", "v11-n", "v11-s", "v12-n", "v12-s", "v12-turbo-n", "v12-turbo-s", "v13-n", "v13-s"),
        *("v26-n", "v26-s"),
    ]
    whole = js('names(keep(ROWS, {device: "xnnpack", activation: "relu6"}))')
    assert "v8-n" in whole
    assert "v9-t" not in whole
    few = js('names(keep(ROWS, {arena: "340"}))')
    assert "v8-n" in few
    assert "v4-scaled-p7" not in few
    assert all(ROWS[name]["arena"] <= 340_000 for name in few)
    assert js('names(keep(ROWS, {parameters: "none"}))') == list(ROWS)


def test_order(js):
    assert js('names(ordered(ROWS, "parameters", false))')[0] == "v6-lite-s"
    assert js('names(ordered(ROWS, "parameters", true))')[0] == "v4-scaled-p7"
    assert js('names(ordered(ROWS, "name", true))') == list(ROWS)[::-1]
    count = sum(bool(row["measured"]) for row in ROWS.values())
    for descending, first in (("false", "yolox-nano"), ("true", "v3-base")):
        names = js(f'names(ordered(ROWS, "u55_ms", {descending}, "relu6"))')
        assert names[0] == first
        assert not any(ROWS[name]["measured"] for name in names[count:])


def test_cells(js):
    cells = 'names => names.map(key => cell(ROWS.find(row => row.name === "%s"), key, "%s"))'
    keys = '["parameters", "macs", "channels", "attention", "u55_ms", "xnnpack_share"]'
    assert js(f"({cells % ('v8-n', 'relu6')})({keys})") == ["1.27", "1.58", "32 64 128 256", "no", "3.7", "100%"]
    assert js("[1, 0.97].map(unlessWhole)") == ["", " (97%)"]
    arenas = js('["v8-n", "v8-m", "v4-scaled-p7"].map(name => cell(ROWS.find(row => row.name === name), "arena"))')
    assert arenas == ["333", "~986", "–"]
    assert js(f"({cells % ('v8-n', 'own')})({keys})")[4] == "5.1"
    assert js(f"({cells % ('v8-m', 'own')})({keys})")[4:] == ["–", "–"]
    assert js("[1, 0.9999, 0.5].map(share)") == ["100%", "99%", "50%"]


def test_the_plot_puts_numbers_where_they_belong(js):
    assert js("ticks(0.3, 12)") == [0.5, 1, 2, 5, 10]
    scale = js("(a => [a.place(1), a.place(10), a.place(100), a.low, a.high, a.ticks])(axis([1, 100], 0, 200))")
    assert scale[3:5] == [0.8, 125]
    assert scale[1] - scale[0] == pytest.approx(scale[2] - scale[1]) == pytest.approx(91.17, abs=0.01)
    assert scale[5] == [1, 2, 5, 10, 20, 50, 100]
    points = "[{x: 0, y: 0}, {x: 10, y: 0}, {x: 11, y: 0}]"
    assert js(f"nearest({points}, 8, 1, 5)") == {"x": 10, "y": 0}
    assert js(f"nearest({points}, 8, 20, 5)") is None
    assert js(f"(points => near(points, points[1], 3))({points})") == [{"x": 11, "y": 0}]
    shapes = js('["permissive", "GPL-3.0", "AGPL-3.0", "non-commercial"].map(group => mark(group, 0, 0, 5))')
    assert [shape.count("L") for shape in shapes] == [0, 2, 3, 3]


@pytest.fixture
def visit(tmp_path):
    """Opens the page at a width in Chromium, from a file; afterwards nothing may have been loaded or have failed."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    file = tmp_path / "catalogue.html"
    file.write_text(catalogue_page.page(), "utf-8")
    faults: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])

        def opened(width: int):
            page = browser.new_page(viewport={"width": width, "height": 900}, has_touch=width < 600)
            page.on("console", lambda message: faults.append(message.text))
            page.on("pageerror", lambda error: faults.append(str(error)))
            page.on("request", lambda request: faults.append(request.url) if "file:" not in request.url else None)
            page.goto(file.as_uri())
            return page

        yield opened
        browser.close()
    assert [fault for fault in faults if not fault.startswith("data:")] == []


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1400])
def test_in_a_browser(visit, width):
    page = visit(width)
    assert page.inner_text("#count") == "153 of 153 networks"
    assert page.locator("tbody tr").count() == page.locator(".point").count() == 153
    assert page.evaluate("document.documentElement.scrollWidth") == width  # nothing sticks out
    assert (
        page.evaluate(
            "Math.min(...[...document.querySelectorAll('svg text')].map(t => t.getBoundingClientRect().height))"
        )
        > 12
    )
    page.get_by_role("button", name="yolox").click()
    assert page.inner_text("#count") == "7 of 153 networks"
    page.get_by_role("button", name="Parameters, M").click()
    page.get_by_role("button", name="Parameters, M").click()
    assert page.locator("tbody tr").first.get_attribute("data-name") == "yolox-darknet53"
    page.select_option("#across", "u55_ms")
    assert page.locator(".point").count() == 1
    box = page.locator(".point").bounding_box()
    page.mouse.move(box["x"] + 4, box["y"] + 4) if width > 600 else page.touchscreen.tap(box["x"] + 9, box["y"] + 9)
    assert "yolox-nano" in page.inner_text("#tip")
    assert "2.1 ms" in page.inner_text("#tip")
    tip = page.locator("#tip").bounding_box()
    assert tip["x"] >= 0
    assert tip["x"] + tip["width"] <= width
    page.get_by_role("button", name="Clear").click()
    page.wait_for_function("document.querySelectorAll('tbody tr').length === 153")
    page.get_by_label("Name").fill("no such network")
    assert page.inner_text("#count") == "0 of 153 networks"

"""The report as a reader meets it: in a real browser, by keyboard, on a phone, on paper and without scripts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from conical.reports import write_report
from headless_chromium import Chromium, Page, open_chromium
from unit.reports.report_factory import LABELS, report

pytestmark = pytest.mark.end_to_end

# CSS colours as the browser computes them, and WCAG 2.1's relative luminance and contrast ratio
POOREST_CONTRAST = """
(() => {
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = parts(colour).slice(0, 3).map((v) => v / 255)
      .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if ((parts(colour)[3] ?? 1) > 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  let poorest = [99, ""];
  for (const element of document.body.querySelectorAll("*:not(script)")) {
    const words = [...element.childNodes].filter((n) => n.nodeType === 3).map((n) => n.textContent.trim()).join("");
    if (!words || !element.checkVisibility()) continue;
    const [a, b] = [light(getComputedStyle(element).color), light(ground(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < poorest[0]) poorest = [ratio, words.slice(0, 40)];
  }
  return poorest;
})()
"""
BROKEN_PICTURES = """
(async () => {
  const grounds = [...document.querySelectorAll(".strip")]
    .map((strip) => getComputedStyle(strip.firstElementChild).backgroundImage.slice(5, -2));
  const addresses = new Set([...[...document.images].map((image) => image.src), ...grounds]);
  const broken = [];
  for (const address of addresses) {
    const image = new Image();
    image.src = address;
    await image.decode().catch(() => broken.push(address.slice(0, 60)));
    if (!image.naturalWidth) broken.push(address.slice(0, 60));
  }
  return { total: addresses.size, broken };
})()
"""
SHOWN = "[...document.querySelectorAll('.case')].filter((c) => c.checkVisibility()).map((c) => c.dataset.change)"
VISIBLE = "[...document.querySelectorAll('{}')].filter((h) => h.checkVisibility()).map((h) => h.textContent)"
WRONG_STOPS = """
[...document.querySelectorAll(".scroll")]
  .filter((box) => box.checkVisibility() && (box.scrollWidth > box.clientWidth) !== box.hasAttribute("tabindex"))
  .map((box) => box.getAttribute("aria-label"))
"""
FOCUS = "document.activeElement.id || document.activeElement.className"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(report(), tmp_path_factory.mktemp("report")).page


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with open_chromium(tmp_path_factory.mktemp("chromium")) as found:
        yield found


@pytest.fixture
def page(browser: Chromium, path: Path) -> Page:
    return browser.open(path)


def tab_to(page: Page, name: str) -> None:
    for _ in range(80):
        page.press("Tab")
        if page.run(FOCUS) == name:
            return
    raise AssertionError(f"the Tab key never reaches {name!r}")


@pytest.mark.parametrize("width", [375, 1280])
def test_the_page_fits_its_window_asks_for_nothing_and_complains_of_nothing(
    browser: Chromium, path: Path, width: int
) -> None:
    page = browser.open(path, width=width)
    assert page.run("document.documentElement.clientWidth") == width
    assert page.run("document.documentElement.scrollWidth") == width
    assert page.run("[...document.querySelectorAll('details')].forEach((d) => (d.open = true))") is None
    assert page.run("document.documentElement.scrollWidth") == width
    assert page.complaints() == []
    assert page.requests() == [path.as_uri()]


def test_a_page_that_fails_is_noticed(browser: Chromium, tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<img src='http://127.0.0.1:9/x.png'><div style='width: 3000px'>x</div><script>nothing()</script>",
        encoding="utf-8",
    )
    page = browser.open(bad)
    assert any("nothing is not defined" in text for text in page.complaints())
    assert page.requests() == [bad.as_uri(), "http://127.0.0.1:9/x.png"]
    assert page.run("document.documentElement.scrollWidth") > 1280
    assert page.run(BROKEN_PICTURES)["broken"]


def test_every_picture_decodes(page: Page) -> None:
    # nine drawings, and the clips of scenes 0 to 7, shown or not
    found = page.run(BROKEN_PICTURES)
    assert found["broken"] == []
    assert found["total"] == 9 + 8


def test_a_screen_reader_is_told_headings_in_order_tables_and_pictures(page: Page) -> None:
    nodes = page.tree()
    roles = [node["role"]["value"] for node in nodes]
    levels = [
        next(part["value"]["value"] for part in node["properties"] if part["name"] == "level")
        for node in nodes
        if node["role"]["value"] == "heading"
    ]
    assert levels[0] == 1
    assert all(later <= earlier + 1 for earlier, later in pairwise(levels))
    nameless = [
        node
        for node in nodes
        if node["role"]["value"] in ("image", "table", "combobox", "searchbox", "button", "link", "region", "form")
        and not node.get("name", {}).get("value")
    ]
    assert nameless == []
    assert {"main", "navigation", "table", "rowheader", "columnheader", "image", "combobox", "form"} <= set(roles)


def test_only_boxes_with_something_to_scroll_stop_the_tab_key(browser: Chromium, path: Path) -> None:
    stops = {}
    for width in (375, 1280):
        page = browser.open(path, width=width)
        # what is folded away stops nobody; unfolded it is like the rest
        page.run("document.querySelectorAll('details').forEach((one) => { one.open = true })")
        # the browser reports sizes before it paints the next frame
        page.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))")
        assert page.run(WRONG_STOPS) == []
        stops[width] = page.run("document.querySelectorAll('.scroll[tabindex]').length")
    # a phone scrolls all tables and figures; a wide window has room for most
    assert stops[375] > 10 > stops[1280]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(page: Page, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.browser.call("Emulation.setEmulatedMedia", page.session, features=features)
    ratio, words = page.run(POOREST_CONTRAST)
    assert ratio >= 4.5, words


def test_the_first_tab_skips_to_the_results_and_what_has_the_focus_shows_it(page: Page) -> None:
    page.press("Tab")
    assert page.run(FOCUS) == "skip"
    assert page.run("document.activeElement.getBoundingClientRect().left") >= 0
    assert page.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.press("Enter")
    assert page.run("location.hash") == "#main"


def test_the_error_browser_is_worked_by_keyboard(page: Page) -> None:
    assert page.run("document.getElementById('shown').textContent") == "5 of 5 queries shown"
    # 40 / 1 is 5.3 doublings, 17.5 / 3 is 2.5, ... 1 / 30 is -4.9
    assert page.run(SHOWN) == ["5.322", "2.544", "1.000", "-1.000", "-4.907"]
    tab_to(page, "direction")
    page.press("ArrowDown")
    assert page.run(VISIBLE.format("h4")) == ["Video to text"]
    tab_to(page, "kind")
    page.press("ArrowDown", times=2)
    assert page.run(SHOWN) == ["-1.000", "-4.907"]
    tab_to(page, "order")
    page.press("ArrowDown")
    assert page.run(SHOWN) == ["-4.907", "-1.000"]
    tab_to(page, "words")
    for letter in "ring":
        page.press(letter)
    assert page.run("document.getElementById('shown').textContent") == "1 of 5 queries shown"
    assert page.run(SHOWN) == ["-1.000"]
    tab_to(page, "open")
    page.press("Enter")
    assert (
        page.run(
            "document.querySelectorAll('.pair:not([hidden]) .view:not([hidden]) .case:not([hidden])[open]').length"
        )
        == 1
    )
    assert page.complaints() == []


def test_a_query_opens_and_closes_by_keyboard(page: Page) -> None:
    tab_to(page, "close")
    page.press("Enter")
    assert page.run("document.querySelectorAll('.pair:not([hidden]) .case[open]').length") == 1  # the other direction's
    page.press("Tab")
    assert page.run("document.activeElement.parentElement.dataset.change") == "5.322"
    page.press("Enter")
    assert page.run("document.activeElement.parentElement.open") is True
    assert page.run("document.activeElement.parentElement.querySelector('.strip').getBoundingClientRect().height") > 50
    page.press("Enter")
    assert page.run("document.activeElement.parentElement.open") is False


def test_another_pair_of_runs_can_be_chosen(page: Page) -> None:
    tab_to(page, "pair")
    page.press("ArrowDown")
    assert page.run(VISIBLE.format(".pair h3")) == [LABELS[3]]
    assert page.run("document.getElementById('shown').textContent") == "1 of 1 queries shown"


def test_without_scripts_every_query_is_there(browser: Chromium, path: Path) -> None:
    # a frame whose sandbox allows no script: the page itself can then be looked into from outside
    wrapper = path.parent / "without_script.html"
    wrapper.write_text(
        '<iframe id="frame" sandbox="allow-same-origin" style="width: 1200px; height: 900px"></iframe>',
        encoding="utf-8",
    )
    page = browser.open(wrapper)
    text = path.read_text(encoding="utf-8")
    page.run(f"new Promise((done) => {{ frame.onload = done; frame.srcdoc = {json.dumps(text)}; }}).then(() => 0)")
    inside = "frame.contentDocument"
    assert page.run(f"[...{inside}.querySelectorAll('.case')].filter((c) => c.checkVisibility()).length") == 11
    assert page.run(f"{inside}.getElementById('browse').checkVisibility()") is False
    assert page.run(f"{inside}.querySelectorAll('.scroll:not([tabindex])').length") == 0


def test_paper_shows_queries_opened_and_no_controls(page: Page) -> None:
    page.browser.call("Emulation.setEmulatedMedia", page.session, media="print")
    assert page.run("document.getElementById('browse').checkVisibility()") is False
    second = "document.querySelectorAll('.view')[1].querySelectorAll('.case')[1]"
    assert page.run(f"{second}.open") is False
    assert page.run(f"{second}.querySelector('.strip').getBoundingClientRect().height") > 10
    assert page.run("document.querySelectorAll('.view')[1].querySelectorAll('.case')[2].checkVisibility()") is False
    pdf = page.pdf()
    assert pdf.startswith(b"%PDF")
    assert 5 <= pdf.count(b"/Type /Page\n") <= 25

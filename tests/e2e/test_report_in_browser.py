"""The report in a real browser, from the file, as people open it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import NAMES, Browser, browser_path
from reports import SECTIONS, full_result, hostile_result

from flyteplugins.codegen import CodeGenEvalResult
from flyteplugins.codegen.report.html import document, fragment, stylesheet

pytestmark = pytest.mark.skipif(browser_path() is None, reason=f"no browser: none of {', '.join(NAMES)} is on PATH")

PHONE, DESKTOP = 360, 1100
LIGHT, DARK = "rgb(246, 246, 244)", "rgb(19, 21, 23)"

# Of all text that is shown, the lowest contrast between its colour and the ground that it stands on (WCAG 2).
CONTRAST = """
(() => {
  const parse = value => (value.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(c => c / 255)
    .map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = node => {
    for (; node; node = node.parentElement) {
      const color = parse(getComputedStyle(node).backgroundColor);
      if (color.length < 4 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  let lowest = [99, ''];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || node.closest('svg, style')) continue;
    const [one, other] = [light(parse(getComputedStyle(node).color)), light(ground(node))];
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (contrast < lowest[0]) lowest = [contrast, walker.currentNode.data.trim().slice(0, 60)];
  }
  return lowest;
})()
"""

# What lies outside of the page to the right and does not scroll in a box of its own.
OVERFLOWING = """
[...document.querySelectorAll('.codegen-report *')]
  .filter(node => !node.closest('.box, .table, svg') && node.getBoundingClientRect().right > innerWidth + 0.5)
  .map(node => node.outerHTML.slice(0, 120))
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as running:
        yield running


def page(folder: Path, result: CodeGenEvalResult) -> Path:
    path = folder / "report.html"
    path.write_text(document(result), encoding="utf-8")
    return path


def open_all(browser: Browser) -> None:
    browser.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, 768, DESKTOP])
def test_it_is_shown_without_a_request_a_message_or_a_sideways_scroll(
    browser: Browser, tmp_path: Path, width: int, scheme: str
) -> None:
    path = page(tmp_path, full_result())
    opened = browser.open(path, width=width, scheme=scheme)
    open_all(browser)
    assert opened.requests == [path.as_uri()]
    assert opened.messages == []
    assert browser.evaluate("document.documentElement.scrollWidth") == width
    assert browser.evaluate(OVERFLOWING) == []


def test_all_sections_are_there_in_order_and_can_be_gone_to(browser: Browser, tmp_path: Path) -> None:
    browser.open(page(tmp_path, full_result()))
    assert browser.evaluate("[...document.querySelectorAll('section[id]')].map(one => one.id)") == [
        f"codegen-{name}" for name in SECTIONS
    ]
    assert browser.evaluate("[...document.querySelectorAll('nav a')].every(one => document.querySelector(one.hash))")
    browser.evaluate("document.querySelector('nav a[href=\"#codegen-usage\"]').click()")
    assert browser.evaluate("scrollY") > 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_stands_out_from_its_ground(browser: Browser, tmp_path: Path, scheme: str) -> None:
    browser.open(page(tmp_path, full_result()), scheme=scheme)
    open_all(browser)
    contrast, text = browser.evaluate(CONTRAST)
    assert contrast >= 4.5, text


def test_a_dark_room_gets_a_dark_page(browser: Browser, tmp_path: Path) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    browser.open(page(tmp_path, full_result()), scheme="light")
    light = browser.evaluate(ground)
    browser.open(page(tmp_path, full_result()), scheme="dark")
    assert (light, browser.evaluate(ground)) == (LIGHT, DARK)


def test_in_the_light_page_of_another_it_is_light(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "other.html"
    path.write_text(f"<!doctype html><style>{stylesheet()}</style>{fragment(full_result(), light=True)}")
    browser.open(path, scheme="dark")
    assert browser.evaluate("getComputedStyle(document.querySelector('article')).backgroundColor") == LIGHT
    contrast, text = browser.evaluate(CONTRAST)
    assert contrast >= 4.5, text


def test_those_who_do_not_see_it_are_told_the_same(browser: Browser, tmp_path: Path) -> None:
    browser.open(page(tmp_path, full_result()))
    browser.send("Accessibility.enable")
    nodes: list[dict[str, Any]] = browser.send("Accessibility.getFullAXTree")["nodes"]
    told = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]]
    headings = {name for role, name in told if role == "heading"}
    assert headings >= {"Passed", "Not checked", "Warnings", "What was asked", "Timeline", "Attempt 2"}
    pictures = [name for role, name in told if role in {"image", "img", "graphics-document"}]
    assert "plan: 2.0 s, from second 0.2 to 2.2, from the record" in pictures
    assert any(name.startswith("How amount is spread: 10 to 20: 30 rows;") for name in pictures)
    assert ("region", "The code") in told
    levels = browser.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(one => +one.tagName[1])")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_long_code_scrolls_in_its_box(browser: Browser, tmp_path: Path) -> None:
    result = full_result()
    assert result.solution is not None
    long = result.solution.model_copy(update={"code": f"x = {'1 + ' * 100}1\n" * 100})
    browser.open(page(tmp_path, full_result(solution=long)), width=PHONE)
    box = "document.querySelector('#codegen-code .box')"
    assert browser.evaluate(f"{box}.scrollWidth > {box}.clientWidth")
    assert browser.evaluate(f"{box}.scrollHeight > {box}.clientHeight")
    assert browser.evaluate("document.documentElement.scrollWidth") == PHONE


def test_on_paper_nothing_is_cut_off(browser: Browser, tmp_path: Path) -> None:
    browser.open(page(tmp_path, full_result()))
    browser.send("Emulation.setEmulatedMedia", media="print")
    try:
        boxes = "[...document.querySelectorAll('.box')].map(one => getComputedStyle(one))"
        assert browser.evaluate(f"{boxes}.every(one => one.overflow === 'visible' && one.maxHeight === 'none')")
        assert len(browser.send("Page.printToPDF")["data"]) > 10_000
    finally:
        browser.send("Emulation.setEmulatedMedia", media="")


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_hostile_text_is_shown_and_does_nothing(browser: Browser, tmp_path: Path, width: int) -> None:
    path = page(tmp_path, hostile_result())
    opened = browser.open(path, width=width)
    open_all(browser)
    for event in ("mouseover", "focus", "load", "error", "click"):
        browser.evaluate(f"document.querySelectorAll('*').forEach(one => one.dispatchEvent(new Event('{event}')))")
    assert browser.evaluate("document.title").startswith("Failed: add-up")
    assert browser.evaluate("document.querySelectorAll('script, img, iframe, object, embed, form, input').length") == 0
    assert browser.evaluate("document.body.innerText").count("document.title='pwned'") > 30
    assert opened.requests == [path.as_uri()]
    assert opened.messages == []
    assert browser.evaluate("document.documentElement.scrollWidth") == width


def test_what_came_in_all_the_same_would_not_run(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    evil = "<script>document.title='pwned'</script><img src=x onerror=\"document.title='pwned'\">"
    path.write_text(document(full_result()).replace("<article", f"{evil}<article"))
    opened = browser.open(path)
    assert browser.evaluate("document.title") == "Passed: add-up"
    assert any("Content Security Policy" in message for message in opened.messages)

"""The page as a person opens it: in Chromium, from a file, with the network off."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ridgeway.report import render_page

TROUBLE = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")


@pytest.fixture
def address(example: dict[str, Any], tmp_path: Path) -> str:
    path = tmp_path / "report.html"
    path.write_text(render_page(example), encoding="utf-8")
    return path.as_uri()


@pytest.mark.parametrize("width", [360, 1400])
def test_it_opens_quietly_and_fits(browser: Any, address: str, width: int) -> None:
    browser.open(address, width=width)
    browser.ask("document.querySelectorAll('details').forEach(each => { each.open = true })")
    assert browser.ask("document.documentElement.scrollWidth") == width
    assert browser.ask("document.querySelector('h1').getBoundingClientRect().height") > 20
    assert browser.ask(
        "[...document.querySelectorAll('svg text')].map(each => each.getBoundingClientRect())"
        ".filter(box => box.left < 0 || box.right > innerWidth).length"
    ) == 0  # fmt: skip
    assert browser.happened(*TROUBLE) == []
    assert [event["request"]["url"] for event in browser.happened("Network.requestWillBeSent")] == [address]


def test_the_browser_would_tell_of_trouble(browser: Any, tmp_path: Path) -> None:
    """The test above can fail: a script, a picture from elsewhere and a wide block are all noticed."""
    path = tmp_path / "bad.html"
    path.write_text(
        "<!doctype html><body style='margin:0'><div style='width:900px'>wide</div><img src='http://203.0.113.1/x.png'>"
        "<script>console.log('x')</script>"
    )
    browser.open(path.as_uri(), width=360)
    assert browser.ask("document.documentElement.scrollWidth") == 900
    assert len(browser.happened(*TROUBLE)) == 2
    assert len(browser.happened("Network.requestWillBeSent")) == 2


def test_the_policy_stops_a_script_that_got_in(
    browser: Any, examples: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    page = render_page(examples["held"]).replace("</main>", "<script>document.title = 'taken'</script></main>")
    path.write_text(page, encoding="utf-8")
    browser.open(path.as_uri(), width=800)
    assert browser.ask("document.title").startswith("Hold")
    assert "Content Security Policy" in str(browser.happened("Log.entryAdded"))


def test_light_dark_and_print(browser: Any, address: str) -> None:
    ground = "getComputedStyle(document.querySelector('header')).backgroundColor"
    browser.open(address, width=800, scheme="light")
    light = browser.ask(ground)
    browser.open(address, width=800, scheme="dark")
    assert (light, browser.ask(ground)) == ("rgb(255, 255, 255)", "rgb(26, 30, 38)")
    assert browser.pdf().startswith(b"%PDF")
    browser.open(address, width=800, scheme="dark", media="print")
    assert browser.ask(ground) == "rgb(255, 255, 255)", "paper is light whatever the screen is"
    assert browser.happened(*TROUBLE) == []


def test_what_is_folded_is_printed(browser: Any, examples: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(render_page(examples["accepted"]), encoding="utf-8")
    shown = (
        "[...document.querySelectorAll('details table, details p')]"
        ".filter(each => each.checkVisibility({contentVisibilityAuto: true, opacityProperty: true})).length"
    )
    browser.open(path.as_uri(), width=800)
    assert browser.ask(shown) == 0
    browser.open(path.as_uri(), width=800, media="print")
    assert browser.ask(shown) == 4


@pytest.mark.parametrize("width", [360, 1400])
def test_what_a_screen_reader_meets(
    browser: Any, examples: dict[str, dict[str, Any]], tmp_path: Path, width: int
) -> None:
    """Tables stay tables where the style sheet stacks their cells, and each plot is one picture with words."""
    path = tmp_path / "report.html"
    path.write_text(render_page(examples["accepted"]), encoding="utf-8")
    browser.open(path.as_uri(), width=width)
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    found = Counter(node["role"]["value"] for node in nodes if not node["ignored"])
    assert {role: found[role] for role in ("heading", "table", "row", "rowheader", "columnheader", "image")} == {
        "heading": 10,
        "table": 5,
        "row": 18,
        "rowheader": 13,
        "columnheader": 25,
        "image": 5,
    }
    assert all(node["name"]["value"] for node in nodes if node.get("role", {}).get("value") == "image")

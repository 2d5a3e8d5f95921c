from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ridgeway.artifacts import SetEvidence
from ridgeway.report import Findings, RunInfo, SealedRows, build_record, plot_data, render_page
from ridgeway.report import page as page_module
from ridgeway.report.record import findings_of

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Outline(HTMLParser):
    """Tags that close in order, headings, attributes, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.headings: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attributes]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attributes]

    def handle_endtag(self, tag: str) -> None:
        assert self.open, tag
        assert self.open.pop() == tag

    def handle_data(self, text: str) -> None:
        if self.open and self.open[-1] not in ("style", "title"):
            self.words.append(text)
            if self.open[-1] in ("h1", "h2"):
                self.headings.append(" ".join(text.split()))


def test_every_page_is_whole_and_asks_for_nothing(example: dict[str, Any]) -> None:
    page = render_page(example)
    outline = Outline(page)
    assert outline.open == []
    assert not {"script", "iframe", "img", "object", "embed", "base", "form", "input"} & set(outline.tags)
    assert [name for _, name, _ in outline.attributes if name.startswith("on") or name in ("src", "srcset")] == []
    links = [(tag, value) for tag, name, value in outline.attributes if name == "href"]
    assert links[0] == ("link", "data:,")
    assert all(tag == "a" and value.startswith(("https://", "http://")) for tag, value in links[1:])
    assert not re.search(r"url\(|@import|expression\(", page)


def test_the_same_record_gives_the_same_page(example: dict[str, Any]) -> None:
    assert render_page(example) == render_page(example)
    assert len(render_page(example)) < 120_000


def test_the_order_of_an_accepted_page(examples: dict[str, dict[str, Any]]) -> None:
    outline = Outline(render_page(examples["accepted"]))
    assert outline.headings == [
        examples["accepted"]["outcome"]["sentence"],
        "Candidate against models:/diabetes/1",
        "Predicted against actual",
        "Row by row: who was closer",
        "Residuals by slice",
        "Slices",
        "What to do next",
        "Data",
        "Where it came from",
        "Steps",
    ]


def test_bad_data_has_its_reasons_on_top(examples: dict[str, dict[str, Any]]) -> None:
    outline = Outline(render_page(examples["refused"]))
    assert outline.headings[1:] == ["Why nothing was trained", "Data", "Where it came from", "Steps"]
    text = " ".join(outline.words)
    places = [text.index(each) for each in ("fails", "ten times too large", "warning", "expectations met")]
    assert places == sorted(places)


def test_a_classifier_gets_calibration_in_place_of_a_scatter(examples: dict[str, dict[str, Any]]) -> None:
    headings = Outline(render_page(examples["classified"])).headings
    assert "Calibration" in headings
    assert "Probability of the true class by slice" in headings
    assert "Predicted against actual" not in headings


def test_text_out_of_data_stays_text(examples: dict[str, dict[str, Any]]) -> None:
    page = render_page(examples["hostile"])
    assert "<script" not in page
    assert "javascript:alert(1)" in "".join(Outline(page).words)
    assert 'href="javascript' not in page
    assert not set(page) & {"\x1b", "\x00", "\u202e"}
    assert "{{ 7*7 }}" in page
    page.encode("utf-8")


def test_every_plot_says_in_words_what_it_shows(example: dict[str, Any]) -> None:
    outline = Outline(render_page(example))
    labels = [value for _, name, value in outline.attributes if name == "aria-label"]
    assert len(labels) == [value for _, name, value in outline.attributes if name == "role"].count("img")
    assert all(len(label) > 30 for label in labels)
    if example["verdict"]:
        sealed = findings_of(example).verdict.sets[0]  # type: ignore[union-attr]
        assert any(f"{sealed.rows:,} rows" in label for label in labels)


def test_numbers_of_the_evidence(examples: dict[str, dict[str, Any]]) -> None:
    text = " ".join(" ".join(Outline(render_page(examples["accepted"])).words).split())
    for number in ("+44.4 %", "+11.1 to +65.5 %", "99.5 %", "4,176"):
        assert number in text
    assert "hunter2" not in text
    assert "postgresql://(hidden)@db.example/prefect" in text


@pytest.mark.parametrize(
    "changes",
    [
        {"opponent_loss": 0.0},
        {"lower": float("-inf"), "upper": float("inf")},
        {"gain": float("nan")},
        {"gain": 1e300, "upper": 1e305},
        {"gain": 0.0, "lower": 0.0, "upper": 0.0},
    ],
)
def test_evidence_that_cannot_be_drawn_is_still_a_page(
    examples: dict[str, dict[str, Any]], changes: dict[str, float]
) -> None:
    found = findings_of(examples["held"])
    assert found.verdict is not None
    sets: tuple[SetEvidence, ...] = tuple(replace(each, **changes) for each in found.verdict.sets)
    run = RunInfo("ab12", "retraining", "d", "", "", "hold", "held")
    page = render_page(build_record(run, Findings(verdict=replace(found.verdict, sets=sets))))
    assert Outline(page).open == []
    assert not re.search(r"\b(nan|inf)\b", page, re.IGNORECASE)


def test_a_record_of_an_earlier_version_is_still_shown(examples: dict[str, dict[str, Any]]) -> None:
    """What schema 1 gained since its first day may be missing."""
    record = examples["held"]
    outcome = {key: value for key, value in record["outcome"].items() if key != "details"}
    assert Outline(render_page({**record, "outcome": outcome, "plots": None})).headings[0] == outcome["sentence"]


def test_two_models_that_err_alike(examples: dict[str, dict[str, Any]]) -> None:
    values = np.arange(40.0)
    page = render_page({**examples["held"], "plots": plot_data(SealedRows(values, values, values, values * 0))})
    assert "both models err alike on all 40 rows" in page
    assert "tallest bar" not in page


def test_only_a_hold_asks_for_more_rows(examples: dict[str, dict[str, Any]]) -> None:
    shown = {name: "More to come" in render_page(examples[name]) for name in ("accepted", "held")}
    assert shown == {"accepted": False, "held": True}
    assert "Smallest gain visible now" in render_page(examples["accepted"])


def test_a_large_regression_stays_small(examples: dict[str, dict[str, Any]]) -> None:
    random = np.random.default_rng(0)
    actual = random.normal(0, 1, 200_000)
    rows = SealedRows(actual, actual + random.normal(0, 1, 200_000), actual * 0, random.normal(0, 1, 200_000))
    record = {**examples["held"], "plots": plot_data(rows)}
    page = render_page(record)
    assert "2,000 points of 200,000 sealed rows" in " ".join(Outline(page).words)
    assert len(page) < 150_000


def test_without_the_opponents_predictions(examples: dict[str, dict[str, Any]]) -> None:
    values = np.arange(40.0)
    page = render_page({**examples["held"], "plots": plot_data(SealedRows(values, values + 1))})
    assert "predictions were not at hand" in page
    assert Outline(page).open == []


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_contrast(theme: int) -> None:
    """4.5 to 1 for text and 3 to 1 for what is drawn: WCAG 2.2, 1.4.3 and 1.4.11."""
    style = (Path(page_module.__file__).parent / "page.css").read_text()
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", re.findall(r":root \{(.*?)\}", style, re.DOTALL)[theme]))

    def contrast(front: str, back: str) -> float:
        high, low = sorted((luminance(colours[front]), luminance(colours[back])), reverse=True)
        return (high + 0.05) / (low + 0.05)

    texts = [
        ("ink", "surface"),
        ("quiet", "surface"),
        ("quiet", "page"),
        ("candidate", "surface"),
        ("ink", "wait-soft"),
    ]
    texts += [(tone, f"{tone}-soft") for tone in ("good", "bad", "wait", "calm")]
    texts += [("quiet", "good-soft"), ("quiet", "bad-soft"), ("quiet", "soft"), ("ink", "soft")]
    drawn = [("candidate", "surface"), ("opponent", "surface"), ("neutral", "surface"), ("candidate", "good-soft")]
    assert {pair: round(contrast(*pair), 1) for pair in texts if contrast(*pair) < 4.5} == {}
    assert {pair: round(contrast(*pair), 1) for pair in drawn if contrast(*pair) < 3} == {}

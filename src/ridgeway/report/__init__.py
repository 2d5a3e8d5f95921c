"""One JSON record per retraining and per release, and what people read of it: terminal text, an HTML page, Markdown.

``record`` builds the record and writes the files, ``plots`` boils the sealed rows down to the numbers that the plots
need, ``terminal``, ``page`` and ``markdown`` render, ``figures``, ``text_plot`` and ``axis`` draw, ``wording`` has the
words and number formats that all share. ``release_view`` says what there is to tell of a release; ``release_terminal``,
``release_page`` and ``release_markdown`` tell it, as the four ``build_…`` do for a build. Names are loaded when first
asked for: a table needs neither numpy nor jinja2.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ridgeway.report.build_markdown import render_build_markdown as render_build_markdown
    from ridgeway.report.build_page import render_build_page as render_build_page
    from ridgeway.report.build_page import write_build as write_build
    from ridgeway.report.build_terminal import render_build as render_build
    from ridgeway.report.build_view import build_record_of_build as build_record_of_build
    from ridgeway.report.build_view import is_build as is_build
    from ridgeway.report.files import ReportFiles as ReportFiles
    from ridgeway.report.files import write_report as write_report
    from ridgeway.report.markdown import render_markdown as render_markdown
    from ridgeway.report.page import render_page as render_page
    from ridgeway.report.plots import SealedRows as SealedRows
    from ridgeway.report.plots import plot_data as plot_data
    from ridgeway.report.record import Findings as Findings
    from ridgeway.report.record import RunInfo as RunInfo
    from ridgeway.report.record import Step as Step
    from ridgeway.report.record import build_record as build_record
    from ridgeway.report.record import read_record as read_record
    from ridgeway.report.release_markdown import render_release_markdown as render_release_markdown
    from ridgeway.report.release_page import render_release_page as render_release_page
    from ridgeway.report.release_page import write_release as write_release
    from ridgeway.report.release_terminal import render_endpoint as render_endpoint
    from ridgeway.report.release_terminal import render_release as render_release
    from ridgeway.report.release_terminal import render_served as render_served
    from ridgeway.report.terminal import render_noun as render_noun
    from ridgeway.report.terminal import render_terminal as render_terminal

_HOMES = {
    "Findings": "record",
    "ReportFiles": "files",
    "RunInfo": "record",
    "SealedRows": "plots",
    "Step": "record",
    "build_record": "record",
    "build_record_of_build": "build_view",
    "is_build": "build_view",
    "plot_data": "plots",
    "read_record": "record",
    "render_build": "build_terminal",
    "render_build_markdown": "build_markdown",
    "render_build_page": "build_page",
    "render_endpoint": "release_terminal",
    "render_markdown": "markdown",
    "render_noun": "terminal",
    "render_page": "page",
    "render_release": "release_terminal",
    "render_release_markdown": "release_markdown",
    "render_release_page": "release_page",
    "render_served": "release_terminal",
    "render_terminal": "terminal",
    "write_build": "build_page",
    "write_release": "release_page",
    "write_report": "files",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)

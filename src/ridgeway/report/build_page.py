"""A build as an HTML page: one file that needs no network, no script and no other file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ridgeway.report.build_markdown import render_build_markdown
from ridgeway.report.build_view import OUTCOMES, view
from ridgeway.report.files import ReportFiles, write_rendered
from ridgeway.report.page import style, template, web_address


def render_build_page(record: Mapping[str, Any]) -> str:
    """A build as one self-contained HTML page: offline, printable, light and dark, for any width. Pure.

    Args:
        record: What ``build_record_of_build`` returned.

    Raises:
        UsageError: It is not a record of a build that this version can read.

    Example:
        >>> from ridgeway.report.build_view import build_record_of_build
        >>> from ridgeway.report.record import RunInfo
        >>> page = render_build_page(build_record_of_build(RunInfo("ab", "build", "<d>", "", "", "passed", "all"), []))
        >>> page[:15], "<d>" in page, "&lt;d&gt;" in page
        ('<!doctype html>', False, True)
    """
    told = view(record)
    return template("build.html.j2").render(
        record=record,
        told=told,
        outcomes=OUTCOMES,
        style=style(),
        build_url=web_address(record["run"].get("build_url", "")),
        longest_gate=max([gate.seconds for gate in told.gates] + [1e-9]),
    )


def write_build(record: Mapping[str, Any], folder: Path) -> ReportFiles:
    """Where the record, its page and its Markdown were written: ``record.json``, ``report.html``, ``report.md``.

    Args:
        record: What ``build_record_of_build`` returned.
        folder: Made if missing.

    Raises:
        StorageError: The folder cannot be made or written, or the disk is full.
    """
    page, markdown = render_build_page(record), render_build_markdown(record)
    return write_rendered(record, folder, page=page, markdown=markdown)

"""The files of a report: each whole, or absent."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ridgeway.errors import StorageError
from ridgeway.report.markdown import render_markdown
from ridgeway.report.page import render_page


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """Where the three files of a report are."""

    record: Path
    page: Path
    markdown: Path


def write_report(record: Mapping[str, Any], folder: Path) -> ReportFiles:
    """Where the record, its page and its Markdown were written: ``record.json``, ``report.html``, ``report.md``.

    Each file is whole or absent: it is written beside its place and then moved there, so that a killed process leaves
    no half of a page behind. The same record gives the same bytes.

    Args:
        record: What ``build_record`` returned.
        folder: Made if missing.

    Raises:
        StorageError: The folder cannot be made or written, or the disk is full.
    """
    return write_rendered(record, folder, page=render_page(record), markdown=render_markdown(record))


def write_rendered(record: Mapping[str, Any], folder: Path, *, page: str, markdown: str) -> ReportFiles:
    """Where a record of any flow, its page and its Markdown were written, each file whole or not at all.

    Args:
        record: Plain JSON values.
        folder: Made if missing.
        page: The record as HTML.
        markdown: And as Markdown.

    Raises:
        StorageError: The folder cannot be made or written, or the disk is full.
    """
    files = ReportFiles(folder / "record.json", folder / "report.html", folder / "report.md")
    texts = {
        files.record: json.dumps(record, indent=1, sort_keys=True, allow_nan=False) + "\n",
        files.page: page,
        files.markdown: markdown,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            _replace(path, text)
    except OSError as error:
        raise StorageError(
            "cannot write the report of this run",
            where=str(folder),
            problem=error.strerror or str(error),
            expected="a folder that can be written, with space left",
            next_step=f"df -h {folder.parent}",
        ) from error
    return files


def _replace(path: Path, text: str) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)

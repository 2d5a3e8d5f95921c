"""A release as an HTML page: one file that needs no network, no script and no other file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ridgeway.artifacts import Approval, Release
from ridgeway.report.page import style, template, web_address
from ridgeway.report.release_view import view


def render_release_page(
    release: Release, evidence: Mapping[str, Any] | None, approvals: Sequence[Approval] = ()
) -> str:
    """A release as one self-contained HTML page: offline, printable, light and dark, for any width. Pure.

    Args:
        release: The record.
        evidence: What its approvers are shown, if there is any.
        approvals: All that was said about it.

    Example:
        >>> from ridgeway.artifacts import Person
        >>> ada = Person("<ada>", "system", "local")
        >>> asked = Release("d", 1, "", "release", "models:/d/2", "", ("production",), "waiting", ada, "2026-11-20")
        >>> page = render_release_page(asked, None)
        >>> page[:15], "<ada>" in page, "&lt;ada&gt;" in page
        ('<!doctype html>', False, True)
    """
    told = view(release, evidence, approvals)
    return template("release.html.j2").render(
        release=release,
        told=told,
        style=style(),
        build_url=web_address(told.build_url),
        web_address=web_address,
        longest_step=max([step.seconds or 0 for step in told.steps] + [1e-9]),
    )


def write_release(
    release: Release, evidence: Mapping[str, Any] | None, approvals: Sequence[Approval], folder: Path
) -> tuple[Path, Path]:
    """Writes ``release.html`` and ``release.md`` into ``folder``, which is made; where they are.

    A reader finds the old or the new page, never a part.
    """
    from ridgeway.report.release_markdown import render_release_markdown

    folder.mkdir(parents=True, exist_ok=True)
    page, markdown = folder / "release.html", folder / "release.md"
    for path, text in (
        (page, render_release_page(release, evidence, approvals)),
        (markdown, render_release_markdown(release, evidence, approvals)),
    ):
        draft = path.with_name(f".{path.name}")
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    return page, markdown

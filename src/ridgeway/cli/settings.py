"""``ridgeway settings``: every setting, its value and where it came from."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ridgeway.cli import console, options
from ridgeway.errors import UsageError


@click.command(
    name="settings",
    short_help="Every setting, its value and its origin.",
    epilog="\b\nExample\n  ridgeway settings training\n  RIDGEWAY_TRAINING__SEED=1 ridgeway settings training.seed",
)
@click.argument("key", required=False)
@options.common
def command(key: str | None, *, as_json: bool, overrides: Sequence[str]) -> int:
    """Every setting, its value, and where it came from.

    KEY is a setting (training.seed, with its help) or a section (training).
    """
    from ridgeway import settings
    from ridgeway.project import open_project

    loaded = open_project(Path.cwd(), overrides=overrides).loaded
    rows = list(settings.rows(loaded))
    if key:
        chosen = [row for row in rows if row.path == key or row.path.startswith(f"{key}.")]
        if not chosen:
            close = difflib.get_close_matches(key, [row.path for row in rows], n=1)
            raise UsageError(
                f"no setting {key}", problem=f"did you mean {close[0]}?" if close else "", next_step="ridgeway settings"
            )
        rows = chosen
    records: list[dict[str, Any]] = [
        {"setting": row.path, "value": row.value, "origin": row.origin, "help": row.help} for row in rows
    ]
    console.result(_table(rows, with_help=len(rows) == 1), {"schema": 1, "settings": records}, as_json=as_json)
    return 0


def _table(rows: Sequence[Any], *, with_help: bool) -> str:
    left = max(len(row.path) for row in rows)
    values = [_toml(row.value) for row in rows]
    middle = min(max(map(len, values)), 40)
    lines = [f"{row.path:<{left}}  {value:<{middle}}  {row.origin}" for row, value in zip(rows, values, strict=True)]
    if with_help:
        lines.append(f"\n{rows[0].help}")
    return "\n".join(line.rstrip() for line in lines)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        inner = ", ".join(f"{name} = {_toml(item)}" for name, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    return str(value)

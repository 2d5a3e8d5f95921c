"""Writes docs/commands.md and docs/settings.md from the program itself; `make docs` calls it, a test compares."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from ridgeway import settings
from ridgeway.cli import COMMANDS, program

FOLDER = Path(__file__).parent
WIDTH = 100
"""Columns of the help texts."""
ORDER = """\
Generated from the declarations by `make docs`. Settings stand in `ridgeway.toml`; over it stand `operations.toml`, the
environment (`RIDGEWAY_TRAINING__SEED=1`) and `--set training.seed=1`. `ridgeway settings` shows where each value came
from. Tables are merged, key by key; but a target to which `operations.toml` gives another kind begins anew."""


def commands_page() -> str:
    """The help of every command, as the terminal shows it."""
    look = {**program.context_settings, "terminal_width": WIDTH, "max_content_width": WIDTH}
    context = click.Context(program, info_name="ridgeway", **look)
    parts = ["# Commands", "Generated from the program's own help by `make docs`.", _block(program.get_help(context))]
    for name in COMMANDS:
        command = program.get_command(context, name)
        assert command is not None
        inner = click.Context(command, context, info_name=name, **look)
        parts += [f"## ridgeway {name}", _block(command.get_help(inner))]
        for below in command.list_commands(inner) if isinstance(command, click.Group) else ():
            one = command.get_command(inner, below)
            assert one is not None
            deeper = click.Context(one, inner, info_name=below, **look)
            parts += [f"## ridgeway {name} {below}", _block(one.get_help(deeper))]
    return "\n\n".join(parts) + "\n"


def settings_page() -> str:
    """Every setting with default and meaning, and the environment's names that are no settings."""
    parts = [
        "# Settings",
        ORDER,
    ]
    # An empty folder: the values are the defaults, not those of this repository's example.
    with tempfile.TemporaryDirectory() as empty:
        rows = list(settings.rows(settings.load(Path(empty), environ={})))
    for section in dict.fromkeys(row.path.partition(".")[0] for row in rows):
        lines = [
            f"| `{row.path}` | `{_shown(row.value)}` | {row.help.replace('|', chr(92) + '|')} |"
            for row in rows
            if row.path.startswith(f"{section}.")
        ]
        parts += [f"## [{section}]", "\n".join(["| setting | default | meaning |", "|---|---|---|", *lines])]
    names = [f"| `{name}` | {meaning} |" for name, meaning in settings.NOT_SETTINGS.items()]
    secrets = [f"| `{name}` | {meaning} |" for name, meaning in settings.SECRETS.items()]
    told = "From the environment only, or from a file that it names: each also with `_FILE`, and the path of one."
    parts += ["## Secrets", told, "\n".join(["| variable | meaning |", "|---|---|", *secrets])]
    parts += ["## Names that are no settings", "\n".join(["| variable | meaning |", "|---|---|", *names])]
    return "\n\n".join(parts) + "\n"


def pages() -> dict[Path, str]:
    """Each generated page and what it should hold."""
    return {FOLDER / "commands.md": commands_page(), FOLDER / "settings.md": settings_page()}


def _block(text: str) -> str:
    return "```\n" + "\n".join(line.rstrip() for line in text.strip().splitlines()) + "\n```"


def _shown(value: object) -> str:
    return {"": '""', (): "[]"}.get(value, str(value)) if isinstance(value, (str, tuple)) else str(value)


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")

"""``ridgeway backup``: the local state in one file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ridgeway.cli import console, options


@click.command(
    name="backup",
    short_help="The local state in one file.",
    epilog="\b\nExample\n  ridgeway backup /mnt/backups/diabetes.tar.gz\n  ridgeway backup diabetes.tar.gz --plan",
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--without-keys", is_flag=True, help="Leave out keys of endpoints and the servers' password.")
@options.plan
@options.common
def command(file: Path, *, without_keys: bool, plan: bool, as_json: bool, overrides: Sequence[str]) -> int:
    """Writes all that this machine remembers of the project to FILE: models, runs, releases, reports, databases.

    What runs goes on meanwhile. FILE holds the keys of endpoints too, and is readable by its owner only. What lies on
    servers elsewhere is not in it; the command says what that is.
    """
    from ridgeway.actions import backup
    from ridgeway.project import open_project

    project = open_project(Path.cwd(), overrides=overrides)
    if plan:
        found = backup.contents(project, keys=not without_keys)
        record = {"schema": 1, "files": [{"path": path, "bytes": size} for path, size in found]}
        console.result("\n".join(f"{size:>12}  {path}" for path, size in found), record, as_json=as_json)
        _say_elsewhere(backup.elsewhere(project))
        return 0
    with console.story():
        made = backup.make(project, file, keys=not without_keys)
    console.say(f"{len(made.files)} files, {made.total_bytes / 2**20:.1f} MiB, in {file}")
    _say_elsewhere(made.elsewhere)
    record = {
        "schema": 1,
        "file": str(file),
        "files": len(made.files),
        "bytes": made.total_bytes,
        "not_in_it": list(made.elsewhere),
    }
    console.result(str(file), record, as_json=as_json)
    return 0


def _say_elsewhere(places: Sequence[str]) -> None:
    for place in places:
        console.say(f"  not in it: {place}")

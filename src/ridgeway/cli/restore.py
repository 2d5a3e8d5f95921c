"""``ridgeway restore``: a state from a backup."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ridgeway.cli import console, options


@click.command(
    name="restore",
    short_help="A state from a backup.",
    epilog="\b\nExample\n  ridgeway restore /mnt/backups/diabetes.tar.gz\n  ridgeway restore diabetes.tar.gz --plan",
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Move a state that is here aside; nothing of it is deleted.")
@options.plan
@options.common
def command(file: Path, *, force: bool, plan: bool, as_json: bool, overrides: Sequence[str]) -> int:
    """Puts the state that FILE holds into this project, which must have none, and must be of the same name.

    All of FILE is checked first, byte by byte; what is damaged, or of a later version, changes nothing here.
    """
    from ridgeway.actions import backup
    from ridgeway.project import open_project

    project = open_project(Path.cwd(), overrides=overrides)
    with console.story():
        if plan:
            backup.refuse_to_restore(project, force=force)
            found = backup.check(project, file)
        else:
            found = backup.restore(project, file, force=force)
    console.say(
        f"{'would restore' if plan else 'restored'} {len(found.files)} files, {found.total_bytes / 2**20:.1f} MiB, "
        f"as of {found.made_at}"
    )
    for place in found.elsewhere:
        console.say(f"  not in it: {place}")
    console.say("  next      ridgeway list     and     ridgeway up, then ridgeway publish")
    record = {
        "schema": 1,
        "made_at": found.made_at,
        "files": len(found.files),
        "bytes": found.total_bytes,
        "not_in_it": list(found.elsewhere),
    }
    console.result(str(project.state), record, as_json=as_json)
    return 0

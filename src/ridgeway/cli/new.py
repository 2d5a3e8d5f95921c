"""``ridgeway new``: a project of one's own, around one's own data if given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ridgeway.cli import console, options


@click.command(
    name="new",
    short_help="A project: the example, or one around your own data.",
    epilog="\b\nExample\n  ridgeway new diabetes\n  ridgeway new churn --data churn.parquet --label churned\n"
    "  ridgeway new churn --data churn.csv --label churned --set data.types.zip=string\n"
    "  ridgeway new churn --ci azure\n  ridgeway new . --ci github",
)
@click.argument("directory", type=click.Path(path_type=Path))
@click.option(
    "--data", type=click.Path(path_type=Path), help="Your data: a .csv or .parquet file, or a folder of .parquet."
)
@click.option("--label", help="The column to predict.")
@click.option(
    "--ci",
    "system",
    type=click.Choice(["azure", "github", "gitlab", "jenkins"]),
    help="Pipelines for this CI system; in a project that is there already, nothing but these.",
)
@options.plan
@options.common
def command(
    directory: Path,
    *,
    data: Path | None,
    label: str | None,
    system: str | None,
    plan: bool,
    as_json: bool,
    overrides: Sequence[str],
) -> int:
    """A new project in DIRECTORY: the diabetes example, or one around your own data.

    With --data the first expectation suite is made from it, and the model fits the label: a number is regressed, all
    else is classified. Where that guess is wrong, --set data.types.COLUMN=string (or number, integer, boolean,
    datetime), --set training.task=… and --set project.name=… are written into the new ridgeway.toml.

    With --ci the project has the pipelines of that system, and its releases are started by them. No file is ever
    overwritten: one that is there and differs is named, and nothing is written.
    """
    from ridgeway import scaffold
    from ridgeway.actions import profile

    if bool(data) != bool(label):
        raise click.UsageError("--data and --label go together")
    choice = profile.chosen(overrides, own_data=bool(data))
    name = scaffold.project_name(directory.resolve().name)
    profiled = profile.first_look(data, label, choice) if data and label else None
    files = profile.planned_project(name, profiled, model=choice.name)
    there = False
    if system:
        files = scaffold.started_by_ci(files)
        there = data is None and scaffold.is_project(directory, files)
        pipelines = scaffold.ci_files(scaffold.read_template(scaffold.template_root()), system)
        files = pipelines if there else (*files, *pipelines)
    if plan:
        console.result(
            "\n".join(file.path for file in files),
            {"schema": 1, "files": [file.path for file in files]},
            as_json=as_json,
        )
        return 0
    written = scaffold.write(files, directory)
    if profiled:
        console.say(profiled.sentence)
    console.say(
        f"{len(written.made)} files in {directory}" + (f", {len(written.kept)} were there" if written.kept else "")
    )
    _say_next(directory, system=system, there=there)
    if scaffold.is_working_copy() and not there:
        # No package index need have what was written since the last release.
        console.say("            for `make test` there, make the wheel of this working copy, and name it:")
        console.say(f"            make -C {scaffold.template_root()} wheel && make test RIDGEWAY_WHEEL=/path/to/it")
    console.result(
        str(directory), {"schema": 1, "directory": str(directory), "files": list(written.made)}, as_json=as_json
    )
    return 0


def _say_next(directory: Path, *, system: str | None, there: bool) -> None:
    """What comes after the files: a first run here, or what the CI system still needs."""
    if system is None or not there:
        console.say(f"  next      cd {directory} && ridgeway run retraining")
    if system is None:
        return
    if there:
        console.say('  next      release.started_by = "ci" in ridgeway.toml, if these pipelines are to release')
    console.say(f"  more      what {system} needs: a tracking server and who may approve, docs/ci-{system}.md")

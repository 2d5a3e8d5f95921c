"""``ridgeway ci run``: an Azure pipeline's file, planned or carried out on this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ridgeway.cli import console, options
from ridgeway.errors import UsageError

if TYPE_CHECKING:
    from ridgeway.ci.azure import Plan
    from ridgeway.ci.execution import RunFolder
    from ridgeway.ci.execution.checkout import Source

HELP = """The Azure pipeline in FILE, carried out here: stages, jobs and steps as the file says, each job in a clean
clone of the commit. Environments that stages deploy to are asked for; logs and artifacts are kept in .ridgeway/ci/.

\b
--plan shows what would run, with every condition, its values and
why, and runs nothing. FILE itself is taken as it is now, all else
as committed. Of the machine's environment scripts find PATH, HOME
and the like: what else they need comes by --variable or --secret.

\b
0    all went well          1    a stage failed
2    the file is wrong      3    an approval was refused
5    an approval is due, and nobody can be asked: the run waits,
     and --continue RUN --approve NAME carries it on later"""

EXIT_CODES = {"succeeded": 0, "failed": 1, "refused": 3, "waiting": 5}


@click.command(
    name="run",
    help=HELP,
    short_help="An Azure pipeline on this machine, or its plan.",
    epilog="\b\nExample\n  ridgeway ci run templates/azure-pipelines/release.yml --plan --branch main --reason pr\n"
    "  ridgeway ci run templates/azure-pipelines/release.yml -p model=models:/diabetes/7 --approve production",
)
@click.argument("file", metavar="FILE")
@options.plan
@click.option("-p", "--parameter", "parameters", metavar="NAME=VALUE", multiple=True, help="A template parameter.")
@click.option(
    "--variable", "variables", metavar="NAME=VALUE", multiple=True, help="A variable; those of the file win over it."
)
@click.option(
    "--secret", "secrets", metavar="NAME", multiple=True, help="A secret variable; its value is the environment's."
)
@click.option(
    "--group", "groups", metavar="NAME=FILE", multiple=True, help="A variable group: NAME=VALUE lines, YAML or JSON."
)
@click.option("--secure-file", "secure_files", metavar="NAME=PATH", multiple=True, help="A file for a secure file.")
@click.option("--branch", metavar="NAME", help="The branch it is for; by default the one that is checked out.")
@click.option("--target", metavar="NAME", help="With --reason pr: where the pull request goes; by default main.")
@click.option(
    "--reason",
    type=click.Choice(["manual", "push", "pr", "schedule", "resource"]),
    default="manual",
    show_default=True,
    help="What has started it.",
)
@click.option("--commit", metavar="REV", help="This commit, FILE too; by default HEAD with FILE as it is now.")
@click.option("--stage", "stages", metavar="NAME", multiple=True, help="This stage and all that it depends on.")
@click.option("--approve", "approved", metavar="NAME", multiple=True, help="An environment that is approved.")
@click.option("--continue", "continued", type=int, metavar="RUN", help="Carry on a run that waits for an approval.")
@click.option("--jobs", type=click.IntRange(1, 64), default=2, show_default=True, help="Jobs that run side by side.")
@click.option("--keep", is_flag=True, help="Keep the working folders of jobs.")
@options.as_json
@options.debug
def command(**given: Any) -> int:
    """Carries a pipeline out, or prints its plan."""
    from ridgeway.ci.execution.run import up_to

    given["exact"] = bool(given["commit"])
    if given["continued"] is not None:
        given = _as_started(given)
    plan, source = _planned(given)
    plan = up_to(plan, given["stages"])
    if given["plan"]:
        _show(plan, as_json=given["as_json"])
        return 0
    assert source is not None
    return _carry_out(plan, source, given)


def _as_started(given: dict[str, Any]) -> dict[str, Any]:
    from ridgeway.ci.execution import reopened
    from ridgeway.ci.execution.checkout import source
    from ridgeway.cli.ci.given import remembered

    root = source(Path.cwd()).root
    return remembered(reopened(root, given["continued"]).path, {**given, "file": _relative(root, given["file"])})


def _planned(given: dict[str, Any]) -> tuple[Plan, Source | None]:
    from ridgeway.ci.azure import Folder, plan
    from ridgeway.ci.execution.checkout import Committed, source
    from ridgeway.cli.ci.given import inputs

    here = Path.cwd()
    found: Source | None = None
    try:
        found = source(here, given["commit"] or "HEAD")
    except UsageError:
        if not given["plan"] or given["commit"]:
            raise
    root = found.root if found else here
    file = given["file"] if given["continued"] is not None else _relative(root, given["file"])
    facts: dict[str, Any] = {"branch": "", "pipeline": Path(file).stem, "repository": root.name}
    if found:
        facts |= {"branch": found.branch, "commit": found.commit, "requested_for": found.person}
    facts |= {"started": given["started"]} if "started" in given else {}
    files = Committed(found) if found and given["exact"] else Folder(root)
    made = plan(file, inputs(given, os.environ, facts), files)
    given["texts"] = {name: files[name] for name in made.pipeline.files}
    return made, found


def _relative(root: Path, file: str) -> str:
    path = (Path.cwd() / file).resolve()
    if not path.is_relative_to(root.resolve()):
        raise UsageError("the file is not in this repository", where=file, expected=f"a file below {root}")
    return path.relative_to(root.resolve()).as_posix()


def _show(plan: Plan, *, as_json: bool) -> None:
    from ridgeway.ci.azure import plan_json, plan_text
    from ridgeway.ci.execution.tasks import knows
    from ridgeway.cli.ci.screen import plan_lines

    text = plan_lines(plan_text(plan, knows), console.width(), colour=console.colour())
    console.result(text, {"schema": 1, **plan_json(plan)}, as_json=as_json)


def _carry_out(plan: Plan, source: Source, given: dict[str, Any]) -> int:
    from dataclasses import replace

    from ridgeway.ci.execution import Machine, execute
    from ridgeway.ci.execution.agent import inherited
    from ridgeway.ci.execution.waiting import waits
    from ridgeway.cli.ci.given import pairs
    from ridgeway.cli.ci.screen import Screen, summary

    _check_approvals(plan, given["approved"])
    folder = _folder(plan, source, given)
    plan = replace(plan, inputs=replace(plan.inputs, build_id=folder.number))
    where = os.path.relpath(folder.path)
    _tell_differences(plan, source, exact=given["exact"])
    files = {name: Path(path).resolve() for name, path in pairs(given["secure_files"], "--secure-file").items()}
    python, (jobs, keep) = Path(sys.executable), (given["jobs"], given["keep"])
    machine = Machine(inherited(os.environ), sys.platform, python, jobs=jobs, keep=keep, secure_files=files)
    paths = [f"{stage.name}/{job.name}" for stage in plan.pipeline.stages for job in stage.jobs]
    screen = Screen({name.lower() for name in given["approved"]}, console.width(), paths)
    try:
        outcome = execute(plan, machine, source, folder, screen)
    except KeyboardInterrupt:
        console.say(f"interrupted: all is stopped; logs and artifacts so far are in {where}")
        if waits(folder):
            console.say(f"the question stays open: ridgeway ci run {plan.pipeline.file} --continue {folder.number}")
        return console.INTERRUPTED
    for warning in outcome.warnings:
        console.say(f"warning: {warning}")
    text = summary(outcome, plan.pipeline.file, where, console.width())
    console.result(text, outcome.record(), as_json=given["as_json"])
    return EXIT_CODES[outcome.state]


def _folder(plan: Plan, source: Source, given: dict[str, Any]) -> RunFolder:
    """That of a new run, or of the one that is carried on."""
    from ridgeway.ci.execution import prepare, reopened
    from ridgeway.cli.ci.given import remember, same_files

    if given["continued"] is not None:
        same_files(given, given["texts"])
        return reopened(source.root, given["continued"])
    folder = prepare(source.root)
    remember(folder.path, {**given, "file": plan.pipeline.file}, plan.inputs, given["texts"])
    return folder


def _check_approvals(plan: Plan, approved: Sequence[str]) -> None:
    from ridgeway.ci.azure.problems import did_you_mean

    jobs = [job for stage in plan.pipeline.stages for job in stage.jobs]
    known = list(dict.fromkeys(job.environment.name for job in jobs if job.environment))
    for name in approved:
        if name.lower() not in {one.lower() for one in known}:
            expected = did_you_mean(name, known) or "it deploys to no environment"
            raise UsageError(f"--approve {name}: no environment of that name", expected=expected)


def _tell_differences(plan: Plan, source: Source, *, exact: bool) -> None:
    if not source.unsaved or exact:
        return
    own = [name for name in source.unsaved if name in plan.pipeline.files]
    others = [name for name in source.unsaved if name not in own]
    if own:
        console.say(f"note: {', '.join(own)} as it is now, not as committed")
    if others:
        shown = ", ".join(others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
        console.say(f"note: the run sees commit {source.commit[:12]}, not what has changed since: {shown}")

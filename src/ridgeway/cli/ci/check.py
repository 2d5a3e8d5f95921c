"""``ridgeway ci check``: the project's CI files, before they are pushed."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ridgeway.cli import console, options
from ridgeway.cli.findings import table

HELP = """All CI files of the project, or FILES: are they valid, does every `ridgeway` command in them exist with those
options, and do the files of all systems say the same?

\b
Azure Pipelines   planned for push, pull request, by hand, by
                  schedule; check-jsonschema
GitHub Actions    actionlint
GitLab CI         check-jsonschema, gitlab-ci-local
Jenkins           Groovy's brackets, order of the blocks

What is not installed is named as not checked. It ends with 7 if something is wrong. --corpus plans the Azure pipelines
that others wrote and names, for each that does not plan, the feature and its place."""


@click.command(
    name="check",
    help=HELP,
    short_help="CI files: valid, and the same in all systems.",
    epilog="\b\nExample\n  ridgeway ci check\n  ridgeway ci check templates/gitlab-ci/build.yml --json\n"
    "  ridgeway ci check --corpus ../pipelines-of-others",
)
@click.argument("files", metavar="[FILES]...", nargs=-1)
@click.option("--corpus", metavar="DIR", help="A folder with Azure pipelines of others, each repository in a folder.")
@options.as_json
@options.debug
def command(files: Sequence[str], *, corpus: str | None, as_json: bool) -> int:
    """Looks at files, or tries a corpus."""
    if corpus:
        return _corpus(Path(corpus), as_json=as_json)
    return _files(files, as_json=as_json)


def _files(files: Sequence[str], *, as_json: bool) -> int:
    import dataclasses

    from ridgeway.ci.checking import FOLDERS, find, given, look
    from ridgeway.errors import NotFound

    root = Path.cwd()
    found = given(root, files) if files else find(root)
    if not found:
        expected = f"files in {', '.join(FOLDERS.values())}, or where the systems have them"
        raise NotFound("no CI files here", where=str(root), expected=expected, next_step="ridgeway new . --ci azure")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    findings = [*look(found, wrong_with, path)]
    record = {"schema": 1, "findings": [dataclasses.asdict(finding) for finding in findings]}
    console.result(table(findings, console.width()), record, as_json=as_json)
    return 7 if any(finding.outcome == "fail" for finding in findings) else 0


def _corpus(folder: Path, *, as_json: bool) -> int:
    import dataclasses

    from ridgeway.ci.checking import look_at_corpus

    tried = [*look_at_corpus(folder)]
    counts = {outcome: sum(one.outcome == outcome for one in tried) for outcome in OUTCOMES}
    record = {"schema": 1, "files": [dataclasses.asdict(one) for one in tried], "counts": counts}
    lines = [_tried(one) for one in tried]
    lines.append(", ".join(f"{count} {OUTCOMES[outcome]}" for outcome, count in counts.items() if count) or "no files")
    console.result("\n".join(lines), record, as_json=as_json)
    return 0


OUTCOMES = {
    "plans": "plan",
    "unsupported": "use what is outside of the grammar",
    "refused": "are not valid, or need what is not there",
    "template": "are templates",
}


def _tried(one: Any) -> str:
    place = f"{one.place}: " if one.place else ""
    return f"{one.outcome:<12} {one.file}  {place}{' '.join(one.what.split())}"


def wrong_with(words: Sequence[str]) -> str:
    """What is wrong with a call of ridgeway, in words; empty for a good one.

    Example:
        >>> wrong_with(["approve", "$RELEASE", "--ci"]), wrong_with(["aprove", "$X", "--ci"])
        ('', "no command 'aprove'. Did you mean approve?")
    """
    from ridgeway.cli import program

    words = [*words]
    if words[0] in {"--help", "-h", "--version"}:
        return ""
    try:
        context = click.Context(program, info_name="ridgeway", **program.context_settings)
        command: click.Command | None = program
        while isinstance(command, click.Group):
            if not words:
                return "a command is missing"
            name, command, words = command.resolve_command(context, words)
            assert command is not None
            context = click.Context(command, context, info_name=name)
        assert command is not None
        command.make_parser(context).parse_args(list(words))
        inner = command.make_context(context.info_name, list(words), parent=context.parent)
    except click.exceptions.Exit:
        return ""
    except click.ClickException as error:
        # A value that only the CI system knows cannot be judged.
        return "" if re.search(r"'\$", error.format_message()) else error.format_message()
    return _said_wrongly(command, inner)


def _said_wrongly(command: click.Command, context: click.Context) -> str:
    """What the parser does not see: the flow's name, and whether a job of CI says that it is one."""
    from ridgeway.cli.run import FLOWS

    flow = context.params.get("flow")
    if command.name == "run" and isinstance(flow, str) and flow not in FLOWS and not flow.startswith("$"):
        return f"no flow {flow!r}"
    if "ci" in context.params and not context.params["ci"]:
        return "--ci is missing: without it a rejection ends the job, and a local registry is taken"
    return ""

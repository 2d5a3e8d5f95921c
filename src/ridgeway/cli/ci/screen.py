"""A run as a terminal shows it: lines as they come, each with the job that it is from; a table at the end."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Collection, Iterator

import click

from ridgeway.ci.execution import Approval, Ended, Outcome
from ridgeway.cli import console

MARKS = {
    "Succeeded": "ok",
    "SucceededWithIssues": "issues",
    "Failed": "FAILED",
    "Canceled": "CANCELED",
    "Skipped": "skipped",
    "Waiting": "waiting",
    "NotStarted": "not begun",
}
COLOURS = {"Succeeded": "green", "SucceededWithIssues": "yellow", "Failed": "red", "Canceled": "red", "Waiting": "cyan"}
JOBS = ("cyan", "magenta", "blue", "yellow", "green")
_LONGEST_PREFIX = 28
PIPELINE = "pipeline"
"""What stands for the stage of a file that has none."""
_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class Screen:
    """Tells a run on stderr, and asks on the terminal.

    Args:
        approved: Environments that are approved beforehand, in lower case.
        width: Columns.
        jobs: Paths of all jobs; they decide how wide the first column is.
    """

    def __init__(self, approved: Collection[str], width: int, jobs: Collection[str]) -> None:
        self.approved = approved
        self.colour = console.colour(sys.stderr)
        self.names = {path: plain(path) for path in jobs}
        longest = max(len(name) for name in [*self.names.values(), PIPELINE])
        self.left = min(longest, _LONGEST_PREFIX, width // 3)

    def begins(self, path: str, what: str) -> None:
        """A line where a step begins."""
        if path.count("/") > 1:
            self._line(path, f"> {path.rsplit('/', 1)[1]}  {printable(what)}", bold=True)

    def says(self, path: str, line: str) -> None:
        """A line of its output."""
        self._line(path, f"  {printable(line)}")

    def ends(self, end: Ended) -> None:
        """A line where a step ends otherwise than well, and for each job and stage."""
        step = end.path.count("/") > 1
        if (step and end.result == "Succeeded" and not end.notes) or (step and end.result in {"Skipped", "NotStarted"}):
            return
        name = f"{end.path.rsplit('/', 1)[1]}  " if step else ""
        told = f"= {name}{MARKS[end.result]}{_seconds(end)}{': ' if end.notes else ''}{printable('; '.join(end.notes))}"
        self._line(end.path, told, colour=COLOURS.get(end.result, ""))

    def approves(self, approval: Approval) -> bool | None:
        """The answer to a question that is due: from ``--approve``, or from the terminal."""
        if approval.environment.lower() in self.approved:
            self._line(approval.stage, f"  {approval.environment} is approved by --approve")
            return True
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            return None
        console.say()
        console.say(f"Stage {plain(approval.stage)} deploys to the environment {approval.environment}.")
        for name, result in approval.so_far.items():
            console.say(f"  {plain(name)}  {MARKS[result]}")
        while True:
            click.echo("Approve? [yes/no] ", nl=False, err=True)
            answer = sys.stdin.readline()
            if not answer:
                return None
            if answer.strip().lower() in {"y", "yes", "n", "no"}:
                return answer.strip().lower().startswith("y")

    def _line(self, path: str, text: str, *, colour: str = "", bold: bool = False) -> None:
        job = "/".join(path.split("/")[:2])
        name = plain(job)
        short = name if len(name) <= self.left else f"{name[: self.left - 1]}…"
        head = f"{short:<{self.left}} |"
        if self.colour:
            place = [*self.names].index(job) if job in self.names else 0
            head = click.style(head, fg=JOBS[place % len(JOBS)])
            text = click.style(text, fg=colour or None, bold=bold) if colour or bold else text
        console.say(f"{head} {text}")


def plain(path: str) -> str:
    """A path without the names that nobody wrote.

    Example:
        >>> plain("__default/Job"), plain("QA/release"), plain("__default/tests/2")
        ('Job', 'QA/release', 'tests/2')
    """
    return path.removeprefix("__default/").replace("__default", PIPELINE)


def printable(line: str) -> str:
    r"""A line without what moves a terminal's cursor or changes its colours.

    Example:
        >>> printable("\x1b[31mred\x1b[0m\x07")
        'red'
    """
    return _CONTROLS.sub("", _ESCAPES.sub("", line).replace("\t", "    "))


def _seconds(end: Ended) -> str:
    if end.result in {"Skipped", "NotStarted", "Waiting"} or not end.seconds:
        return ""
    return f" in {end.seconds:.1f} s" if end.seconds < 60 else f" in {end.seconds / 60:.1f} min"


def summary(outcome: Outcome, file: str, where: str, width: int) -> str:
    """The end of a run: stages, jobs, and of steps those of which there is something to say."""
    lines = [f"run {outcome.number} of {file}: {outcome.state}"]
    for end in outcome.ends.values():
        lines += _row(end, width)
    facts = {
        "waits for": ", ".join(f"approval of {name}" for name in outcome.waits_for),
        "next": _carry_on(outcome, file),
        "not done": ", ".join(plain(path) for path in outcome.not_executed),
        "artifacts": ", ".join(outcome.artifacts),
        "kept in": where,
    }
    for name, text in facts.items():
        if text:
            lines += _wrapped(f"{name:<10} ", printable(text), width)
    return "\n".join(lines)


def _carry_on(outcome: Outcome, file: str) -> str:
    approvals = " ".join(f"--approve {name}" for name in outcome.waits_for)
    return f"ridgeway ci run {file} --continue {outcome.number} {approvals}" if approvals else ""


def _row(end: Ended, width: int) -> Iterator[str]:
    depth = end.path.count("/")
    if depth > 1 and (not end.notes or end.result in {"Skipped", "NotStarted"}):
        return
    if end.path == "__default" and not end.notes:
        return
    name = "  " * depth + (plain(end.path) if depth == 0 else end.path.rsplit("/", 1)[-1])
    head = f"  {MARKS[end.result]:<9}  {name}"
    notes = printable("; ".join(end.notes))
    log = f"  [{end.log}]" if end.log and end.result in {"Failed", "Canceled"} else ""
    yield from _wrapped(head, f"{_seconds(end)}{f': {notes}' if notes else ''}{log}", width, hang=13 + 2 * depth + 2)


def _wrapped(head: str, text: str, width: int, hang: int = 11) -> list[str]:
    return textwrap.wrap(
        head + text, max(width, 40), subsequent_indent=" " * hang, break_long_words=False, break_on_hyphens=False
    ) or [head]


_DECIDED = re.compile(r"  (runs|skipped|decided then): ")
_FG = {"runs": "green", "skipped": "yellow", "decided then": "cyan"}


def plan_lines(text: str, width: int, *, colour: bool) -> str:
    """A plan as wide as the terminal, decisions in colour.

    Example:
        >>> print(plan_lines("stage QA  runs: " + "succeeded() and " * 3, 42, colour=False))
        stage QA  runs: succeeded() and
            succeeded() and succeeded() and
    """
    made = []
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        made += textwrap.wrap(
            line, max(width, 40), subsequent_indent=" " * (indent + 4), break_long_words=False, break_on_hyphens=False
        ) or [line]
    shown = "\n".join(made)
    if not colour:
        return shown
    return _DECIDED.sub(lambda match: f"  {click.style(match[1], fg=_FG[match[1]])}: ", shown)

r"""What a command with ``--ci`` tells the CI system around it: output variables, and a summary for the run's page.

    outcome     accept, reject, hold, unchanged, waiting, released, rolled_back, …
    handle      what the command printed
    model       models:/NAME/N, where there is one
    release     releases:/NAME/N, where there is one
    exit_code   as it is without --ci: 3, 4 and 5 too

Later jobs are conditioned on these. :func:`messages` is pure; :func:`tell` writes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ridgeway.errors import RidgewayError

System = Literal["azure", "github", "gitlab", "jenkins"]

MARKS: Mapping[System, str] = {
    "azure": "TF_BUILD",
    "github": "GITHUB_ACTIONS",
    "gitlab": "GITLAB_CI",
    "jenkins": "JENKINS_URL",
}
"""CI system → the variable that its agents always set."""
FOLDER = Path(".ridgeway/ci")
"""Where files for the CI system are written, below the project."""
ASIDE = {3: "rejected", 4: "hold", 5: "waiting", 6: "rolled_back", 7: "found", 8: "frozen", 65: "bad_data",
         75: "try_again", 130: "interrupted"}  # fmt: skip
"""Exit code → outcome, where a command ended with an error and has no record that says it."""
_LONGEST_SUMMARY = 900_000
"""Characters; GitHub takes at most 1 MiB for a step."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended, for whoever is conditioned on it or reads the run's page."""

    command: str
    outcome: str
    exit_code: int
    handle: str = ""
    model: str = ""
    release: str = ""
    sentence: str = ""
    next_step: str = ""
    report: str = ""
    """Markdown."""

    @property
    def variables(self) -> dict[str, str]:
        """The output variables, each a text in one line."""
        values = {
            "outcome": self.outcome,
            "handle": self.handle,
            "model": self.model,
            "release": self.release,
            "exit_code": str(self.exit_code),
        }
        return {name: one_line(value) for name, value in values.items()}


@dataclass(frozen=True, slots=True)
class Messages:
    """What is to be written where.

    Attributes:
        printed: Lines to print.
        files: Path → text that the file is made of.
        appended: Path → text that is added to the file.
    """

    printed: tuple[str, ...] = ()
    files: tuple[tuple[Path, str], ...] = ()
    appended: tuple[tuple[Path, str], ...] = ()


def detect(environ: Mapping[str, str]) -> System | None:
    """The CI system whose agent set these variables, or None.

    Example:
        >>> detect({"GITHUB_ACTIONS": "true"}), detect({})
        ('github', None)
    """
    return next((system for system, mark in MARKS.items() if environ.get(mark)), None)


def one_line(text: str) -> str:
    r"""The text with each run of control characters as one blank: no output of ours needs a second line.

    Example:
        >>> one_line("models:/diabetes/7\nexit_code=0")
        'models:/diabetes/7 exit_code=0'
    """
    return re.sub(r"[\x00-\x1f\x7f\x85\u2028\u2029]+", " ", text).strip()


def of_record(command: str, record: Mapping[str, Any], code: int, *, report: str = "") -> Outcome:
    """The outcome of a command that came to its end.

    Args:
        command: Its words, such as ``run retraining``.
        record: What it prints with ``--json``.
        code: What it ended with.
        report: Markdown, below the sentence.

    Example:
        >>> record = {"outcome": "reject", "handle": "runs:/1/model", "exit_code": 3}
        >>> of_record("run retraining", record, 0).variables["exit_code"]
        '3'
    """
    handle = str(record.get("handle") or "")
    model = str(record.get("model") or "")
    return Outcome(
        command=command,
        outcome=str(record.get("outcome") or ("done" if code == 0 else ASIDE.get(code, "failed"))),
        exit_code=int(record.get("exit_code", code)),
        handle=handle,
        model=model or (handle if handle.startswith("models:") else ""),
        release=handle if handle.startswith("releases:") else "",
        sentence=str(record.get("sentence") or ""),
        next_step=str(record.get("next_step") or ""),
        report=report,
    )


def of_error(command: str, error: BaseException, code: int, *, report: str = "") -> Outcome:
    """The outcome of a command that ended with an error.

    Example:
        >>> from ridgeway.errors import RolledBack
        >>> of_error("approve", RolledBack("the previous image is back"), 6).outcome
        'rolled_back'
    """
    known = isinstance(error, RidgewayError)
    return Outcome(
        command=command,
        outcome=ASIDE.get(code, "failed"),
        exit_code=code,
        sentence=str(error) if known else f"{type(error).__name__}: {error}",
        next_step=error.next_step if isinstance(error, RidgewayError) else "",
        report=report,
    )


def summary(told: Outcome) -> str:
    r"""The run's page about a command, as Markdown.

    Example:
        >>> print(summary(Outcome("run retraining", "hold", 4, sentence="hold: 40 rows are too few")))
        ## ridgeway run retraining: hold
        <BLANKLINE>
        hold: 40 rows are too few
        <BLANKLINE>
    """
    parts = [f"## ridgeway {one_line(told.command)}: {one_line(told.outcome)}", ""]
    if "\n" in told.sentence:  # an error of several lines, each aligned under the other
        fenced = told.sentence.replace("```", "'''")
        parts += ["```text", fenced, "```", ""]
    elif told.sentence:
        parts += [told.sentence, ""]
    if told.next_step and "\n" not in told.sentence:
        parts += [f"Next: `{one_line(told.next_step)}`", ""]
    if told.report:
        parts += [told.report.rstrip(), ""]
    text = "\n".join(parts)
    return text if len(text) <= _LONGEST_SUMMARY else f"{text[:_LONGEST_SUMMARY]}\n\n(cut off here)\n"


def messages(system: System, told: Outcome, environ: Mapping[str, str], folder: Path) -> Messages:
    r"""What tells a CI system of an outcome.

    Args:
        system: The system.
        told: The outcome.
        environ: Of the job; GitHub names its files there.
        folder: For files of ours; absolute, because Azure Pipelines reads one of them.

    Example:
        >>> made = messages("azure", Outcome("rollback", "released", 0), {}, Path("/a"))
        >>> made.printed[0]
        '##vso[task.setvariable variable=outcome;isOutput=true]released'
    """
    page = (folder / "summary.md", summary(told))
    lines = "".join(f"{name}={value}\n" for name, value in told.variables.items())
    if system == "azure":
        printed = [
            f"##vso[task.setvariable variable={name};isOutput=true]{azure_escaped(value)}"
            for name, value in told.variables.items()
        ]
        return Messages((*printed, f"##vso[task.uploadsummary]{azure_escaped(str(page[0]))}"), (page,))
    if system == "github":
        targets = (("GITHUB_OUTPUT", lines), ("GITHUB_STEP_SUMMARY", page[1]))
        return Messages((), (page,), tuple((Path(environ[name]), text) for name, text in targets if environ.get(name)))
    if system == "gitlab":
        return Messages((), (page, (folder / "outputs.env", lines)))
    escaped = "".join(f"{name}={_property(value)}\n" for name, value in told.variables.items())
    return Messages((), (page, (folder / "outputs.properties", escaped)))


def azure_escaped(text: str) -> str:
    r"""Text as a logging command of Azure Pipelines takes it.

    Example:
        >>> azure_escaped("50%;\n]")
        '50%AZP25%3B%0A%5D'
    """
    for character, escape in (("%", "%AZP25"), (";", "%3B"), ("\r", "%0D"), ("\n", "%0A"), ("]", "%5D")):
        text = text.replace(character, escape)
    return text


def _property(text: str) -> str:
    r"""A value as ``java.util.Properties`` reads it: the backslash escapes, and what is not Latin-1 is written so."""
    plain = text.replace("\\", "\\\\")
    return "".join(one if ord(one) < 127 else "".join(f"\\u{unit:04x}" for unit in _units(one)) for one in plain)


def _units(character: str) -> list[int]:
    data = character.encode("utf-16-be")
    return [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]


def harmless(text: str, environ: Mapping[str, str]) -> str:
    r"""Text that an agent reads as text: what looks like a command to it, such as a cell of the data, is none any more.

    Example:
        >>> harmless("bad row: ##vso[task.setvariable variable=outcome]accept", {"TF_BUILD": "True"})
        'bad row: ## vso[task.setvariable variable=outcome]accept'
        >>> harmless("::set-env name=A::b", {"GITHUB_ACTIONS": "true"})
        ': :set-env name=A::b'
    """
    if environ.get("TF_BUILD") or environ.get("GITHUB_ACTIONS"):
        text = re.sub(r"##(?=vso\[|\[)", "## ", text, flags=re.IGNORECASE)
    return re.sub(r"(?m)^(\s*)::", r"\1: :", text) if environ.get("GITHUB_ACTIONS") else text


# ---- do --------------------------------------------------------------------------------------------------------------


def tell(told: Outcome, *, root: Path, environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Writes what the CI system around this process is to know; the lines that are still to be printed.

    Outside of a CI system the files are written all the same, as for GitLab: whoever tries ``--ci`` finds them.

    Args:
        told: The outcome.
        root: The project's folder.
        environ: The environment; that of this process by default.

    Raises:
        OSError: A file cannot be written.
    """
    environ = os.environ if environ is None else environ
    made = messages(detect(environ) or "gitlab", told, environ, (root / FOLDER).resolve())
    for path, text in made.files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for path, text in made.appended:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    return made.printed


def newest_report(root: Path, since: float) -> str:
    """The Markdown that the command has left: that of the newest run or release since then; empty where there is none.

    Args:
        root: The project's folder.
        since: Seconds since 1970.
    """
    state = root / ".ridgeway"
    found = [*state.glob("runs/*/report/report.md"), *state.glob("releases/*/release.md")]
    ages = sorted((path.stat().st_mtime, path) for path in found)
    if not ages or ages[-1][0] < since - 1:  # some file systems keep whole seconds
        return ""
    return ages[-1][1].read_text(encoding="utf-8", errors="replace")

"""Programs that know a system's language: asked where they are installed, and named where they are not."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ridgeway.artifacts import Finding
from ridgeway.ci.checking.places import FOLDERS, SYSTEMS, CiFile

SECONDS: Final = 120
_WIDEST: Final = 300
_LONGEST: Final = 3000
"""Characters of what a program says."""


@dataclass(frozen=True)
class Program:
    """A program that checks files of a system.

    Attributes:
        name: As it is called.
        arguments: Before the files.
        get: How to come by it.
    """

    name: str
    arguments: tuple[str, ...]
    get: str


_SCHEMA: Final = "pip install check-jsonschema"
PROGRAMS: Final[dict[str, tuple[Program, ...]]] = {
    "azure": (
        # The default engine for patterns refuses some of this schema's.
        Program(
            "check-jsonschema",
            ("--builtin-schema", "vendor.azure-pipelines", "--regex-variant", "nonunicode", "--color", "never"),
            _SCHEMA,
        ),
    ),
    "github": (
        Program("actionlint", ("-no-color", "-shellcheck=", "-pyflakes="),
                "go install github.com/rhysd/actionlint/cmd/actionlint@latest"),
    ),
    "gitlab": (
        Program("check-jsonschema", ("--builtin-schema", "vendor.gitlab-ci", "--regex-variant", "nonunicode",
                                     "--data-transform", "gitlab-ci", "--color", "never"), _SCHEMA),
    ),
}  # fmt: skip
_AUTHOR: Final = ("-c", "user.name=ridgeway", "-c", "user.email=ridgeway@example.org", "-c", "core.hooksPath=/dev/null")
_GIT: Final = (
    ("init", "--quiet", "-b", "main"),
    ("remote", "add", "origin", "https://git.example/team/project.git"),
    ("add", "--all"),
    (*_AUTHOR, "commit", "--quiet", "-m", "Files"),
    ("update-ref", "refs/remotes/origin/main", "HEAD"),
    ("symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main"),
)
"""A repository as gitlab-ci-local needs it: with a commit, and with a remote that has it too."""
LISTS: Final = Program("gitlab-ci-local", ("--list",), "npm install -g gitlab-ci-local")


def ask(system: str, files: Sequence[CiFile], path: str) -> Iterator[Finding]:
    """What the programs of a system say of its files.

    Args:
        system: A key of ``SYSTEMS``.
        files: Its files.
        path: Where programs are looked for.
    """
    for program in PROGRAMS.get(system, ()):
        found = shutil.which(program.name, path=path)
        check = f"{SYSTEMS[system]} by {program.name}"
        yield not_checked(check, program, found) or _asked(check, [str(found), *program.arguments], files)


def not_checked(check: str, program: Program, found: str | None) -> Finding | None:
    """The finding for a program that is not there or does not run here; nothing for one that does."""
    if found is None:
        return Finding(check, "warn", f"not checked: {program.name} is not installed", program.get)
    code, said = run([found, "--version"], Path.cwd())
    if code == 0:
        return None
    last = said.splitlines()[-1] if said else f"exit code {code}"
    return Finding(check, "warn", f"not checked: {program.name} does not run here: {last}", program.get)


def _asked(check: str, words: list[str], files: Sequence[CiFile]) -> Finding:
    with laid_out(files) as (folder, names):
        code, said = run([*words, *names], folder)
    if code == 0:
        return Finding(check, "pass", f"{len(names)} files")
    return Finding(check, "fail", said or f"exit code {code}", "mend what it says")


@contextmanager
def laid_out(files: Sequence[CiFile]) -> Iterator[tuple[Path, list[str]]]:
    """The files in a repository of their own, at the places that they have in a project, and the paths to check.

    Templates of GitHub and GitLab name each other by those places; actions go along, and are not checked themselves.
    """
    with tempfile.TemporaryDirectory(prefix="ridgeway-ci-") as name:
        folder = Path(name)
        for file in files:
            place = folder / in_project(file)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(file.text, encoding="utf-8")
        for words in _GIT:
            run(["git", *words], folder)
        yield folder, [in_project(file) for file in files if "/actions/" not in file.path]


def in_project(file: CiFile) -> str:
    """Where a file is in a project.

    Example:
        >>> in_project(CiFile("github", "templates/github-actions/actions/install/action.yml", ""))
        '.github/actions/install/action.yml'
        >>> in_project(CiFile("gitlab", "templates/gitlab-ci/gitlab-ci.yml", ""))
        '.gitlab-ci.yml'
    """
    inner = file.path.removeprefix(f"{FOLDERS[file.system]}/")
    if inner == file.path:
        return file.path
    if file.system == "github":
        return f".github/{inner}" if inner.startswith("actions/") else f".github/workflows/{inner}"
    if file.system == "gitlab":
        return ".gitlab-ci.yml" if inner in {"gitlab-ci.yml", ".gitlab-ci.yml"} else f".gitlab/ci/{inner}"
    return file.path


def run(words: Sequence[str], folder: Path) -> tuple[int, str]:
    """A program's exit code and what it says, in one text."""
    try:
        done = subprocess.run(  # noqa: S603 - programs that were asked for by name
            list(words),
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=SECONDS,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "NO_COLOR": "1"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 1, f"{Path(words[0]).name} does not run: {error}"
    lines = [textwrap.shorten(line, _WIDEST, placeholder=" …") for line in (done.stdout + done.stderr).splitlines()]
    return done.returncode, "\n".join(line for line in lines if line)[:_LONGEST]

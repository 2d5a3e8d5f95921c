"""Where the CI files of a project are, and which system each is for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ridgeway.ci.azure import Folder
from ridgeway.errors import NotFound, UsageError

SYSTEMS: Final[Mapping[str, str]] = {
    "azure": "Azure Pipelines",
    "github": "GitHub Actions",
    "gitlab": "GitLab CI",
    "jenkins": "Jenkins",
}
FOLDERS: Final[Mapping[str, str]] = {
    "azure": "templates/azure-pipelines",
    "github": "templates/github-actions",
    "gitlab": "templates/gitlab-ci",
    "jenkins": "templates/jenkins",
}
"""Where this project keeps them; the systems' own places are looked at as well."""
_OWN: Final[Mapping[str, tuple[str, ...]]] = {
    "azure": ("azure-pipelines*.y*ml", ".azure-pipelines/**/*.y*ml"),
    "github": (".github/workflows/*.y*ml", ".github/actions/*/action.y*ml"),
    "gitlab": (".gitlab-ci.yml", ".gitlab/**/*.y*ml"),
    "jenkins": ("Jenkinsfile*", "jenkins/*.Jenkinsfile"),
}
_JENKINS: Final = re.compile(r"(^|[./-])Jenkinsfile([.-]|$)|\.(groovy|jenkinsfile)$", re.IGNORECASE)


@dataclass(frozen=True)
class CiFile:
    """A file for a CI system.

    Attributes:
        system: A key of ``SYSTEMS``.
        path: From the project's root, with slashes.
        text: What is in it.
    """

    system: str
    path: str
    text: str


def find(root: Path) -> list[CiFile]:
    """All CI files of a project.

    Raises:
        PipelineError: One is no text.
    """
    folder = Folder(root)
    made: dict[str, CiFile] = {}
    for system in SYSTEMS:
        patterns = [f"{FOLDERS[system]}/**/*", *_OWN[system]]
        for path in sorted({path for pattern in patterns for path in root.glob(pattern) if path.is_file()}):
            name = path.relative_to(root).as_posix()
            if path.suffix in {".yml", ".yaml"} or _JENKINS.search(name):
                made.setdefault(name, CiFile(system, name, folder[name]))
    return [*made.values()]


def given(root: Path, files: Iterable[str]) -> list[CiFile]:
    """The CI files that are named.

    Raises:
        NotFound: One is not there.
        UsageError: One is outside of the project, or for no system that is known.
        PipelineError: One is no text.
    """
    folder = Folder(root)
    made = []
    for file in files:
        path = (Path.cwd() / file).resolve()
        if not path.is_file():
            raise NotFound(f"no file {file}", expected="a CI file")
        if not path.is_relative_to(root.resolve()):
            raise UsageError("the file is not in this project", where=file, expected=f"a file below {root}")
        name = path.relative_to(root.resolve()).as_posix()
        text = folder[name]
        made.append(CiFile(system_of(name, text), name, text))
    return made


def system_of(path: str, text: str) -> str:
    r"""The system that a file is for, by its place, else by what is in it.

    Raises:
        UsageError: It is for none.

    Example:
        >>> system_of("templates/gitlab-ci/build.yml", ""), system_of("ci.yml", "on: push\njobs: {}\n")
        ('gitlab', 'github')
    """
    if _JENKINS.search(path):
        return "jenkins"
    parts = [part.lower() for part in path.split("/")]
    words = {"azure": "azure-pipeline", "github": "github", "gitlab": "gitlab"}
    for system, word in words.items():
        if any(word in part for part in parts) or word in parts[-1]:
            return system
    if re.search(r"^(on|'on'|\"on\"):", text, re.MULTILINE) and re.search(r"^jobs:", text, re.MULTILINE):
        return "github"
    if re.search(r"^(trigger|pr|pool|jobs|steps|stages|schedules|parameters):", text, re.MULTILINE):
        return "azure" if not re.search(r"^\s+script:\s*$|^default:|^workflow:", text, re.MULTILINE) else "gitlab"
    raise UsageError(f"{path} is for no CI system that is known", expected=", ".join(SYSTEMS.values()))

"""A quick answer for a retraining that has nothing new to do, before anything heavy is imported.

A finished retraining notes the digest of everything that could change its outcome: data file, suite, settings, the
project's code, the installed packages. If the same digest comes again, one light look at the registry tells whether
what was found then still stands. Only for projects that read a file by the untouched ``steps/load_data.py``: what other
sources hold is not known without reading them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ridgeway import scaffold
from ridgeway.artifacts import Verdict, from_json, to_json
from ridgeway.project import (
    Project,
    digest_of,
    environment_digest,
    file_digest,
    folder_digest,
    steps_digest,
    write_atomically,
)
from ridgeway.registry import Glance, glance

IRRELEVANT_SECTIONS = {"servers", "flows", "jobs", "triggers", "schedules", "notifications", "build"}
"""Settings that change how a retraining runs, never what comes of it."""


@dataclass(frozen=True)
class Earlier:
    """What an earlier retraining with the very same inputs came to."""

    verdict: Verdict
    run: str
    version: int | None
    """Number of the registered version; None where the candidate was not accepted."""


def inputs(project: Project, source: Path) -> str:
    """``sha256:…`` over everything that decides what a retraining comes to, or empty where that is not known."""
    if not source.exists() or not project.suite.is_file() or not _reads_files(project):
        return ""
    return digest_of(
        {
            "data": file_digest(source),
            "suite": project.suite.read_text(encoding="utf-8"),
            "settings": project.settings.model_dump(mode="json", exclude=IRRELEVANT_SECTIONS),
            "steps": steps_digest(project.root),
            "flows": folder_digest(project.root / "flows"),
            "environment": environment_digest(),
        }
    )


def remember(project: Project, key: str, earlier: Earlier) -> None:
    """Notes what a retraining came to; does nothing for an empty key."""
    if key:
        record = {
            "schema": 1,
            "kind": "Outcome",
            "verdict": to_json(earlier.verdict),
            "run": earlier.run,
            "version": earlier.version,
        }
        write_atomically(_path(project, key), json.dumps(record).encode())


def find(project: Project, key: str) -> Earlier | None:
    """What the same inputs came to before, if the registry still bears it out; None where it must be found out anew."""
    earlier = _read(project, key) if key else None
    if earlier is None:
        return None
    seen = glance(project.settings.registry.uri, project.name, project.root)
    if seen is None:
        return None
    return earlier if _still_stands(earlier, seen, project.settings.rules.against) else None


def _still_stands(earlier: Earlier, seen: Glance, against: str) -> bool:
    """A registered model is still registered; a refused one would meet the same opponent again."""
    found = seen.by_digest(earlier.verdict.candidate_digest)
    if earlier.version is not None or found is not None:  # one that was refused may have come in by another rule
        return found is not None and found.number == earlier.version
    opponent = seen.by_alias("champion") or seen.by_alias("challenger")
    return against == "auto" and (opponent.digest if opponent else "mean") == earlier.verdict.opponent_digest


def _read(project: Project, key: str) -> Earlier | None:
    try:
        record = json.loads(_path(project, key).read_text(encoding="utf-8"))
        return Earlier(from_json(record["verdict"]), record["run"], record["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _path(project: Project, key: str) -> Path:
    return project.state / "outcomes" / f"{key.replace(':', '-')}.json"


def _reads_files(project: Project) -> bool:
    own = project.root / "steps" / "load_data.py"
    try:
        return own.read_bytes() == (scaffold.template_root() / "steps" / "load_data.py").read_bytes()
    except OSError:
        return False

"""What the command line asks of a flow, and what every flow's command needs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Request:
    """What was asked for."""

    overrides: tuple[str, ...] = ()
    ci: bool = False
    source: str = ""
    """Retraining: a delivery to take in place of data.source."""
    subject: str = ""
    """Release: handle of the model, or of the release to carry on."""
    until: str = ""
    """Release: the stage to stop after."""
    only: str = ""
    """Build: the part to look at; empty: all of build.checks, then publication."""
    tests: str = "quick"
    """Build: which tests."""
    commit: str = ""
    """Build: the commit to look at; empty: the tree as it is."""
    repository: str = ""
    """Build: where the commit is; empty: in the project's own repository."""
    manifests: bool = False
    """Release, with --plan: print manifests rather than sentences."""
    on: str = ""
    """Retraining: instance type of the job that carries it out; empty: here."""
    allow_dirty: bool = False
    """With ``on``: take what git tracks as it is now."""
    plan: bool = False
    """With --detach: only say what would be asked for."""
    key: str = ""
    """With --detach: the same key again asks for nothing new."""


def limits(project: Any) -> Any:
    """How long each step may take and how often it is tried, as the settings have it."""
    from ridgeway.orchestrator import StepLimits

    chosen = project.settings.flows
    return StepLimits(chosen.timeout_seconds, chosen.retries, chosen.retry_delay_seconds)


def shown(path: Path) -> str:
    """A path as a person standing here would write it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)

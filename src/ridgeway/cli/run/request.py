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
    manifests: bool = False
    """Release, with --plan: print manifests rather than sentences."""
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

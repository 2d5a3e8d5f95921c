"""What of a project is on a Prefect server: flows of one commit, their schedules, and runs that are asked for by REST.

All but ``looking`` is light: it speaks REST and git, and Prefect is imported only where flows are.
"""

from __future__ import annotations

from ridgeway.orchestrator.publication.checkout import checkout, origin_of, prune, shared, unsaved
from ridgeway.orchestrator.publication.trigger import trigger

__all__ = ["checkout", "origin_of", "prune", "shared", "trigger", "unsaved"]

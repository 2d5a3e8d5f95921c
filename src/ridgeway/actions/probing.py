"""An endpoint asked whether it is the released one and answers as its model was trained."""

from __future__ import annotations

import logging

from ridgeway.actions import golden
from ridgeway.artifacts import Deployment, ProbeReport
from ridgeway.probe import probe
from ridgeway.project import Project
from ridgeway.registry import Registry
from ridgeway.targets import Target

log = logging.getLogger("ridgeway.probe_endpoint")


def ask(project: Project, registry: Registry, deployment: Deployment, target: Target) -> ProbeReport:
    """What the endpoint answers, asked through its address with the keys that clients use.

    Raises:
        ModelError: There are no golden rows of the model.
    """
    request = golden.request(
        project,
        registry,
        deployment,
        address=target.address(deployment),
        keys=target.keys() if deployment.access == "keys" else None,
        is_last=deployment.target == project.settings.release.stages[-1],
    )
    return probe(request, say=log.info)

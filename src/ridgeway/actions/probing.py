"""An endpoint asked whether it is the released one and answers as its model was trained."""

from __future__ import annotations

import logging

from ridgeway.actions import golden
from ridgeway.artifacts import Deployment, ProbeReport
from ridgeway.probe import probe
from ridgeway.project import Project
from ridgeway.targets import Target

log = logging.getLogger("ridgeway.probe_endpoint")


def ask(project: Project, asked: golden.Question, deployment: Deployment, target: Target) -> ProbeReport:
    """What the endpoint answers, asked through its address with the keys that clients use; needs no registry.

    Raises:
        Unreachable: What drives the target does not say where it is.
    """
    keys = target.keys() if deployment.access == "keys" else None
    request = golden.request(project, asked, deployment, address=target.address(deployment), keys=keys)
    return probe(request, say=log.info)

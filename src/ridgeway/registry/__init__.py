"""The door to MLflow: runs, candidates, verdicts and model versions. The only package that imports mlflow.

Importing it is cheap: MLflow itself is imported when a ``Registry`` first talks to it, and ``glance`` never does.
"""

from __future__ import annotations

from ridgeway.registry.look import Glance, GlancedVersion, glance, refuse_local_in_ci
from ridgeway.registry.records import Run
from ridgeway.registry.release_look import FLOW_RUN_TAG, GlancedRelease, glance_releases, read_glanced
from ridgeway.registry.run_look import glance_file
from ridgeway.registry.store import ModelFormat, Registry

__all__ = [
    "FLOW_RUN_TAG",
    "Glance",
    "GlancedRelease",
    "GlancedVersion",
    "ModelFormat",
    "Registry",
    "Run",
    "glance",
    "glance_file",
    "glance_releases",
    "read_glanced",
    "refuse_local_in_ci",
]

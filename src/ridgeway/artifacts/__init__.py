"""The nouns: frozen values that pass between steps, each with a JSON form and a one-line handle. Standard library only.

The JSON form is the baton between processes and CI stages: ``to_json`` writes ``{"schema": 1, "kind": "Dataset", …}``
and ``from_json`` reads it back to an equal value. A handle is what a person prints, pastes and parses.
"""

from __future__ import annotations

from ridgeway.artifacts.build import BuildFinding, GateOutcome, GateReport
from ridgeway.artifacts.handles import Handle, parse_handle
from ridgeway.artifacts.json_form import NOUNS, SCHEMA, from_json, to_json
from ridgeway.artifacts.publication import (
    Change,
    Missed,
    Origin,
    Overlap,
    Publication,
    PublishedFlow,
    Schedule,
    Triggered,
)
from ridgeway.artifacts.release import (
    Approval,
    Deployment,
    Endpoint,
    Finding,
    Health,
    Image,
    InstanceType,
    Kind,
    Person,
    ProbeReport,
    Release,
    ReleaseStep,
    Rollout,
    State,
)
from ridgeway.artifacts.retraining import (
    KEY_SCHEME,
    Candidate,
    Column,
    ColumnType,
    DataReport,
    Dataset,
    Expectation,
    KeyRule,
    ModelVersion,
    Outcome,
    PowerAdvice,
    SetEvidence,
    Severity,
    SliceEvidence,
    Verdict,
)

__all__ = [
    "KEY_SCHEME",
    "NOUNS",
    "SCHEMA",
    "Approval",
    "BuildFinding",
    "Candidate",
    "Change",
    "Column",
    "ColumnType",
    "DataReport",
    "Dataset",
    "Deployment",
    "Endpoint",
    "Expectation",
    "Finding",
    "GateOutcome",
    "GateReport",
    "Handle",
    "Health",
    "Image",
    "InstanceType",
    "KeyRule",
    "Kind",
    "Missed",
    "ModelVersion",
    "Origin",
    "Outcome",
    "Overlap",
    "Person",
    "PowerAdvice",
    "ProbeReport",
    "Publication",
    "PublishedFlow",
    "Release",
    "ReleaseStep",
    "Rollout",
    "Schedule",
    "SetEvidence",
    "Severity",
    "SliceEvidence",
    "State",
    "Triggered",
    "Verdict",
    "from_json",
    "parse_handle",
    "to_json",
]

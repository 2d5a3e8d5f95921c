"""What is known of a run before it starts, and the variables that Azure Pipelines makes of it."""

from __future__ import annotations

from collections.abc import Mapping as Map
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from ridgeway.ci.azure.values import Members

REASONS: Final = {
    "push": "IndividualCI",
    "batch": "BatchedCI",
    "pr": "PullRequest",
    "manual": "Manual",
    "schedule": "Schedule",
    "resource": "ResourceTrigger",
}
"""Short words for ``Build.Reason``."""


@dataclass(frozen=True)
class Inputs:
    """One run's circumstances.

    Attributes:
        parameters: Values by name, as texts; those of structured types are YAML.
        variables: Variables given for this run, or kept with the pipeline's settings; those in the file win.
        groups: Members of variable groups by group, as far as they are known here.
        secrets: Names of variables that must not be shown.
        branch: ``main`` or ``refs/heads/main``; for pull requests their source.
        target_branch: For pull requests: where they go.
        reason: ``Build.Reason``, or a short word of ``REASONS``.
        commit: The commit's id.
        pipeline: The pipeline's name.
        repository: The repository's name.
        requested_for: Who asked for it.
        build_id: Number of the run.
        started: Start time.
        pull_request: Number of the pull request.
        predefined: More of the variables that the system sets, such as those of an agent.
    """

    parameters: Map[str, str] = field(default_factory=dict)
    variables: Map[str, str] = field(default_factory=dict)
    groups: Map[str, Map[str, str]] = field(default_factory=dict)
    secrets: frozenset[str] = frozenset()
    branch: str = "main"
    target_branch: str = ""
    reason: str = "Manual"
    commit: str = ""
    pipeline: str = "pipeline"
    repository: str = "repository"
    requested_for: str = ""
    build_id: int = 1
    started: datetime = datetime(2024, 1, 1, tzinfo=UTC)
    pull_request: int = 0
    predefined: Map[str, str] = field(default_factory=dict)


def full_branch(branch: str) -> str:
    """A branch as ``Build.SourceBranch`` has it.

    Example:
        >>> full_branch("main"), full_branch("refs/tags/v1")
        ('refs/heads/main', 'refs/tags/v1')
    """
    return branch if branch.startswith("refs/") else f"refs/heads/{branch}"


def early(inputs: Inputs) -> Members:
    """The predefined variables that exist when templates are expanded: those marked so on the page of that name."""
    reason = REASONS.get(inputs.reason, inputs.reason)
    branch = full_branch(inputs.branch)
    values = {
        "Build.DefinitionName": inputs.pipeline,
        "Build.Reason": reason,
        "Build.RequestedFor": inputs.requested_for,
        "Build.QueuedBy": inputs.requested_for,
        "Build.Repository.Name": inputs.repository,
        "Build.SourceVersion": inputs.commit,
        "Build.SourceBranch": branch,
        "Build.SourceBranchName": branch.rsplit("/", 1)[-1],
        "System.DefinitionName": inputs.pipeline,
    }
    if reason == "PullRequest":
        values["Build.SourceBranch"] = f"refs/pull/{inputs.pull_request}/merge"
        values["Build.SourceBranchName"] = "merge"
        values["System.PullRequest.PullRequestId"] = str(inputs.pull_request)
        values["System.PullRequest.SourceBranch"] = branch
        values["System.PullRequest.TargetBranch"] = full_branch(inputs.target_branch or "main")
    made = Members(values)
    for name, value in inputs.variables.items():
        # What the system knows from the start and we do not, such as the project's name, may be told.
        if is_predefined(name) and name not in made:
            made[name] = value
    return made


def late(inputs: Inputs) -> Members:
    """All predefined variables that are known before an agent takes a job."""
    values = early(inputs)
    values["Build.BuildId"] = str(inputs.build_id)
    values["Build.BuildNumber"] = f"{inputs.started:%Y%m%d}.{inputs.build_id}"
    values["System.PipelineStartTime"] = inputs.started.isoformat(sep=" ", timespec="seconds")
    for name, value in inputs.predefined.items():
        values[name] = value
    return values


PREFIXES: Final = ("agent.", "build.", "system.", "pipeline.", "environment.", "strategy.", "resources.", "tf_build",
                   "common.", "task.")  # fmt: skip
"""Beginnings of the names that the system sets."""


def is_predefined(name: str) -> bool:
    """Whether the system sets a variable of this name.

    Example:
        >>> is_predefined("Agent.TempDirectory"), is_predefined("mine")
        (True, False)
    """
    return name.lower().startswith(PREFIXES)

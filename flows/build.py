"""Build: code, tests and data looked at side by side; and if nothing is found, the flows published."""

from collections.abc import Sequence
from typing import Any, Literal

from prefect import Task, flow
from prefect.futures import wait

from ridgeway.actions import build as actions
from ridgeway.orchestrator import as_task
from steps.check_code import check_code
from steps.check_examples import check_examples
from steps.publish_flows import publish_flows
from steps.run_tests import run_tests

# Their own time limit, build.timeout_seconds, also ends the programs that they start.
gates: tuple[Task[..., Any], ...] = tuple(
    as_task(step, timeout_seconds=0) for step in (check_code, run_tests, check_examples)
)
publish = as_task(publish_flows)


@flow(name="build")
def build(
    commit: str = "",
    repository: str = "",
    only: str = "",
    tests: Literal["quick", "slow", "all"] = "quick",
    overrides: Sequence[str] = (),
) -> dict[str, Any]:
    """A source tree that was looked at in every way, and its flows published if nothing was found.

    Args:
        commit: To look at; empty: the tree as it is.
        repository: Of the commit, where it is not the project's own.
        only: gates, code, tests, data or publish: this alone; empty: all of build.checks, then publication.
        tests: Which tests: all but the slow ones, the slow ones, or all.
        overrides: Settings over all others, each "section.key=value".
    """
    request = actions.Request(commit, repository, only, tests, tuple(overrides))
    with actions.start(request) as job:
        wait([gate.submit(job=job) for gate in gates if gate.name in job.steps])
        if job.publishes:
            publish(job=job)
    return actions.summary(job)

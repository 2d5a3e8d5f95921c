"""Release: image, trial in QA, a person's yes, production; and the way back."""

from collections.abc import Sequence
from typing import Any

from prefect import flow

from ridgeway.actions import release as actions
from ridgeway.orchestrator import as_task, suspend
from steps.ask_approval import ask_approval
from steps.build_image import build_image
from steps.deploy_endpoint import deploy_endpoint
from steps.probe_endpoint import probe_endpoint
from steps.roll_out import roll_out

build = as_task(build_image)
deploy = as_task(deploy_endpoint)
probe = as_task(probe_endpoint)
ask = as_task(ask_approval)
roll = as_task(roll_out)


@flow(name="release")
def release(model: str, until: str = "", overrides: Sequence[str] = (), ci: bool = False) -> dict[str, Any]:
    """A registered model in production, tried in QA and approved by a person; or the previous one still there.

    Args:
        model: Handle of the registered model, or of the release to carry on.
        until: The stage to stop after; empty: the last one.
        overrides: Settings over all others, each "section.key=value".
        ci: Whether this is a CI job.
    """
    with actions.start(model, until=until, overrides=overrides, ci=ci) as job:
        if job.unchanged:
            return actions.summary(job)
        image = build(job=job)
        for stage in job.trials:
            endpoint = deploy(image, stage, job=job)
            probe(endpoint, job=job)
        asked = ask(image, job=job)
        if asked.state == "approved" and not job.stops_early:
            roll(image, job=job)
    done = actions.summary(job)
    if asked.state == "waiting":
        waiting: dict[str, Any] = suspend(done, message=asked.sentence, timeout_seconds=job.patience_seconds)
        return waiting
    return done

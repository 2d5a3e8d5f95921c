"""Retraining: data, gate, model, judgement, registration."""

from collections.abc import Sequence
from typing import Any

from prefect import flow

from ridgeway.actions import retraining as actions
from ridgeway.orchestrator import as_task
from steps.check_data import check_data
from steps.judge_candidate import judge_candidate
from steps.load_data import load_data
from steps.register_model import register_model
from steps.train_model import train_model

load = as_task(actions.load_data)
check = as_task(check_data)
train = as_task(train_model)
judge = as_task(judge_candidate)
register = as_task(register_model)


@flow(name="retraining")
def retraining(source: str = "", overrides: Sequence[str] = (), ci: bool = False) -> dict[str, Any]:
    """A model trained on today's rows and judged against the one in production; registered if it is better.

    Args:
        source: A delivery to take in place of data.source.
        overrides: Settings over all others, each "section.key=value".
        ci: Whether this is a CI job.
    """
    with actions.start(source=source, overrides=overrides, ci=ci) as job:
        dataset = load(load_data, job=job)
        check(dataset, job=job)
        candidate = train(dataset, job=job)
        verdict = judge(candidate, job=job)
        if verdict.accepted:
            register(candidate, verdict, job=job)
    return actions.summary(job)

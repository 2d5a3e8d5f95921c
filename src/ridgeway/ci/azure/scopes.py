"""The scope of each place where a runtime expression may stand: which contexts and functions it has there."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ridgeway.ci.azure.contexts import World
from ridgeway.ci.azure.evaluation import Counter, Scope, Status
from ridgeway.ci.azure.pipeline import Job, Stage
from ridgeway.ci.azure.values import Members
from ridgeway.ci.azure.variables import View


def pipeline_variable(view: View, started: datetime, counter: Counter) -> Scope:
    """For a variable of the whole pipeline: no dependencies."""
    return Scope(_names(view, started), "a pipeline's variable", counter=counter)


def stage_condition(world: World, stage: Stage, view: View) -> Scope:
    """For a stage's condition: ``dependencies`` are stages."""
    names = {"variables": view, "dependencies": world.stage_dependencies(stage)}
    return Scope(names, "a stage's condition", status=world.stage_status(stage))


def stage_variable(world: World, stage: Stage, view: View, started: datetime, counter: Counter) -> Scope:
    """For a variable of a stage, which is evaluated for each of its jobs."""
    names = {
        **_names(view, started),
        "dependencies": world.stage_dependencies(stage),
        "stageDependencies": world.jobs_of_stages(stage),
    }
    return Scope(names, "a stage's variable", counter=counter)


def job_condition(world: World, stage: Stage, job: Job, view: View) -> Scope:
    """For a job's condition: ``dependencies`` are jobs of its stage."""
    names = {"variables": view, **_job_names(world, stage, job)}
    return Scope(names, "a job's condition", status=world.job_status(stage, job))


def job_variable(world: World, stage: Stage, job: Job, view: View, started: datetime) -> Scope:
    """For a variable of a job, without a counter: the caller adds one."""
    return Scope({**_names(view, started), **_job_names(world, stage, job)}, "a job's variable")


def step_condition(view: View, status: Status) -> Scope:
    """For a step's condition: the variables as they are by then."""
    return Scope({"variables": view}, "a step's condition", status=status)


def _names(view: View, started: datetime) -> dict[str, Any]:
    return {"variables": view, "pipeline": Members({"startTime": started})}


def _job_names(world: World, stage: Stage, job: Job) -> dict[str, Any]:
    return {"dependencies": world.job_dependencies(stage, job), "stageDependencies": world.jobs_of_stages(stage)}

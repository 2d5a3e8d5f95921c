"""A run: stages and jobs begin when the state machine says so, jobs side by side, approvals in between."""

from __future__ import annotations

import json
import queue
import shutil
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from ridgeway.ci.azure import Plan, Run
from ridgeway.ci.azure.contexts import FAILED, GOOD, SKIPPED
from ridgeway.ci.azure.graph import ancestors
from ridgeway.ci.azure.masking import masked
from ridgeway.ci.azure.pipeline import Job, Stage
from ridgeway.ci.azure.planning import secret_values
from ridgeway.ci.azure.problems import did_you_mean
from ridgeway.ci.execution import waiting
from ridgeway.ci.execution.checkout import Source
from ridgeway.ci.execution.folders import RunFolder, counted, writing
from ridgeway.ci.execution.job import Machine, Session, begin, carry_out_job
from ridgeway.ci.execution.shelf import Shelf
from ridgeway.ci.execution.stream import Secrets
from ridgeway.ci.execution.telling import NOT_STARTED, WAITING, Approval, Ended, Outcome, Watcher
from ridgeway.ci.execution.waiting import Kept, bring_back, take
from ridgeway.errors import NotFound

__all__ = ["Machine", "execute", "up_to"]


def up_to(plan: Plan, stages: Collection[str]) -> Plan:
    """The plan of some stages and of all that they depend on; of the whole pipeline where none is named.

    Raises:
        NotFound: There is no such stage.
    """
    names = [stage.name for stage in plan.pipeline.stages]
    folded = {name.lower() for name in names}
    edges = {stage.name.lower(): [one.lower() for one in stage.depends_on] for stage in plan.pipeline.stages}
    wanted: set[str] = set()
    for name in stages:
        if name.lower() not in folded:
            raise NotFound(f"no stage {name!r}", where=plan.pipeline.file, expected=did_you_mean(name, names))
        wanted |= {name.lower(), *ancestors(name.lower(), edges)}
    if not stages:
        return plan
    chosen = tuple(stage for stage in plan.pipeline.stages if stage.name.lower() in wanted)
    kept = {path: made for path, made in plan.decisions.items() if path.split("/")[0].lower() in wanted}
    variables = {
        path: made for path, made in plan.variables.items() if not path or path.split("/")[0].lower() in wanted
    }
    return replace(plan, pipeline=replace(plan.pipeline, stages=chosen), decisions=kept, variables=variables)


def execute(plan: Plan, machine: Machine, source: Source, folder: RunFolder, watcher: Watcher) -> Outcome:
    """Carries a plan out.

    Args:
        plan: The plan, or a part of one by ``up_to``.
        machine: What this machine gives.
        source: What is checked out.
        folder: Where logs and artifacts are kept, from ``prepare``; ``run.json`` in it is the outcome's record. That
            of a run which waits, from ``reopened``: what has ended in it is not done again.
        watcher: Who is told, and asked for approvals.

    Raises:
        KeyboardInterrupt: It was interrupted; all is ended, and what was published until then is kept.
        StorageError: The disk is full; all is ended.
        PipelineError: A condition or variable is wrong.
        UsageError: A run that waits cannot be carried on with this plan, or is carried on by another process.
    """
    kept = take(folder, plan)
    secrets, shelf = Secrets(secret_values(plan.inputs)), Shelf(folder.artifacts)
    with counted(source.root, plan.pipeline.file) as counters:
        before = dict(counters.last)
        session = Session(plan, Run(plan, counters), machine, source, folder, watcher, secrets, shelf)
        return _Execution(session, kept, lambda: counters.last != before).go()


class _Execution:
    def __init__(self, session: Session, kept: Kept, has_counted: Callable[[], bool]) -> None:
        self.session, self.has_counted = session, has_counted
        bring_back(session.run, kept)
        session.ends.update({end.path: end for end in kept.ends})
        self.began = {name: time.monotonic() for name in kept.stages}
        self.asking: list[Stage] = []
        self.waits: dict[str, str] = {}
        self.refused: set[str] = set()
        self.question: dict[str, str] | None = None
        """The one that a person has before them: who leaves it open, by Ctrl-C too, can answer it later."""
        self.going: set[Future[None]] = set()
        self.done: queue.SimpleQueue[Future[None]] = queue.SimpleQueue()

    def go(self) -> Outcome:
        state = ""
        pool = ThreadPoolExecutor(self.session.machine.jobs, thread_name_prefix="job")
        try:
            self._work(pool)
            state = self._state()
            self._keep_waiting()
        except BaseException as error:
            state = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            if self.question is not None and not self.going:
                self.waits.update(self.question)
                self._keep_waiting()
            raise
        finally:
            self.session.stopping.set()
            pool.shutdown(wait=True, cancel_futures=True)
            outcome = self._outcome(state)
            self._keep(outcome, raises=state not in {"interrupted", "failed"})
        return outcome

    def _work(self, pool: ThreadPoolExecutor) -> None:
        while True:
            while self._advance(pool):
                pass
            if not self.going:
                return
            future = self.done.get()
            self.going.discard(future)
            future.result()

    def _advance(self, pool: ThreadPoolExecutor) -> bool:
        """Begins what may begin, ends what has ended; whether anything has changed."""
        with self.session.lock:
            stages = self.session.run.ready_stages()
            for stage in stages:
                self._begin_stage(stage)
            jobs = [(stage, job) for stage in self._open() for job in self.session.run.ready_jobs(stage)]
            for stage, job in jobs:
                self._begin_job(pool, stage, job)
            over = [stage for stage in self._open() if self._is_over(stage)]
            for stage in over:
                self._end_stage(stage)
        if not (stages or jobs or over) and self.asking:
            self._ask(self.asking[0])
            return True
        return bool(stages or jobs or over)

    def _open(self) -> list[Stage]:
        """The stages that go on, those that wait for a person aside."""
        return [
            stage
            for stage in self.session.plan.pipeline.stages
            if stage.name in self.began and stage.name not in self.session.ends and stage not in self.asking
        ]

    def _is_over(self, stage: Stage) -> bool:
        return all(f"{stage.name}/{job.name}" in self.session.ends for job in stage.jobs)

    # --- stages

    def _begin_stage(self, stage: Stage) -> None:
        run = self.session.run
        if not run.begin_stage(stage):
            self._skipped(stage, run.decisions[stage.name].why)
            return
        self.began[stage.name] = time.monotonic()
        self.session.begins(stage.name, stage.display)
        if _environments(stage):
            self.asking.append(stage)

    def _skipped(self, stage: Stage, why: str, result: str = SKIPPED) -> None:
        for job in stage.jobs:
            self._skipped_job(stage, job, "its stage did not run", NOT_STARTED if result == WAITING else SKIPPED)
        self.session.ended(Ended(stage.name, result, notes=(why,)))

    def _skipped_job(self, stage: Stage, job: Job, why: str, result: str = SKIPPED) -> None:
        path = f"{stage.name}/{job.name}"
        for step in job.steps:
            self.session.ended(Ended(f"{path}/{step.label}", result, notes=("its job did not run",)))
        self.session.ended(Ended(path, result, notes=(why,)))

    def _ask(self, stage: Stage) -> None:
        """Asks for the approvals of a stage; jobs of other stages go on meanwhile."""
        self.asking.remove(stage)
        so_far = {name: self.session.ends[name].result for name in self.began if name in self.session.ends}
        for name in _environments(stage):
            self.question = {stage.name: name}
            answer = self.session.watcher.approves(Approval(stage.name, name, so_far))
            self.question = None
            if answer is None:
                self.waits[stage.name] = name
                with self.session.lock:
                    self._skipped(stage, f"for the approval of {name}", WAITING)
                return
            if not answer:
                self.refused.add(stage.name)
                with self.session.lock:
                    self.session.run.end_stage(stage, FAILED)
                    self._skipped(stage, f"the approval of {name} was refused", FAILED)
                return

    def _end_stage(self, stage: Stage) -> None:
        result = self.session.run.end_stage(stage)
        self.session.ended(Ended(stage.name, result, time.monotonic() - self.began[stage.name]))

    # --- jobs

    def _begin_job(self, pool: ThreadPoolExecutor, stage: Stage, job: Job) -> None:
        running = self.session.run.begin_job(stage, job)
        path = f"{stage.name}/{job.name}"
        if running is None:
            self._skipped_job(stage, job, self.session.run.decisions[path].why)
            return
        made = begin(self.session, stage, job, running)
        future = pool.submit(carry_out_job, made)
        self.going.add(future)
        future.add_done_callback(self.done.put)

    # --- the end

    def _state(self) -> str:
        ends = self.session.ends
        bad = [
            stage.name
            for stage in self.session.plan.pipeline.stages
            if stage.name in ends and ends[stage.name].result not in {*GOOD, SKIPPED, WAITING}
        ]
        if any(name not in self.refused for name in bad):
            return "failed"
        if bad:
            return "refused"
        return "waiting" if self.waits else "succeeded"

    def _outcome(self, state: str) -> Outcome:
        ends = self.session.ends
        ordered = {path: ends.get(path, Ended(path, NOT_STARTED)) for path in self.session.plan.decisions}
        warnings = [*self.session.plan.warnings, *self.session.run.warnings]
        return Outcome(
            number=self.session.folder.number,
            folder=str(self.session.folder.path),
            state=state,
            ends=ordered,
            artifacts=self.session.shelf.names(),
            warnings=tuple(dict.fromkeys(masked(str(one), self.session.secrets.values) for one in warnings)),
            waits_for=tuple(dict.fromkeys(self.waits.values())),
        )

    def _keep_waiting(self) -> None:
        if self.waits:
            run, values = self.session.run, self.session.secrets.values
            waiting.keep(self.session.folder, waiting.state(run, self.session.ends, values, counted=self.has_counted()))

    def _keep(self, outcome: Outcome, *, raises: bool) -> None:
        place = self.session.folder.path / "run.json"
        try:
            with writing("cannot keep the record of the run", place):
                place.write_text(json.dumps(outcome.record(), indent=2), encoding="utf-8")
        except OSError:
            if raises:
                raise
        if not self.session.machine.keep:
            shutil.rmtree(self.session.folder.work, ignore_errors=True)


def _environments(stage: Stage) -> list[str]:
    names = [job.environment.name for job in stage.jobs if job.environment]
    return list(dict.fromkeys(names))

"""One retraining under way: its project, its doors, what it has found so far, and the record it leaves behind.

The steps of the flow are thin calls of the methods here; :func:`start` opens a retraining and closes it, come what may.
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pandas as pd

from ridgeway import orchestrator, package, report, settings, training
from ridgeway.actions import candidate as candidates
from ridgeway.actions import data, judgement, one_at_a_time, telling
from ridgeway.actions.models import open_registry, verdict_of
from ridgeway.artifacts import Candidate, DataReport, Dataset, ModelVersion, Verdict
from ridgeway.errors import BadData, Busy, RidgewayError
from ridgeway.project import (
    Commit,
    Project,
    commit,
    digest_of,
    environment_digest,
    open_project,
    prepare_state,
    read_suite,
)
from ridgeway.registry import Registry, refuse_local_in_ci
from ridgeway.registry.records import REGISTERED_BY_TAG
from ridgeway.run_log import Run, RunLog, exclusive

FLOW = "retraining"
REGISTERED = "ridgeway.model.registered"
"""The event that says a model version is there; a release may wait for it."""
SETTINGS_FILE = "settings.json"
"""In each run: the settings that were in force."""
log = logging.getLogger("ridgeway.retraining")
judge_log = logging.getLogger("ridgeway.judge_candidate")
register_log = logging.getLogger("ridgeway.register_model")


class Retraining:
    """A retraining under way. Not a dataclass: the orchestrator would walk through its fields at every step."""

    def __init__(self, project: Project, registry: Registry, record: Run, source: Path) -> None:
        self.project = project
        self.registry = registry
        self.record = record
        self.source = source
        self.unchanged = False
        self.is_reported = False
        self.dataset: Dataset | None = None
        self.data_report: DataReport | None = None
        self.candidate: Candidate | None = None
        self.judged: judgement.Judged | None = None
        self.version: ModelVersion | None = None
        self._frame: pd.DataFrame | None = None

    def load(self, load_data: Callable[..., Any]) -> Dataset:
        """The rows as the user's step reads them, typed and kept."""
        self.dataset, self._frame = data.load(self.project, load_data, self.source)
        self.record.produced(self.dataset.handle)
        return self.dataset

    def check(self, dataset: Dataset) -> DataReport:
        """What the data gate finds.

        Raises:
            BadData: It refuses the rows.
        """
        self.data_report = data.check(self.project, dataset, self._rows(dataset)[1])
        if not self.data_report.ok:
            raise data.refusal(self.data_report, source=dataset.source)
        return self.data_report

    def train(self, dataset: Dataset, make_model: Callable[..., Any]) -> Candidate:
        """The candidate of these rows: the one an earlier run made from the very same inputs, or a new one."""
        how = candidates.recipe(self.project, make_model)
        unfitted = training.unfitted(how)
        package.check_portable(unfitted, root=self.project.root)
        key = data.key_rule(self.project, read_suite(self.project))
        inputs = candidates.inputs_digest(self.project, dataset, key, unfitted)
        self.candidate = self.registry.find_candidate(inputs)
        if self.candidate is not None:
            candidates.log.info("trained before, from the very same inputs: %s", self.candidate.handle)
        else:
            identity = candidates.Identity(self.record.id, inputs, key)
            rows = self._rows(dataset)
            self.candidate = candidates.train(self.project, rows, how, identity=identity, registry=self.registry)
        self.record.produced(self.candidate.handle)
        return self.candidate

    def judge(self, candidate: Candidate) -> Verdict:
        """The verdict; the earlier one if this model is registered or has met this opponent on these rows before.

        Judgements on demand, and those under another rule, do not count as met before.
        """
        registered = self.registry.find_version(candidate.digest)
        admission = verdict_of(self.registry, registered) if registered else None
        if admission is not None:
            return self._judged_before(admission, registered)
        opponent = self._opponent(candidate)
        earlier = judgement.earlier_verdict(self.project, candidate, opponent, registry=self.registry)
        if earlier is not None:
            return self._judged_before(earlier, registered)
        self.judged = judgement.judge(
            self.project, candidate, opponent, self._rows_of(candidate), registry=self.registry
        )
        self.registry.save_verdict(self.record.id, self.judged.verdict)
        judge_log.info("%s", self.judged.verdict.sentence)
        return self.judged.verdict

    def register(self, candidate: Candidate, verdict: Verdict) -> ModelVersion:
        """The registered version of an accepted candidate, with its lineage.

        Raises:
            Busy: Another model was registered or released since the judgement: there is a new opponent to meet.
        """
        self._check_opponent(candidate, verdict)
        self.version = self.registry.register(
            candidate, verdict, tags={**lineage(self.project), REGISTERED_BY_TAG: self.record.id}
        )
        self.record.produced(self.version.handle)
        if not self.unchanged:
            facts = {"digest": self.version.digest, "sentence": verdict.sentence}
            orchestrator.emit(REGISTERED, self.version.handle, facts)
        register_log.info("%s%s", self.version.handle, " (registered before)" if self.unchanged else "")
        return self.version

    def _judged_before(self, verdict: Verdict, registered: ModelVersion | None) -> Verdict:
        self.unchanged, self.version = registered is not None or not verdict.accepted, registered
        self.judged = judgement.Judged(verdict)
        judge_log.info("judged before: %s", verdict.sentence)
        return verdict

    def _opponent(self, candidate: Candidate) -> judgement.Opponent:
        against = self.project.settings.rules.against
        if against == judgement.MEAN:
            judgement.check_new_start(candidate, self._rows_of(candidate)[0].columns, registry=self.registry)
        return judgement.choose_opponent(self.registry, against)

    def _check_opponent(self, candidate: Candidate, verdict: Verdict) -> None:
        """Nothing, if the opponent of the verdict is still the one to beat, or the candidate is registered already."""
        if self.registry.find_version(candidate.digest) is not None:
            return  # by an earlier attempt of this command, which is completed now
        opponent = self._opponent(candidate)
        if opponent.digest != verdict.opponent_digest:
            raise Busy(
                "register_model: the opponent changed meanwhile",
                problem=f"{candidate.handle} was judged against {verdict.opponent}; now {opponent.handle} is in use",
                expected="the model that the candidate was shown to be better than",
                next_step="the same command again",
            )

    @property
    def verdict(self) -> Verdict | None:
        """The verdict, once there is one."""
        return self.judged.verdict if self.judged else None

    def _rows(self, dataset: Dataset) -> tuple[Dataset, pd.DataFrame]:
        """The rows: at hand in the process that read them, else from their copy."""
        if self._frame is not None and self.dataset == dataset:
            return dataset, self._frame
        kept = data.read_snapshot(self.project, dataset.digest)
        if kept is None:
            raise BadData(
                f"{dataset.handle} is no longer kept",
                next_step="ridgeway run retraining",
                where=str(self.project.state),
            )
        self.dataset, self._frame = kept
        return kept

    def _rows_of(self, candidate: Candidate) -> tuple[Dataset, pd.DataFrame]:
        if self.dataset is not None and self.dataset.handle == candidate.dataset:
            return self._rows(self.dataset)
        return rows_of(self.project, candidate)


def load_data(read: Callable[..., Any], *, job: Retraining) -> Dataset:
    """The rows as ``read`` (the user's step) gives them, typed, kept, and known by their content."""
    return job.load(read)


def rows_of(project: Project, candidate: Candidate) -> tuple[Dataset, pd.DataFrame]:
    """The rows that a candidate was made from, from the copy that was kept, else from the source if it still has them.

    Raises:
        BadData: They are nowhere to be had.
    """
    digest = candidate.dataset.partition("@")[2]
    kept = data.read_snapshot(project, digest)
    if kept is not None:
        return kept
    from ridgeway.project import load_step

    with suppress(RidgewayError):
        loaded = data.load(project, load_step(project.root, "load_data"), project.source)
        if loaded[0].digest == digest:
            return loaded
    raise BadData(
        f"the rows of {candidate.handle} are not to be had",
        problem=f"{candidate.dataset} is neither kept under .ridgeway/data nor what data.source holds today",
        next_step="give the delivery it was made from: --data FILE; or train again: ridgeway run retraining",
    )


def settings_record(project: Project) -> dict[str, Any]:
    """All settings by name, as they were in force."""
    return {row.path: row.value for row in settings.rows(project.loaded)}


def settings_digest(project: Project) -> str:
    """``sha256:…`` over all settings: that of ``settings`` in the run's ``settings.json``."""
    return digest_of(settings_record(project))


def lineage(project: Project) -> dict[str, str]:
    """Where a model comes from, as registry tags: settings, commit, clean tree or not, environment, CI build."""
    source: Commit = commit(project.root)
    build = settings.ci_build()
    tags = {
        "settings": settings_digest(project),
        "commit": source.id,
        "clean": str(source.clean).lower(),
        "environment": environment_digest(),
        "build.id": build.get("id", ""),
        "build.url": build.get("url", ""),
        "build.system": build.get("system", ""),
    }
    return {f"ridgeway.{name}": value for name, value in tags.items() if value}


_UNDER_WAY: ContextVar[Retraining | None] = ContextVar("ridgeway_retraining", default=None)


@contextmanager
def start(*, source: str = "", overrides: Sequence[str] = (), ci: bool = False) -> Iterator[Retraining]:
    """A retraining of the project around the working directory; at the end, however it ends, its record is complete.

    Args:
        source: A delivery to take in place of ``data.source``, relative to the project.
        overrides: ``KEY=VALUE`` settings over all others.
        ci: Whether this is a CI job: a registry that lives on the throw-away agent is then refused.

    Raises:
        Busy: Another retraining of this model runs.
        Unreachable: The tracking server does not answer; nothing was done.
    """
    under_way = _UNDER_WAY.get()
    if under_way is not None:  # the command has opened it already, while the server was starting
        with _reported(under_way):
            yield under_way
        return
    project = open_project(Path.cwd(), overrides=overrides)
    prepare_state(project)
    if ci:
        refuse_local_in_ci(project.settings.registry.uri)
    with exclusive(project.root, f"{FLOW}-{project.name}"):
        with telling.failures(project, FLOW):
            registry = open_registry(project)
            _bury(project, registry)
            one_at_a_time.check_free(registry, FLOW)
            run_id = registry.start_run(FLOW, _run_tags())
            record = RunLog(project.root).start(FLOW, run_id=run_id)
        job = Retraining(project, registry, record, _source(project, source))
        token = _UNDER_WAY.set(job)
        try:
            registry.write_json(run_id, SETTINGS_FILE, {"settings": settings_record(project)})
            with one_at_a_time.alone(registry, FLOW, run_id):
                yield job
            _close(job, None)
        except BaseException as error:
            _close(job, error)
            raise
        finally:
            _UNDER_WAY.reset(token)


@contextmanager
def _reported(job: Retraining) -> Iterator[None]:
    """At the end, however it ends, the report is written, and shown on the server, which only a flow may do."""
    try:
        yield
    except RidgewayError as error:
        with suppress(Exception):  # the error that led here is the one to tell
            _show(job, error)
        raise
    _show(job, None)


def _show(job: Retraining, error: RidgewayError | None) -> None:
    files = _write(job, _info(job, error))
    orchestrator.show_markdown(f"{FLOW}-{job.project.name}", files.markdown.read_text(encoding="utf-8"))


def _source(project: Project, source: str) -> Path:
    return (project.root / source) if source else project.source


def _run_tags() -> dict[str, str]:
    build = settings.ci_build()
    return {f"ridgeway.build.{name}": value for name, value in build.items() if value}


def _bury(project: Project, registry: Registry) -> None:
    """Runs whose process is gone do not stay "running": not in the log, not in the registry."""
    store = RunLog(project.root)
    for record in store.dead():
        store.bury(record)
    for run in registry.runs(20):
        local = store.read(run.run_id)
        if run.status == "RUNNING" and local is not None and local.state != "running":
            registry.end_run(run.run_id, "KILLED")


def _close(job: Retraining, error: BaseException | None) -> None:
    """Writes the report and ends the run everywhere; a failure in here never hides the error that led here.

    The local record ends last: whatever fails before can still be told in it.
    """
    info = _info(job, error)
    if error is None:
        if not job.is_reported:
            _write(job, info)
        _upload_logs(job)
        job.registry.end_run(job.record.id, "FINISHED")
        _tell(job, info)
        job.record.end("finished", exit_code=exit_code(job), sentence=info.sentence)
        telling.send(job.project)
        return
    with suppress(Exception):
        if isinstance(error, RidgewayError) and not job.is_reported:
            _write(job, info)
    with suppress(Exception):
        _upload_logs(job)
    with suppress(Exception):
        job.registry.end_run(job.record.id, "FAILED" if isinstance(error, Exception) else "KILLED")
    telling.tell(job.project, telling.of_error(job.record.record, error))
    with suppress(Exception):
        if isinstance(error, Exception):
            code = error.exit_code if isinstance(error, RidgewayError) else 1
            job.record.end("failed", exit_code=code, sentence=info.sentence)
        else:
            job.record.end("interrupted", exit_code=130, sentence="interrupted")
    telling.send(job.project)


def _tell(job: Retraining, info: report.RunInfo) -> None:
    """Keeps the message of what came of it; before the record's end, so that a kill does not lose it."""
    verdict = job.verdict
    handle = job.version.handle if job.version else (verdict.candidate if verdict else "")
    more: dict[str, str | int] = {"handle": handle, "next_step": info.next_step, "exit_code": exit_code(job)}
    telling.tell(job.project, telling.of_judgement(job.record.record, info.outcome, info.sentence, **more))


def exit_code(job: Retraining) -> int:
    """0 for accepted and unchanged, 3 for rejected, 4 for hold."""
    return 0 if job.unchanged or job.verdict is None else job.verdict.exit_code


def _write(job: Retraining, info: report.RunInfo) -> report.ReportFiles:
    findings = report.Findings(job.dataset, job.data_report, job.candidate, job.verdict, job.version)
    rows = job.judged.rows if job.judged else None
    record = report.build_record(info, findings, plots=report.plot_data(rows) if rows else None)
    folder = RunLog(job.project.root).folder / job.record.id / "report"
    files = report.write_report(record, folder)
    job.is_reported = True
    for path in (files.record, files.page, files.markdown):
        job.registry.write_file(job.record.id, f"report/{path.name}", path)
    return files


def _upload_logs(job: Retraining) -> None:
    folder = RunLog(job.project.root).folder / job.record.id
    for path in (folder / "run.log", *sorted((folder / "logs").glob("*.log"))):
        if path.is_file():
            job.registry.write_file(job.record.id, f"logs/{path.name}", path)


def _info(job: Retraining, error: BaseException | None) -> report.RunInfo:
    outcome, sentence, next_step = _outcome(job, error)
    source = commit(job.project.root)
    record = job.record.record
    return report.RunInfo(
        run_id=job.record.id,
        flow=FLOW,
        project=job.project.name,
        started_at=record.started_at,
        ended_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        outcome=outcome,
        sentence=sentence,
        next_step=next_step,
        details=_details(error),
        commit=source.id,
        clean=source.clean if source.id else None,
        environment=environment_digest(),
        seed=job.project.settings.training.seed,
        settings=settings_record(job.project),
        steps=tuple(_step(step) for step in record.steps),
        build_url=settings.ci_build().get("url", ""),
    )


def _details(error: BaseException | None) -> dict[str, str]:
    if not isinstance(error, RidgewayError):
        return {}
    return {"where": error.where, "problem": error.problem, "expected": error.expected}


def _step(step: Any) -> report.Step:
    seconds = 0.0
    if step.ended_at:
        begun, ended = (datetime.datetime.fromisoformat(text) for text in (step.started_at, step.ended_at))
        seconds = (ended - begun).total_seconds()
    return report.Step(step.name, seconds, "done" if step.state == "finished" else "failed", step.attempts)


def _outcome(job: Retraining, error: BaseException | None) -> tuple[str, str, str]:
    if isinstance(error, RidgewayError):
        return "bad_data" if isinstance(error, BadData) else "failed", error.summary, error.next_step
    if error is not None:
        return ("failed" if isinstance(error, Exception) else "interrupted"), f"{type(error).__name__}: {error}", ""
    verdict = job.verdict
    if verdict is None:
        return "failed", "no verdict", ""
    if job.unchanged:
        return "unchanged", unchanged_sentence(job.version.handle if job.version else "", verdict), ""
    return (
        verdict.outcome,
        verdict.sentence,
        f"ridgeway run release {job.version.handle}" if job.version else verdict.next_step,
    )


def unchanged_sentence(handle: str, verdict: Verdict) -> str:
    """What a person reads when nothing is new.

    Args:
        handle: Of the registered version that this model is; empty where it was not accepted.
        verdict: The earlier one.
    """
    what = f"{handle} is this very model" if handle else "this very model was judged before"
    return f"unchanged: {what} ({verdict.sentence})"


def summary(job: Retraining) -> dict[str, Any]:
    """What the flow returns: the run, the outcome, and the handle that leads on; plain JSON."""
    outcome, sentence, next_step = _outcome(job, None)
    verdict = job.verdict
    handle = job.version.handle if job.version else (verdict.candidate if verdict else "")
    return {
        "schema": 1,
        "run": f"runs:/{job.record.id}",
        "outcome": outcome,
        "sentence": sentence,
        "next_step": next_step,
        "handle": handle,
        "exit_code": exit_code(job),
    }

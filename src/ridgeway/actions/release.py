"""One release under way: what was done of it before, what is done now, and the record that ties it together.

The steps of the flow are thin calls of the methods here. Every step looks into the record first: what an earlier
process finished from the very same inputs is taken from there, and what it left half-done is carried on.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from ridgeway import orchestrator, report, settings
from ridgeway.actions import adoption, approval, endpoints, golden, images, probing, rollout, settled, telling
from ridgeway.actions.identity import acting
from ridgeway.actions.models import open_registry, require_registry, resolve, verdict_of
from ridgeway.actions.retraining import settings_digest
from ridgeway.artifacts import (
    Approval,
    Deployment,
    Endpoint,
    Image,
    ModelVersion,
    Person,
    ProbeReport,
    Release,
    ReleaseStep,
    Rollout,
    from_json,
    parse_handle,
    to_json,
)
from ridgeway.errors import GateFound, NotAccepted, Permanent, RidgewayError, RolledBack, Stuck, UsageError
from ridgeway.orchestrator.origin import idempotency_key
from ridgeway.project import Project, commit, digest_of, open_project, prepare_state
from ridgeway.registry import FLOW_RUN_TAG, Registry, refuse_local_in_ci
from ridgeway.registry.releases import Releases
from ridgeway.rules.approval import check_trials, evidence_digest
from ridgeway.rules.triggers import is_by_registration
from ridgeway.run_log import Run, RunLog, exclusive
from ridgeway.targets import Outcome, Target, open_target

FLOW = "release"
CHAMPION = "champion"
RELEASED = "ridgeway.model.released"
"""The event that says a model is in production."""
NOBODY = Person("registration", "server", "local")
"""Who asks for a release that begins because a model was registered: then everyone is another person than that."""
log = logging.getLogger("ridgeway.release")

_Noun = TypeVar("_Noun")


@dataclasses.dataclass(frozen=True)
class Request:
    """What was asked for on the command line."""

    subject: str
    """Handle of a model, or of the release to carry on."""
    until: str = ""
    ci: bool = False
    by_server: bool = False
    """Whether nobody has asked for it but the server itself, because a model was registered or it was time."""

    @property
    def caller(self) -> str:
        """Who starts it, in the words of release.started_by."""
        return "server" if self.by_server else "ci" if self.ci else "person"


class Releasing:
    """A release under way. Not a dataclass: the orchestrator would walk through its fields at every step."""

    def __init__(self, project: Project, registry: Registry, release: Release, version: ModelVersion) -> None:
        self.project = project
        self.registry = registry
        self.releases = Releases(registry)
        self.release = release
        self.version = version
        self.until = ""
        self.record: Run | None = None
        self.unchanged = False
        self.by_hand = False
        self.is_told = False
        self._holds: dict[str, ExitStack] = {}
        self._questions: dict[str, golden.Question] = {}
        self._packages: dict[str, Path] = {}

    # ---- what the flow asks --------------------------------------------------------------------------------------

    @property
    def production(self) -> str:
        """The last stage."""
        return self.release.stages[-1]

    @property
    def trials(self) -> tuple[str, ...]:
        """The stages on which the image is tried, as far as this run goes."""
        stages = endpoints.trial_stages(self.release.stages)
        return stages[: stages.index(self.until) + 1] if self.until in stages else stages

    @property
    def patience_seconds(self) -> float:
        """How long it may wait for an approval."""
        return self.project.settings.targets[self.production].approval.expires_hours * 3600

    @property
    def flow_run_id(self) -> str:
        """The flow run under which it waits on a server; empty where there is none."""
        return self.registry.run(self.release.run_id).tags.get(FLOW_RUN_TAG, "")

    @property
    def stops_early(self) -> bool:
        """Whether this run ends before production even if it might go there."""
        return bool(self.until) and self.until != self.production

    # ---- the steps -----------------------------------------------------------------------------------------------

    def build(self) -> Image:
        """The image: that of the record, of an earlier build, or a new one."""
        # First of all, so that whoever carries on finds the flow run wherever it was left.
        self.registry.tag_run(self.release.run_id, {FLOW_RUN_TAG: orchestrator.current_flow_run()})
        container = endpoints.needs_container(self.project, self.release.stages)

        def work() -> Image:
            return images.image_of(self.project, self.version, container=container)

        inputs = settled.image_inputs(self.project, self.version.digest, self.release.stages)
        image = self._once("build_image", "", inputs, work, lambda made: made.handle)
        self._save(image=image)
        return image

    def deploy(self, image: Image, stage: str) -> Endpoint:
        """The endpoint of a trial stage, running this image."""
        wanted = endpoints.deployment(self.project, stage, image, self.release.handle)
        self._hold(stage)
        if self.release.step("probe_endpoint", stage) is None and not self._is_up(wanted):
            self._forget("deploy_endpoint", stage)
        return self._once(
            "deploy_endpoint",
            stage,
            {"deployment": wanted.digest},
            lambda: self._deployed(wanted),
            lambda made: f"{made.handle} at {made.address}",
        )

    def probe(self, endpoint: Endpoint) -> ProbeReport:
        """What a trial stage's endpoint answered."""
        stage = endpoint.target
        wanted = endpoints.deployment(self.project, stage, self._image(), self.release.handle)
        asked = self.project.settings.release.probe.model_dump(mode="json")
        report = self._once(
            "probe_endpoint",
            stage,
            {"deployment": wanted.digest, "probe": asked},
            lambda: self._trusted(stage, self.asked(wanted)),
            lambda made: made.sentence,
        )
        self._let_go(stage)
        return report

    def ask(self, image: Image) -> Release:
        """The release with its evidence before the approvers, and what they have said so far."""
        if self._under_way() is not None:
            return self._save(state="approved")  # evidence changes while production does
        case = approval.Case(self.project, self.registry, self.release)
        shown = approval.gather(case, image)
        self.releases.write_evidence(self.release, shown)
        self._save(evidence=evidence_digest(shown))
        decision = approval.decide(approval.Case(self.project, self.registry, self.release))
        log.info("%s", decision.sentence)
        ended = now() if decision.state in ("refused", "expired") else ""
        return self._save(
            state=decision.state, sentence=decision.sentence, next_step=decision.next_step, ended_at=ended
        )

    def roll_out(self, image: Image) -> Rollout:
        """Production with this image, or as it was."""
        stage, began = self.production, now()
        wanted = endpoints.deployment(self.project, stage, image, self.release.handle)
        self._hold(stage)
        self._refresh()
        done = rollout.roll_out(wanted, self.hands(stage), earlier=self._under_way())
        step = ReleaseStep("roll_out", stage, wanted.digest, began, now(), done.state)
        # Kept together with the end of the release: whoever carries on after a crash finds all of it, or none.
        self.release = dataclasses.replace(self.release, steps=self._with_step(step))
        ended = self._ended(done)
        self._let_go(stage)
        return ended

    def _under_way(self) -> Rollout | None:
        """The roll-out that an earlier process has begun and not ended."""
        earlier = self.release.rollout
        if earlier is None or not rollout.is_under_way(earlier, self.target(self.production).observe()):
            return None
        return earlier

    # ---- what the steps stand on ---------------------------------------------------------------------------------

    def hands(self, stage: str) -> rollout.Hands:
        """What a roll-out on this stage works with."""
        chosen = self.project.settings.targets[stage].rollout
        return rollout.Hands(
            target=self.target(stage),
            probe=self.asked,
            package=lambda image: self._package(stage, image),
            note=lambda state: self._keep(rollout=state),
            get_ready=self._get_ready,
            bake_seconds=chosen.bake_seconds,
            now=now,
            by_hand=self.by_hand,
        )

    def asked(self, deployment: Deployment) -> ProbeReport:
        """What the endpoint of a deployment answers."""
        question = self._question(deployment.image.model)
        return probing.ask(self.project, question, deployment, self.target(deployment.target))

    def _question(self, model: str) -> golden.Question:
        """What the model's endpoints are asked; read once, so that later the registry may be away."""
        if model not in self._questions:
            self._questions[model] = golden.question(self.project, self.registry, model)
        return self._questions[model]

    def _get_ready(self, deployments: Sequence[Deployment]) -> None:
        """Reads what it takes to run and to prove what shall run, and what runs, before anything is changed.

        Raises:
            RidgewayError: It cannot be read: what shall run could not be proven, or not just now.
        """
        for number, one in enumerate(deployments):
            try:
                self._package(one.target, one.image)
                self._question(one.image.model)
            except Permanent as error:
                if not number:
                    raise
                # What cannot be put back any more is still to be replaced.
                log.warning("there would be no way back: %s", error.summary)

    def _package(self, stage: str, image: Image) -> Path | None:
        """The folder of the image's model, for a stage that runs folders."""
        if self.project.settings.targets[stage].kind in ("docker", "kubernetes"):
            return None
        if image.model not in self._packages:
            self._packages[image.model] = images.package_folder(self.project, image)
        return self._packages[image.model]

    def target(self, stage: str) -> Target:
        """The place of a stage."""
        return open_target(self.project, stage)

    def _image(self) -> Image:
        assert self.release.image is not None
        return self.release.image

    def _deployed(self, wanted: Deployment) -> Endpoint:
        target = self.target(wanted.target)
        observed = target.observe()
        plan = target.plan(wanted, observed)
        if plan.changes:
            target.apply(plan, package=self._package(wanted.target, wanted.image), say=log.info)
        outcome = target.wait(wanted, seconds=wanted.deadline_seconds, say=log.info)
        if not outcome.healthy:
            self._reject(_not_ready(wanted, outcome))
        return target.observe().endpoint

    def _trusted(self, stage: str, report: ProbeReport) -> ProbeReport:
        if not report.ok:
            found = report.failures[0]
            self._reject(
                GateFound(
                    f"probe_endpoint: {report.image} on {stage} is not to be trusted",
                    problem="\n".join(f"{finding.check}: {finding.sentence}" for finding in report.failures),
                    next_step=found.next_step or f"ridgeway logs {stage}     or     ridgeway probe {stage}",
                )
            )
        return report

    def _reject(self, error: GateFound) -> None:
        """The end of a release whose trial went wrong.

        Raises:
            GateFound: That one.
        """
        self._save(state="rejected", sentence=error.summary, next_step=error.next_step, ended_at=now())
        raise error

    def _ended(self, done: Rollout) -> Rollout:
        """The record's end, the champion's move, and for a roll-out that went wrong its error."""
        if done.state in ("done", "unchanged"):
            self.unchanged = done.state == "unchanged"
            if self.production == self.project.settings.release.stages[-1]:
                self.registry.set_alias(CHAMPION, self.version.number)
            sentence = _answers(self.release, self.production)
            self._save(
                rollout=done, state="released", sentence=sentence, next_step=_try(done.after.target), ended_at=now()
            )
            if not self.by_hand:  # then there is no flow, and no server to tell it to
                with suppress(Exception):  # told to whoever listens; the release does not depend on it
                    orchestrator.emit(RELEASED, self.version.handle, {"release": self.release.handle})
            return done
        went_back = done.state == "returned"
        error = _went_back(self.release, done) if went_back else _is_stuck(self.release, done)
        self._save(
            rollout=done,
            state="rolled_back" if went_back else "frozen",
            sentence=error.summary,
            next_step=error.next_step,
            ended_at=now(),
        )
        raise error

    def _once(
        self, name: str, stage: str, inputs: dict[str, Any], work: Callable[[], _Noun], tell: Callable[[_Noun], str]
    ) -> _Noun:
        """What a step made: taken from the record if it was made from the very same inputs, else made and kept."""
        key, earlier = digest_of(inputs), self.release.step(name, stage)
        if earlier is not None and earlier.inputs == key:
            log.info("%s%s: done before: %s", name, f" ({stage})" if stage else "", earlier.sentence)
            known: _Noun = from_json(earlier.output)
            return known
        began = now()
        made = work()
        step = ReleaseStep(name, stage, key, began, now(), tell(made), to_json(made))
        log.info("%s", step.sentence)
        self._save(steps=self._with_step(step))
        return made

    def _is_up(self, wanted: Deployment) -> bool:
        """Whether that deployment runs now: what an earlier process has put there may be gone."""
        observed = self.target(wanted.target).observe()
        asked = observed.deployment
        return asked is not None and asked.digest == wanted.digest and observed.endpoint.state == "healthy"

    def _forget(self, name: str, stage: str) -> None:
        left = tuple(step for step in self.release.steps if (step.name, step.stage) != (name, stage))
        self.release = dataclasses.replace(self.release, steps=left)

    def _with_step(self, step: ReleaseStep) -> tuple[ReleaseStep, ...]:
        others = (known for known in self.release.steps if (known.name, known.stage) != (step.name, step.stage))
        return (*others, step)

    def _save(self, **changes: Any) -> Release:
        changed = dataclasses.replace(self.release, **changes)
        if changed != self.release:
            if "state" in changes:
                self._tell(changed)
            self.release = changed
            self.releases.save(changed)
        return self.release

    def _tell(self, changed: Release) -> None:
        """Keeps the message of a state that is come into; before the record of it, so that a kill loses neither."""
        approvals: Sequence[Approval] = ()
        if changed.state == "released":
            with suppress(RidgewayError):  # who said yes is worth less than that it is told
                approvals = self.releases.approvals(changed)
        told = telling.of_release(changed, self.record.record if self.record else None, approvals)
        self.is_told = self.is_told or (told is not None and told.event != "waiting")
        telling.tell(self.project, told)

    def _keep(self, **changes: Any) -> None:
        self._save(**changes)

    def _refresh(self) -> None:
        """The record as whoever held the endpoint before has left it."""
        self.release = self.releases.read(self.release.number)

    def _hold(self, stage: str) -> None:
        if stage not in self._holds:
            with ExitStack() as stack:
                stack.enter_context(self.target(stage).hold(self.release.handle))
                self._holds[stage] = stack.pop_all()

    def _let_go(self, stage: str) -> None:
        self._holds.pop(stage, ExitStack()).close()

    def let_go(self) -> None:
        """Gives back every endpoint that is held."""
        for stage in list(self._holds):
            self._let_go(stage)


def now() -> str:
    """This moment, ISO 8601 in UTC with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _not_ready(wanted: Deployment, outcome: Outcome) -> GateFound:
    return GateFound(
        f"deploy_endpoint: {wanted.image.handle} does not become ready on {wanted.target}",
        problem="\n".join([f"{outcome.reason}: {outcome.sentence}", *outcome.log[-10:]]),
        next_step=f"ridgeway logs {wanted.target}     or     ridgeway preflight {wanted.target}",
    )


def _went_back(release: Release, done: Rollout) -> RolledBack:
    what = done.before.image.model if done.before else "nothing"
    return RolledBack(
        f"roll_out: {release.model} did not hold on {done.after.target}; {what} is back",
        problem=done.reason,
        next_step=f"ridgeway show {release.handle}     or     ridgeway logs {release.handle}",
    )


def _is_stuck(release: Release, done: Rollout) -> Stuck:
    return Stuck(
        f"roll_out: {done.after.target} runs neither {release.model} nor a proven previous image",
        problem=done.reason,
        expected="a person who looks at it",
        next_step=f"ridgeway show {done.after.target}; when it is mended, the same command, "
        f"or ridgeway rollback {done.after.target}",
    )


def _answers(release: Release, stage: str) -> str:
    why = f": {release.reason}" if release.reason else ""
    return f"{release.model} {'is back' if release.kind == 'rollback' else 'answers'} on {stage}{why}"


def _try(stage: str) -> str:
    return f"ridgeway keys {stage}"


# ---- opening and closing -----------------------------------------------------------------------------------------

_UNDER_WAY: ContextVar[Releasing | None] = ContextVar("ridgeway_release", default=None)


@contextmanager
def start(
    subject: str, *, until: str = "", overrides: Sequence[str] = (), ci: bool = False, by_server: bool = False
) -> Iterator[Releasing]:
    """A release of the project around the working directory; at the end, however it ends, its record is complete.

    Args:
        subject: Handle of a registered model, or of the release to carry on.
        until: The stage to stop after.
        overrides: ``KEY=VALUE`` settings over all others.
        ci: Whether this is a CI job: a registry that lives on the throw-away agent is then refused.
        by_server: Whether the server itself has started it.

    Raises:
        NotFound: There is no such model or release.
        NotAccepted: No verdict lets this model in, or the release has ended.
        NotProven: It was registered with MLflow alone, and the evidence is not enough for a verdict.
        UsageError: ``until`` is no stage, or releases are started by someone else.
        Busy: Another release works here.
    """
    under_way = _UNDER_WAY.get()
    if under_way is not None:  # the command has opened it already, while the server was starting
        with _shown(under_way):
            yield under_way
        return
    project = open_project(Path.cwd(), overrides=overrides)
    prepare_state(project)
    request = Request(subject, until, ci, by_server or _is_by_registration(project, subject))
    _refuse(project, request)
    with exclusive(project.root, f"{FLOW}-{project.name}"):
        with telling.failures(project, FLOW):
            job = _open(project, request)
        with recorded(job, RunLog(project.root).start(FLOW)), _shown(job):
            yield job


@contextmanager
def _shown(job: Releasing) -> Iterator[None]:
    """At the end, however it ends, the page is written, and shown on the server, which only a flow may do."""
    try:
        yield
    finally:
        with suppress(Exception):  # what happened to the release is to be told, not what happened to its page
            markdown = write_page(job)
            if orchestrator.current_flow_run():  # outside of one Prefect would start a server of its own
                orchestrator.show_markdown(f"{FLOW}-{job.project.name}", markdown.read_text(encoding="utf-8"))


def write_page(job: Releasing) -> Path:
    """Writes the release's page and its Markdown beside it; where the Markdown is."""
    folder = job.project.state / "releases" / str(job.release.number)
    shown, said = job.releases.evidence(job.release), job.releases.approvals(job.release)
    return report.write_release(job.release, shown, said, folder)[1]


@contextmanager
def recorded(job: Releasing, record: Run) -> Iterator[None]:
    """Meanwhile the release is under way in this process; at the end, however it ends, ``record`` says how."""
    job.record = record
    record.produced(job.release.handle)
    token = _UNDER_WAY.set(job)
    try:
        yield
        _close(job, None)
    except BaseException as error:
        _close(job, error)
        raise
    finally:
        _UNDER_WAY.reset(token)


def _refuse(project: Project, request: Request) -> None:
    if request.ci:
        refuse_local_in_ci(project.settings.registry.uri)
    stages, owner = project.settings.release.stages, project.settings.release.started_by
    if request.until and request.until not in stages:
        raise UsageError(f"--until {request.until}: no such stage", expected=f"one of {', '.join(stages)}")
    caller = request.caller
    if owner != caller and not request.subject.startswith("releases:"):
        raise UsageError(
            f"releases of {project.name} are started by {owner}, and this is a {caller}",
            where=f"release.started_by = {owner!r}   (from {project.loaded.origin('release.started_by')})",
            expected="exactly one owner, so that no model is released twice",
            next_step=f"let {owner} start it; or --set release.started_by={caller}",
        )


def _is_by_registration(project: Project, subject: str) -> bool:
    """Whether the flow run around this code, of whatever worker, was asked for by the registration of this version."""
    handle = parse_handle(subject)
    number = int(handle.which) if handle.kind == "models" and handle.which.isdecimal() else 0
    return is_by_registration(idempotency_key(), project.name, number)


def _open(project: Project, request: Request) -> Releasing:
    version, release = subject_of(project, request, judge=True)
    stages = release.stages if release else project.settings.release.stages
    check_trials(stages[:-1], project.loaded.origins)
    if request.until in ("", stages[-1]):
        approval.policy_for(project, stages)  # before anything is built that nobody may let through
    registry = open_registry(project)
    releases = Releases(registry)
    releases.tidy()
    if release is not None:
        releases.save(release)  # whoever was killed while saving has left it looking as it was before
    same = _unchanged(project, registry, version) if release is None and not request.until else None
    release = (
        same or release or releases.start(_new(project, version, NOBODY if request.by_server else acting(project)))
    )
    job = Releasing(project, registry, release, version)
    job.until, job.unchanged = request.until, release.state == "released"
    log.info("%s of %s", release.handle, release.model)
    return job


def _unchanged(project: Project, registry: Registry, version: ModelVersion) -> Release | None:
    """The finished release of this very model, if production is still just as it left it and would be left again."""
    stages = tuple(project.settings.release.stages)
    latest = Releases(registry).latest(settled.LOOK_BACK)
    same = [known for known in latest if known.model == version.handle and known.state == "released"]
    known = next((known for known in same if known.stages == stages and known.kind == "release"), None)
    return known if known is not None and settled.holds(project, known, version.digest) else None


def subject_of(project: Project, request: Request, *, judge: bool = False) -> tuple[ModelVersion, Release | None]:
    """The model that is asked for, and the release of it that would be carried on.

    Args:
        project: Whose model.
        request: What was asked for.
        judge: Whether a version that somebody registered with MLflow alone is judged now; else nothing is written.

    Raises:
        NotFound: There is no such model or release.
        NotAccepted: No verdict lets the model in, or the release has ended.
    """
    _refuse(project, request)
    require_registry(project, request.subject)
    registry = open_registry(project)
    releases = Releases(registry)
    if request.subject.startswith("releases:"):
        release = find(releases, request.subject)
        _refuse_ended(release)
        return resolve(registry, release.model), release
    version = resolve(registry, request.subject)
    if judge and not version.digest:
        version = adoption.admit(project, registry, version)
    _refuse_unproven(registry, version)
    return version, releases.open_for(version.handle, project.settings.release.stages)


def find(releases: Releases, text: str) -> Release:
    """The release that a handle names.

    Raises:
        NotFound: There is none.
        UsageError: It is the handle of something else.
    """
    handle = parse_handle(text)
    if handle.kind != "releases" or handle.name != releases.name:
        raise UsageError(f"{text} is no release here", expected=f"releases:/{releases.name}/NUMBER")
    return releases.read(int(handle.which))


def _refuse_ended(release: Release) -> None:
    # One that is released already is as whoever asks for it wants it.
    if not release.is_open and release.state != "released":
        raise NotAccepted(
            f"{release.handle} has ended: {release.state}",
            problem=release.sentence,
            next_step=f"ridgeway run release {release.model}",
        )


def _refuse_unproven(registry: Registry, version: ModelVersion) -> None:
    verdict = verdict_of(registry, version)
    if verdict is None or not verdict.accepted:
        raise NotAccepted(
            f"{version.handle} may not be released: no verdict lets it in",
            problem=verdict.sentence if verdict else "it was registered without a judgement; a release begins with one",
            expected="a model that the promotion gate accepted",
            next_step="ridgeway run retraining",
        )


def _new(project: Project, version: ModelVersion, requester: Person) -> Release:
    return Release(
        name=project.name,
        number=0,
        run_id="",
        kind="release",
        model=version.handle,
        model_digest=version.digest,
        stages=tuple(project.settings.release.stages),
        state="started",
        requested_by=requester,
        requested_at=now(),
        commit=commit(project.root).id,
        settings=settings_digest(project),
        build_url=settings.ci_build().get("url", ""),
    )


def _close(job: Releasing, error: BaseException | None) -> None:
    """Ends the run's record; a failure in here never hides the error that led here."""
    with suppress(Exception):
        job.let_go()
    with suppress(Exception):
        write_page(job)
    record = job.record
    assert record is not None
    if error is None:
        record.end("finished", exit_code=exit_code(job), sentence=job.release.sentence)
        telling.send(job.project)
        return
    with suppress(Exception):
        if isinstance(error, Permanent) and job.release.is_open and job.release.state != "frozen":
            job._save(state="failed", sentence=error.summary, next_step=error.next_step)  # noqa: SLF001 - same module
    if not job.is_told:
        telling.tell(job.project, telling.of_error(record.record, error, handle=job.release.handle))
    with suppress(Exception):
        if isinstance(error, Exception):
            code = error.exit_code if isinstance(error, RidgewayError) else 1
            record.end("failed", exit_code=code, sentence=str(error).partition("\n")[0])
        else:
            record.end("interrupted", exit_code=130, sentence="interrupted")
    telling.send(job.project)


def exit_code(job: Releasing) -> int:
    """What the command ends with: 0 released, or tried as far as was asked; 3 refused, 5 waiting."""
    if job.stops_early and job.release.state in ("waiting", "approved"):
        return 0
    return job.release.exit_code


def summary(job: Releasing) -> dict[str, Any]:
    """What the flow returns: the run, the outcome, and the handle that leads on; plain JSON."""
    assert job.record is not None
    return {
        "schema": 1,
        "run": f"runs:/{job.record.id}",
        "outcome": "unchanged" if job.unchanged else job.release.state,
        "sentence": f"{'unchanged: ' if job.unchanged else ''}{job.release.sentence}",
        "next_step": job.release.next_step,
        "handle": job.release.handle,
        "model": job.release.model,
        "image": job.release.image.handle if job.release.image else "",
        "exit_code": exit_code(job),
    }

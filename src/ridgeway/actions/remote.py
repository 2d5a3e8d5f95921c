"""A flow as a job in a cluster, on an instance type: `run retraining --on gpu-small`, and what workers hand on.

The command makes the project's image, asks for the job, and watches it as if the flow ran here: its log lines, steps,
outcome and errors are this machine's. Whatever ends the watching takes the job away; what is killed without a word is
swept up by the next command, or else by the cluster itself.

For a worker: :func:`carry_out` with the id of a flow run that it has taken. The flow run is carried on inside the pod,
under its own id, which sets its states and gives signs of life from then on. Before that (image, waiting for a machine)
it stays Pending; an error raised by then is for the worker to tell the server, as of any flow that cannot begin.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from ridgeway.actions import remote_story
from ridgeway.actions.remote_request import Prepared, RemoteCall, home_of, job_request, prepare
from ridgeway.artifacts import Image
from ridgeway.errors import Permanent, RidgewayError, Transient
from ridgeway.image import training, training_source
from ridgeway.image.training_inputs import training_request
from ridgeway.project import Project, prepare_state, write_atomically
from ridgeway.registry import glance_file
from ridgeway.run_log import Process, Run, RunLog, RunRecord, StepRecord, exclusive, is_alive, spoken_by
from ridgeway.targets.kubernetes.connection import Cluster
from ridgeway.targets.kubernetes.job import Jobs
from ridgeway.targets.kubernetes.job_manifests import JobRequest, summary
from ridgeway.targets.kubernetes.job_watch import Watch, Watched

__all__ = ["RemoteCall", "carry_out", "plan", "take_away"]

log = logging.getLogger("ridgeway.job")
image_log = logging.getLogger("ridgeway.build_image")

JOB_FILE = "job.json"
"""In the run's folder: where its job is, for whoever has to take it away when the command is gone."""
REPORT = ("report/record.json", "report/report.html")
KEPT_LOG = "logs/run.log"


def plan(project: Project, call: RemoteCall) -> tuple[tuple[str, str], ...]:
    """Step and what it would do, line by line: the image, the job's objects, and what would run in it.

    Raises:
        UsageError: As of :func:`prepare`.
    """
    ready = prepare(project, call)
    request = training_request(project, ready.source)
    found = training.find(request)
    made = f"there already: {found.handle}" if found else f"{request.target.handle}, to be made"
    image = found or Image(request.target.handle, "", "", "", "", "")
    lines = [("build_image", f"commit {ready.source.commit[:12]}: {made}")]
    lines += [("build_image", text) for text in training_source.left_out(ready.source)]
    lines += [("start_job", text) for text in summary(job_request(ready, image, ""))]
    return (*lines, (call.flow, f"in the pod; registry {ready.servers.registry}, Prefect {ready.servers.prefect}"))


def carry_out(project: Project, call: RemoteCall) -> dict[str, Any]:
    """What the flow returned, carried out in the cluster; with the run's record, logs and report on this machine.

    Blocks until the job has ended. KeyboardInterrupt (Ctrl-C, SIGTERM) takes the job away and goes on.

    Args:
        project: Whose files, as of its commit, and whose settings count.
        call: What, and where.

    Returns:
        What the flow returned; for a retraining also ``record``, the handle of this machine's record.

    Raises:
        Busy: Another retraining of this folder runs.
        RidgewayError: As the flow raised it in the pod; or what kept the job from starting, ended it, or removed it.
    """
    ready = prepare(project, call)
    prepare_state(project)
    with exclusive(project.root, f"{call.flow}-{project.name}"):
        store = RunLog(project.root)
        for dead in store.dead():
            store.bury(dead)
        with _recorded(project, call) as record:
            found = _carry_out(ready, record)
            _finish(project, record, found)
            return found


def _carry_out(ready: Prepared, record: Run) -> dict[str, Any]:
    with record.step("build_image"):
        for line in training_source.left_out(ready.source):
            image_log.warning("%s", line)
        image = training.build(training_request(ready.project, ready.source), say=image_log.info)
    request = job_request(ready, image, record.id)
    jobs = ready.jobs
    try:
        with record.step("start_job"):
            _start(ready, jobs, request, record)
        hearer = _Hearer(record)
        watched = Watch(jobs.cluster, request, hearer.hear, log.info).to_the_end()
    finally:
        _remove(jobs, request.name)
    return _outcome(ready, record, watched, hearer)


def _start(ready: Prepared, jobs: Jobs, request: JobRequest, record: Run) -> None:
    place = {"context": jobs.cluster.context, "namespace": request.namespace, "name": request.name}
    write_atomically(record.store.folder / record.id / JOB_FILE, json.dumps(place).encode())
    home = home_of(ready.project)
    goes_on = jobs.sweep(
        request.name, is_ours=lambda owner: _read_owner(owner).get("home") == home, is_watched=_is_watched, say=log.info
    )
    log.info("%s job %s on %s", "going on with" if goes_on else "starting", request.name, ready.instance.name)
    if goes_on:
        jobs.adopt(request)
    else:
        jobs.start(request, ready.secrets)


def _read_owner(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _is_watched(text: str) -> bool:
    owner = _read_owner(text)
    try:
        process = Process(int(owner["pid"]), str(owner["started"]), str(owner["host"]))
    except (KeyError, TypeError, ValueError):
        return False
    return is_alive(process)


def _remove(jobs: Jobs, name: str) -> None:
    """Takes the job away; where the cluster does not answer it does so itself, later."""
    try:
        jobs.remove(name, say=log.info)
    except RidgewayError as error:
        log.warning("job %s is not removed now (%s); the cluster does so, or the next command", name, error.summary)


class _Hearer:
    """Takes what the pod says into this machine's record and story."""

    def __init__(self, record: Run) -> None:
        self._record = record
        self._own_steps = record.record.steps
        self._heard: list[remote_story.Said] = []
        self.run = ""
        self.ended: remote_story.Ended | None = None

    def hear(self, line: str) -> None:
        """One line of the pod's log."""
        event = remote_story.read(line)
        if isinstance(event, remote_story.Said):
            self._say(event)
        elif isinstance(event, remote_story.Steps):
            self._note(event.steps)
        elif isinstance(event, remote_story.Begun):
            self._begun(event)
        elif isinstance(event, remote_story.Ended):
            self.end(event)
        elif line.strip():
            log.info("%s", line)

    def end(self, event: remote_story.Ended) -> None:
        """The pod's last word."""
        self.ended = event
        if event.run:
            self._known_as(event.run)
        if event.steps:
            self._note(event.steps)

    def _note(self, steps: Sequence[StepRecord]) -> None:
        self._record.note(steps=remote_story.steps_of(steps, self._own_steps))

    def complete(self, kept: str) -> None:
        """What the run has kept of its log, of which a node may have lost lines."""
        for said in remote_story.unheard(remote_story.read_kept(kept), self._heard):
            self._say(said)

    def _say(self, event: remote_story.Said) -> None:
        self._heard.append(event)
        with spoken_by(event.step):
            said = remote_story.record_of(event)
            logging.getLogger(said.name).handle(said)

    def _known_as(self, run: str) -> None:
        if run != self.run:
            self._heard = []  # of a pod that was taken away; its successor tells everything anew
        self.run = run
        self._record.produced(f"runs:/{run}")

    def _begun(self, event: remote_story.Begun) -> None:
        self.ended = None
        if event.run:
            self._known_as(event.run)
        if event.flow_run_id:
            self._record.note(flow_run_id=event.flow_run_id, flow_run_url=event.flow_run_url)


def _outcome(ready: Prepared, record: Run, watched: Watched, hearer: _Hearer) -> dict[str, Any]:
    """What the flow returned.

    Raises:
        RidgewayError: As the flow raised it, or what the pod ended with where it said nothing.
    """
    last = _last_word(watched)
    if last is not None and hearer.ended is None:
        hearer.end(last)
    ended = hearer.ended
    if hearer.run:
        hearer.complete((_fetch(ready, hearer.run, KEPT_LOG) or b"").decode(errors="replace"))
        _fetch_report(ready, record, hearer.run)
    if ended is None:
        raise _silent(watched)
    if ended.error:
        raise remote_story.error_of(ended)
    found = dict(ended.summary)
    if found.get("handle"):
        record.produced(str(found["handle"]))
    return {**found, "record": f"runs:/{record.id}"}


def _last_word(watched: Watched) -> remote_story.Ended | None:
    event = remote_story.read(watched.pod.message.strip()) if watched.pod else None
    return event if isinstance(event, remote_story.Ended) else None


def _silent(watched: Watched) -> RidgewayError:
    """The error for a job that ended without a word: its pod was killed, or died before it could speak."""
    pod = watched.pod
    killed = pod is None or pod.exit_code in (None, 130, 137, 143, 255)
    kind = Transient if killed else Permanent
    return kind(
        "the job's pod was killed" if killed else "the job ended without a word",
        where=f"pod {pod.pod}" if pod else "",
        problem=" ".join(
            text
            for text in (
                f"exit code {pod.exit_code}, {pod.reason}" if pod else "",
                f"{watched.end.reason}: {watched.end.message}",
                pod.message[-500:] if pod else "",
            )
            if text
        ),
        next_step="the same command again; what was finished is not done twice",
    )


def _fetch_report(ready: Prepared, record: Run, run: str) -> None:
    """The report that the job left in the registry, kept with this machine's record."""
    for path in REPORT:
        content = _fetch(ready, run, path)
        if content is not None:
            write_atomically(record.store.folder / record.id / path, content)


def _fetch(ready: Prepared, run: str, path: str) -> bytes | None:
    """A file of the job's run, by the registry's address here or, failing that, by the pods'."""
    addresses = dict.fromkeys((ready.project.settings.registry.uri, ready.servers.registry))
    found = (glance_file(address, ready.project.root, run, path) for address in addresses)
    return next((content for content in found if content is not None), None)


@contextmanager
def _recorded(project: Project, call: RemoteCall) -> Iterator[Run]:
    """The run's record on this machine, ended however the job ends, and told to whoever wants to know."""
    record = RunLog(project.root).start(call.flow)
    try:
        yield record
    except BaseException as error:
        _tell(project, record.record, error=error)
        with suppress(Exception):
            _end(record, error)
        raise


def _end(record: Run, error: BaseException) -> None:
    if isinstance(error, Exception):
        code = error.exit_code if isinstance(error, RidgewayError) else 1
        record.end("failed", exit_code=code, sentence=str(error).partition("\n")[0])
    else:
        record.end("interrupted", exit_code=130, sentence="interrupted")


def _finish(project: Project, record: Run, found: Mapping[str, Any]) -> None:
    """The end of a record whose flow has come to its end, whatever the verdict."""
    from ridgeway.actions import telling

    facts = {name: str(found.get(name, "")) for name in ("outcome", "sentence", "handle", "next_step")}
    code = int(found.get("exit_code", 0))
    more: dict[str, str | int] = {"handle": facts["handle"], "next_step": facts["next_step"], "exit_code": code}
    if record.record.flow == "retraining":
        telling.tell(project, telling.of_judgement(record.record, facts["outcome"], facts["sentence"], **more))
    record.end("finished", exit_code=code, sentence=facts["sentence"])
    telling.send(project)


def _tell(project: Project, record: RunRecord, *, error: BaseException) -> None:
    from ridgeway.actions import telling

    telling.tell(project, telling.of_error(record, error))
    telling.send(project)


# ---- when the command is gone ----------------------------------------------------------------------------------------


def take_away(project: Project, record: RunRecord) -> bool:
    """Takes away the job of a run whose command is gone; False where it left none.

    Raises:
        Unreachable: The cluster does not answer.
    """
    try:
        place = json.loads((RunLog(project.root).folder / record.id / JOB_FILE).read_text(encoding="utf-8"))
        jobs = Jobs(Cluster(place["context"]), place["namespace"], project.name)
        name = str(place["name"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    # A later command may have gone on with it: then it is that one's.
    known = next((one for one in jobs.find() if one.name == name), None)
    if known is None or _is_watched(known.owner):
        return False
    return jobs.remove(name, say=log.info)

"""One build under way: what its gates look at, what they have found so far, and the record it leaves behind.

The steps of the flow are thin calls of the methods here; :func:`start` opens a build and closes it, come what may. Each
gate is a program of its own, so that they run side by side, within a time, and all end when the build does.
"""

from __future__ import annotations

import contextvars
import datetime
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ridgeway import code_gate, orchestrator, report, settings
from ridgeway.actions import examples, publication, telling
from ridgeway.actions.build_subject import Subject, refuse_moved, refuse_unsaved, subject
from ridgeway.artifacts import GateReport, to_json
from ridgeway.errors import Busy, GateFound, RidgewayError, UsageError
from ridgeway.orchestrator.publication import origin_of
from ridgeway.project import Project, commit, environment_digest, open_project, prepare_state
from ridgeway.run_log import Run, RunLog, current_run, exclusive

FLOW = "build"
GATES = {"check_code": ("ruff", "types", "contracts"), "run_tests": ("tests",), "check_examples": ("data",)}
"""Step → its gates, by their names in build.checks."""
PARTS = {"code": GATES["check_code"], "tests": ("tests",), "data": ("data",)}
"""What ``--only`` names → its gates. Beside them: ``gates``, without publication; ``publish``, that without gates."""
TESTS = ("quick", "slow", "all")
OUTPUT = "gates"
"""In each run's folder: what the tools said, JUnit and coverage XML."""
log = logging.getLogger("ridgeway.build")

Tests = Literal["quick", "slow", "all"]


@dataclass(frozen=True)
class Request:
    """What was asked for."""

    commit: str = ""
    """To look at; empty: the tree as it is."""
    repository: str = ""
    """Of the commit, where it is not the project's own."""
    only: str = ""
    """``gates``, ``publish``, a part of ``PARTS``, or a single gate; empty: all of build.checks, then publication."""
    tests: str = "quick"
    overrides: tuple[str, ...] = ()
    ci: bool = False

    @property
    def publishes(self) -> bool:
        """Whether flows are published if all gates pass: never after a part of them, or of the tests."""
        return self.only == "publish" or (not self.only and self.tests != "slow")


class Building:
    """A build under way. Not a dataclass: the orchestrator would walk through its fields at every step."""

    def __init__(self, looked: Subject, request: Request, record: Run) -> None:
        self.looked = looked
        self.request = request
        self.record = record
        self.gates = wanted_gates(looked.project, request.only)
        self.reports: dict[str, GateReport] = {}
        self.errors: dict[str, Exception] = {}
        self.published: publication.Published | None = None
        self.is_reported = False
        self.stop = threading.Event()

    @property
    def project(self) -> Project:
        """The project that is looked at."""
        return self.looked.project

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps that have something to look at."""
        return tuple(step for step, gates in GATES.items() if any(gate in self.gates for gate in gates))

    @property
    def passed(self) -> bool:
        """Whether every gate has looked, and none has found anything."""
        return all(gate in self.reports and self.reports[gate].ok for gate in self.gates)

    @property
    def publishes(self) -> bool:
        """Whether it is time to publish."""
        return self.passed and self.request.publishes

    # ---- the steps -----------------------------------------------------------------------------------------------

    def check_code(self) -> list[GateReport]:
        """What the gates of code found, side by side.

        Raises:
            GateFound: One of them has found something.
            RidgewayError: One of them could not look.
        """
        chosen = [gate for gate in GATES["check_code"] if gate in self.gates]
        place = self._place()
        with ThreadPoolExecutor(max(1, len(chosen))) as pool:
            looks = [
                pool.submit(contextvars.copy_context().run, self._looked, gate, _of_code(gate, place))
                for gate in chosen
            ]
            reports = [look.result() for look in looks]
        return self._accepted(reports)

    def run_tests(self) -> GateReport:
        """What the tests came to.

        Raises:
            GateFound: One has failed, or too little of the code is run.
            RidgewayError: They could not be run.
        """
        chosen = self.project.settings.build
        which: Any = self.request.tests
        selection = code_gate.Selection(which, chosen.slow, chosen.coverage)
        place = self._place()
        return self._accepted([self._looked("tests", lambda: code_gate.look("tests", place, chosen=selection))])[0]

    def check_examples(self) -> GateReport:
        """What the data gate found in the project's data, and whether it tells good examples from bad ones.

        Raises:
            GateFound: It refuses the data, or takes what it must not.
            Unreachable: The source of the data does not answer.
        """
        return self._accepted([self._looked("data", self._data)])[0]

    def publish(self) -> str:
        """What was published, in a sentence.

        Raises:
            UsageError: A flow does not import, or the tree has changed since the gates looked at it.
            Unreachable: The server does not answer.
        """
        assert self.looked.origin is not None
        refuse_moved(self.looked)
        self.published = publication.publish(self.project, commit=self.looked.origin, ci=self.request.ci)
        log.info("%s", self.published.sentence)
        return self.published.sentence

    # ---- what they stand on --------------------------------------------------------------------------------------

    def _data(self) -> GateReport:
        place = self._place()
        answer = place.output / "data.json"
        answer.unlink(missing_ok=True)
        arguments = ["-P", "-m", examples.__name__, str(answer), json.dumps(self.request.overrides)]
        ended = code_gate.run_python("data", arguments, place)
        if ended.is_late:
            raise code_gate.too_late("data", ended, place)
        found = examples.read_answer(answer)
        if found is None:
            raise code_gate.crash("data", ended, place)
        return found

    def _place(self) -> code_gate.Place:
        root = self.project.root
        environment = {}
        if (root / "src").is_dir():  # what is looked at, not what is installed
            environment["PYTHONPATH"] = str(root / "src")
        operations = settings.operations_file(self.project.home)
        if operations is not None:
            environment["RIDGEWAY_OPERATIONS"] = str(operations.resolve())
        return code_gate.Place(
            root,
            run_folder(self) / OUTPUT,
            self.project.state / FLOW,
            self.project.settings.build.timeout_seconds,
            environment,
            self.stop,
        )

    def _looked(self, gate: str, look: Callable[[], GateReport]) -> GateReport:
        """What a gate came to; that it could not look is an outcome too, except where another attempt may help."""
        began = time.monotonic()
        log.info("%s: looks", gate)
        try:
            found = look()
        except RidgewayError as error:
            self.errors[gate] = error
            details = "\n".join(text for text in (error.summary.removeprefix(f"{gate}: "), error.problem) if text)
            seconds = time.monotonic() - began
            found = GateReport(gate, "broken", (), details, error.next_step, seconds, exit_code=error.exit_code)
        except Exception as error:
            self.errors[gate] = error
            raise
        else:
            self.errors.pop(gate, None)
        self.reports[gate] = found
        tell = log.info if found.ok else log.warning
        tell("%s: %s", gate, found.sentence)
        for one in found.findings:
            log.debug("%s: %s %s %s", gate, one.place, one.rule, one.message)
        return found

    def _accepted(self, reports: list[GateReport]) -> list[GateReport]:
        """The reports, if nothing stands against publication in any of them.

        Raises:
            RidgewayError: Something does; one for which another attempt may help comes first.
        """
        errors = [error for each in reports if (error := self.errors.get(each.gate)) is not None]
        found = [each for each in reports if each.outcome == "found"]
        for error in sorted(errors, key=lambda one: getattr(one, "exit_code", 1) != Busy.exit_code):
            raise error
        if found:
            raise objection(found, self.record.id)
        return reports


def _of_code(gate: str, place: code_gate.Place) -> Callable[[], GateReport]:
    return lambda: code_gate.look(gate, place)


def objection(reports: Sequence[GateReport], run_id: str) -> GateFound:
    """The error of gates that have found something.

    Args:
        reports: Theirs.
        run_id: Where all of it is told.
    """
    number = sum(len(each.findings) for each in reports)
    return GateFound(
        f"build: {number} finding{'' if number == 1 else 's'} by {_listed([each.gate for each in reports])}",
        problem="\n".join(f"{each.gate}: {each.sentence}" for each in reports),
        next_step=next((each.next_step for each in reports if each.next_step), "")
        or f"ridgeway show runs:/{run_id[:12]}",
    )


def _listed(names: Sequence[str]) -> str:
    """Names as a person lists them: ``a, b and c``."""
    return " and ".join([*([", ".join(names[:-1])] if names[1:] else []), *names[-1:]])


def wanted_gates(project: Project, only: str) -> tuple[str, ...]:
    """The gates that look: those of build.checks, or those that ``--only`` names, whether they are in there or not.

    Args:
        project: Whose settings count.
        only: A part, a gate, or nothing.

    Raises:
        UsageError: It names neither.
    """
    checks = project.settings.build.checks
    if only in ("", "gates"):
        return tuple(gate for gates in GATES.values() for gate in gates if gate in checks)
    if only == "publish":
        return ()
    if only in PARTS:
        chosen = tuple(gate for gate in PARTS[only] if gate in checks)
        return chosen or PARTS[only][:1]
    if any(only in gates for gates in GATES.values()):
        return (only,)
    import difflib

    known = [*dict.fromkeys(["gates", *PARTS, "publish", *(gate for gates in GATES.values() for gate in gates)])]
    close = difflib.get_close_matches(only, known, n=1)
    raise UsageError(
        f"build has no part {only!r}",
        problem=f"did you mean {close[0]}?" if close else "",
        expected=f"one of {', '.join(known)}",
        next_step=f"ridgeway run build --only {close[0] if close else 'code'}",
    )


def plan(home: Project, request: Request) -> list[tuple[str, str]]:
    """Each step of a build and what it would do; looks at git and the server, and changes nothing.

    Raises:
        UsageError: It is to be published and cannot be.
    """
    check_request(home, request)
    gates, chosen = wanted_gates(home, request.only), home.settings.build
    what = {
        "ruff": "lint and formatting, by ruff",
        "types": "types, by mypy",
        "contracts": "import contracts, by import-linter",
        "tests": f"{request.tests} tests, by pytest"
        + (f"; coverage at least {chosen.coverage:g} %" if chosen.coverage and request.tests != "slow" else ""),
        "data": f"{home.settings.data.source} and examples, by {home.settings.data.suite}",
    }
    lines = [(step, what[gate]) for step, named in GATES.items() for gate in named if gate in gates]
    if request.publishes:
        server = publication.destination(home)
        origin = origin_of(home.home, request.commit or commit(home.root).id or "HEAD")
        if not request.commit:
            refuse_unsaved(home)
        lines.append(("publish_flows", f"commit {origin.commit[:12]} on {server.page}"))
    return lines


# ---- from beginning to end -------------------------------------------------------------------------------------------

_UNDER_WAY: ContextVar[Building | None] = ContextVar("ridgeway_build", default=None)


@contextmanager
def start(request: Request) -> Iterator[Building]:
    """A build of the project around the working directory; at the end, however it ends, its record is complete.

    Args:
        request: What was asked for.

    Raises:
        UsageError: It is to be published and cannot be, or there is no such commit or part.
        GateFound: At its end, where a gate has found something.
        RidgewayError: At its end, where no gate has found anything but one could not look.
    """
    under_way = _UNDER_WAY.get()
    if under_way is not None:  # the command has opened it already, while the server was starting
        with _guarded(under_way):
            yield under_way
        return
    with _opened(request) as job:
        token = _UNDER_WAY.set(job)
        try:
            with _guarded(job):
                yield job
        except BaseException as error:
            _close(job, error)
            raise
        else:
            _close(job, None)
        finally:
            _UNDER_WAY.reset(token)


@contextmanager
def _guarded(job: Building) -> Iterator[None]:
    """All programs of the build end with it; gates that found something are its error; and the server has its page."""
    try:
        yield
        _raise_objections(job)
    except BaseException as error:
        job.stop.set()
        if isinstance(error, Exception):
            with suppress(Exception):  # the error that led here is the one to tell
                _show(job, error)
        raise
    _show(job, None)


def _raise_objections(job: Building) -> None:
    found = [each for each in job.reports.values() if each.outcome == "found"]
    if found:
        raise objection(found, job.record.id)
    for gate in job.gates:
        if gate in job.errors:
            raise job.errors[gate]


@contextmanager
def _opened(request: Request) -> Iterator[Building]:
    """A build with a record: that of the worker that carries it out, or its own."""
    home = open_project(Path.cwd(), overrides=request.overrides)
    check_request(home, request)
    prepare_state(home)
    with ExitStack() as stack:
        if request.publishes:
            _take_turn(stack, home)
        with telling.failures(home, FLOW):
            looked = subject(
                home,
                rev=request.commit,
                repository=request.repository,
                publishes=request.publishes,
                overrides=request.overrides,
            )
            opened = current_run()
            record = opened if opened and opened.record.flow == FLOW else RunLog(home.root).start(FLOW)
        yield Building(looked, request, record)


def _take_turn(stack: ExitStack, home: Project) -> None:
    """One after the other, in the order in which they began: the newest commit is published last."""
    name = f"{FLOW}-{home.name}"
    try:
        stack.enter_context(exclusive(home.root, name))
    except Busy as error:
        log.info("waits: %s", error.problem)
        stack.enter_context(exclusive(home.root, name, wait_seconds=home.settings.build.timeout_seconds))


def check_request(home: Project, request: Request) -> None:
    """Nothing, if what was asked for makes sense here.

    Raises:
        UsageError: There is no such part or choice of tests, or it is to be published and no server lasts.
        Unreachable: The server that shall know of it does not answer.
    """
    wanted_gates(home, request.only)
    if request.tests not in TESTS:
        raise UsageError(f"build has no tests {request.tests!r}", expected=f"one of {', '.join(TESTS)}")
    if request.ci and request.publishes and home.settings.servers.prefect == "auto":
        raise UsageError(
            "build: --ci would publish to a server on this machine",
            where="servers.prefect = 'auto'",
            problem="it ends with the agent",
            expected="the address of a server that lasts",
            next_step="RIDGEWAY_SERVERS__PREFECT=https://…/api     or, only to look:     --only gates",
        )
    if request.publishes:
        try:
            publication.destination(home)
        except UsageError as error:
            error.next_step += "     or, only to look:     ridgeway run build --only gates"
            raise


# ---- the end ---------------------------------------------------------------------------------------------------------


def _close(job: Building, error: BaseException | None) -> None:
    """Writes the report and ends the record; a failure in here never hides the error that led here."""
    if not job.is_reported:
        with suppress(Exception):
            _write(job, error)
    known = summary(job, error)
    if isinstance(error, Exception) or error is None:
        told = telling.of_build(
            job.record.record,
            exit_code=known["exit_code"],
            sentence=known["sentence"],
            next_step=known["next_step"],
            commit=job.looked.commit,
        )
        if error is not None or job.published is not None:
            telling.tell(job.project, told)
        state: Literal["failed", "finished"] = "failed" if error is not None else "finished"
        job.record.end(state, exit_code=known["exit_code"], sentence=known["sentence"])
    else:
        job.record.end("interrupted", exit_code=130, sentence="interrupted")
    telling.send(job.project)


def _show(job: Building, error: Exception | None) -> None:
    files = _write(job, error)
    if orchestrator.current_flow_run():
        orchestrator.show_markdown(f"{FLOW}-{job.project.name}", files.markdown.read_text(encoding="utf-8"))


def _write(job: Building, error: BaseException | None) -> report.ReportFiles:
    files = report.write_build(record_of(job, error), run_folder(job) / "report")
    job.is_reported = True
    return files


def record_of(job: Building, error: BaseException | None) -> dict[str, Any]:
    """All that is known of the build, as JSON: what its report is made of."""
    known, record = summary(job, error), job.record.record
    info = report.RunInfo(
        run_id=job.record.id,
        flow=FLOW,
        project=job.project.name,
        started_at=record.started_at,
        ended_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        outcome=known["outcome"],
        sentence=known["sentence"],
        next_step=known["next_step"],
        details=_details(job, error),
        commit=job.looked.commit,
        clean=job.looked.clean,
        environment=environment_digest(),
        build_url=settings.ci_build().get("url", ""),
    )
    return report.build_record_of_build(info, [job.reports[gate] for gate in job.gates if gate in job.reports])


def _details(job: Building, error: BaseException | None) -> Mapping[str, str]:
    """What an error says beyond its summary, unless the gates say it themselves."""
    if not isinstance(error, RidgewayError) or isinstance(error, GateFound) or error in job.errors.values():
        return {}
    return {"where": error.where, "problem": error.problem, "expected": error.expected}


def run_folder(job: Building) -> Path:
    """Where the run keeps what it keeps."""
    return job.project.state / "runs" / job.record.id


def summary(job: Building, error: BaseException | None = None) -> dict[str, Any]:
    """What the flow returns, and what `--json` prints: the outcome, each gate's report, what was published; plain JSON.

    Args:
        job: The build.
        error: That it ended with, if it did.
    """
    outcome, sentence, next_step, code = _outcome(job, error)
    return {
        "schema": 1,
        "run": f"runs:/{job.record.id}",
        "outcome": outcome,
        "sentence": sentence,
        "next_step": next_step,
        "handle": f"runs:/{job.record.id}",
        "exit_code": code,
        "commit": job.looked.commit,
        "gates": [to_json(job.reports[gate]) for gate in job.gates if gate in job.reports],
        "published": [change.sentence for change in job.published.changes] if job.published else None,
    }


def _outcome(job: Building, error: BaseException | None) -> tuple[str, str, str, int]:
    if isinstance(error, RidgewayError):
        outcome = "found" if any(each.outcome == "found" for each in job.reports.values()) else "failed"
        return outcome, error.summary, error.next_step, error.exit_code
    if isinstance(error, Exception):
        return "failed", f"{type(error).__name__}: {error}", "", 1
    if error is not None:
        return "interrupted", "interrupted", "", 130
    gates = f"{_listed(job.gates)} passed" if job.gates else "no gate looked"
    if job.published is not None:
        return "published", f"{gates}; {job.published.sentence}", "", 0
    return "passed", f"{gates}; nothing was published", "", 0

"""What runs inside a job's pod: the flow, told line by line to the command that watches it.

    python -m ridgeway.cli.run.inside '{"flow": "retraining", …}'

It ends with 0 where the flow came to its end, whatever the verdict: a rejection is no failure of the job. An error ends
it with its exit code, after which the cluster knows whether to try again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ridgeway.actions import remote_story
from ridgeway.actions.remote_story import Begun, Ended, Steps
from ridgeway.cli import console
from ridgeway.errors import RidgewayError
from ridgeway.run_log import Run, RunLog, StepRecord, current_step
from ridgeway.settings import quiet_environment

LAST_WORD = Path("/dev/termination-log")
_LOOK_SECONDS = 0.25
log = logging.getLogger("ridgeway.job")


class Teller(logging.Handler):
    """Writes what is said and done as lines for whoever watches."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._writing = threading.Lock()
        self._stop = threading.Event()
        self.steps: tuple[StepRecord, ...] = ()
        self._flow_run = ""
        self.run = ""

    def write(self, event: remote_story.Event) -> None:
        """One line, at once."""
        with self._writing, contextlib.suppress(OSError, ValueError):
            sys.stdout.write(f"{remote_story.write(event)}\n")
            sys.stdout.flush()

    def emit(self, record: logging.LogRecord) -> None:
        """Tells of one log line. What the run's log says of an error is left out: the error is told at the end."""
        if record.name != "ridgeway.run_log":
            self.write(remote_story.said_by(record, current_step()))

    @contextlib.contextmanager
    def following(self, run: Run, *, has_page: bool) -> Iterator[None]:
        """Tells of the run's steps meanwhile, as they begin and end; and of its page, where that outlives the pod."""
        watcher = threading.Thread(target=self._watch, args=(run, has_page), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            self._stop.set()
            watcher.join()
            self._tell(run, has_page)

    def _watch(self, run: Run, has_page: bool) -> None:
        while not self._stop.wait(_LOOK_SECONDS):
            self._tell(run, has_page)

    def _tell(self, run: Run, has_page: bool) -> None:
        now = run.record
        steps, flow_run = self.steps, self._flow_run
        self.steps, self._flow_run = now.steps, now.flow_run_id
        if now.flow_run_id != flow_run and has_page:
            self.write(Begun(run.id, now.flow_run_id, now.flow_run_url))
        if now.steps != steps:
            self.write(Steps(now.steps))


def main(arguments: Sequence[str]) -> int:
    """The exit code of the pod."""
    quiet_environment()
    teller = Teller()
    logger = logging.getLogger("ridgeway")
    logger.addHandler(teller)
    logger.setLevel(logging.INFO)
    with console.signals():
        ended = _end(json.loads(arguments[0]), teller)
    teller.write(ended)
    with contextlib.suppress(OSError):
        LAST_WORD.write_text(remote_story.last_word(ended), encoding="utf-8")
    return 0 if ended.exit_code in console.SOFT_CODES else ended.exit_code


def _end(asked: Mapping[str, Any], teller: Teller) -> Ended:
    try:
        found = carry_out(asked, teller)
        return Ended(int(found.get("exit_code", 0)), found, run=teller.run, steps=teller.steps)
    except KeyboardInterrupt:
        return Ended(console.INTERRUPTED, error={"kind": "Transient", "summary": "the job was interrupted"})
    except RidgewayError as error:
        return Ended(error.exit_code, error=remote_story.facts_of(error), run=teller.run, steps=teller.steps)
    except Exception as error:
        log.exception("the job ended by an error that nobody foresaw")
        return Ended(1, error=remote_story.facts_of(error), run=teller.run, steps=teller.steps)


def carry_out(asked: Mapping[str, Any], teller: Teller) -> dict[str, Any]:
    """What the flow returns.

    Args:
        asked: ``flow``, ``entrypoint``, ``parameters``, ``settings`` (``KEY=VALUE``), ``flow_run_id`` and
            ``processors``.
        teller: Told of the run and its steps.
    """
    from ridgeway import orchestrator
    from ridgeway.cli.run.request import limits
    from ridgeway.project import open_project, prepare_state
    from ridgeway.registry import refuse_local_in_ci

    parameters = dict(asked["parameters"])
    parameters["overrides"] = [*asked["settings"], *(parameters.get("overrides") or ())]
    project = open_project(Path.cwd(), overrides=parameters["overrides"])
    refuse_local_in_ci(project.settings.registry.uri)
    prepare_state(project)
    server = orchestrator.ensure_server(
        project.root, setting=project.settings.servers.prefect, idle_minutes=1e6, say=log.debug, wait=False
    )
    with contextlib.ExitStack() as stack:
        if asked["processors"] >= 2:
            from ridgeway.actions import gate

            stack.enter_context(gate.prepared())
        run = stack.enter_context(_opened(asked["flow"], parameters, project))
        teller.run = run.id
        teller.write(Begun(run.id))
        stack.enter_context(teller.following(run, has_page=project.settings.servers.prefect != "auto"))
        call = orchestrator.Call(asked["entrypoint"], _wanted(asked, parameters), flow_run_id=asked["flow_run_id"])
        carry = _claimed if asked["flow_run_id"] else _new
        result = carry(call, run, server, limits(project))
    return dict(result) if isinstance(result, Mapping) else {"exit_code": 0}


def _opened(flow: str, parameters: Mapping[str, Any], project: Any) -> AbstractContextManager[Run]:
    """The run's record; of a retraining all that its command keeps."""
    if flow == "retraining":
        return _retraining(parameters)
    return RunLog(project.root).start(flow)


@contextlib.contextmanager
def _retraining(parameters: Mapping[str, Any]) -> Iterator[Run]:
    from ridgeway.actions import retraining

    with retraining.start(
        source=parameters.get("source", ""), overrides=tuple(parameters["overrides"]), ci=True
    ) as job:
        yield job.record


def _wanted(asked: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The flow's arguments; our own flows also hear of the settings in force."""
    return dict(parameters) if asked["flow"] == "retraining" else dict(asked["parameters"])


def _claimed(call: Any, run: Run, server: Any, limits: Any) -> Any:
    from ridgeway import orchestrator

    return orchestrator.run_claimed(call, run=run, server=server, limits=limits)


def _new(call: Any, run: Run, server: Any, limits: Any) -> Any:
    from ridgeway import orchestrator

    return orchestrator.run_flow(call.entrypoint, call.parameters, run=run, server=server, limits=limits)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

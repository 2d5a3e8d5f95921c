"""Ctrl-C, SIGTERM and kill -9 at any moment: nothing is half registered, and the same command goes on from there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from ridgeway.actions.models import open_registry
from ridgeway.project import open_project
from ridgeway.registry import Run
from ridgeway.registry.records import CANDIDATE_TAG, COMPLETE, INPUTS_TAG
from tests.story.conftest import PROGRAM, Ended, Story

pytestmark = pytest.mark.timeout(240)

STEPS = ("check_data", "train_model", "judge_candidate", "register_model")
MORTAL = '''"""Steps that end where the environment says; the sources stay the same, because a candidate knows them."""

import functools
import os
import signal
import time

from ridgeway.registry.connection import Connection
from ridgeway.registry.files import RunFiles

writes = 0


def here(point):
    if os.environ.get("DIE_AT") == point:
        os.kill(os.getpid(), signal.SIGKILL)
    if os.environ.get("WAIT_AT") == point:
        open("waiting", "w").close()
        time.sleep(60)


def mortal(step):
    @functools.wraps(step)
    def wrapped(*arguments, **keywords):
        here(f"before {step.__name__}")
        result = step(*arguments, **keywords)
        here(f"after {step.__name__}")
        return result

    return wrapped


def counted(method):
    @functools.wraps(method)
    def wrapped(self, *arguments, **keywords):
        global writes
        what = getattr(arguments[1], "__name__", "") if len(arguments) > 1 else ""
        if not what.startswith(("get_", "search_", "download_")):
            writes += 1
            here(f"write {writes}")
            here(f"call {what}")
        return method(self, *arguments, **keywords)

    return wrapped


if "DIE_AT" in os.environ:
    Connection.call = counted(Connection.call)
    RunFiles.put = counted(RunFiles.put)
'''


@pytest.fixture
def mortal(story: Story) -> Story:
    """A project whose steps can be made to die or to wait by the environment."""
    story.path("steps/__init__.py").write_text(MORTAL, encoding="utf-8")
    for step in STEPS:
        path = story.path(f"steps/{step}.py")
        text = path.read_text(encoding="utf-8").replace(f"def {step}(", f"@mortal\ndef {step}(")
        docstring, rest = text.split('"""\n', 1)
        path.write_text(f'{docstring}"""\nfrom steps import mortal\n{rest}', encoding="utf-8")
    return story


def mlflow_runs(story: Story) -> list[Run]:
    return open_registry(open_project(story.root)).runs()


def killed(story: Story, point: str) -> Ended:
    """What a retraining came to that dies without a word at this point."""
    process = story.process("run", "retraining", DIE_AT=point)
    out, err = process.communicate(timeout=120)
    return Ended(process.returncode, out, err)


def signalled(
    story: Story,
    number: signal.Signals,
    meanwhile: Callable[[subprocess.Popen[str]], None],
    *,
    said: str = "",
    at: str = "",
) -> Ended:
    """What a retraining came to that gets a signal once it has said something, or waits at some point."""
    process = story.process("run", "retraining", **({"WAIT_AT": at} if at else {}))
    lines: list[str] = []
    heard = threading.Event()

    def listen() -> None:
        for line in process.stderr or ():
            lines.append(line)
            if said and said in line:
                heard.set()

    listener = threading.Thread(target=listen)
    listener.start()
    with process:
        await_it(lambda: heard.is_set() or story.path("waiting").exists(), process)
        if at:
            meanwhile(process)
        process.send_signal(number)
        out = process.stdout.read() if process.stdout else ""
        process.wait(60)
        listener.join(10)
    story.path("waiting").unlink(missing_ok=True)
    return Ended(process.returncode, out, "".join(lines))


def await_it(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 90
    while not happened():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)


def goes_on(story: Story) -> Ended:
    """The same command again goes through, exactly once, and a third time nothing is left to do."""
    again = story.ridgeway("run", "retraining")
    assert (again.code, again.line) == (0, "models:/diabetes/2"), again.err
    versions = story.versions()
    assert [(version.number, version.complete) for version in versions] == [(1, True), (2, True)]
    assert versions[1].aliases == ("challenger",)
    assert story.ridgeway("list").out == "nothing is running, and nothing waits\n"
    assert all(run.state != "running" for run in story.runs())
    runs = mlflow_runs(story)
    assert all(run.status != "RUNNING" for run in runs)
    inputs = next(run.tags[INPUTS_TAG] for run in runs if run.run_id == versions[1].run_id)
    made = [run for run in runs if run.tags.get(INPUTS_TAG) == inputs and run.tags.get(CANDIDATE_TAG) == COMPLETE]
    assert len(made) == 1, "trained twice although it was complete"
    third = story.ridgeway("run", "retraining")
    assert (third.code, third.line) == (0, "models:/diabetes/2")
    assert third.err.startswith("unchanged: ")
    return again


# ---- Ctrl-C and SIGTERM ----------------------------------------------------------------------------------------------

MOMENTS = [
    pytest.param(signal.SIGINT, {"said": "starting"}, id="Ctrl-C while it starts", marks=pytest.mark.slow),
    pytest.param(signal.SIGTERM, {"at": "after train_model"}, id="SIGTERM after train_model", marks=pytest.mark.slow),
    *(
        pytest.param(signal.SIGINT, {"at": f"{when} {step}"}, id=f"Ctrl-C {when} {step}", marks=pytest.mark.slow)
        for step in STEPS
        for when in ("before", "after")
    ),
]


@pytest.mark.parametrize(("number", "moment"), MOMENTS)
def test_an_interrupted_retraining(number: signal.Signals, moment: dict[str, str], mortal: Story) -> None:
    def is_alone(process: subprocess.Popen[str]) -> None:
        """Another retraining of the same model has to wait."""
        assert "retraining  running" in mortal.ridgeway("list").out
        other = mortal.ridgeway("run", "retraining")
        assert other.code == 75, other.err
        assert f"process {process.pid}" in other.message
        assert "next" in other.message

    ended = signalled(mortal, number, is_alone, **moment)
    assert ended.code == 130, ended.err
    assert "Traceback" not in ended.err + ended.out
    assert ended.err.splitlines()[-1].startswith("interrupted: ")
    assert ended.out == ""
    late = moment.get("at") == "after register_model"
    assert [version.number for version in mortal.versions()] == ([1, 2] if late else [1])
    if "at" in moment:
        assert mortal.runs()[0].state == "interrupted"
        assert mlflow_runs(mortal)[0].status == "KILLED"
    assert mortal.ridgeway("list").out == "nothing is running, and nothing waits\n"
    goes_on(mortal)


# ---- kill -9 ---------------------------------------------------------------------------------------------------------

POINTS = [f"{when} {step}" for step in STEPS for when in ("before", "after")]
WRITES = [f"write {number}" for number in range(1, 36, 3)]


@pytest.mark.slow
@pytest.mark.parametrize("point", ["call set_registered_model_alias", *POINTS, *WRITES])
def test_a_killed_retraining(point: str, mortal: Story) -> None:
    ended = killed(mortal, point)
    if ended.code == 0 and point.startswith("write"):
        pytest.skip("a retraining has fewer writes")
    assert ended.code == -signal.SIGKILL, ended.err
    assert mortal.ridgeway("list").out == "nothing is running, and nothing waits\n"
    again = goes_on(mortal)
    crashed = [run for run in mortal.runs() if run.state == "crashed"]
    assert len(crashed) == 1
    assert next(run.status for run in mlflow_runs(mortal) if run.run_id == crashed[0].id) == "KILLED"
    if point in POINTS[POINTS.index("after train_model") :]:
        assert "trained before" in again.err


def test_a_reader_that_has_had_enough(first: Story) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, "list", "models"],
        cwd=first.root,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, "")

"""The end of what waits, and of what runs, because a person wants it."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from ridgeway.actions import cancel
from ridgeway.errors import NotAccepted, NotFound, UsageError
from ridgeway.run_log import RunLog
from tests.actions.conftest import Yard

RUN = """
import sys, time
from pathlib import Path
from ridgeway.run_log import RunLog
with RunLog(Path.cwd()).start("retraining", run_id="cd" * 16) as record:
    print("started", flush=True)
    time.sleep(60)
"""


def test_a_release_that_waits(yard: Yard) -> None:
    yard.released()
    project, handle = yard.project(), "releases:/diabetes/1"
    assert cancel.cancel(project, handle, only_plan=True) == (
        f"{handle} of models:/diabetes/1, now waiting, would end as cancelled"
    )
    assert yard.releases().read(1).state == "waiting"
    sentence = cancel.cancel(project, handle, reason="a better one comes")
    assert sentence.startswith(f"{handle} is cancelled by ")
    assert sentence.endswith(": a better one comes")
    ended = yard.releases().read(1)
    assert (ended.state, ended.exit_code, ended.is_open) == ("cancelled", 3, False)
    with pytest.raises(NotAccepted, match="has ended: cancelled"):
        cancel.cancel(project, handle)
    with pytest.raises(NotAccepted):
        yard.released(handle)


def test_what_cannot_be_cancelled(yard: Yard) -> None:
    with pytest.raises(NotFound):
        cancel.cancel(yard.project(), "releases:/diabetes/7")
    with pytest.raises(UsageError, match="cannot be cancelled"):
        cancel.cancel(yard.project(), "models:/diabetes/1")
    with RunLog(yard.root).start("retraining", run_id="ab" * 16) as record:
        record.end("finished", sentence="accepted")
    with pytest.raises(NotAccepted, match="runs:/abababababab has ended: finished"):
        cancel.cancel(yard.project(), "runs:/abab")


def test_a_run_of_this_machine_is_interrupted(yard: Yard) -> None:
    with subprocess.Popen([sys.executable, "-c", RUN], cwd=yard.root, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "started\n"
            name = "runs:/cdcdcdcdcdcd"
            assert cancel.cancel(yard.project(), name, only_plan=True) == f"{name} (retraining) would be interrupted"
            assert process.poll() is None
            assert cancel.cancel(yard.project(), name).startswith(f"{name} (retraining) is told to end")
            assert process.wait(20) == -signal.SIGTERM
        finally:
            process.kill()

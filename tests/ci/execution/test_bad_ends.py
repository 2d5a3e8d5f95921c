"""What goes wrong while a pipeline runs: steps without end, children left behind, interruptions, a full disk."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from ridgeway.ci.execution.folders import writing
from ridgeway.ci.execution.processes import Processes, Program, Stopped
from ridgeway.ci.execution.stream import Secrets, Stream
from ridgeway.errors import StorageError
from tests.ci.execution.conftest import Carried, Told


def alive(path: Path) -> bool:
    """Whether a process is there and more than an entry that nobody has asked for."""
    try:
        stat = Path(f"/proc/{path.read_text().strip()}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def test_a_step_without_end_fails_at_its_limit(carried: Carried, tmp_path: Path) -> None:
    told = carried(f"""
        steps:
        - script: sleep 600 & echo $! > {tmp_path}/child; echo begun; sleep 600
          timeoutInMinutes: 0.005
        - script: echo after
          condition: failed()
    """)
    assert told.results["__default/Job/1"] == "Failed"
    assert told.notes("__default/Job/1") == "its limit of 0.005 minutes was reached"
    assert told.lines[1:] == ["begun", "after"]
    assert not alive(tmp_path / "child")


def test_a_job_without_end_is_cancelled_at_its_limit(carried: Carried) -> None:
    told = carried("""
        jobs:
        - job: a
          timeoutInMinutes: 0.005
          steps:
          - checkout: none
          - script: sleep 600
          - script: echo skipped
          - script: echo cleans
            condition: always()
        - job: b
          dependsOn: a
          steps: [script: echo never]
    """)
    expected = {"a": "Canceled", "a/2": "Canceled", "a/3": "Skipped", "a/4": "Succeeded", "b": "Skipped"}
    assert {name: told.results[f"__default/{name}"] for name in expected} == expected
    assert told.lines == ["cleans"]
    assert "limit of 0.005 minutes" in told.notes("__default/a")
    assert told.made.state == "failed"


def test_children_live_as_long_as_their_job(carried: Carried, tmp_path: Path) -> None:
    """One in the group of its step, one that has left it; both are there for later steps and gone with the job."""
    told = carried(f"""
        steps:
        - checkout: none
        - script: |
            sleep 601 & echo $! > {tmp_path}/one
            setsid sleep 602 > /dev/null & echo $! > {tmp_path}/two
        - script: kill -0 $(cat {tmp_path}/one) && kill -0 $(cat {tmp_path}/two) && echo both
    """)
    assert told.lines == ["both"]
    assert told.notes("__default/Job") == "ended what steps had left: sleep"
    assert not alive(tmp_path / "one")
    assert not alive(tmp_path / "two")


def test_a_process_that_does_not_want_to_end_is_killed(tmp_path: Path) -> None:
    stopping, said = threading.Event(), []
    processes = Processes("mark-of-a-test", stopping, grace_seconds=0.3)
    script = "trap '' TERM; echo ready; while true; do sleep 0.1; done"
    program = Program(("bash", "-c", script), tmp_path, dict(os.environ))
    threading.Timer(0.5, stopping.set).start()
    began = time.monotonic()
    with pytest.raises(Stopped):
        processes.run(program, said.append)
    assert said == [b"ready\n"]
    assert time.monotonic() - began < 5
    assert processes.end() == ()


def test_an_interruption_stops_everything_and_keeps_artifacts(carried: Carried, tmp_path: Path) -> None:
    def interrupt(path: str, line: str) -> None:
        if line == "waiting":
            signal.raise_signal(signal.SIGINT) if threading.current_thread() is threading.main_thread() else os.kill(
                os.getpid(), signal.SIGINT
            )

    told = Told(hears=interrupt)
    with pytest.raises(KeyboardInterrupt):
        carried(
            f"""
            jobs:
            - job: a
              steps:
              - publish: file.txt
                artifact: kept
              - script: echo $$ > {tmp_path}/pid; echo waiting; sleep 600
              - script: echo never
                condition: always()
            - job: b
              dependsOn: a
              condition: always()
              steps: [script: echo never]
            """,
            told=told,
        )
    assert "never" not in told.lines
    assert not alive(tmp_path / "pid")
    folder = told.root / ".ridgeway/ci/1"
    assert (folder / "artifacts/kept/file.txt").read_text() == "committed\n"
    assert '"state": "interrupted"' in (folder / "run.json").read_text()
    assert not (folder / "work").exists()


def test_a_full_disk_is_an_error_that_says_so(tmp_path: Path) -> None:
    stream = Stream(Path("/dev/full"), Secrets([]), lambda _: None, lambda _: None)
    stream.feed(b"x" * 100_000 + b"\n")
    with pytest.raises(StorageError, match="cannot write the log full") as caught:
        stream.settle()
    stream.close()
    assert "No space left on device" in str(caught.value)
    assert "make room" in str(caught.value)


def test_a_condition_that_is_wrong_stops_the_run(carried: Carried) -> None:
    from ridgeway.ci.azure import PipelineError

    with pytest.raises(PipelineError, match="takes no names"):
        carried("steps:\n- script: sleep 0\n- script: echo\n  condition: succeeded('x')\n")


def test_output_without_line_ends_and_without_letters(carried: Carried) -> None:
    told = carried("""
        steps:
        - checkout: none
        - script: |
            head -c 200000 /dev/zero | tr '\\0' x; echo
            printf '\\377\\376 end\\r50%%\\r100%%\\n'; printf 'no newline'
    """)
    assert sum(line.count("x") for line in told.lines) == 200_000
    assert told.lines[-2:] == ["100%", "no newline"]


def test_writing_leaves_other_errors_alone() -> None:
    with pytest.raises(ValueError, match="other"), writing("cannot", Path("/x")):
        raise ValueError("other")

"""Programs that gates start: within a time, ended with whoever asked, and with all that they started."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ridgeway.code_gate import Place, run_python
from ridgeway.code_gate.programs import GUARD, require
from ridgeway.errors import UsageError


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.is_file() or state.read_text().rpartition(")")[2].split()[0] not in "ZX"


def gone(pid: int, seconds: float = 20) -> bool:
    until = time.monotonic() + seconds
    while is_there(pid) and time.monotonic() < until:
        time.sleep(0.05)
    return not is_there(pid)


def appears(path: Path, seconds: float = 30) -> str:
    until = time.monotonic() + seconds
    while not (path.is_file() and path.read_text()) and time.monotonic() < until:
        time.sleep(0.05)
    return path.read_text()


def test_output_code_and_place_are_those_of_the_program(place: Place) -> None:
    code = "import os, sys; print(os.getcwd()); print('no', file=sys.stderr); sys.exit(3)"
    ended = run_python("it", ["-c", code], place)
    assert (ended.code, ended.out, ended.err, ended.is_late) == (3, f"{place.folder}\n", "no\n", False)
    assert sorted(file.name for file in place.output.iterdir()) == ["it.err", "it.out"]


def test_a_program_that_is_killed_says_by_what(place: Place) -> None:
    ended = run_python("it", ["-c", "import os; os.kill(os.getpid(), 11)"], place)
    assert (ended.code, ended.how) == (-11, "was killed by SIGSEGV")


def test_a_program_that_takes_too_long_is_interrupted_and_can_say_where_it_was(place: Place) -> None:
    ended = run_python("it", ["-c", "import time\ntime.sleep(60)"], dataclasses.replace(place, timeout_seconds=1.5))
    assert ended.is_late
    assert "KeyboardInterrupt" in ended.err


def test_one_that_does_not_care_is_killed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ridgeway.code_gate.programs.PATIENCE_SECONDS", 0.3)
    code = "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('x', flush=True)\ntime.sleep(60)"
    began = time.monotonic()
    ended = run_python("it", ["-c", code], dataclasses.replace(place, timeout_seconds=1.5))
    assert ended.is_late
    assert ended.code == -signal.SIGKILL
    assert time.monotonic() - began < 30


def test_whoever_wants_all_to_end_is_obeyed_and_nothing_stays(place: Place) -> None:
    note = place.folder / "pid"
    code = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(note)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "time.sleep(60)"
    )

    def stop_when_it_runs() -> None:
        appears(note)
        place.stop.set()

    threading.Thread(target=stop_when_it_runs).start()
    with pytest.raises(KeyboardInterrupt):
        run_python("it", ["-c", code], place)
    assert all(gone(int(pid)) for pid in note.read_text().split())


def test_a_program_ends_when_whoever_started_it_is_killed(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    code = f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    starter = (
        "import subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-I', '-S', {str(GUARD)!r}, sys.executable, '-c', {code!r}], "
        "stdin=subprocess.PIPE, start_new_session=True)\n"
        "time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", starter])
    program = int(appears(note))
    assert is_there(program)
    process.kill()
    process.wait()
    assert gone(program)


def test_what_is_about_this_process_stays_with_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PREFECT_API_URL", "COVERAGE_FILE", "GIT_DIR", "PYTEST_XDIST_WORKER", "MINE"):
        monkeypatch.setenv(name, "x")
    ended = run_python("it", ["-c", "import os; print(sorted(n for n in os.environ if os.environ[n] == 'x'))"], place)
    assert ended.out == "['MINE']\n"


def test_a_tool_that_is_missing_is_named_with_the_way_to_bring_it() -> None:
    require("ruff", "json")
    with pytest.raises(UsageError) as refused:
        require("tests", "pytest_cov", "nothing_of_that_name", "pytest_cov_2")
    message = str(refused.value)
    assert message.startswith("tests: nothing_of_that_name and pytest_cov_2 are not installed\n")
    assert "next      uv pip install nothing_of_that_name pytest_cov_2" in message

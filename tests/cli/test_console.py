"""How errors and outcomes reach the terminal and the exit code."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from ridgeway.cli import COMMANDS, console, program
from ridgeway.errors import BadData, Busy, UsageError
from tests.cli.conftest import Command

HEAVY = {"prefect", "mlflow", "sklearn", "pandas", "great_expectations"}


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (UsageError("wrong"), 2, "error: wrong\n"),
        (BadData("bad", next_step="mend it"), 65, "error: bad\n  next      mend it\n"),
        (Busy("later"), 75, "error: later\n"),
        (KeyboardInterrupt(), 130, "interrupted: what was finished is kept; the same command goes on from there\n"),
        (OSError(errno.ENOSPC, "No space left on device", "/disk/file"), 1, "No space left on device"),
        (RuntimeError("surprise"), 1, "unexpected RuntimeError: surprise"),
        (click.UsageError("no such option"), 2, "error: no such option\n"),
        (SystemExit(7), 7, ""),
    ],
)
def test_every_error_is_one_message_and_a_code(
    error: BaseException, code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert console.report(error, debug=False) == code
    shown = capsys.readouterr()
    assert text in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""


def test_the_trace_is_there_with_debug(capsys: pytest.CaptureFixture[str]) -> None:
    console.report(RuntimeError("surprise"), debug=True)
    assert "RuntimeError: surprise" in capsys.readouterr().err


@pytest.mark.parametrize(("code", "softened"), [(0, 0), (3, 0), (4, 0), (5, 0), (6, 6), (7, 7), (65, 65), (75, 75)])
def test_in_ci_a_verdict_is_no_failure(code: int, softened: int) -> None:
    assert console.soften(code, ci=True) == softened
    assert console.soften(code, ci=False) == code


@pytest.mark.parametrize(("typed", "meant"), [("setings", "settings"), ("retrain", ""), ("lst", "list")])
def test_an_unknown_command(typed: str, meant: str, ridgeway: Command) -> None:
    code, _, err = ridgeway(typed)
    assert code == 2
    assert f"no command {typed!r}." in err
    assert (f"Did you mean {meant}?" in err) == bool(meant)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str, ridgeway: Command) -> None:
    code, out, _ = ridgeway(name, "--help")
    assert code == 0
    assert "Example" in out
    assert f"  ridgeway {name}" in out


def test_help_lists_all_commands_in_one_line_each(ridgeway: Command) -> None:
    code, out, _ = ridgeway("--help")
    assert code == 0
    listed = out.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    assert [line.split()[0] for line in listed] == list(COMMANDS)
    assert not any(line.endswith("...") for line in listed)


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["settings", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    script = (
        "import json, sys\n"
        "from ridgeway.cli import invoke\n"
        f"invoke({arguments!r})\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert not HEAVY & set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    complete = found(program, {}, "ridgeway", "_RIDGEWAY_COMPLETE")
    assert [item.value for item in complete.get_completions([], "se")] == ["serve", "settings"]
    assert "_RIDGEWAY_COMPLETE" in complete.source()

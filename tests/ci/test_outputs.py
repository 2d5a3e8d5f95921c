"""What `--ci` writes for each of the four systems, and that no value can become a command of theirs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import pytest

from ridgeway.ci import outputs
from ridgeway.ci.azure.logging_commands import change, command
from ridgeway.ci.outputs import Outcome
from ridgeway.cli import console, options
from ridgeway.errors import BadData, NotAccepted, RolledBack

TOLD = Outcome("run retraining", "accept", 0, "models:/diabetes/7", "models:/diabetes/7", sentence="accept: better")
NASTY = "a%0A;]b\n##vso[task.setvariable variable=outcome]accept\r\u2028exit_code=0\\"
SYSTEMS = {"azure": "TF_BUILD", "github": "GITHUB_ACTIONS", "gitlab": "GITLAB_CI", "jenkins": "JENKINS_URL"}


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*SYSTEMS.values(), "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("system", "mark"), SYSTEMS.items())
def test_each_system_is_known_by_what_its_agents_set(system: str, mark: str) -> None:
    assert outputs.detect({mark: "True"}) == system
    assert outputs.detect({"CI": "true"}) is None


def read_back(system: str, told: Outcome, folder: Path) -> dict[str, str]:
    """The variables as the system itself would read them."""
    environ = {SYSTEMS[system]: "true", "GITHUB_OUTPUT": str(folder / "out"), "GITHUB_STEP_SUMMARY": str(folder / "s")}
    printed = outputs.tell(told, root=folder, environ=environ)
    if system == "azure":
        found = [change(known) for line in printed if (known := command(line)) is not None]
        assert all(one is None or one.output for one in found)
        return {one.name: one.value for one in found if one}
    assert printed == ()
    if system == "jenkins":
        return properties(folder / ".ridgeway/ci/outputs.properties")
    file = folder / ("out" if system == "github" else ".ridgeway/ci/outputs.env")
    return dict(line.split("=", 1) for line in file.read_text(encoding="utf-8").splitlines())


def properties(file: Path) -> dict[str, str]:
    """As ``java.util.Properties`` reads it, as far as we write it."""
    pairs = (line.split("=", 1) for line in file.read_text(encoding="ascii").splitlines())
    return {name: value.encode("ascii").decode("unicode_escape") for name, value in pairs}


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_five_variables_arrive(system: str, tmp_path: Path) -> None:
    assert read_back(system, TOLD, tmp_path) == {
        "outcome": "accept",
        "handle": "models:/diabetes/7",
        "model": "models:/diabetes/7",
        "release": "",
        "exit_code": "0",
    }


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_value_is_never_a_second_variable(system: str, tmp_path: Path) -> None:
    read = read_back(system, Outcome("run release", "reject", 3, handle=NASTY), tmp_path)
    assert set(read) == {"outcome", "handle", "model", "release", "exit_code"}
    assert (read["outcome"], read["exit_code"]) == ("reject", "3")
    assert read["handle"] == outputs.one_line(NASTY)


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_summary_has_the_verdict_and_the_report(system: str, tmp_path: Path) -> None:
    told = outputs.of_record("run retraining", {"outcome": "hold", "sentence": "hold: 40 rows"}, 4, report="| a |\n")
    read_back(system, told, tmp_path)
    text = (tmp_path / ".ridgeway/ci/summary.md").read_text(encoding="utf-8")
    assert text == "## ridgeway run retraining: hold\n\nhold: 40 rows\n\n| a |\n"
    assert not (tmp_path / "s").exists() or (tmp_path / "s").read_text(encoding="utf-8") == text


def test_azure_is_told_where_the_summary_is(tmp_path: Path) -> None:
    printed = outputs.tell(TOLD, root=tmp_path, environ={"TF_BUILD": "True"})
    known = command(printed[-1])
    assert known is not None
    assert (known.name, known.value) == ("task.uploadsummary", str(tmp_path / ".ridgeway/ci/summary.md"))
    assert Path(known.value).is_absolute()


def test_a_dotenv_file_of_a_shell_runs_nothing(tmp_path: Path) -> None:
    outputs.tell(Outcome("x", "reject", 3, handle="$(touch hit)`touch hit`"), root=tmp_path, environ={})
    text = (tmp_path / ".ridgeway/ci/outputs.env").read_text(encoding="utf-8")
    assert "handle=$(touch hit)`touch hit`\n" in text  # GitLab and Jenkins read it as data; nobody may source it


def test_a_summary_that_is_too_long_is_cut() -> None:
    text = outputs.summary(Outcome("x", "accept", 0, report="r" * 1_000_000))
    assert len(text) < 1_000_000
    assert text.endswith("(cut off here)\n")


def test_only_a_report_of_this_command_is_shown(tmp_path: Path) -> None:
    for number, age in ((1, 100), (2, 0)):
        page = tmp_path / f".ridgeway/runs/{number}/report/report.md"
        page.parent.mkdir(parents=True)
        page.write_text(f"run {number}", encoding="utf-8")
        os.utime(page, (time.time() - age, time.time() - age))
    assert outputs.newest_report(tmp_path, time.time() - 10) == "run 2"
    assert outputs.newest_report(tmp_path, time.time() + 10) == ""


# ---- around a command ------------------------------------------------------------------------------------------------


def ended(behaviour: Any, *arguments: str) -> tuple[int, dict[str, str]]:
    """Exit code and variables of a command that behaves so, as a GitLab job."""

    @click.command(name="try")
    @options.plan
    @options.ci
    @options.common
    def command(*, plan: bool, ci: bool, as_json: bool, overrides: Sequence[str]) -> int:
        return console.soften(behaviour(as_json), ci=ci)

    try:
        code = command.main(list(arguments), prog_name="try", standalone_mode=False) or 0
    except BaseException as error:  # noqa: BLE001 - as ridgeway.cli.invoke does it
        code = console.report(error, debug=False)
    file = Path(".ridgeway/ci/outputs.env")
    found = dict(line.split("=", 1) for line in file.read_text(encoding="utf-8").splitlines()) if file.exists() else {}
    return code, found


def printing(code: int, **record: str) -> Any:
    def behaviour(as_json: bool) -> int:
        console.result(record.get("handle", ""), {"schema": 1, "exit_code": code, **record}, as_json=as_json)
        return code

    return behaviour


def raising(error: BaseException) -> Any:
    def behaviour(as_json: bool) -> int:
        raise error

    return behaviour


@pytest.mark.parametrize(
    ("behaviour", "seen", "outcome", "real"),
    [
        (printing(0, outcome="accept"), 0, "accept", "0"),
        (printing(3, outcome="reject"), 0, "reject", "3"),
        (printing(4, outcome="hold"), 0, "hold", "4"),
        (printing(5, outcome="waiting", handle="releases:/diabetes/1"), 0, "waiting", "5"),
        (raising(NotAccepted("no verdict lets it in")), 0, "rejected", "3"),
        (raising(RolledBack("the previous image is back")), 6, "rolled_back", "6"),
        (printing(7, outcome="found"), 7, "found", "7"),
        (raising(BadData("45 rows refused")), 65, "bad_data", "65"),
        (raising(RuntimeError("unforeseen")), 1, "failed", "1"),
        (raising(KeyboardInterrupt()), 130, "interrupted", "130"),
    ],
)
def test_results_are_green_and_failures_are_red(behaviour: Any, seen: int, outcome: str, real: str) -> None:
    code, variables = ended(behaviour, "--ci")
    assert (code, variables["outcome"], variables["exit_code"]) == (seen, outcome, real)
    assert Path(".ridgeway/ci/summary.md").read_text(encoding="utf-8").startswith(f"## ridgeway try: {outcome}\n")


def test_without_ci_and_with_plan_nothing_is_written() -> None:
    assert ended(printing(3, outcome="reject")) == (3, {})
    assert ended(printing(0), "--ci", "--plan") == (0, {})


def test_a_disk_that_takes_nothing_hides_no_outcome(capsys: pytest.CaptureFixture[str]) -> None:
    Path(".ridgeway").write_text("in the way", encoding="utf-8")
    assert ended(raising(BadData("45 rows refused")), "--ci")[0] == 65
    assert "could not be written for the CI system" in capsys.readouterr().err


def test_data_in_the_log_is_no_command_to_an_agent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TF_BUILD", "True")
    ended(raising(BadData("row 3: ##vso[task.setvariable variable=outcome;isOutput=true]accept")), "--ci")
    seen = capsys.readouterr()
    known = [found for line in (seen.out + seen.err).splitlines() if (found := command(line))]
    assert [(one.name, one.value) for one in known][:1] == [("task.setvariable", "bad_data")]


def test_a_real_command_tells(tmp_path: Path) -> None:
    (tmp_path / "ridgeway.toml").write_text("[project]\nname = 'churn'\n", encoding="utf-8")
    environ = {**os.environ, "GITHUB_ACTIONS": "true", "GITHUB_OUTPUT": str(tmp_path / "out")}
    program = "import sys; from ridgeway.cli import main; main(sys.argv[1:])"
    words = [sys.executable, "-c", program, "run", "retraining", "--ci"]
    done = subprocess.run(words, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    lines = (tmp_path / "out").read_text(encoding="utf-8").splitlines()
    assert (lines[0], lines[-1]) == ("outcome=failed", "exit_code=2")

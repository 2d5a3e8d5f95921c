"""What commands answer: plans that touch nothing, JSON that parses, logs that outlive the server, suggestions."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ridgeway.cli import COMMANDS
from tests.story.conftest import Ended, Story, ridgeway, tree

pytestmark = pytest.mark.timeout(240)
HEAVY = ("prefect", "mlflow", "sklearn", "pandas", "great_expectations", "numpy")


def is_told(ended: Ended, code: int, *words: str) -> None:
    """One error with this code that holds these words and says what to do."""
    assert ended.code == code, ended.err
    assert "Traceback" not in ended.err + ended.out
    for word in (*words, "next"):
        assert word in ended.message, ended.err


def run_of(story: Story) -> str:
    return f"runs:/{story.runs()[0].id}"


# ---- looking ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def handles(lasting: Story) -> dict[str, str]:
    """A handle of each kind in a project with one model."""
    run = lasting.runs()[0]
    return {
        "a version": "models:/diabetes/1",
        "an alias": "models:/diabetes@challenger",
        "the newest": "models:/diabetes",
        "a run": f"runs:/{run.id}",
        "the beginning of a run": f"runs:/{run.id[:8]}",
        "a candidate": f"runs:/{run.id}/model",
        "data": next(handle for handle in run.produced if handle.startswith("data:")),
    }


KINDS = ("a version", "an alias", "the newest", "a run", "the beginning of a run", "a candidate", "data")


@pytest.mark.parametrize("kind", KINDS)
def test_show(kind: str, handles: dict[str, str], lasting: Story) -> None:
    before = tree(lasting.root)
    shown = lasting.ridgeway("show", handles[kind])
    assert shown.code == 0, shown.err
    assert ("442" if kind == "data" else "36 % better than predicting the mean") in shown.out
    record = json.loads(lasting.ridgeway("show", handles[kind], "--json").out)
    assert record["schema"] == 1
    assert tree(lasting.root) == before


@pytest.mark.parametrize(
    ("handle", "code", "words"),
    [
        ("models:/diabetes/9", 2, ("models:/diabetes/9", "ridgeway list models")),
        ("models:/diabetes@champion", 2, ("champion",)),
        ("models:/other/1", 2, ("models:/other/1",)),
        ("runs:/ffffffff", 2, ("ffffffff", "ridgeway list runs")),
        ("data://diabetes@sha256:ffffffffffff", 2, ("data://",)),
        ("model:/diabetes/1", 2, ("models:/",)),
        ("diabetes", 2, ("models:/",)),
        ("releases:/diabetes/1", 2, ("releases:/diabetes/1",)),
        ("", 2, ()),
    ],
)
def test_show_what_is_not_there(handle: str, code: int, words: tuple[str, ...], lasting: Story) -> None:
    is_told(lasting.ridgeway("show", handle), code, *words)


@pytest.mark.slow
def test_logs_outlive_the_server(story: Story, tmp_path: Path) -> None:
    # The story's own folder of Prefect, so that no other story loses its server.
    story.path(".ridgeway/prefect").unlink()
    assert story.ridgeway("run", "retraining").line == "models:/diabetes/2"
    handle = run_of(story)
    assert "stopped the Prefect server" in story.ridgeway("down").err
    again = json.loads(story.ridgeway("down", "--json").out)
    assert (again["schema"], again["stopped"]) == (1, [])
    whole = story.ridgeway("logs", handle)
    step = story.ridgeway("logs", handle, "--only", "train_model")
    assert whole.code == step.code == 0
    assert "354 training rows, 88 sealed ones" in step.out
    assert "expectations hold" in whole.out
    assert "expectations hold" not in step.out
    assert json.loads(story.ridgeway("logs", handle, "--only", "train_model", "--json").out)["schema"] == 1
    is_told(story.ridgeway("logs", handle, "--only", "train_modle"), 2, "did you mean train_model?")
    is_told(story.ridgeway("logs", "runs:/ffff"), 2, "ridgeway list runs")
    # Another machine has the registry, but not this one's records.
    story.path(".ridgeway/runs").rename(tmp_path / "runs")
    far = story.ridgeway("logs", handle, "--only", "train_model")
    assert "354 training rows, 88 sealed ones" in far.out
    assert "29 % better" in story.ridgeway("show", handle).out


def test_logs_of_a_run_that_failed(story: Story) -> None:
    assert story.ridgeway("run", "retraining", "--data", "nowhere.csv").code == 65
    logged = story.ridgeway("logs", run_of(story), "--only", "load_data")
    assert "nowhere.csv" in logged.out
    shown = story.ridgeway("show", run_of(story))
    assert shown.code == 0, shown.err
    assert "nowhere.csv" in shown.out


JSON = (
    ("list", "models"),
    ("list", "runs"),
    ("list", "flows"),
    ("list",),
    ("settings",),
    ("settings", "training"),
    ("run", "retraining", "--plan"),
    ("down", "--plan"),
    ("judge", "models:/diabetes/1", "--against", "mean", "--plan"),
)


@pytest.mark.parametrize("command", JSON, ids=" ".join)
def test_json_of_what_only_looks(command: tuple[str, ...], lasting: Story) -> None:
    before = tree(lasting.root)
    ended = lasting.ridgeway(*command, "--json")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["schema"] == 1
    plain = lasting.ridgeway(*command)
    assert plain.code == 0
    assert tree(lasting.root) == before


def test_json_of_a_retraining(story: Story) -> None:
    record = json.loads(story.ridgeway("run", "retraining", "--json").out)
    assert record["schema"] == 1
    assert (record["outcome"], record["handle"], record["exit_code"]) == ("accept", "models:/diabetes/2", 0)
    again = json.loads(story.ridgeway("run", "retraining", "--json").out)
    assert (again["schema"], again["outcome"], again["handle"]) == (1, "unchanged", "models:/diabetes/2")
    assert set(again) == set(record)
    verdict = json.loads(story.ridgeway("judge", "models:/diabetes/2", "--against", "models:/diabetes/1", "--json").out)
    assert (verdict["schema"], verdict["kind"], verdict["outcome"]) == (1, "Verdict", "accept")


# ---- plans -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        ("run", "retraining", "--plan"),
        ("run", "retraining", "--plan", "--data", "data/diabetes.csv", "--set", "training.seed=4"),
        ("judge", "models:/diabetes/1", "--against", "mean", "--plan"),
        ("profile", "--rebase", "--reason", "why not", "--plan"),
        ("new", "other", "--plan"),
        ("new", "other", "--data", "data/diabetes.csv", "--label", "progression", "--plan"),
        ("down", "--plan"),
    ],
    ids=" ".join,
)
def test_a_plan_touches_nothing(command: tuple[str, ...], lasting: Story) -> None:
    before = tree(lasting.root)
    ended = lasting.ridgeway(*command)
    assert ended.code == 0, ended.err
    assert ended.out + ended.err
    assert tree(lasting.root) == before


def test_a_plan_in_a_project_where_nothing_has_run(empty: Story) -> None:
    before = tree(empty.root)
    ended = empty.ridgeway("run", "retraining", "--plan")
    assert ended.code == 0
    assert tree(empty.root) == before
    assert [line.split()[0] for line in ended.out.splitlines()] == [
        "load_data",
        "check_data",
        "train_model",
        "judge_candidate",
        "register_model",
    ]
    assert "354 training rows, 88 sealed ones" in ended.out
    assert "predicting the training mean (nothing is registered)" in ended.out
    assert "models:/diabetes/1" in ended.out


def test_a_plan_of_bad_data_says_so(lasting: Story, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    is_told(lasting.ridgeway("run", "retraining", "--plan", "--data", tmp_path / "bad.csv"), 65, "progression")
    is_told(lasting.ridgeway("run", "retraining", "--plan", "--data", "nowhere.csv"), 65, "no such file")


# ---- usage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("retrain", ("retrain",)),
        ("runn retraining", ("did you mean run?",)),
        ("run retrainig", ("did you mean retraining?",)),
        ("list model", ("did you mean models?",)),
        ("settings training.sed", ("did you mean training.seed?",)),
        ("run retraining --set training.sed=1", ("training.sed", "did you mean training.seed?", "--set")),
        ("run retraining --set trainin.seed=1", ("did you mean training?",)),
        ("run retraining --set seed", ("KEY=VALUE",)),
        ("run retraining --set training.seed=many", ("training.seed", "--set")),
        ("run retraining --set data.holdout=2", ("data.holdout",)),
        ("run retraining --no-such-option", ("--no-such-option",)),
        ("run", ("FLOW",)),
        ("new other --data data/diabetes.csv", ("--label",)),
        ("profile --rebase", ("--reason",)),
        ("profile", ("--rebase",)),
        ("judge models:/diabetes/1 --against models:/diabetes/1", ("same model",)),
        ("judge data://diabetes@sha256:0123456789ab", ("cannot be judged",)),
    ],
)
def test_wrong_usage(command: str, words: tuple[str, ...], lasting: Story) -> None:
    before = tree(lasting.root)
    ended = lasting.ridgeway(*command.split())
    is_told(ended, 2)
    for word in words:
        assert word.lower() in ended.message.lower(), ended.err
    assert tree(lasting.root) == before


def test_settings_say_where_they_come_from(story: Story) -> None:
    story.path("operations.toml").write_text("[flows]\nretries = 7\n", encoding="utf-8")
    ended = story.ridgeway("settings", "--set", "rules.alpha=0.02", "--json", RIDGEWAY_TRAINING__SEED="5")
    found = {row["setting"]: (row["value"], row["origin"]) for row in json.loads(ended.out)["settings"]}
    assert found["training.seed"] == (5, "RIDGEWAY_TRAINING__SEED")
    assert found["rules.alpha"] == (0.02, "--set")
    assert found["data.label"] == ("progression", "ridgeway.toml")
    assert found["flows.retries"] == (7, "operations.toml")
    assert found["rules.strict"] == (False, "default")
    one = story.ridgeway("settings", "training.seed")
    assert one.out.startswith("training.seed  0  ridgeway.toml")
    assert "make_model.py" in one.out
    misspelt = story.ridgeway("settings", RIDGEWAY_TRAINING__SED="5")
    is_told(misspelt, 2, "RIDGEWAY_TRAINING__SED", "did you mean RIDGEWAY_TRAINING__SEED?")
    story.path("operations.toml").write_text('[data]\nlabel = "x"\n', encoding="utf-8")
    is_told(story.ridgeway("settings"), 2, "[data]", "ridgeway.toml")
    story.path("ridgeway.toml").write_text("[training\n", encoding="utf-8")
    is_told(story.ridgeway("settings"), 2, "ridgeway.toml")


def test_outside_of_a_project(tmp_path: Path) -> None:
    for command in ("run retraining", "list", "settings", "down", "show models:/diabetes/1", "profile"):
        is_told(ridgeway(*command.split(), folder=tmp_path), 2, "ridgeway new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_missing_or_broken_suite(story: Story) -> None:
    suite = story.path("data/suite.json")
    content = suite.read_text(encoding="utf-8")
    broken = {
        "not JSON": "{",
        "not a suite": "[]",
        "without columns": content.replace('"columns": [', '"colums": [', 1),
        "not ours": '{"expectations": []}',
        "of a later version": content.replace('"schema": 1', '"schema": 2', 1),
        "an unknown expectation": content.replace("expect_column_values_to_not_be_null", "expect_miracles", 1),
        "an empty one": json.dumps({**json.loads(content), "expectations": []}),
    }
    for what, text in broken.items():
        suite.write_text(text, encoding="utf-8")
        ended = story.ridgeway("run", "retraining")
        assert ended.code in (1, 2, 65), (what, ended.err)
        is_told(ended, ended.code)
        assert "unexpected" not in ended.message.splitlines()[0], (what, ended.err)
    suite.unlink()
    is_told(story.ridgeway("run", "retraining"), 2, "ridgeway profile")
    assert len(story.versions()) == 1


# ---- help ------------------------------------------------------------------------------------------------------------


def test_help_is_light(lasting: Story) -> None:
    """All pages of help in one process: they import nothing heavy, and no page takes longer than half a second."""
    code = f"""
import sys, time
from ridgeway.cli import invoke
began = time.perf_counter()
for command in {[[], *([name] for name in COMMANDS)]!r}:
    assert invoke([*command, "--help"]) == 0
print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    bare = time.perf_counter() - began
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], cwd=lasting.root, capture_output=True, text=True, check=True)
    took = time.perf_counter() - began
    assert done.stderr == "[]\n"
    for command in COMMANDS:
        assert f"Usage: ridgeway {command} " in done.stdout
    assert done.stdout.count("Example") == len(COMMANDS) + 1
    assert took - bare < 0.5 * (1 + len(COMMANDS))


def test_light_commands_stay_light(lasting: Story) -> None:
    code = f"""
import sys
from ridgeway.cli import invoke
for command in (["list"], ["list", "runs"], ["list", "models"], ["list", "flows"], ["settings"], ["down", "--plan"]):
    assert invoke(command) == 0
print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=lasting.root, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]", done.stderr

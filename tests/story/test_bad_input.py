"""Each bad input ends with one message (what, where, expected, what to do), the right code, and nothing registered."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ridgeway import project
from tests.story.conftest import Ended, Story

pytestmark = pytest.mark.timeout(240)
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")


def explains(ended: Ended, *words: str) -> None:
    """One error, told once and in full: what, where, expected, next; no trace of the program's insides."""
    everything = ended.out + ended.err
    assert len(re.findall("^error: ", ended.err, re.MULTILINE)) == 1, ended.err
    assert "Traceback" not in everything
    assert 'File "' not in everything
    assert "unexpected" not in ended.message.splitlines()[0], ended.message
    rows = [line.strip().partition(" ")[0] for line in ended.message.splitlines() if line.startswith("  ")]
    assert "next" in rows, ended.message
    assert "expected" in rows, ended.message
    assert "problem" in rows or "where" in rows, ended.message
    for word in words:
        assert word in ended.message, ended.message


# ---- data ------------------------------------------------------------------------------------------------------------

GOOD = (Path(__file__).parents[2] / "data" / "diabetes.csv").read_text(encoding="utf-8")
Write = Callable[[Path], Path]


def text(content: str | bytes, name: str = "delivery.csv") -> Write:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return folder / name

    return write


def changed(change: Callable[[pd.DataFrame], pd.DataFrame | None], name: str = "delivery.csv") -> Write:
    """The good data with one thing wrong."""

    def write(folder: Path) -> Path:
        frame = pd.read_csv(folder / "data" / "diabetes.csv")
        result = change(frame)
        frame = frame if result is None else result
        frame.to_csv(folder / name, index=False) if name.endswith(".csv") else frame.to_parquet(folder / name)
        return folder / name

    return write


def cell(row: int, column: str, value: object) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.astype({column: object})
        frame.loc[row - 1, column] = value
        return frame

    return change


def cut_off(folder: Path) -> Path:
    pd.read_csv(folder / "data" / "diabetes.csv").to_parquet(folder / "whole.parquet")
    whole = (folder / "whole.parquet").read_bytes()
    (folder / "delivery.parquet").write_bytes(whole[: len(whole) // 2])
    return folder / "delivery.parquet"


def parts_that_differ(folder: Path) -> Path:
    frame = pd.read_csv(folder / "data" / "diabetes.csv")
    (folder / "parts").mkdir()
    frame.to_parquet(folder / "parts" / "1.parquet")
    frame.astype({"bmi": str}).to_parquet(folder / "parts" / "2.parquet")
    return folder / "parts"


def folder_named(name: str) -> Write:
    def write(folder: Path) -> Path:
        (folder / name).mkdir()
        return folder / name

    return write


def unreadable(folder: Path) -> Path:
    (folder / "delivery.csv").write_text(GOOD, encoding="utf-8")
    (folder / "delivery.csv").chmod(0)
    return folder / "delivery.csv"


HEADER = GOOD.partition("\n")[0]
BAD_DATA: dict[str, tuple[Write, tuple[str, ...]]] = {
    "missing file": (lambda folder: folder / "nowhere.csv", ("nowhere.csv", "no such file")),
    "a folder in place of a file": (folder_named("delivery.csv"), ("delivery.csv", "folder")),
    "an empty folder": (folder_named("parts"), ("parts", "no .parquet")),
    "empty file": (text(""), ("delivery.csv", "empty")),
    "an empty Parquet file": (text("", "delivery.parquet"), ("delivery.parquet",)),
    "header only": (text(HEADER + "\n"), ("no rows",)),
    "header without a line end": (text(HEADER), ("nothing below it",)),
    "wrong delimiter": (text(GOOD.replace(",", ";")), ("semicolons",)),
    "tabs": (text(GOOD.replace(",", "\t")), ("tabs",)),
    "missing column": (changed(lambda frame: frame.drop(columns="bmi")), ("bmi",)),
    "missing label": (changed(lambda frame: frame.drop(columns="progression")), ("progression",)),
    "extra column": (changed(lambda frame: frame.assign(surprise=1.0)), ("surprise",)),
    "doubled column": (text(GOOD.replace("bmi", "bp", 1)), ("bp", "twice")),
    "a column without a name": (text(GOOD.replace("bmi", "", 1)), ("without a name",)),
    "ragged row": (text(GOOD + "1,2,3\n"), ("443", "3 values")),
    "text in a number": (changed(cell(7, "bmi", "heavy")), ("bmi", "heavy", "row 7")),
    "decimal commas": (changed(cell(7, "bmi", "21,5")), ("bmi", "21,5", "row 7")),
    "text in a whole number": (changed(cell(7, "age", "old")), ("age", "old", "row 7")),
    "infinity": (changed(cell(9, "bp", np.inf)), ("bp", "infinite", "row 9")),
    "infinite label": (changed(cell(9, "progression", -np.inf)), ("progression", "infinite", "row 9")),
    "missing value": (changed(cell(11, "s1", None)), ("s1", "11")),
    "a label that is missing": (changed(cell(11, "progression", None)), ("progression", "11")),
    "value out of range": (changed(cell(13, "age", 430)), ("age", "430", "13")),
    "unknown category": (changed(cell(17, "sex", 3)), ("sex", "3", "17")),
    "wrong units in one column": (changed(lambda frame: frame.assign(bmi=frame.bmi * 2.2046)), ("bmi",)),
    "rows repeated": (changed(lambda frame: pd.concat([frame, frame, frame])), ("rows",)),
    "a constant column": (changed(lambda frame: frame.assign(s5=4.5)), ("s5",)),
    "not UTF-8": (text(GOOD.replace("59,2", "59,\xe9", 1).encode("latin-1")), ("UTF-8", "line 2")),
    "UTF-16": (text(GOOD.encode("utf-16")), ("UTF-8",)),
    "zero bytes": (text(GOOD.replace("101.0", "1\x001.0", 1)), ("bp",)),
    "Parquet cut off in the middle": (cut_off, ("Parquet",)),
    "a text named Parquet": (text(GOOD, "delivery.parquet"), ("Parquet",)),
    "parts of different types": (parts_that_differ, ("bmi",)),
    "one row": (changed(lambda frame: frame.head(1)), ()),
}


THROUGH_THE_GATE = (
    "a label that is missing", "missing value", "value out of range", "unknown category", "wrong units in one column",
    "rows repeated", "one row", "extra column", "missing file", "a constant column", "not UTF-8", "empty file",
    "an empty folder", "UTF-16", "doubled column", "header without a line end", "header only", "zero bytes",
    "an empty Parquet file", "a folder in place of a file", "tabs", "infinite label", "text in a whole number",
)  # fmt: skip
"""Of the same kind as others that are tried every time, and each takes seconds."""


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.slow if case in THROUGH_THE_GATE else ()) for case in BAD_DATA]
)
def test_bad_data_is_refused_with_65(case: str, lasting: Story, tmp_path: Path) -> None:
    write, words = BAD_DATA[case]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "diabetes.csv").write_text(GOOD, encoding="utf-8")
    before = lasting.versions()
    ended = lasting.ridgeway("run", "retraining", "--data", write(tmp_path))
    assert ended.code == 65, ended.err
    assert ended.out == ""
    explains(ended, *words)
    assert lasting.versions() == before
    assert lasting.runs()[0].state == "failed"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_the_right_to_read_it(lasting: Story, tmp_path: Path) -> None:
    ended = lasting.ridgeway("run", "retraining", "--data", unreadable(tmp_path))
    assert ended.code == 65
    explains(ended, "permission denied")


@pytest.mark.slow
def test_too_few_rows_for_the_holdout_is_a_hold(story: Story) -> None:
    path = changed(lambda frame: frame.sample(100, random_state=1))(story.root)
    ended = story.ridgeway("run", "retraining", "--data", path)
    assert ended.code == 4, ended.err
    assert "Traceback" not in ended.err
    assert "rows" in ended.err.splitlines()[-3]
    assert [version.number for version in story.versions()] == [1]


# ---- models ----------------------------------------------------------------------------------------------------------

OWN_MODEL = '''"""The model."""

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer


class Own(RegressorMixin, BaseEstimator):
    def fit(self, rows, target):
        self.mean_ = float(np.mean(target))
        return self

    def predict(self, rows):
        return np.full(len(rows), self.mean_)


class OnlyFits(BaseEstimator):
    def fit(self, rows, target):
        return self


def make_model(parameters, *, seed):
    import stubborn

    @RETURN@
'''
STUBBORN = '''"""Estimators as a wheel of the user's own might bring them."""

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin


class Own(RegressorMixin, BaseEstimator):
    def fit(self, rows, target):
        self.mean_ = float(np.mean(target))
        return self

    def predict(self, rows):
        return np.full(len(rows), self.mean_)


class Undecided(Own):
    def predict(self, rows):
        return np.where(rows["age"] > 70, np.nan, 150.0)


class Deaf(Own):
    def fit(self, rows, target):
        raise RuntimeError("I do not want to learn")


class Mute(Own):
    def predict(self, rows):
        raise RuntimeError("I do not want to say")


class Chatty(Own):
    def predict(self, rows):
        return ["a lot"] * len(rows)


class Lazy(Own):
    def predict(self, rows):
        return np.zeros(3)
'''
BAD_MODELS: dict[str, tuple[str, tuple[str, ...]]] = {
    "raises": ('raise KeyError("depth")', ("KeyError", "depth", "steps/make_model.py:")),
    "a text": ('return "a ridge"', ("'a ridge'",)),
    "a class": ("return Ridge", ("class",)),
    "nothing": ("return None", ("None",)),
    "cannot predict by nature": ("return OnlyFits()", ("no predict",)),
    "fit raises": ("return stubborn.Deaf()", ("I do not want to learn",)),
    "predict raises": ("return stubborn.Mute()", ("I do not want to say",)),
    "predicts NaN": ("return stubborn.Undecided()", ("NaN", "age=")),
    "predicts text": ("return stubborn.Chatty()", ("numbers",)),
    "predicts too little": ("return stubborn.Lazy()", ("shape", "(3,)")),
    "cannot be stored": ("return stubborn.Own()", ("stubborn.Own", "trusted_types")),
    "a lambda inside": (
        "return make_pipeline(FunctionTransformer(lambda rows: rows * 2), Ridge())",
        ("lambda", "pyproject.toml"),
    ),
    "a function of the project inside": (
        "return make_pipeline(FunctionTransformer(make_model), Ridge())",
        ("make_model", "pyproject.toml"),
    ),
    "a class of the project inside": ("return make_pipeline(Own())", ("Own", "pyproject.toml")),
    "a wrong parameter": ("return Ridge(**parameters, depth=3)", ("depth",)),
}
BAD_STEPS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "no such function": ("make_model", "x = 1\n", ("make_model",)),
    "other parameters": ("make_model", "def make_model():\n    return None\n", ("make_model", "seed")),
    "a mistake in the grammar": ("make_model", "def make_model(:\n", ("make_model.py:1",)),
    "an import that fails": ("make_model", "import no_such_package\n", ("no_such_package", "make_model.py:1")),
    "data that is no table": ("load_data", "def load_data(source, types):\n    return [1, 2]\n", ("list",)),
    "reading raises": (
        "load_data",
        "def load_data(source, types):\n    return {}['connection']\n",
        ("KeyError", "connection", "load_data.py:2"),
    ),
}


@pytest.fixture
def restored(lasting: Story) -> Iterator[Story]:
    """The lasting project, its steps as they were when the test is over."""
    kept = {path: path.read_bytes() for path in lasting.path("steps").glob("*.py")}
    yield lasting
    for path, content in kept.items():
        path.write_bytes(content)


def ends_without_a_model(story: Story, *words: str, code: int = 1) -> None:
    before = story.versions()
    ended = story.ridgeway("run", "retraining")
    assert ended.code == code, ended.err
    assert ended.out == ""
    explains(ended, *words)
    assert story.versions() == before
    assert all(run.state != "running" for run in story.runs())


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=() if case in ("raises", "predicts text") else pytest.mark.slow) for case in BAD_MODELS],
)
def test_a_bad_model_is_no_candidate(
    case: str, restored: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, words = BAD_MODELS[case]
    (tmp_path / "stubborn.py").write_text(STUBBORN, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "stubborn", raising=False)
    restored.path("steps/make_model.py").write_text(OWN_MODEL.replace("@RETURN@", code), encoding="utf-8")
    ends_without_a_model(restored, *words)


@pytest.mark.slow
@pytest.mark.parametrize("case", BAD_STEPS)
def test_a_step_that_cannot_be_used(case: str, restored: Story) -> None:
    step, code, words = BAD_STEPS[case]
    restored.path(f"steps/{step}.py").write_text(code, encoding="utf-8")
    before = restored.versions()
    ended = restored.ridgeway("run", "retraining")
    assert ended.code in (1, 2), ended.err
    explains(ended, *words)
    assert restored.versions() == before


# ---- disks, databases, servers ---------------------------------------------------------------------------------------


def closed_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
    return port


def test_an_unreachable_tracking_server_is_told_at_once(lasting: Story) -> None:
    began, runs = time.monotonic(), len(lasting.runs())
    ended = lasting.ridgeway("run", "retraining", "--set", f"registry.uri=http://127.0.0.1:{closed_port()}")
    assert ended.code == 75, ended.err
    assert time.monotonic() - began < 10
    explains(ended, "registry.uri", "127.0.0.1")
    assert len(lasting.runs()) == runs


@pytest.mark.parametrize(
    "command", [["list", "models"], ["show", "models:/diabetes/1"], ["judge", "models:/diabetes/1"]]
)
def test_an_unreachable_tracking_server_is_not_an_empty_one(command: list[str], lasting: Story) -> None:
    ended = lasting.ridgeway(*command, "--set", f"registry.uri=http://127.0.0.1:{closed_port()}")
    assert ended.code == 75, ended.err
    explains(ended, "registry.uri")


def test_an_unreachable_prefect_server(lasting: Story) -> None:
    ended = lasting.ridgeway("run", "retraining", RIDGEWAY_SERVERS__PREFECT=f"http://127.0.0.1:{closed_port()}/api")
    assert ended.code == 75, ended.err
    explains(ended, "servers.prefect")


def test_ci_refuses_a_registry_of_this_machine(lasting: Story) -> None:
    ended = lasting.ridgeway("run", "retraining", "--ci")
    assert ended.code == 2
    explains(ended, "registry.uri", "RIDGEWAY_REGISTRY__URI")


@pytest.mark.slow
def test_a_locked_database(story: Story) -> None:
    with contextlib.closing(sqlite3.connect(story.path(".ridgeway/mlflow.db"))) as other:
        other.execute("BEGIN EXCLUSIVE")
        ended = story.ridgeway("run", "retraining")
        other.rollback()
    assert ended.code == 75, ended.err
    explains(ended, "mlflow.db", "locked")
    assert [version.number for version in story.versions()] == [1]
    assert story.ridgeway("run", "retraining").line == "models:/diabetes/2"


def test_a_database_that_is_none(story: Story) -> None:
    story.path(".ridgeway/mlflow.db").write_bytes(b"not a database at all, but long enough to be looked at" * 20)
    ended = story.ridgeway("run", "retraining")
    assert ended.code == 1
    explains(ended, "mlflow.db")


@contextlib.contextmanager
def read_only(path: Path) -> Iterator[None]:
    """Nobody can write to ``path`` meanwhile, not even root."""
    if os.geteuid() != 0:
        mode = path.stat().st_mode
        path.chmod(0o555 if path.is_dir() else 0o444)
        try:
            yield
        finally:
            path.chmod(mode)
        return
    mount("--bind", str(path), str(path))
    try:
        mount("-o", "remount,ro,bind", str(path))
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("this machine does not let its root mount anything")


def test_a_read_only_database(story: Story) -> None:
    with read_only(story.path(".ridgeway/mlflow.db")):
        ended = story.ridgeway("run", "retraining")
    assert ended.code == 1
    explains(ended, "mlflow.db", "read")
    assert [version.number for version in story.versions()] == [1]


def test_a_read_only_project(story: Story) -> None:
    with read_only(story.root):
        ended = story.ridgeway("run", "retraining")
    assert ended.code == 1
    explains(ended)


@pytest.fixture
def small_disk(story: Story) -> Iterator[Callable[[int], None]]:
    """The project on a disk of its own; called with a number it leaves so many kibibytes free."""
    state = story.path(".ridgeway")
    kept = state.rename(state.with_name("kept"))
    state.mkdir()
    mount("-t", "tmpfs", "-o", "size=40m", "tmpfs", str(state))
    try:
        subprocess.run(["cp", "-a", f"{kept}/.", str(state)], check=True)

        def leave(kibibytes: int) -> None:
            filler = state / "filler"
            filler.unlink(missing_ok=True)
            facts = os.statvfs(state)
            size = facts.f_bavail * facts.f_frsize - kibibytes * 1024
            if kibibytes >= 0:
                filler.write_bytes(b"\0" * max(0, size))

        yield leave
    finally:
        subprocess.run(["umount", "--lazy", str(state)], check=True)


@AS_ROOT
@pytest.mark.parametrize("kibibytes", [0, 5000])
def test_a_full_disk_is_told_before_anything_begins(
    kibibytes: int, story: Story, small_disk: Callable[[int], None]
) -> None:
    runs, before = story.runs(), story.versions()
    small_disk(kibibytes)
    ended = story.ridgeway("run", "retraining")
    assert ended.code == 1, ended.err
    explains(ended, "MiB", ".ridgeway")
    assert story.versions() == before
    assert story.runs() == runs


FILLS_UP = [0, 4, 16, 32, 64, 96, 128, 160, 200, 250, 300, 400, 450, 500, 600]


@AS_ROOT
@pytest.mark.parametrize(
    "kibibytes",
    [pytest.param(kibibytes, marks=pytest.mark.slow) for kibibytes in FILLS_UP],
)
def test_a_disk_that_fills_up_meanwhile(
    kibibytes: int, story: Story, small_disk: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project, "LEAST_FREE_MIB", 0)
    small_disk(kibibytes)
    ended = story.ridgeway("run", "retraining")
    if ended.code:
        assert ended.code == 1, ended.err
        explains(ended)
    small_disk(-1)
    again = story.ridgeway("run", "retraining")
    assert (again.code, again.line) == (0, "models:/diabetes/2"), again.err
    assert [version.number for version in story.versions()] == [1, 2]

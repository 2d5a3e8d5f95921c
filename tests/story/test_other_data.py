"""Projects around other people's data: strings, missing values, duplicates, constants, many columns, many rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.story.conftest import Ended, Story, ridgeway

pytestmark = pytest.mark.timeout(280)
Around = Callable[..., Story]


def churn(rows: int, *, seed: int = 0) -> pd.DataFrame:
    """Customers who leave or stay: numbers, texts, times, a truth value, missing values, and a signal."""
    noise = np.random.default_rng(seed)
    months = noise.integers(1, 72, rows)
    plan = noise.choice(["basic", "plus", "pro — größer"], rows, p=[0.5, 0.3, 0.2])
    calls = noise.poisson(2, rows).astype(float)
    usage = noise.lognormal(3, 0.5, rows)
    chance = 1 / (1 + np.exp(-4 * (calls - 2 - months / 24 + (plan == "basic"))))
    frame = pd.DataFrame(
        {
            "months": months,
            "plan": plan,
            "calls": np.where(noise.random(rows) < 0.1, np.nan, calls),
            "usage": usage.round(3),
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(noise.integers(0, 1500, rows), unit="D"),
            "paperless": noise.random(rows) < 0.6,
            "churned": np.where(noise.random(rows) < chance, "yes", "no"),
        }
    )
    frame["city"] = pd.Series(noise.choice(["Rome", "Oslo", "Köln"], rows)).where(noise.random(rows) > 0.05)
    return frame


def quantities(rows: int, columns: int, *, seed: int = 0) -> pd.DataFrame:
    """Numbers with a linear signal in the first five columns."""
    noise = np.random.default_rng(seed)
    values = noise.normal(size=(rows, columns)).round(4)
    frame = pd.DataFrame(values, columns=[f"x{number}" for number in range(columns)])
    return frame.assign(y=(values[:, :5].sum(axis=1) + noise.normal(0, 0.5, rows)).round(4))


def trains(story: Story, *arguments: str | Path) -> Ended:
    ended = story.ridgeway("run", "retraining", *arguments)
    assert ended.code == 0, ended.err
    assert ended.line == f"models:/{story.name}/1"
    assert ": accepted\n" in ended.err
    return ended


@pytest.mark.slow
def test_a_classifier_on_texts_and_missing_values(around: Around, tmp_path: Path) -> None:
    frame = churn(1500)
    frame.head(1000).to_parquet(tmp_path / "churn.parquet")
    story = around("churn", tmp_path / "churn.parquet", "churned")
    assert 'task = "classification"' in story.path("ridgeway.toml").read_text(encoding="utf-8")
    assert "HistGradientBoosting" in story.path("steps/make_model.py").read_text(encoding="utf-8")
    story.edit("ridgeway.toml", "max_iter = 100", "max_iter = 30")
    trains(story)
    assert story.ridgeway("run", "retraining").err.startswith("unchanged: ")
    # More rows: judged against the first model, on rows that neither has seen.
    frame.to_parquet(tmp_path / "later.parquet")
    later = story.ridgeway("run", "retraining", "--data", tmp_path / "later.parquet", "--json")
    assert later.code in (0, 3, 4), later.err
    record = json.loads(later.out)
    assert record["outcome"] in ("accept", "reject", "hold")
    shown = json.loads(story.ridgeway("show", record["run"], "--json").out)
    assert shown["verdict"]["opponent"] == "models:/churn/1"
    # A plan that nobody has heard of is an error of the data.
    frame.head(900).assign(plan="gratis").to_parquet(tmp_path / "strange.parquet")
    strange = story.ridgeway("run", "retraining", "--data", tmp_path / "strange.parquet")
    assert strange.code == 65
    assert "gratis" in strange.message


@pytest.mark.slow
def test_the_same_rows_as_csv_make_the_same_data(around: Around, tmp_path: Path) -> None:
    frame = churn(300)
    frame.to_parquet(tmp_path / "churn.parquet")
    frame.to_csv(tmp_path / "churn.csv", index=False)
    story = around("churn", tmp_path / "churn.parquet", "churned")
    planned = [
        story.ridgeway("run", "retraining", "--plan", "--data", tmp_path / name).out.splitlines()[0].split()[-1]
        for name in ("churn.parquet", "churn.csv")
    ]
    assert planned[0].startswith("data://churn@sha256:")
    assert planned[0] == planned[1]


@pytest.mark.slow
def test_duplicates_constant_and_empty_columns(around: Around, tmp_path: Path) -> None:
    frame = quantities(300, 6).assign(nothing=0, always="same", empty=np.nan)
    frame = pd.concat([frame, frame.head(60)])
    frame.to_csv(tmp_path / "dull.csv", index=False)
    story = around("dull", tmp_path / "dull.csv", "y")
    assert 'ignore = ["empty"]' in story.path("ridgeway.toml").read_text(encoding="utf-8")
    trains(story)


@pytest.mark.slow
def test_numbers_at_the_ends_of_what_can_be_computed(around: Around, tmp_path: Path) -> None:
    frame = quantities(300, 3)
    frame = frame.assign(
        order=np.arange(300) + 1_500_000_000_000_000_000, huge=frame.x1 * 1e300, tiny=frame.x2 * 1e-310
    )
    frame.to_parquet(tmp_path / "ends.parquet")
    trains(around("ends", tmp_path / "ends.parquet", "y"))


@pytest.mark.slow
def test_two_hundred_columns(around: Around, tmp_path: Path) -> None:
    quantities(600, 200).to_parquet(tmp_path / "wide.parquet")
    story = around("wide", tmp_path / "wide.parquet", "y")
    trains(story, "--set", "training.out_of_fold=2")


@pytest.mark.slow
def test_a_hundred_thousand_rows(around: Around, tmp_path: Path) -> None:
    quantities(100_000, 10).to_parquet(tmp_path / "long.parquet")
    story = around("long", tmp_path / "long.parquet", "y")
    trains(story)
    pd.concat([quantities(100_000, 10), quantities(20_000, 10, seed=1)]).to_parquet(tmp_path / "later.parquet")
    later = story.ridgeway("run", "retraining", "--data", tmp_path / "later.parquet")
    assert later.code in (0, 3, 4), later.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("label", "task"),
    [("truth", "classification"), ("few", "classification"), ("many", "regression"), ("text", "classification")],
)
def test_the_task_fits_the_label(label: str, task: str, around: Around, tmp_path: Path) -> None:
    noise = np.random.default_rng(4)
    signal = noise.normal(size=400)
    labels = {
        "truth": signal > 0,
        "few": (signal > 0).astype(int) + (signal > 1),
        "many": (signal * 1000).round().astype(int),
        "text": np.where(signal > 0, "über", "unter"),
    }
    pd.DataFrame({"signal": signal, "other": noise.normal(size=400), label: labels[label]}).to_csv(
        tmp_path / "data.csv", index=False
    )
    story = around("own", tmp_path / "data.csv", label)
    assert f'task = "{task}"' in story.path("ridgeway.toml").read_text(encoding="utf-8")
    trains(story)


@pytest.mark.slow
def test_a_class_of_one_row(around: Around, tmp_path: Path) -> None:
    """Wherever the only row of a class falls, some fold is without it, or all training rows are."""
    frame = quantities(200, 3).assign(y=["usual"] * 199 + ["rare"])
    for number in (0, 4):
        moved = frame.assign(x0=frame.x0.where(frame.y == "usual", number))
        moved.to_csv(tmp_path / f"{number}.csv", index=False)
        story = around(f"rare{number}", tmp_path / f"{number}.csv", "y")
        ended = story.ridgeway("run", "retraining", "--set", "training.parameters.max_iter=5")
        assert ended.code in (3, 4, 65), ended.err
        assert "error: " not in ended.err or "only one class" in ended.message, ended.err


NEW: dict[str, tuple[Callable[[Path], object], str, tuple[str, ...]]] = {
    "no such file": (lambda path: None, "y", ("no such file",)),
    "no such label": (lambda path: quantities(50, 3).to_csv(path, index=False), "Y", ("'Y'", "columns found")),
    "an empty file": (lambda path: path.touch(), "y", ("empty",)),
    "a header only": (lambda path: path.write_text("a,y\n"), "y", ("no rows",)),
    "a label with gaps": (
        lambda path: quantities(50, 3).assign(y=lambda frame: frame.y.where(frame.y > 0)).to_csv(path, index=False),
        "y",
        ("label is missing",),
    ),
    "a time after the last one": (
        lambda path: quantities(2, 1).assign(until=["2020-01-01", "9999-12-31"]).to_csv(path, index=False),
        "y",
        ("until", "row 2", "9999"),
    ),
    "numbers with typing errors": (
        lambda path: (
            quantities(50, 3).astype({"x1": object}).replace({"x1": {0.3: "o.3"}}).to_csv(path, index=False)
            or path.write_text(path.read_text().replace("0.", "O.", 1))
        ),
        "y",
        ("O.",),
    ),
}


@pytest.mark.parametrize("case", NEW)
def test_a_project_around_bad_data_is_not_made(case: str, tmp_path: Path) -> None:
    write, label, words = NEW[case]
    write(tmp_path / "own.csv")
    ended = ridgeway("new", "own", "--data", "own.csv", "--label", label, folder=tmp_path)
    assert ended.code in (2, 65), ended.err
    for word in (*words, "next"):
        assert word in ended.message, ended.err
    assert "Traceback" not in ended.err
    assert not (tmp_path / "own").exists()

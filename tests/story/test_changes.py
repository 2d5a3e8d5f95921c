"""The four scenes of the demo, and what may change between retrainings: order, format, columns, labels, rules."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ridgeway.actions.candidate import SEALED_IDENTITIES, TRAINING_IDENTITIES
from ridgeway.actions.models import open_registry
from ridgeway.project import open_project
from ridgeway.rules.rows import Words
from tests.story.conftest import Story

pytestmark = pytest.mark.timeout(240)


def diabetes(story: Story) -> pd.DataFrame:
    return pd.read_csv(story.path("data/diabetes.csv"))


def seen(story: Story, run: str) -> tuple[Words, Words]:
    """The identities of the training and of the sealed rows of the candidate that a run holds."""
    registry = open_registry(open_project(story.root))
    run_id = registry.find_run(run.removeprefix("runs:/").partition("/")[0]).run_id
    training, sealed = (registry.read_file(run_id, name) for name in (TRAINING_IDENTITIES, SEALED_IDENTITIES))
    return np.load(training), np.load(sealed)


def version_run(story: Story, number: int) -> str:
    return next(version.run_id for version in story.versions() if version.number == number)


# ---- scenes ----------------------------------------------------------------------------------------------------------


def test_four_scenes(story: Story) -> None:
    # Scene 1, a first model on three columns, was played when the story was made.
    assert story.runs()[0].sentence.endswith(": accepted")
    assert "better than predicting the mean on 88 unseen rows" in story.runs()[0].sentence
    (version,) = story.versions()
    assert (version.number, version.aliases, version.complete) == (1, ("challenger",), True)

    frame = diabetes(story)
    frame.assign(bmi=frame.bmi * 2.2046).to_csv(story.path("wrong.csv"), index=False)
    refused = story.ridgeway("run", "retraining", "--data", "wrong.csv")
    assert (refused.code, refused.out) == (65, "")
    assert "'bmi'" in refused.message or "bmi" in refused.message
    assert "row" in refused.message
    assert "train_model" not in refused.err
    assert len(story.versions()) == 1

    accepted = story.ridgeway("run", "retraining")
    assert (accepted.code, accepted.line) == (0, "models:/diabetes/2")
    assert "better on 88 unseen rows, between" in accepted.err
    first, second = story.versions()
    assert (first.aliases, second.aliases) == ((), ("challenger",))

    before = story.path(".ridgeway/mlflow.db").read_bytes()
    began = time.monotonic()
    unchanged = story.ridgeway("run", "retraining")
    assert time.monotonic() - began < 3
    assert (unchanged.code, unchanged.line) == (0, "models:/diabetes/2")
    assert unchanged.err.startswith("unchanged: models:/diabetes/2 is this very model (")
    assert story.path(".ridgeway/mlflow.db").read_bytes() == before


@pytest.mark.slow
def test_a_rejected_candidate_is_rejected_once(story: Story) -> None:
    worse = ("run", "retraining", "--set", "training.parameters.alpha=1e9")
    rejected = story.ridgeway(*worse)
    assert rejected.code == 3, rejected.err
    assert "rejected" in rejected.err
    assert rejected.line.startswith("runs:/")
    again = story.ridgeway(*worse)
    assert (again.code, again.line) == (0, rejected.line)
    assert again.err.startswith("unchanged: this very model was judged before")
    assert story.ridgeway(*worse, "--json").code == 0
    assert [version.number for version in story.versions()] == [1]
    # Also where the quick answer is gone: then the earlier verdict is found in the registry.
    for outcome in story.path(".ridgeway/outcomes").iterdir():
        outcome.unlink()
    slowly = story.ridgeway(*worse)
    assert (slowly.code, slowly.line) == (0, rejected.line), slowly.err
    assert "trained before" in slowly.err


@pytest.mark.slow
def test_a_rejection_on_demand(story: Story) -> None:
    story.ridgeway("run", "retraining")
    judged = story.ridgeway("judge", "models:/diabetes/1", "--against", "models:/diabetes/2")
    assert judged.code == 3, judged.err


# ---- the same rows ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_order_and_format_of_the_rows_change_nothing(story: Story) -> None:
    first = story.ridgeway("run", "retraining")
    assert first.line == "models:/diabetes/2"
    handles = {story.runs()[0].produced[0]}
    shuffled = diabetes(story).sample(frac=1, random_state=3)[list(reversed(diabetes(story).columns))]
    shuffled.to_csv(story.path("shuffled.csv"), index=False)
    shuffled.to_parquet(story.path("shuffled.parquet"))
    story.path("parts").mkdir()
    for number in range(3):
        shuffled.iloc[number::3].to_parquet(story.path(f"parts/{number}.parquet"))
    for source in ("shuffled.csv", "shuffled.parquet", "parts"):
        ended = story.ridgeway("run", "retraining", "--data", source)
        assert (ended.code, ended.line) == (0, "models:/diabetes/2"), ended.err
        assert "unchanged: models:/diabetes/2 is this very model" in ended.err
        handles.add(story.runs()[0].produced[0])
    assert len(handles) == 1
    assert len(story.versions()) == 2


# ---- rows stay where they are ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_neither_a_new_column_nor_an_ignored_one_nor_a_corrected_label_moves_a_row(story: Story) -> None:
    training, sealed = seen(story, version_run(story, 1))  # seven columns were ignored
    assert story.ridgeway("run", "retraining").line == "models:/diabetes/2"
    corrected = diabetes(story)
    corrected.loc[corrected.index[:40], "progression"] += 3
    corrected.to_csv(story.path("corrected.csv"), index=False)
    ended = story.ridgeway("run", "retraining", "--data", "corrected.csv", "--json")
    assert ended.code in (0, 3, 4), ended.err
    wider = diabetes(story).assign(weekday=np.arange(442) % 7)
    wider.to_csv(story.path("data/diabetes.csv"), index=False)
    refused = story.ridgeway("run", "retraining")
    assert refused.code == 65
    assert "profile" in refused.message
    rebased = story.ridgeway("profile", "--rebase", "--reason", "the weekday is recorded now")
    assert rebased.code == 0, rebased.err
    widened = story.ridgeway("run", "retraining")
    assert widened.code in (0, 3, 4), widened.err
    for run in (version_run(story, 2), *(record.id for record in story.runs()[:3] if record.state == "finished")):
        ours = seen(story, run)
        assert np.array_equal(ours[0], training)
        assert np.array_equal(ours[1], sealed)


@pytest.mark.slow
def test_another_holdout_is_another_rule_with_a_way_on(story: Story) -> None:
    story.edit("ridgeway.toml", "holdout = 0.20", "holdout = 0.30")
    refused = story.ridgeway("run", "retraining")
    assert refused.code == 1, refused.err
    assert "another rule" in refused.message
    assert "Traceback" not in refused.err
    assert "ridgeway run retraining --set rules.against=mean" in refused.message
    assert [version.number for version in story.versions()] == [1]
    anew = story.ridgeway("run", "retraining", "--set", "rules.against=mean")
    assert (anew.code, anew.line) == (0, "models:/diabetes/2"), anew.err
    # From here on the new rule is the rule.
    after = story.ridgeway("run", "retraining", "--set", "training.parameters.alpha=1e9")
    assert after.code == 3, after.err


@pytest.mark.slow
def test_a_column_that_the_model_in_production_needs(story: Story) -> None:
    assert story.ridgeway("run", "retraining").line == "models:/diabetes/2"
    diabetes(story).drop(columns="s6").to_csv(story.path("data/diabetes.csv"), index=False)
    assert story.ridgeway("run", "retraining").code == 65
    ended = story.ridgeway("profile", "--rebase", "--reason", "s6 is gone for good")
    assert "s6" in ended.err + ended.out


@pytest.mark.slow
def test_a_wrong_slice_or_loss_is_a_usage_error(story: Story) -> None:
    for setting, word in (
        ('rules.slices={ old = "years > 60" }', "years"),
        ("rules.loss=log_loss", "rules.loss"),
        ("rules.against=champion", "champion"),
    ):
        ended = story.ridgeway("run", "retraining", "--set", setting)
        assert ended.code == 2, ended.err
        assert word in ended.message
        assert "next" in ended.message
    assert [version.number for version in story.versions()] == [1]


@pytest.mark.slow
def test_a_new_delivery_is_judged_on_old_and_new_rows(story: Story, tmp_path: Path) -> None:
    assert story.ridgeway("run", "retraining").line == "models:/diabetes/2"
    frame = diabetes(story)
    noise = np.random.default_rng(0)
    more = frame.sample(300, random_state=5, replace=False).assign(
        s5=lambda rows: (rows.s5 + noise.normal(0, 0.01, len(rows))).round(4)
    )
    pd.concat([frame, more]).to_csv(tmp_path / "more.csv", index=False)
    ended = story.ridgeway("run", "retraining", "--data", tmp_path / "more.csv")
    assert ended.code in (0, 3, 4), ended.err
    shown = story.ridgeway("show", f"runs:/{story.runs()[0].id}")
    assert shown.code == 0
    assert "recent" in shown.out

"""What is kept of data and reports between runs, and what must be looked up anew."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from ridgeway.actions import data
from ridgeway.artifacts import Dataset
from ridgeway.data_source import read_table
from ridgeway.errors import UsageError
from ridgeway.project import Project, open_project

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """The example's settings and data, with no state of its own."""
    for name in ("ridgeway.toml", "data"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    return open_project(tmp_path)


def load(project: Project, frame: pd.DataFrame, name: str) -> tuple[Dataset, pd.DataFrame]:
    path = project.root / name
    frame.to_csv(path, index=False)
    return data.load(project, read_table, path)


def test_the_gate_names_the_rows_of_this_file_and_not_of_an_earlier_one(project: Project) -> None:
    frame = read_table(project.source, {})
    frame.loc[:3, "bmi"] = 999.0
    for name, rows, expected in (("a.csv", frame, (1, 2, 3, 4)), ("b.csv", frame[::-1], (439, 440, 441, 442))):
        report = data.check(project, *load(project, rows, name))
        (found,) = {line.first_rows for line in report.failures if line.unexpected_rows == 4}
        assert found == expected


def test_a_report_without_rows_is_found_again(project: Project) -> None:
    dataset, frame = load(project, read_table(project.source, {}), "a.csv")
    report = data.check(project, dataset, frame)
    assert report.ok
    assert data.check(project, dataset, frame.head(0)) == report  # not looked at: the rows have this digest


@pytest.mark.parametrize("lost", [".json", ".parquet"])
def test_a_copy_of_the_rows_that_was_half_written_is_made_whole(project: Project, lost: str) -> None:
    dataset, frame = load(project, read_table(project.source, {}), "a.csv")
    project.snapshot(dataset.digest).with_suffix(lost).unlink()
    assert data.read_snapshot(project, dataset.digest) is None
    data.keep_snapshot(project, dataset, frame)
    kept = data.read_snapshot(project, dataset.digest)
    assert kept is not None
    assert kept[0] == dataset
    pd.testing.assert_frame_equal(kept[1], frame)


def test_only_the_newest_copies_are_kept(project: Project) -> None:
    whole = read_table(project.source, {})
    digests = [load(project, whole.head(400 + number), f"{number}.csv")[0].digest for number in range(7)]
    kept = [digest for digest in digests if project.snapshot(digest).exists()]
    assert kept == digests[-project.settings.data.snapshots :]


def test_settings_that_would_go_unheard_are_refused(project: Project) -> None:
    for override, expected in (
        ('data.ignore=["bmmi"]', "did you mean bmi"),
        ("data.types.sex=string", "declares it as integer"),
    ):
        changed = open_project(project.root, overrides=[override])
        with pytest.raises(UsageError) as caught:
            data.load(changed, read_table, changed.source)
        assert expected in str(caught.value)

"""What must hold before anything is trained: settings, data and model fit together. Add your own tests beside it."""

from pathlib import Path

import numpy as np
import pytest

from ridgeway.actions import data
from ridgeway.cli import invoke
from ridgeway.project import Project, open_project
from steps.load_data import load_data
from steps.make_model import make_model


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(Path(__file__).parents[1])
    return open_project(Path.cwd())


def test_the_settings_are_valid(project: Project) -> None:
    assert invoke(["settings"]) == 0


def test_the_retraining_can_be_planned(project: Project) -> None:
    assert invoke(["run", "retraining", "--plan"]) == 0


def test_the_suite_accepts_the_data(project: Project) -> None:
    dataset, rows = data.load(project, load_data, project.source)
    assert [line.reason for line in data.check(project, dataset, rows).failures] == []


def test_the_model_fits_the_data(project: Project) -> None:
    settings = project.settings
    _, rows = data.load(project, load_data, project.source)
    features = rows.drop(columns=[settings.data.label, *settings.data.ignore])
    model = make_model(dict(settings.training.parameters), seed=settings.training.seed)
    model.fit(features, rows[settings.data.label])
    if settings.training.task == "classification":
        assert np.isfinite(model.predict_proba(features)).all()
    else:
        assert np.isfinite(model.predict(features)).all()

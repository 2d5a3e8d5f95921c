"""The benchmark of the promotion gate measures what it says: its shortcuts are held against plain computations."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from ridgeway.rules.promotion import CODES, Context, Evidence, Policy, judge

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "promotion_gate.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("promotion_gate", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["promotion_gate"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def world(benchmark: ModuleType) -> object:
    return benchmark.diabetes_world()


def test_ridge_from_sums_of_products_is_scikit_learns_ridge_on_scaled_features(benchmark, world) -> None:
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(0)
    features, labels = world.draw(2, 100, rng)
    folds = np.arange(100) % 10
    learner = benchmark.RidgeLearner(2, world.penalty)
    learner.add(features[:, :60], labels[:, :60], folds[:60])
    learner.add(features[:, 60:], labels[:, 60:], folds[60:])
    fits = learner.fit()
    scaled = features[1, :, 1:] @ world.root.T
    for column, kept in [(0, folds >= 0), (1, folds != 0), (10, folds != 9)]:
        reference = Ridge(alpha=0.02).fit(scaled[kept], labels[1, kept]).predict(scaled)
        assert features[1] @ fits[1, :, column] == pytest.approx(reference)
    assert learner.fit_full() == pytest.approx(fits[..., 0])


def test_logistic_regression_by_newton_steps_is_scikit_learns(benchmark, world) -> None:
    from sklearn.linear_model import LogisticRegression

    disease = benchmark.disease_world(world)
    features, labels = disease.draw(2, 400, np.random.default_rng(0))
    folds = np.arange(400) % 10
    learner = benchmark.LogisticLearner(2, disease.width)
    for start in range(0, 400, 100):
        part = slice(start, start + 100)
        learner.add(features[:, part], labels[:, part], folds[part])
        fits = learner.fit()
    for column, kept in [(0, folds >= 0), (3, folds != 2)]:
        reference = LogisticRegression(tol=1e-10, max_iter=1000).fit(features[1, kept, 1:], labels[1, kept])
        assert fits[1, 1:, column] == pytest.approx(reference.coef_[0], abs=0.02)


def test_true_errors_in_closed_form_are_the_means_over_many_rows(benchmark, world) -> None:
    rng = np.random.default_rng(0)
    disease = benchmark.disease_world(world)
    for population, scale in ((world, 5.0), (disease, 0.3)):
        model = population.truth + scale * rng.standard_normal((1, population.width))
        features, labels = population.draw(1, 400_000, rng)
        losses = population.losses(labels, features @ model[0])
        assert population.risk(model)[0] == pytest.approx(losses.mean(), abs=4 * losses.std() / 400_000**0.5)
        assert population.risk(model)[0] > population.least_risk


def test_turned_coefficients_keep_their_length_on_the_scaled_features(benchmark, world) -> None:
    turned = world.turned(30.0, 5, np.random.default_rng(0)).truth
    old, new = (np.linalg.solve(world.root.T, slopes.T) for slopes in (world.truth[1:], turned[:, 1:]))
    lengths = np.linalg.norm(new, axis=0)
    assert lengths == pytest.approx(np.linalg.norm(old))
    assert old @ new / lengths / np.linalg.norm(old) == pytest.approx(np.cos(np.pi / 6))


def test_the_years_of_the_benchmark_are_those_of_judge(benchmark, world) -> None:
    """One year told row by row through ``judge`` has the reasons that the benchmark found for it."""
    years, weeks, found = 20, 12, []
    learner = benchmark.RidgeLearner(years, world.penalty)
    plan = benchmark.Plan(80, 20, weeks=weeks)
    rng = np.random.default_rng(4)
    weak = np.asarray(world.truth + np.array([12.0] + [0.0] * 10))
    course = benchmark.simulate(world, learner, plan, rng, np.tile(weak, (years, 1)))

    rng = np.random.default_rng(4)
    learner = benchmark.RidgeLearner(years, world.penalty)
    data = benchmark.Data(learner, plan, world.width)
    data.arrive(0, (benchmark.START_TRAINING, benchmark.START_SEALED), world, rng)
    champion, since = np.tile(weak, (years, 1)), np.zeros(years, dtype=int)
    for week in range(1, weeks + 1):
        data.arrive(week, (80, 20), world, rng)
        fits = learner.fit()
        reasons = []
        for year in range(years):
            reasons.append(judge(year_evidence(data, fits, champion, since, year), Policy(), Context()).reason)
            if "superior" in reasons[-1]:
                champion[year], since[year] = fits[year, :, 0], week
        found.append(reasons)
    assert np.array(found).T.tolist() == [[CODES[code] for code in year] for year in course.reasons]
    assert len(set(np.array(found).ravel())) >= 3


def year_evidence(data, fits, champion, since, year: int) -> Evidence:
    def losses(rows, model) -> tuple[np.ndarray, np.ndarray]:
        features, labels, weeks = rows.since(0)
        return np.square(labels[year] - features[year] @ model), weeks

    ours, weeks = losses(data.sealed, fits[year, :, 0])
    theirs, _ = losses(data.sealed, champion[year])
    late_theirs, training_weeks = losses(data.training, champion[year])
    features, labels, _ = data.training.since(0)
    scores = (features[year] @ fits[year, :, 1:])[np.arange(late_theirs.size), np.arange(late_theirs.size) % 10]
    late_ours = np.square(labels[year] - scores)
    sealed, training = weeks > since[year], training_weeks > since[year]
    return Evidence(
        ours,
        theirs,
        sealed_is_recent=sealed,
        recent_candidate=np.concatenate([ours[sealed], late_ours[training]]),
        recent_opponent=np.concatenate([theirs[sealed], late_theirs[training]]),
    )


def test_the_table_has_every_figure_and_ends_well(benchmark, capsys) -> None:
    code = benchmark.main(["--years", "0.01"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["| figure | expected | measured | met |", "|---|---|---|---|"]
    assert len(lines) == 28
    assert all(line.endswith(("| yes |", "| NO |")) for line in lines[2:])
    assert code == (1 if any(line.endswith("| NO |") for line in lines) else 0)
    assert benchmark.main(["--years", "0.01", "--only", "slow"]) in (0, 1)
    assert capsys.readouterr().out.splitlines()[2:] == lines[6:11]

"""Runs, candidates, verdicts and versions over SQLite."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pickle
import pickletools
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from ridgeway import package
from ridgeway.artifacts import Candidate
from ridgeway.errors import BadData, ModelError, NotFound, Permanent, UsageError
from ridgeway.registry import Registry, glance
from ridgeway.registry.connection import ENVIRONMENT, Connection, inspect_database
from tests.registry.conftest import FRAME, KEY, candidate_of, fitted, full, open_registry, verdict_on

Save = Callable[..., Candidate]


# ---- runs ------------------------------------------------------------------------------------------------------------


def test_a_run_from_start_to_end(registry: Registry) -> None:
    run_id = registry.start_run("retraining", {"ridgeway.person": "ada"})
    registry.tag_run(run_id, {"commit": "abc"})
    registry.log_metrics(run_id, {"r2": 0.5, "loss": float("nan")})
    registry.log_params(run_id, {"alpha": 1.0})
    running = registry.run(run_id)
    assert (running.flow, running.status, running.ended_at) == ("retraining", "RUNNING", "")
    assert running.tags.items() >= {"ridgeway.person": "ada", "commit": "abc"}.items()
    assert running.metrics["r2"] == 0.5
    assert running.metrics["loss"] != running.metrics["loss"]
    assert running.parameters == {"alpha": "1.0"}
    registry.end_run(run_id, "KILLED")
    ended = registry.run(run_id)
    assert ended.status == "KILLED"
    assert ended.started_at <= ended.ended_at
    assert ended.started_at.endswith("Z")


def test_a_run_ends_in_one_of_three_ways(registry: Registry) -> None:
    with pytest.raises(UsageError, match="FINISHED or FAILED or KILLED"):
        registry.end_run(registry.start_run("build"), "DONE")


def test_runs_are_listed_newest_first(registry: Registry) -> None:
    made = []
    for _ in range(3):
        made.append(registry.start_run("build"))
        time.sleep(0.002)  # MLflow's clock counts milliseconds
    assert [run.run_id for run in registry.runs()] == made[::-1]
    assert [run.run_id for run in registry.runs(2)] == made[:0:-1]


def test_a_run_is_found_by_the_start_of_its_id(registry: Registry) -> None:
    made = [registry.start_run("build") for _ in range(20)]
    assert registry.find_run(made[0]).run_id == made[0]
    assert registry.find_run(made[0][:12]).run_id == made[0]
    first = max(made, key=lambda run: sum(other[0] == run[0] for other in made))
    with pytest.raises(NotFound, match="several start so"):
        registry.find_run(first[0])
    for wrong in ("0123456789abcdef", "", "%", "x' OR '1"):
        with pytest.raises(NotFound):
            registry.find_run(wrong)


def test_runs_of_another_model_are_not_found(root: Path) -> None:
    other = open_registry(root, name="other").start_run("build")
    registry = open_registry(root)
    registry.start_run("build")
    with pytest.raises(NotFound):
        registry.find_run(other)
    assert other not in [run.run_id for run in registry.runs()]


def test_looking_into_an_empty_registry_finds_nothing_and_writes_nothing(root: Path) -> None:
    before = (root / ".ridgeway/mlflow.db").read_bytes()
    registry = open_registry(root)
    assert registry.runs() == []
    assert registry.versions() == []
    assert registry.by_alias("challenger") is None
    assert registry.find_version("sha256:0") is None
    assert registry.find_candidate("sha256:0") is None
    assert registry.find_verdict("a", "b", "c", holdout="h", policy="p") is None
    assert registry.looks("c") == 0
    with pytest.raises(NotFound):
        registry.version(1)
    with pytest.raises(NotFound):
        registry.run("0" * 32)
    assert (root / ".ridgeway/mlflow.db").read_bytes() == before


def test_json_records_carry_a_schema_and_only_json(registry: Registry, root: Path) -> None:
    run_id = registry.start_run("release")
    registry.write_json(run_id, "records/plan.json", {"gain": float("nan"), "deep": [{"x": float("inf")}], "name": "Ü"})
    assert registry.read_json(run_id, "records/plan.json") == {
        "schema": 1,
        "gain": None,
        "deep": [{"x": None}],
        "name": "Ü",
    }
    registry.write_json(run_id, "records/plan.json", {"schema": 2})
    assert registry.read_json(run_id, "records/plan.json") == {"schema": 2}
    stored = root / f".ridgeway/artifacts/diabetes/{run_id}/artifacts/records"
    assert [file.name for file in stored.iterdir()] == ["plan.json"]


def test_files_of_a_run(registry: Registry, tmp_path: Path) -> None:
    run_id = registry.start_run("retraining")
    source = tmp_path / "made.html"
    source.write_text("<p>report</p>")
    registry.write_file(run_id, "reports/report.html", source)
    assert registry.read_file(run_id, "reports/report.html").read_text() == "<p>report</p>"
    with pytest.raises(NotFound, match=r"has no file reports/other\.html"):
        registry.read_file(run_id, "reports/other.html")
    with pytest.raises(NotFound):
        registry.write_file("0" * 32, "a.html", source)
    for wrong in ("../../../mlflow.db", "/etc/passwd", "", "a/../../b"):
        with pytest.raises(UsageError, match="not a path inside a run"):
            registry.read_file(run_id, wrong)


def test_a_record_that_is_no_json_object_is_bad_data(registry: Registry, tmp_path: Path) -> None:
    run_id = registry.start_run("retraining")
    for text in ("[1]", "{", "\udcff"):
        (tmp_path / "x").write_text(text, errors="surrogateescape")
        registry.write_file(run_id, "x.json", tmp_path / "x")
        with pytest.raises(BadData, match=r"x\.json"):
            registry.read_json(run_id, "x.json")


# ---- candidates ------------------------------------------------------------------------------------------------------


def test_a_candidate_comes_back_equal(registry: Registry, root: Path, save: Save) -> None:
    candidate = save(registry)
    again = open_registry(root)
    found = again.find_candidate(candidate.inputs)
    assert found is not None
    assert found.metrics.pop("mean_squared_error") is None
    assert (found.digest, found.run_id, found.key) == (candidate.digest, candidate.run_id, KEY)
    assert again.candidate(candidate.run_id).digest == candidate.digest
    model = again.load_model(candidate.run_id)
    assert package.digest(model) == candidate.digest
    identities = np.load(again.read_file(candidate.run_id, "identities/sealed.npy"))
    assert identities.tolist() == [2, 4]
    assert again.run(candidate.run_id).parameters == {"alpha": "1.0", "seed": "0"}
    assert again.find_candidate("sha256:other") is None


def is_pickle(content: bytes) -> bool:
    with contextlib.suppress(ValueError, IndexError, UnicodeError, KeyError, TypeError):
        return bool(list(pickletools.genops(content)))
    return False


def test_the_search_for_pickles_finds_one() -> None:
    assert is_pickle(pickle.dumps(FRAME))


def test_nothing_in_a_candidate_is_a_pickle(registry: Registry, root: Path, save: Save) -> None:
    folder = root / f".ridgeway/artifacts/diabetes/{save(registry).run_id}/artifacts"
    stored = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
    assert stored == [
        "candidate.json",
        "identities/sealed.npy",
        "identities/training.npy",
        "model/MLmodel",
        "model/conda.yaml",
        "model/input_example.json",
        "model/model.skops",
        "model/python_env.yaml",
        "model/requirements.txt",
        "model/serving_input_example.json",
    ]
    assert [name for name in stored if is_pickle((folder / name).read_bytes())] == []
    with zipfile.ZipFile(folder / "model/model.skops") as archive:
        assert [name for name in archive.namelist() if is_pickle(archive.read(name))] == []
    assert "serialization_format: skops" in (folder / "model/MLmodel").read_text()


def test_the_example_of_a_model_is_nobodys_row(registry: Registry, save: Save) -> None:
    stored = registry.read_file(save(registry).run_id, "model/input_example.json")
    row = json.loads(stored.read_text())["data"]
    assert row == [[2.0, 0.5]]
    assert row[0] not in FRAME.to_numpy().tolist()


class Killed(BaseException):
    """The process ends here."""


def kill_after(calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets that many calls of MLflow through, and then none."""
    left, real = [calls], Connection.call

    def call(self: Connection, *arguments: object, **keywords: object) -> object:
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        return real(self, *arguments, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(Connection, "call", call)


def test_a_candidate_killed_anywhere_is_never_found_and_completed_by_the_same_call(
    root: Path, files: dict[str, Path]
) -> None:
    registry = open_registry(root)
    candidate = candidate_of(registry.start_run("retraining"), 1.0)
    for calls in range(30):
        with pytest.MonkeyPatch.context() as monkeypatch:
            kill_after(calls, monkeypatch)
            try:
                open_registry(root).save_candidate(candidate, fitted(1.0), files=files, signature_frame=FRAME)
            except Killed:
                pass
            else:
                break
        assert registry.find_candidate(candidate.inputs) is None
        with pytest.raises(NotFound, match="holds no"):
            registry.candidate(candidate.run_id)
        with pytest.raises(NotFound, match="holds no"):
            registry.load_model(candidate.run_id)
    assert calls > 5
    found = registry.find_candidate(candidate.inputs)
    assert found is not None
    assert found.digest == candidate.digest


def test_a_candidate_whose_files_are_gone_is_trained_again(registry: Registry, save: Save) -> None:
    candidate = save(registry)
    registry.read_file(candidate.run_id, "candidate.json").unlink()
    assert registry.find_candidate(candidate.inputs) is None


def test_an_altered_model_is_not_loaded(registry: Registry, save: Save) -> None:
    candidate, other = save(registry, 1.0), save(registry, 2.0)
    stranger = registry.read_file(other.run_id, "model/model.skops").read_bytes()
    registry.read_file(candidate.run_id, "model/model.skops").write_bytes(stranger)
    with pytest.raises(ModelError, match="was altered after it was stored"):
        registry.load_model(candidate.run_id)


def test_a_model_that_cannot_leave_the_project_leaves_no_trace(registry: Registry, root: Path) -> None:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    estimator = make_pipeline(FunctionTransformer(lambda table: table), Ridge()).fit(FRAME, [1.0, 2.0, 3.0, 5.0])
    candidate = candidate_of(registry.start_run("retraining"), 1.0)
    with pytest.raises(ModelError, match="put it into a wheel"):
        registry.save_candidate(candidate, estimator, files={}, signature_frame=FRAME)
    assert not (root / ".ridgeway/artifacts").exists()


# ---- verdicts --------------------------------------------------------------------------------------------------------


def test_verdicts_are_found_by_what_they_compared_and_counted(registry: Registry, save: Save) -> None:
    candidate = save(registry)
    assert registry.verdict(candidate.run_id) is None
    first = verdict_on(candidate, "hold")
    registry.save_verdict(candidate.run_id, first)
    registry.save_verdict(candidate.run_id, first)
    assert registry.looks(KEY.digest) == 1
    second = verdict_on(candidate, "reject", opponent="sha256:champion")
    registry.save_verdict(registry.start_run("judge"), second)
    assert registry.looks(KEY.digest) == 2
    assert registry.looks("another") == 0
    assert registry.verdict(candidate.run_id) == first
    question = {"holdout": "h1", "policy": "p1"}
    assert registry.find_verdict(candidate.digest, "mean", KEY.digest, **question) == first
    assert registry.find_verdict(candidate.digest, "mean", "another", **question) is None
    # A judgement on demand is a look, but no answer to anybody else.
    assert registry.find_verdict(candidate.digest, "sha256:champion", KEY.digest, **question) is None


def test_a_verdict_is_found_under_its_own_policy_and_on_its_own_rows(registry: Registry, save: Save) -> None:
    candidate = save(registry)
    questions = [("h1", "p1"), ("h2", "p1"), ("h1", "p2")]
    reached = {}
    for number, (holdout, policy) in enumerate(questions):
        verdict = dataclasses.replace(
            verdict_on(candidate, "hold"), holdout=holdout, policy=policy, sentence=f"number {number}"
        )
        registry.save_verdict(registry.start_run("retraining"), verdict)
        reached[holdout, policy] = verdict
    for holdout, policy in questions:
        found = registry.find_verdict(candidate.digest, "mean", KEY.digest, holdout=holdout, policy=policy)
        assert found == reached[holdout, policy]
    assert registry.find_verdict(candidate.digest, "mean", KEY.digest, holdout="h2", policy="p2") is None


def test_many_judgements_on_demand_do_not_hide_the_verdict(registry: Registry, save: Save) -> None:
    candidate = save(registry)
    verdict = verdict_on(candidate, "hold")
    for _ in range(25):
        registry.save_verdict(registry.start_run("judge"), dataclasses.replace(verdict, outcome="accept"))
    registry.save_verdict(candidate.run_id, verdict)
    assert registry.find_verdict(candidate.digest, "mean", KEY.digest, holdout="h1", policy="p1") == verdict


def test_what_let_a_version_in(registry: Registry, save: Save) -> None:
    """The verdict of the run that registered it; else the accepting one; else what the version's tags tell."""
    candidate = save(registry)
    held = dataclasses.replace(verdict_on(candidate, "hold"), policy="p0")
    registry.save_verdict(registry.start_run("retraining"), held)
    on_demand = dataclasses.replace(verdict_on(candidate), sentence="on demand", policy="loose")
    registry.save_verdict(registry.start_run("judge"), on_demand)
    first, second = (dataclasses.replace(verdict_on(candidate), sentence=text) for text in ("first", "second"))
    runs = [registry.start_run("retraining") for _ in range(3)]
    registry.save_verdict(runs[0], first)
    registry.save_verdict(runs[1], second)
    version = registry.register(candidate, second, tags={"ridgeway.registered_by": runs[1]})
    assert registry.find_admission(version) == second
    for other in (runs[2], "0" * 32, candidate.run_id):  # without a verdict; gone; of no judgement
        moved = dataclasses.replace(version, tags=version.tags | {"ridgeway.registered_by": other})
        assert registry.find_admission(moved) == first
    alone = dataclasses.replace(version, tags=version.tags | {"ridgeway.key": "x", "ridgeway.registered_by": ""})
    told = registry.find_admission(alone)
    assert told is not None
    assert (told.accepted, told.sentence, told.candidate_digest) == (True, "second", candidate.digest)
    assert registry.find_admission(dataclasses.replace(version, digest="", tags={})) is None


def test_a_verdict_killed_while_it_is_saved_is_no_look(registry: Registry, root: Path, save: Save) -> None:
    candidate = save(registry)
    with pytest.MonkeyPatch.context() as monkeypatch:
        kill_after(2, monkeypatch)
        with pytest.raises(Killed):
            registry.save_verdict(candidate.run_id, verdict_on(candidate))
    assert registry.find_verdict(candidate.digest, "mean", KEY.digest, holdout="h1", policy="p1") is None
    assert registry.looks(KEY.digest) == 0


# ---- versions --------------------------------------------------------------------------------------------------------


def test_registration(registry: Registry, root: Path, save: Save) -> None:
    candidate = save(registry)
    version = registry.register(candidate, verdict_on(candidate), tags={"ridgeway.commit": "abc"})
    assert (version.handle, version.aliases, version.digest) == (
        "models:/diabetes/1",
        ("challenger",),
        candidate.digest,
    )
    assert version.run_id == candidate.run_id
    assert version.dataset == candidate.dataset
    assert version.tags["ridgeway.commit"] == "abc"
    assert version.tags["ridgeway.verdict"] == "accept"
    assert json.loads(version.tags["ridgeway.key_rule"])["holdout"] == 0.2
    assert registry.register(candidate, verdict_on(candidate), tags={"ridgeway.commit": "later"}) == version
    assert registry.versions() == [version]
    assert registry.find_version(candidate.digest) == version
    assert registry.by_alias("challenger") == version
    assert open_registry(root).version(1) == version


def test_the_challenger_is_the_latest_and_the_champion_stays(registry: Registry, save: Save) -> None:
    for alpha in (1.0, 2.0):
        candidate = save(registry, alpha)
        registry.register(candidate, verdict_on(candidate), tags={})
        if alpha == 1.0:
            registry.set_alias("champion", 1)
    assert [(version.number, version.aliases) for version in registry.versions()] == [
        (1, ("champion",)),
        (2, ("challenger",)),
    ]
    registry.delete_alias("champion")
    registry.delete_alias("champion")
    assert registry.by_alias("champion") is None
    with pytest.raises(NotFound):
        registry.set_alias("champion", 9)


@pytest.mark.parametrize(
    ("outcome", "change", "message"),
    [
        ("reject", {}, "the verdict is reject"),
        ("hold", {}, "the verdict is hold"),
        ("accept", {"candidate_digest": "sha256:other"}, "the verdict is about sha256:other"),
        ("accept", {"key": "other"}, "another holdout"),
    ],
)
def test_no_registration_without_an_accepting_verdict_on_this_candidate(
    registry: Registry, outcome: str, change: dict[str, str], message: str
) -> None:

    candidate = candidate_of(registry.start_run("retraining"), 1.0)
    verdict = dataclasses.replace(verdict_on(candidate, outcome), **change)
    with pytest.raises(Permanent, match=message):
        registry.register(candidate, verdict, tags={})
    assert registry.all_versions() == []


def test_no_registration_of_a_candidate_that_is_not_there(registry: Registry) -> None:
    candidate = candidate_of(registry.start_run("retraining"), 1.0)
    with pytest.raises(NotFound, match="holds no candidate"):
        registry.register(candidate, verdict_on(candidate), tags={})


def test_tags_of_ours_are_not_overwritten(registry: Registry) -> None:
    candidate = candidate_of(registry.start_run("retraining"), 1.0)
    with pytest.raises(UsageError, match=r"ridgeway\.digest"):
        registry.register(candidate, verdict_on(candidate), tags={"ridgeway.digest": "x"})


def test_registration_killed_anywhere_is_completed_by_the_same_call(root: Path, save: Save) -> None:
    registry = open_registry(root)
    earlier = save(registry, 1.0)
    registry.register(earlier, verdict_on(earlier), tags={})
    candidate = save(registry, 2.0)
    for calls in range(40):
        with pytest.MonkeyPatch.context() as monkeypatch:
            kill_after(calls, monkeypatch)
            try:
                version = open_registry(root).register(candidate, verdict_on(candidate), tags={"commit": "abc"})
            except Killed:
                pass
            else:
                break
        assert len(registry.versions()) <= 2
        challenger = registry.by_alias("challenger")
        assert challenger in registry.versions()
        assert challenger is not None
        assert glance(registry.uri, "diabetes", root) == full(registry)
        assert challenger.tags["ridgeway.verdict"] == "accept"
    assert calls > 8
    assert version.number == 2
    assert version.tags["ridgeway.complete"] == "1"
    assert version.tags["commit"] == "abc"
    assert version.aliases == ("challenger",)
    assert [one.number for one in registry.all_versions()] == [1, 2]


def test_versions_that_others_registered_are_seen_but_not_ours(registry: Registry, save: Save) -> None:
    import mlflow

    candidate = save(registry)
    client = mlflow.MlflowClient(registry.uri, registry.uri)
    client.create_registered_model("diabetes")
    client.create_model_version("diabetes", source="s3://elsewhere/model")
    assert registry.versions() == []
    assert [(version.number, version.digest) for version in registry.all_versions()] == [(1, "")]
    assert registry.register(candidate, verdict_on(candidate), tags={}).number == 2


def test_threads_share_a_registry(registry: Registry, save: Save) -> None:
    candidate = save(registry)
    results: list[int] = []

    def work() -> None:
        results.append(registry.register(candidate, verdict_on(candidate), tags={}).number)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [1] * 6
    assert [version.number for version in registry.all_versions()] == [1]


RACE = """
import os, sys, time
from pathlib import Path
from ridgeway.registry import Registry
from ridgeway.registry.connection import create_database
root, own, *runs = sys.argv[1:]
def together(step):
    Path(root, f"{step}-{own}").touch()
    while len(list(Path(root).glob(f"{step}-*"))) < 2:
        time.sleep(0.01)
registry = Registry("sqlite:///.ridgeway/mlflow.db", name="diabetes", root=Path(root))
work = [(registry.candidate(run), registry.verdict(run)) for run in runs]
together("fresh")
create_database(Path(root, "fresh.db"))
together("register")
for candidate, verdict in work:
    registry.register(candidate, verdict, tags={})
from mlflow.telemetry import get_telemetry_client
print(get_telemetry_client(), os.environ["MLFLOW_DISABLE_TELEMETRY"], os.environ["DO_NOT_TRACK"], os.listdir("."))
"""


@pytest.mark.slow
def test_two_processes_at_once(root: Path, save: Save) -> None:
    """They make a database, then register: different candidates, then the same ones. And they do it quietly."""
    registry = open_registry(root)
    made = [save(registry, alpha) for alpha in (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)]
    for candidate in made:
        registry.save_verdict(candidate.run_id, verdict_on(candidate))
    runs = [candidate.run_id for candidate in made]
    # Two of their own each, then two that both register.
    work = {"one": runs[:2] + runs[4:], "two": runs[2:]}
    environment = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT}
    (root / "empty").mkdir()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(root), name, *own],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=root / "empty",
            env=environment,
        )
        for name, own in work.items()
    ]
    ends = [(*process.communicate(timeout=200), process.returncode) for process in processes]
    assert ends == [("None true true []\n", "", 0)] * 2
    assert sorted(file.name for file in root.glob("*fresh.db*")) == ["fresh.db", "fresh.db.lock"]
    assert inspect_database(root / "fresh.db")
    versions = registry.versions()
    assert sorted(version.digest for version in versions) == sorted(candidate.digest for candidate in made)
    assert len(registry.all_versions()) == 6
    assert versions[-1].aliases == ("challenger",)
    seen = glance(registry.uri, "diabetes", root)
    assert seen is not None
    assert [version.number for version in seen.versions] == [version.number for version in versions]

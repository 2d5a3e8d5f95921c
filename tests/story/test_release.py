"""From a registered model to production and back, as a person does it: commands, exit codes, records, and answers."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.story.conftest import Ended, tree
from tests.story.release_project import Clients, ReleaseStory, another, put_away

pytestmark = pytest.mark.timeout(240)


def is_told(ended: Ended, code: int, *words: str) -> None:
    """One error with this code that holds these words and says what to do."""
    assert ended.code == code, ended.err
    assert "Traceback" not in ended.err + ended.out
    for word in (*words, "next"):
        assert word in ended.message, ended.err


@pytest.fixture
def fresh(pair: ReleaseStory, tmp_path: Path) -> Iterator[ReleaseStory]:
    """A project with two models, of which nothing was released."""
    with put_away(another(pair, tmp_path)) as story:
        yield story


def untouched(story: ReleaseStory, *arguments: str) -> Ended:
    """What a command answered that must change nothing at all."""
    before = state(story)
    ended = story.ridgeway(*arguments)
    assert state(story) == before
    return ended


def state(story: ReleaseStory) -> dict[str, str]:
    """All files but those in which servers that run say how they are."""
    own = {f".ridgeway/targets/{target}/{name}" for target in story.ports for name in ("log", "state.json")}
    return {name: digest for name, digest in tree(story.root).items() if name not in own}


def moment() -> str:
    return datetime.now(UTC).isoformat()


# ---- the whole way ---------------------------------------------------------------------------------------------------


def test_a_model_goes_to_production_and_back(fresh: ReleaseStory) -> None:
    planned = untouched(fresh, "run", "release", "models:/diabetes/1", "--plan")
    assert planned.code == 0, planned.err
    assert planned.out.startswith("build_image      folder/diabetes, to be made\n")
    before = moment()

    waits(fresh)
    first_is_released(fresh)
    one = moment()
    second_without_a_lost_request(fresh)
    two = moment()
    back_to_the_first(fresh)
    served = {at: fresh.ridgeway("show", "production", "--at", at, "--json") for at in (one, two, moment())}
    assert [json.loads(ended.out)["model"] for ended in served.values()] == [
        "models:/diabetes/1",
        "models:/diabetes/2",
        "models:/diabetes/1",
    ]
    is_told(fresh.ridgeway("show", "production", "--at", before), 2, "nothing served on production")
    down_and_back(fresh)


def waits(story: ReleaseStory) -> None:
    asked = story.release(1)
    assert (asked.code, asked.line) == (5, "releases:/diabetes/1"), asked.err
    assert "ridgeway approve releases:/diabetes/1" in asked.err
    assert "releases:/diabetes/1" in story.ridgeway("list").out
    assert story.champion() is None
    assert story.generation() == 0
    assert story.answered("qa")[0] == "diabetes/1"
    planned = untouched(story, "approve", "releases:/diabetes/1", "--plan")
    assert "would approve releases:/diabetes/1" in planned.out


def first_is_released(story: ReleaseStory) -> None:
    done = story.approve(1)
    assert (done.code, done.line) == (0, "releases:/diabetes/1"), done.err
    assert done.err.count("done before") == 3  # image, deployment and probe of QA
    assert story.champion() == 1
    assert story.serves(1)
    record = story.record(1)
    assert record.state == "released"
    assert record.rollout is not None
    assert (record.rollout.state, record.rollout.strategy, record.rollout.before) == ("done", "first", None)
    assert record.rollout.probe is not None
    assert record.rollout.probe.ok
    assert [approval.evidence for approval in story.approvals(1)] == [record.evidence]
    assert "nothing is running" in story.ridgeway("list").out
    shown = story.ridgeway("show", "releases:/diabetes/1").out
    assert shown.startswith("RELEASED  models:/diabetes/1 answers on production")
    listed = json.loads(story.ridgeway("list", "targets", "--json").out)["targets"]
    assert [(row["target"], row["state"], row["model"]) for row in listed] == [
        ("qa", "healthy", "models:/diabetes/1"),
        ("production", "healthy", "models:/diabetes/1"),
    ]
    # The printed line, as a shell takes it.
    example = json.loads(story.ridgeway("keys", "production", "--json").out)["example"]
    answer = subprocess.run(["sh", "-c", f"{example} -s"], capture_output=True, check=True).stdout
    assert len(json.loads(answer)["result"]) == 1


def second_without_a_lost_request(story: ReleaseStory) -> None:
    asked = story.release(2)
    assert (asked.code, asked.line) == (5, "releases:/diabetes/2"), asked.err
    expected = {"diabetes/1": story.predicted(1), "diabetes/2": story.predicted(2)}
    assert abs(expected["diabetes/1"] - expected["diabetes/2"]) > 1e-4
    with Clients(story, expected) as clients:
        done = story.approve(2)
        assert done.code == 0, done.err
        time.sleep(0.3)
    assert clients.failures == []
    assert min(clients.right.values()) > 50
    assert set(clients.right) == set(expected)
    assert story.champion() == 2
    assert story.serves(2)
    generation = story.generation()
    again = story.release(2)
    assert (again.code, again.line) == (0, "releases:/diabetes/2"), again.err
    assert again.err.splitlines()[-3].startswith("unchanged: ")
    assert story.generation() == generation
    assert len(story.records()) == 2
    said_again = story.approve(2)
    assert (said_again.code, len(story.approvals(2))) == (0, 1), said_again.err
    is_told(story.ridgeway("refuse", "releases:/diabetes/2", "--reason", "late"), 3, "has ended: released")


def back_to_the_first(story: ReleaseStory) -> None:
    planned = untouched(story, "rollback", "production", "--plan")
    assert planned.out.startswith("production: back to models:/diabetes/1")
    expected = {"diabetes/1": story.predicted(1), "diabetes/2": story.predicted(2)}
    with Clients(story, expected) as clients:
        back = story.ridgeway("rollback", "production", "--reason", "older patients")
        assert (back.code, back.line) == (0, "releases:/diabetes/3"), back.err
        time.sleep(0.3)
    assert clients.failures == []
    assert set(clients.right) == set(expected)
    assert story.champion() == 1
    assert story.serves(1)
    record = story.record(3)
    assert (record.kind, record.state, record.model) == ("rollback", "released", "models:/diabetes/1")
    assert record.rollout is not None
    assert record.rollout.before is not None
    assert record.rollout.before.image.model == "models:/diabetes/2"
    assert record.image == story.record(1).image


def down_and_back(story: ReleaseStory) -> None:
    stopped = story.ridgeway("remove", "qa")
    assert stopped.code == 0, stopped.err
    assert story.endpoint("qa")["state"] == "absent"
    is_told(story.ridgeway("remove", "production"), 2, "--yes")
    assert story.serves(1)
    generation = story.generation()
    # `down` would stop the server that all stories share: this is the part of it that matters here.
    with put_away(story):
        pass
    assert story.endpoint()["state"] == "stopped"
    asked = story.release(1)
    assert asked.code == 5, asked.err
    done = story.ridgeway("approve", asked.line)
    assert done.code == 0, done.err
    assert story.serves(1)
    assert story.generation() == generation + 1


# ---- before production -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_refused_cancelled_and_asked_anew(fresh: ReleaseStory) -> None:
    tried = fresh.release(1, "--until", "qa")
    assert (tried.code, tried.line) == (0, "releases:/diabetes/1"), tried.err
    assert fresh.generation("qa") == 1
    for words in (
        ("refuse", "releases:/diabetes/1", "--reason", "no", "--plan"),
        ("cancel", "releases:/diabetes/1", "--plan"),
        ("probe", "qa", "--plan"),
        ("remove", "qa", "--plan"),
        ("keys", "qa", "--rotate", "primary", "--plan"),
        ("down", "--plan"),
        ("run", "release", "models:/diabetes/2", "--plan"),
    ):
        assert untouched(fresh, *words).code == 0

    refused = fresh.ridgeway("refuse", "releases:/diabetes/1", "--reason", "too few women")
    assert refused.code == 0, refused.err
    record = fresh.record(1)
    assert (record.state, record.ended_at != "") == ("refused", True)
    assert "too few women" in record.sentence
    is_told(fresh.approve(1), 3, "releases:/diabetes/1 has ended: refused", "too few women")
    is_told(fresh.ridgeway("run", "release", "releases:/diabetes/1"), 3, "has ended: refused")

    anew = fresh.release(1)
    assert (anew.code, anew.line) == (5, "releases:/diabetes/2"), anew.err
    assert fresh.generation("qa") == 1, "the very same image was deployed again"
    is_told(fresh.ridgeway("approve", "releases:/diabetes/2", "--ci"), 2, "sqlite")
    cancelled = fresh.ridgeway("cancel", "releases:/diabetes/2", "--reason", "not on a Friday")
    assert cancelled.code == 0, cancelled.err
    record = fresh.record(2)
    assert (record.state, "not on a Friday" in record.sentence) == ("cancelled", True)
    is_told(fresh.approve(2), 3, "has ended: cancelled")
    is_told(fresh.ridgeway("cancel", "releases:/diabetes/2"), 3, "has ended: cancelled")
    assert fresh.generation() == 0
    assert fresh.champion() is None
    assert [known.state for known in fresh.records()] == ["cancelled", "refused"]


def test_who_starts_releases(fresh: ReleaseStory) -> None:
    by_ci = fresh.release(1, "--set", "release.started_by=ci")
    is_told(by_ci, 2, "are started by ci, and this is a person", "release.started_by")
    local = fresh.release(1, "--ci", "--set", "release.started_by=ci")
    is_told(local, 2, "registry")
    assert fresh.records() == []
    assert fresh.generation("qa") == 0


def test_a_model_that_no_verdict_lets_in(fresh: ReleaseStory) -> None:
    source = fresh.registry.version(1)
    from mlflow import MlflowClient

    uri = f"sqlite:///{fresh.root / '.ridgeway/mlflow.db'}"
    client = MlflowClient(uri, uri)
    client.create_model_version("diabetes", (fresh.root / "elsewhere").as_uri(), source.run_id)
    is_told(fresh.release(3), 4, "models:/diabetes/3", "retraining")
    is_told(fresh.release(9), 2, "models:/diabetes/9", "ridgeway list models")
    assert fresh.records() == []
    assert not (fresh.root / ".ridgeway" / "packages").exists()
    assert fresh.generation("qa") == 0


@pytest.mark.slow
def test_an_altered_package(fresh: ReleaseStory) -> None:
    assert fresh.release(1, "--until", "qa").code == 0
    packages = fresh.root / ".ridgeway" / "packages"
    alter(next(packages.rglob("model.json")))
    refused = fresh.release(1)
    assert refused.code == 5, "what the record holds was made from the package as it was"
    done = fresh.approve(1)
    is_told(done, 1, "altered", str(packages))
    assert fresh.generation() == 0
    assert fresh.record(1).state == "failed"

    # Gone from here, and altered where it is stored: nobody gets it.
    shutil.rmtree(packages)
    stored = [file for file in (fresh.root / ".ridgeway").rglob("package/**/files/*") if file.name != "model.json"]
    alter(next(file for file in stored))
    is_told(fresh.release(1), 1, "altered", "ridgeway run retraining")
    assert fresh.generation() == 0
    assert fresh.champion() is None


def alter(file: Path) -> None:
    """Changes one byte."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)

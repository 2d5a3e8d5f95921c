"""Caches: brought back by key, kept after jobs that went well."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from ridgeway.ci.execution.caches import HIT, INEXACT, KEPT_DAYS, MISS, Caches, NoSuchFile, Wanted, key_of
from tests.ci.execution.conftest import Carried, git

STEPS = """
steps:
- task: Cache@2
  inputs:
    key: '"ridgeway" | "$(Agent.OS)" | lock.txt'
    restoreKeys: '"ridgeway" | "$(Agent.OS)"'
    path: $(Pipeline.Workspace)/.kept
    cacheHitVar: HIT
- script: |
    echo "$(HIT) $(cat $(Pipeline.Workspace)/.kept/made 2>/dev/null)"
    mkdir -p $(Pipeline.Workspace)/.kept; cat lock.txt > $(Pipeline.Workspace)/.kept/made
    ln -sf made $(Pipeline.Workspace)/.kept/link
"""


def test_a_second_job_finds_what_the_first_has_left(carried: Carried) -> None:
    first = carried(STEPS, files={"lock.txt": "one\n"})
    assert first.lines[1:] == ["false "]
    assert first.notes("__default/Job/1") == "cache: nothing is kept yet"
    second = carried(STEPS)
    assert second.lines[1:] == ["true one"]
    # Another lock: the newest of the same beginning is taken, and what has become of it is kept under the new key.
    (second.root / "lock.txt").write_text("two\n", encoding="utf-8")
    git(second.root, "commit", "--quiet", "--all", "-m", "Second")
    assert carried(STEPS).lines[1:] == ["inexact one"]
    assert carried(STEPS).lines[1:] == ["true two"]
    kept = second.root / ".ridgeway" / "ci" / "caches"
    assert sorted(one.read_text() for one in kept.glob("*/files/made")) == ["one\n", "two\n"]
    assert all(one.is_symlink() for one in kept.glob("*/files/link"))


def test_a_job_may_change_what_it_was_given(carried: Carried) -> None:
    carried(STEPS, files={"lock.txt": "one\n"})
    spoils = STEPS + "- script: echo spoilt > $(Pipeline.Workspace)/.kept/made; echo spoilt\n"
    assert carried(spoils).lines[1:] == ["true one", "spoilt"]
    assert carried(STEPS).lines[1:] == ["true one"]


def test_a_job_that_fails_leaves_nothing(carried: Carried) -> None:
    carried(STEPS + "- script: exit 1\n", files={"lock.txt": "one\n"})
    assert carried(STEPS).lines[1:] == ["false "]


def test_a_key_that_names_no_file_fails_as_on_azure(carried: Carried) -> None:
    told = carried("steps: [{task: Cache@2, inputs: {key: a | nowhere.txt, path: b}}]")
    assert told.results["__default/Job/1"] == "Failed"
    assert "names nowhere.txt, and there is no such file" in told.notes("__default/Job/1")


def test_segments(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.lock").write_text("1", encoding="utf-8")
    (tmp_path / "two.lock").write_text("2", encoding="utf-8")
    name, every = key_of("npm | **/*.lock", tmp_path)
    assert name == "npm"
    assert len(every) == 64
    assert key_of("**/*.lock, !a/**", tmp_path) != (every,)
    assert key_of("two.lock", tmp_path) != (every,)
    assert key_of('"two.lock" | v1. | "|"', tmp_path)[:2] == ("two.lock", "v1.")
    (tmp_path / "two.lock").write_text("3", encoding="utf-8")
    assert key_of("**/*.lock", tmp_path) != (every,)
    with pytest.raises(NoSuchFile):
        key_of("*.none", tmp_path)


def test_what_nobody_uses_goes(tmp_path: Path) -> None:
    caches, folder = Caches(tmp_path / "caches"), tmp_path / "made"
    for name in ("old", "used", "new"):
        folder.mkdir()
        (folder / "file").write_text(name, encoding="utf-8")
        if name == "new":
            long_ago = time.time() - (KEPT_DAYS + 1) * 86_400
            for one in caches.folder.glob("*/key.json"):
                os.utime(one, (long_ago, long_ago))
            assert caches.restore(("used",), [], tmp_path / "place") == HIT
        assert caches.keep(Wanted((name,), folder), moves=True)
    assert [caches.restore((name,), [], tmp_path / name) for name in ("old", "used", "new")] == [MISS, HIT, HIT]
    assert caches.restore(("other",), [("nothing",), ("u",), ("used",)], tmp_path / "last") == INEXACT
    assert (tmp_path / "last" / "file").read_text() == "used"
    assert not caches.keep(Wanted(("used",), tmp_path / "last"), moves=True)


def test_what_cannot_be_kept_costs_the_job_nothing(carried: Carried, tmp_path: Path) -> None:
    state = tmp_path / "repository" / ".ridgeway" / "ci"
    carried("steps: [script: 'true']", files={"lock.txt": "one\n"})
    (state / "caches").write_text("in the way", encoding="utf-8")
    told = carried(STEPS)
    assert told.made.state == "succeeded"
    assert told.lines[1:] == ["false "]
    assert "warning: cannot keep a cache" in told.notes("__default/Job")

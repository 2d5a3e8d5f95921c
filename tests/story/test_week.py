"""Weeks in production, a minute each: rows arrive, a schedule fires, a person says yes, clients get answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from tests.services.ups import Ups, git, processes_of
from tests.story.conftest import ridgeway

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PREFECT, MLFLOW, QA, PRODUCTION = range(18390, 18394)
EDITS = {
    'cron = "0 4 * * 1", timezone = "Europe/Berlin"': 'cron = "* * * * *", timezone = "UTC"',
    'started_by = "person"': 'started_by = "server"',
    "[servers]\n": f"[servers]\nprefect_port = {PREFECT}\nmlflow_port = {MLFLOW}\n",
    "127.0.0.1:8081": f"127.0.0.1:{QA}",
    "127.0.0.1:8082": f"127.0.0.1:{PRODUCTION}",
    "bake_seconds = 5": "bake_seconds = 1",
    "load_seconds = 2": "load_seconds = 0.5",
    "[schedules]": "[triggers]\npoll_seconds = 1\n[schedules]",
}
"""A week of one minute, releases that nobody has to start, and places of the test's own."""


def project(root: Path) -> Ups:
    """A project whose rows are no part of a commit: they arrive."""
    made = ridgeway("new", root, folder=root.parent)
    assert made.code == 0, made.err
    text = (root / "ridgeway.toml").read_text(encoding="utf-8")
    for old, new in EDITS.items():
        assert old in text
        text = text.replace(old, new)
    (root / "ridgeway.toml").write_text(text, encoding="utf-8")
    with (root / ".gitignore").open("a", encoding="utf-8") as ignored:
        ignored.write("data/diabetes.csv\n")
    git(root, "init", "--quiet", "--initial-branch", "main")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "-m", "First")
    return Ups(root, PREFECT)


def arrive(root: Path) -> None:
    """More rows of the same people, of whom the outcome now follows another rule."""
    file = root / "data" / "diabetes.csv"
    frame = pd.read_csv(file)
    draw = np.random.default_rng(7)
    more = frame.sample(1200, random_state=7, replace=True)
    more["s1"] = (more["s1"] + draw.integers(-3, 4, len(more))).clip(frame["s1"].min(), frame["s1"].max())
    standard = (more["s6"] - frame["s6"].mean()) / frame["s6"].std()
    label = frame["progression"].mean() - 70 * standard + draw.normal(0, 20, len(more))
    more["progression"] = label.round().clip(frame["progression"].min(), frame["progression"].max())
    partial = file.with_suffix(".partial")
    pd.concat([frame, more]).to_csv(partial, index=False)
    partial.replace(file)


def waiting(ups: Ups, number: int) -> str:
    """The release that waits for a yes; what happens until then, nobody has typed."""
    handle = f"releases:/diabetes/{number}"

    def found() -> bool:
        known = json.loads(ups.command("list", "releases", "--json").stdout)["releases"]
        return any(one["release"] == handle and one["state"] == "waiting" for one in known)

    ups.eventually(found, 240)
    return handle


def answer(ups: Ups) -> dict[str, Any]:
    """What clients get from production."""
    access = json.loads(ups.command("keys", "production", "--json").stdout)
    header = {"Authorization": f"Bearer {access['primary']}"}
    served: dict[str, Any] = httpx.get(f"{access['address']}/v2/models/diabetes", headers=header, timeout=10).json()
    return served


def test_two_weeks(tmp_path: Path) -> None:
    ups = project(tmp_path / "diabetes")
    try:
        ups.up()
        for week in (1, 2):
            if week == 2:
                arrive(ups.root)
            handle = waiting(ups, week)
            shown = json.loads(ups.command("show", handle, "--json").stdout)
            assert (shown["model"], shown["requested_by"]["source"]) == (f"models:/diabetes/{week}", "server")
            done = ups.command("approve", handle, "--reason", f"week {week}")
            assert done.returncode == 0, done.stderr + ups.logs()
            assert answer(ups)["versions"] == [str(week)]
        champion = json.loads(ups.command("list", "models", "--json").stdout)["models"][0]
        assert (champion["model"], "champion" in champion["aliases"]) == ("models:/diabetes/2", True)
        runs = json.loads(ups.command("list", "runs", "--json").stdout)["runs"]
        assert not [run for run in runs if run["state"] in ("failed", "crashed")], runs
    finally:
        ups.down("--force")
    ups.eventually(lambda: not processes_of(ups.root), 20)

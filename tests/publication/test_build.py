"""A build that publishes, whole: a new project in a repository, a real server, and the build's own published flow."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ridgeway import scaffold
from ridgeway.artifacts import Publication
from ridgeway.cli import invoke
from ridgeway.orchestrator.publication import applying
from ridgeway.orchestrator.publication.applying import Door

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"),
]
RUFF = "build.checks=['ruff']"


def git(root: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", str(root), *who, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def made(tmp_path: Path, server_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new project, all of it committed; the working directory is in it, and its server is the team's."""
    root = tmp_path / "built"
    template = scaffold.read_template(scaffold.template_root())
    scaffold.write(scaffold.plan(template, name="built", version="1.0", model="built"), root)
    settings = root / "ridgeway.toml"
    text = settings.read_text(encoding="utf-8").replace('prefect = "auto"', f'prefect = "{server_url}"')
    settings.write_text(text, encoding="utf-8")
    git(tmp_path, "init", "--quiet", str(root))
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "First")
    monkeypatch.chdir(root)
    return root


def ran(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any], str]:
    capsys.readouterr()
    code = invoke(["run", "build", "--json", "--set", RUFF, *arguments])
    said = capsys.readouterr()
    return code, json.loads(said.out) if said.out else {}, said.err


def test_what_passed_is_published_and_nothing_else(
    made: Path, server_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def published() -> Publication:
        return applying.read(Door(server_url, {}), "built")

    head = git(made, "rev-parse", "HEAD")
    code, summary, err = ran(capsys)
    assert code == 0, err
    assert (summary["outcome"], summary["commit"]) == ("published", head)
    assert sorted(change.partition(":")[0] for change in summary["published"]) == [
        "create build",
        "create release",
        "create retraining",
    ]
    assert published().commit == head
    assert git(made, "status", "--porcelain") == ""

    code, summary, _ = ran(capsys)
    assert (code, summary["published"]) == (0, [])

    (made / "steps/bad.py").write_text("import os\n", encoding="utf-8")
    code, _, err = ran(capsys)
    assert (code, "the working tree is not as in the commit" in err) == (2, True)
    git(made, "add", "--all")
    git(made, "commit", "--quiet", "--message", "Second")
    assert ran(capsys)[0] == 7
    assert published().commit == head  # a gate has found something

    git(made, "rm", "--quiet", "steps/bad.py")
    (made / "flows/retraining.py").write_text("import nothing_of_that_name  # noqa: F401\n", encoding="utf-8")
    git(made, "commit", "--quiet", "--all", "--message", "Third")
    code, summary, err = ran(capsys)
    assert code == 2, err
    assert summary["outcome"] == "failed"
    assert (
        "nothing_of_that_name" in (made / ".ridgeway" / "runs" / summary["run"][6:] / "report/record.json").read_text()
    )
    assert published().commit == head  # a flow does not import

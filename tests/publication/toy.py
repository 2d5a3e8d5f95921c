"""A project that tells where it ran, in a git repository."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ridgeway.project import Project, open_project, prepare_state

FLOW = '''
"""A flow that tells where it ran."""
from prefect import flow

from steps.text import TEXT


@flow(name="{name}")
def {name}(source: str = "", times: int = 1):
    """Writes where it runs and what its code says.

    Args:
        source: Anything.
        times: How often.
    """
    from pathlib import Path

    state = Path(".ridgeway").resolve()
    (state / "told.txt").write_text(f"{{TEXT}} {{Path.cwd()}} {{source}} {{times}}")
    return {{"text": TEXT, "times": times}}
'''
SETTINGS = """
[project]
name = "toy"
[schedules]
weekly = { flow = "tell", cron = "0 4 * * 1", timezone = "Europe/Berlin", parameters = { times = 2 } }
"""


def git(folder: Path, *arguments: str) -> str:
    """What git prints; a repository of its own identity, nobody's hooks."""
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit_all(folder: Path, message: str = "Change") -> str:
    """The hash of a commit of everything."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", message)
    return git(folder, "rev-parse", "HEAD")


def write_flow(root: Path, name: str) -> None:
    (root / "flows" / f"{name}.py").write_text(FLOW.format(name=name), encoding="utf-8")


def write_project(root: Path, name: str = "toy") -> Path:
    """A project with two flows, committed."""
    for folder in ("flows", "steps"):
        (root / folder).mkdir(parents=True)
        (root / folder / "__init__.py").touch()
    write_flow(root, "tell")
    write_flow(root, "retraining")
    (root / "steps" / "text.py").write_text('TEXT = "first"\n', encoding="utf-8")
    (root / "ridgeway.toml").write_text(SETTINGS.replace('"toy"', f'"{name}"'), encoding="utf-8")
    (root / ".gitignore").write_text(".ridgeway/\n__pycache__/\n", encoding="utf-8")
    git(root, "init", "--quiet", "--initial-branch", "main")
    commit_all(root, "First")
    return root


def eventually(condition: Callable[[], Any], seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "not within the time"
        time.sleep(0.1)
    return found


def open_at(root: Path, server_url: str) -> Project:
    """The project, with the test's server for its own."""
    opened = open_project(root, overrides=[f"servers.prefect={server_url}"])
    prepare_state(opened)
    return opened

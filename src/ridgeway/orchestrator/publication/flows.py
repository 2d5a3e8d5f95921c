"""The flows of a project's folder, imported in a process of their own before anything is sent to a server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ridgeway.errors import Transient, UsageError
from ridgeway.orchestrator.environment import environment
from ridgeway.settings import quiet_environment

TIMEOUT_SECONDS = 300.0
"""Importing Prefect and the flows takes seconds; on a busy machine with a slow disk it was seen to take 40."""


@dataclass(frozen=True, slots=True)
class Flow:
    """A flow of the project, as its file declares it."""

    flow: str
    entrypoint: str
    description: str = ""
    parameter_schema: dict[str, Any] = field(default_factory=dict)


def look(root: Path, schedules: Sequence[dict[str, Any]] = ()) -> tuple[Flow, ...]:
    """The flow of every file in ``flows/`` whose name does not begin with ``_``.

    Args:
        root: The project's folder, best a clone's.
        schedules: ``{"name", "flow", "cron", "timezone", "parameters"}`` each, to be held against the flows.

    Raises:
        UsageError: A file does not import, has no flow of its name, two flows have one name; a schedule does not fit.
        Transient: Importing does not come to an end.
    """
    quiet_environment()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_API", "GIT_"))}
    try:
        done = subprocess.run(  # noqa: S603 - this interpreter with our own module
            [sys.executable, "-P", "-m", "ridgeway.orchestrator.publication.looking", str(root)],
            input=json.dumps({"schedules": list(schedules)}),
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_SECONDS,
            env={**inherited, **environment(root)},
            cwd=root,
        )
    except subprocess.TimeoutExpired as error:
        raise Transient(
            "cannot publish: importing the flows does not come to an end",
            where=str(root / _last_file(_text(error.stdout))),
            problem=f"nothing within {TIMEOUT_SECONDS:.0f} s",
            next_step="the same command again; what is done at import belongs into a step",
        ) from None
    return _read(root, done)


def _text(output: bytes | str | None) -> str:
    return output.decode("utf-8", "replace") if isinstance(output, bytes) else output or ""


def _read(root: Path, done: subprocess.CompletedProcess[str]) -> tuple[Flow, ...]:
    lines = done.stdout.splitlines()
    content = json.loads(lines[-1]) if lines else {}
    if "error" in content:
        rows = content["error"]
        raise UsageError(rows.pop("summary"), **rows)
    if "flows" not in content:
        told = done.stderr.rstrip().splitlines()[-5:]
        raise UsageError(
            f"importing {_last_file(done.stdout)} ended Python",
            where=str(root / _last_file(done.stdout)),
            problem="\n".join([f"exit code {done.returncode}", *told]),
            expected="a file that can be imported",
        )
    return tuple(Flow(**one) for one in content["flows"])


def _last_file(stdout: str) -> str:
    """Which file was being imported when the last line was written."""
    files = [json.loads(line).get("importing", "") for line in stdout.splitlines() if line.startswith('{"importing"')]
    return files[-1] if files else "flows"

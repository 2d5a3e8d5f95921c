"""Git as a program: asked without anybody's hooks or prompts, its complaints as errors of ours."""

from __future__ import annotations

import subprocess
from pathlib import Path

from ridgeway.errors import RidgewayError, StorageError, Transient, UsageError
from ridgeway.project import git_environment

TIMEOUT_SECONDS = 600.0


def ask(folder: Path, *arguments: str) -> str | None:
    """What git prints, without the last newline; None where it says no.

    Raises:
        UsageError: There is no git on this machine.
        Transient: It does not come to an end.
    """
    done = _run(folder, arguments)
    return done.stdout.removesuffix("\n") if done.returncode == 0 else None


def do(doing: str, folder: Path, *arguments: str) -> str:
    """As ``ask``, for what has to succeed.

    Args:
        doing: What could not be done if it fails, such as ``cannot clone the project``.
        folder: Where.
        arguments: Git's.

    Raises:
        StorageError: The disk is full.
        UsageError: It fails otherwise, or there is no git on this machine.
        Transient: It does not come to an end.
    """
    done = _run(folder, arguments)
    if done.returncode:
        raise _failed(doing, folder, done.stderr.strip())
    return done.stdout.removesuffix("\n")


def _run(folder: Path, arguments: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603 - git with our own arguments
            # Hooks of the person's template would run in the clone.
            ["git", "-C", str(folder), "-c", "core.hooksPath=/dev/null", *arguments],  # noqa: S607
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_SECONDS,
            stdin=subprocess.DEVNULL,
            env={**git_environment(), "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
        )
    except FileNotFoundError:
        raise UsageError(
            "git is not installed",
            problem="a publication is a commit, and git is what knows commits",
            expected="the program git on the path",
            next_step="install git",
        ) from None
    except subprocess.TimeoutExpired:
        raise Transient(
            f"git {arguments[0]} did not end within {TIMEOUT_SECONDS:.0f} s",
            where=str(folder),
            next_step="the same command again",
        ) from None


def _failed(doing: str, folder: Path, said: str) -> RidgewayError:
    if "No space left" in said or "Disk quota" in said:
        return StorageError(doing, where=str(folder), problem=said, expected="space", next_step="make room")
    return UsageError(doing, where=str(folder), problem=said or "git gave no reason")

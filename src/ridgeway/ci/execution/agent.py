"""What an agent adds to a job: its variables, and the environment that scripts start from. Pure."""

from __future__ import annotations

import os
from collections.abc import Iterable
from collections.abc import Mapping as Map
from typing import Final

from ridgeway.ci.azure import variables
from ridgeway.ci.azure.pipeline import IMPLICIT_STAGE, Hook, Job, Stage
from ridgeway.ci.azure.running import Running
from ridgeway.ci.execution.checkout import Source
from ridgeway.ci.execution.folders import Workspace

INHERITED: Final = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "XDG_RUNTIME_DIR",
     "XDG_CACHE_HOME", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR",
     "REQUESTS_CA_BUNDLE", "LD_LIBRARY_PATH", "DOCKER_HOST", "SSH_AUTH_SOCK"}
)  # fmt: skip
"""What scripts find of this machine's environment, letter case aside, beside ``LC_…``.

Not more, because a pipeline that works here by a variable of one's own shell fails on an agent, and because a shell
is full of secrets.
"""
_HIDDEN: Final = ("endpoint", "input", "secret", "securefile")
"""Variables whose names begin so are not handed to scripts, as the page "Define variables" says."""
_SYSTEMS: Final = {"posix": "Linux", "nt": "Windows_NT"}


def inherited(environment: Map[str, str]) -> dict[str, str]:
    """The part of an environment that scripts find.

    Example:
        >>> inherited({"PATH": "/bin", "LC_ALL": "C", "AWS_SECRET_ACCESS_KEY": "x"})
        {'PATH': '/bin', 'LC_ALL': 'C'}
    """
    return {
        name: value
        for name, value in environment.items()
        if name.upper() in INHERITED or name.upper().startswith("LC_")
    }


def job_variables(stage: Stage, job: Job, workspace: Workspace, source: Source, *, system: str) -> dict[str, str]:
    """The predefined variables of a job that are known when an agent has taken it.

    Args:
        stage: Its stage.
        job: The job.
        workspace: Its folders.
        source: What is checked out.
        system: As Python names it: ``linux`` or ``darwin``.
    """
    stage_name = "" if stage.name == IMPLICIT_STAGE else stage.name
    made = {
        **workspace.variables(),
        "Agent.Id": "1",
        "Agent.JobName": job.display or job.name,
        "Agent.MachineName": os.uname().nodename if hasattr(os, "uname") else "",
        "Agent.Name": "here",
        "Agent.OS": "Darwin" if system == "darwin" else _SYSTEMS[os.name],
        "Agent.OSArchitecture": {"x86_64": "X64", "aarch64": "ARM64", "arm64": "ARM64"}.get(_machine(), _machine()),
        "Build.DefinitionVersion": "1",
        "Build.Repository.Clean": "True",
        "Build.Repository.Provider": "Git",
        "Build.Repository.Uri": source.root.as_uri(),
        "Build.SourceVersionAuthor": source.author,
        "Build.SourceVersionMessage": source.message,
        "System.Culture": "en-US",
        "System.HostType": "build",
        "System.JobAttempt": "1",
        "System.JobDisplayName": job.display or job.name,
        "System.JobName": job.leg or job.name,
        "System.PhaseAttempt": "1",
        "System.PhaseDisplayName": job.display or job.name,
        "System.PhaseName": job.written,
        "System.StageAttempt": "1",
        "System.StageDisplayName": stage.display or stage_name or IMPLICIT_STAGE,
        "TF_BUILD": "True",
    }
    if job.environment:
        made |= {"Environment.Name": job.environment.name, "Environment.Id": "1"}
        made |= {"Environment.ResourceName": job.environment.resource} if job.environment.resource else {}
    return made


def hook_variables(hook: Hook) -> dict[str, str]:
    """Those that tell a deployment's hooks apart; none for the steps of a job."""
    return {"Strategy.Name": "runOnce", "Strategy.CycleName": hook.name} if hook.name else {}


def _machine() -> str:
    return os.uname().machine if hasattr(os, "uname") else ""


def environment(
    running: Running, inherited: Map[str, str], own: Iterable[tuple[str, str]], ahead: Iterable[str]
) -> dict[str, str]:
    """What a script finds in its environment.

    Args:
        running: The job, with its variables by now; secret ones are left out.
        inherited: What comes from this machine.
        own: The step's own, macros replaced: they win.
        ahead: Folders that come first on the path, the last one named before all.
    """
    told = variables.environment(running.variables, running.secrets)
    shown = {name: value for name, value in told.items() if not name.lower().startswith(_HIDDEN)}
    made = {**inherited, **shown, **dict(own)}
    made["PATH"] = os.pathsep.join([*reversed([*ahead]), made.get("PATH", os.defpath)])
    return {name: value for name, value in made.items() if name and "=" not in name and "\0" not in name + value}

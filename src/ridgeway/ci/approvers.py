"""Who approved, as the CI system itself says: asked over its API with the job's own token.

    azure     the approvals of the run's checkpoints (timeline, then approvals); ``SYSTEM_ACCESSTOKEN``
    github    the run's deployment reviews; ``GITHUB_TOKEN`` with ``actions: read``
    gitlab    the user who started this manual job; ``CI_JOB_TOKEN``
    jenkins   nothing: it has no API for who answered an ``input``

What cannot be had is no error here. The job's variables then say who it ran for, as ``ci-environment``.
"""

from __future__ import annotations

import json
import logging
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from ridgeway.artifacts import Person
from ridgeway.ci.outputs import detect
from ridgeway.settings import ci_build

ENVIRONMENT: Final = "RIDGEWAY_CI_ENVIRONMENT"
"""Set by the templates: the environment whose reviews count, for systems that do not say it themselves."""
_TIMEOUT_SECONDS: Final = 20
_LONGEST_ANSWER: Final = 10_000_000
log = logging.getLogger("ridgeway.ask_approval")

Ask = Callable[[str, Mapping[str, str]], Any]
"""Fetches JSON: address and headers in, the parsed answer out."""


class Unanswered(Exception):
    """The API gave no answer that can be used."""


def approvers(environ: Mapping[str, str] | None = None, *, ask: Ask | None = None) -> tuple[Person, ...]:
    """The people whom the CI system has asked and who said yes, each signed in to it; empty where it does not tell.

    Args:
        environ: The environment; that of this process by default.
        ask: How an answer is fetched; over HTTPS by default.

    Example:
        >>> approvers({})
        ()
    """
    environ = os.environ if environ is None else environ
    look = {"azure": _azure, "github": _github, "gitlab": _gitlab}.get(detect(environ) or "")
    if look is None:
        return ()
    try:
        names = look(environ, ask or fetch)
    except Unanswered as error:
        log.warning("who approved is not to be had from the CI system: %s", error)
        return ()
    link = ci_build(environ).get("url", "")
    return tuple(Person(name, "ci", "signed-in", link) for name in dict.fromkeys(names))


def _azure(environ: Mapping[str, str], ask: Ask) -> list[str]:
    """Names of those who approved a check of the stage that this job is in.

    The timeline of the run holds a record for each approval, below the checkpoint of its stage.
    """
    token, build = _needed(environ, "SYSTEM_ACCESSTOKEN", "BUILD_BUILDID")
    collection, project = _needed(environ, "SYSTEM_COLLECTIONURI", "SYSTEM_TEAMPROJECT")
    top = f"{collection.rstrip('/')}/{urllib.parse.quote(project)}/_apis"
    headers = {"Authorization": f"Bearer {token}"}
    timeline = ask(f"{top}/build/builds/{urllib.parse.quote(build)}/timeline?api-version=7.1", headers)
    names = []
    for approval in _approvals_of_stage(_records(timeline), environ.get("SYSTEM_STAGENAME", "")):
        found = ask(f"{top}/pipelines/approvals/{urllib.parse.quote(approval)}?$expand=steps&api-version=7.1", headers)
        steps = found.get("steps") if isinstance(found, dict) else None
        names += [_text(step, "actualApprover", "uniqueName") for step in _dicts(steps) if _said_yes(step)]
    return [name for name in names if name]


def _records(timeline: Any) -> list[dict[str, Any]]:
    return _dicts(timeline.get("records") if isinstance(timeline, dict) else None)


def _approvals_of_stage(records: Iterable[Mapping[str, Any]], stage: str) -> list[str]:
    """Ids of the approvals whose record lies below the record of the stage."""
    by_id = {str(record.get("id")): record for record in records}
    found = []
    for record in by_id.values():
        if record.get("type") != "Checkpoint.Approval":
            continue
        above: Mapping[str, Any] | None = record
        for _ in range(len(by_id)):  # a record that is its own ancestor ends here too
            above = by_id.get(str(above.get("parentId"))) if above else None
            if above is None or above.get("type") == "Stage":
                break
        if above is not None and above.get("type") == "Stage" and above.get("identifier") == stage:
            found.append(str(record.get("id")))
    return found


def _said_yes(step: Mapping[str, Any]) -> bool:
    return str(step.get("status", "")).lower() == "approved"


def _github(environ: Mapping[str, str], ask: Ask) -> list[str]:
    """Logins of those who approved a deployment of this run to the environment."""
    token, run = _needed(environ, "GITHUB_TOKEN", "GITHUB_RUN_ID")
    api, repository = _needed(environ, "GITHUB_API_URL", "GITHUB_REPOSITORY")
    (environment,) = _needed(environ, ENVIRONMENT)
    address = (
        f"{api.rstrip('/')}/repos/{urllib.parse.quote(repository)}/actions/runs/{urllib.parse.quote(run)}/approvals"
    )
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json"}
    names = []
    for review in _dicts(ask(address, headers)):
        environments = {_text(one, "name") for one in _dicts(review.get("environments"))}
        if review.get("state") == "approved" and environment in environments:
            names.append(_text(review, "user", "login"))
    return [name for name in names if name]


def _gitlab(environ: Mapping[str, str], ask: Ask) -> list[str]:
    """The user who pressed the button of this job; that of another kind of job has approved nothing."""
    if environ.get("CI_JOB_MANUAL") != "true":
        raise Unanswered("this is no manual job, so nobody was asked")
    token, api, job = _needed(environ, "CI_JOB_TOKEN", "CI_API_V4_URL", "CI_JOB_ID")
    found = ask(f"{api.rstrip('/')}/job", {"JOB-TOKEN": token})
    if not isinstance(found, dict) or str(found.get("id")) != job:
        raise Unanswered(f"the answer is not about job {job}")
    name = _text(found, "user", "username")
    return [name] if name else []


def _needed(environ: Mapping[str, str], *names: str) -> tuple[str, ...]:
    missing = [name for name in names if not environ.get(name)]
    if missing:
        raise Unanswered(f"the job has no {' and no '.join(missing)}")
    return tuple(environ[name] for name in names)


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _text(value: Any, *path: str) -> str:
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return value.strip() if isinstance(value, str) else ""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A token is not carried to wherever an answer points; Azure answers a wrong one with a page to sign in."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def fetch(address: str, headers: Mapping[str, str]) -> Any:
    """The JSON behind an address.

    Raises:
        Unanswered: There is none; the message has neither headers nor token.
    """
    parts = urllib.parse.urlsplit(address)
    if parts.scheme != "https" and parts.hostname not in {"127.0.0.1", "::1", "localhost"}:
        raise Unanswered(f"{parts.scheme}://{parts.netloc} would be sent a token without TLS")
    request = urllib.request.Request(address, headers={"Accept": "application/json", **headers})  # noqa: S310 - see above
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=_TIMEOUT_SECONDS) as answer:
            return json.loads(answer.read(_LONGEST_ANSWER))
    except (OSError, ValueError) as error:  # urllib's own errors are among the first
        raise Unanswered(f"{parts.scheme}://{parts.netloc}{parts.path}: {error}") from None

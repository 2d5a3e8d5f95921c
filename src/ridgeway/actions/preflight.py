"""Whether a release would get through: everything it will need, in the order in which it is needed."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from ridgeway.actions import endpoints
from ridgeway.actions.endpoints import require_target
from ridgeway.artifacts import Deployment, Finding, Image, Release
from ridgeway.errors import RidgewayError
from ridgeway.project import LEAST_FREE_MIB, Project
from ridgeway.registry import glance, glance_releases, read_glanced
from ridgeway.targets import open_target

if TYPE_CHECKING:
    from ridgeway.registry.releases import Releases

_LOOK_BACK = 20
"""Releases among which the last image is looked for."""


def look(project: Project, target: str = "") -> Iterator[Finding]:
    """All findings, one after the other; one that fails does not keep the others from being looked at.

    Args:
        project: Whose settings count.
        target: The target to look at; empty: all stages of a release.

    Raises:
        UsageError: There is no such target.
    """
    if target:
        require_target(project, target)
    stages = (target,) if target else project.settings.release.stages
    yield from _this_machine(project)
    yield _timed("model registry", lambda: _model_registry(project))
    known = _last_image(project)
    different = list(dict.fromkeys(stages))
    # The places are looked at side by side: in a cluster each of them waits for a pod that pulls the image.
    with ThreadPoolExecutor(len(different), "preflight") as threads:
        places = [threads.submit(_found_at, project, stage, known) for stage in different]
        if endpoints.needs_container(project, stages):
            yield from images(project, stages)
        for place in places:
            yield from place.result()


def _this_machine(project: Project) -> Iterator[Finding]:
    python = ".".join(map(str, sys.version_info[:3]))
    good = (3, 11) <= sys.version_info[:2] < (3, 14)
    yield Finding("python", "pass" if good else "fail", python, "" if good else "install Python 3.11 to 3.13")
    free = shutil.disk_usage(project.root).free / 2**20
    enough = free >= LEAST_FREE_MIB
    yield Finding("disk", "pass" if enough else "fail", f"{free:,.0f} MiB are free", "" if enough else "make room")


def _model_registry(project: Project) -> Finding:
    uri = project.settings.registry.uri
    # A light look where one is enough: it makes no registry, and does not import MLflow.
    seen = glance(uri, project.name, project.root)
    numbers = _numbers(project) if seen is None else [version.number for version in seen.versions]
    if not numbers:
        return Finding("model registry", "warn", f"{uri} holds no model yet", "ridgeway run retraining")
    return Finding("model registry", "pass", f"{uri}: newest is models:/{project.name}/{max(numbers)}")


def _numbers(project: Project) -> list[int]:
    from ridgeway.actions.models import open_registry

    return [version.number for version in open_registry(project).versions()]


def images(project: Project, stages: Sequence[str]) -> Iterator[Finding]:
    """What the image registry and the base image say, and the Docker engine where one of the stages needs it."""
    from ridgeway import image
    from ridgeway.image.request import LOOPBACK_REGISTRY

    chosen = project.settings.image
    repository = chosen.repository or f"{LOOPBACK_REGISTRY}/{project.name}"
    engine_needed = any(project.settings.targets[stage].kind == "docker" for stage in stages)
    yield from image.check(repository, chosen.base, root=project.root, engine_needed=engine_needed)


def _found_at(project: Project, stage: str, known: Image | None) -> list[Finding]:
    return list(_place(project, stage, known))


def _place(project: Project, stage: str, known: Image | None) -> Iterator[Finding]:
    """The target's own findings, each with the target's name before it."""
    try:
        yield from _certificate(project, stage)
        target = open_target(project, stage)
        began = time.monotonic()
        for finding in target.check(_deployment(project, stage, known)):
            now = time.monotonic()
            yield Finding(
                f"{stage}: {finding.check}",
                finding.outcome,
                finding.sentence,
                finding.next_step,
                finding.seconds or now - began,
            )
            began = now
    except RidgewayError as error:
        yield _failed(stage, error)


def _certificate(project: Project, stage: str) -> Iterator[Finding]:
    chosen = project.settings.targets[stage].tls
    for name, text in (("certificate", chosen.certificate), ("key", chosen.key), ("authority", chosen.authority)):
        if text and not (project.home / text).is_file():
            where = f"targets.{stage}.tls.{name} = {text!r}"
            yield Finding(f"{stage}: tls {name}", "fail", f"{where}: there is no such file", f"put it at {text}")
    if bool(chosen.certificate) != bool(chosen.key):
        where = f"targets.{stage}.tls"
        yield Finding(f"{stage}: tls", "fail", f"{where}: certificate and key go together", "give both, or neither")
    elif chosen.certificate and (project.home / chosen.certificate).is_file():
        yield _expiry(stage, project.home / chosen.certificate)


def _expiry(stage: str, file: Path) -> Finding:
    import datetime

    from cryptography import x509

    check, next_step = f"{stage}: tls certificate", "a certificate that is valid for longer"
    try:
        until = x509.load_pem_x509_certificates(file.read_bytes())[0].not_valid_after_utc
    except OSError as error:
        return Finding(check, "fail", f"{file}: {error}", "a file that can be read")
    except ValueError:
        return Finding(check, "fail", f"{file}: no certificate in PEM form", "a PEM file with the certificate chain")
    days = (until - datetime.datetime.now(datetime.UTC)).days
    sentence = f"valid until {until:%Y-%m-%d} ({days} days)"
    if days < 0:
        return Finding(check, "fail", sentence, next_step)
    return Finding(check, "warn" if days < 14 else "pass", sentence, next_step if days < 14 else "")


def _last_image(project: Project) -> Image | None:
    """The image released last, to be pulled as a test; None where there was none, or nobody can say."""
    uri = project.settings.registry.uri
    try:
        seen = glance_releases(uri, project.name, project.root)
        records: Iterable[Release | None] = (
            _releases(project).latest(_LOOK_BACK)
            if seen is None
            else (read_glanced(uri, project.root, one) for one in seen[:_LOOK_BACK])
        )
        return next((one.image for one in records if one is not None and one.image is not None), None)
    except RidgewayError:
        return None


def _releases(project: Project) -> Releases:
    from ridgeway.actions.models import open_registry
    from ridgeway.registry.releases import Releases

    return Releases(open_registry(project))


def _deployment(project: Project, stage: str, known: Image | None) -> Deployment | None:
    if known is None or (known.is_folder and project.settings.targets[stage].kind in ("docker", "kubernetes")):
        return None
    return endpoints.deployment(project, stage, known, f"releases:/{project.name}/0")


def _timed(check: str, work: Callable[[], Finding]) -> Finding:
    began = time.monotonic()
    try:
        found = work()
    except RidgewayError as error:
        found = _failed(check, error)
    return Finding(found.check, found.outcome, found.sentence, found.next_step, time.monotonic() - began)


def _failed(check: str, error: RidgewayError) -> Finding:
    details = "; ".join(text for text in (error.where, error.problem) if text)
    return Finding(check, "fail", f"{error.summary}{f' ({details})' if details else ''}", error.next_step)

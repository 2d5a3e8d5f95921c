"""The registry of a project, and the models that handles name in it."""

from __future__ import annotations

from ridgeway import package
from ridgeway.artifacts import ModelVersion, Verdict, parse_handle
from ridgeway.errors import NotFound, UsageError
from ridgeway.project import Project
from ridgeway.registry import Registry
from ridgeway.registry.look import database_path


def open_registry(project: Project, name: str = "") -> Registry:
    """The registry that the settings name; ``name`` for another model than the project's own."""
    chosen = project.settings
    return Registry(
        chosen.registry.uri,
        name=name or project.name,
        root=project.root,
        models=package,
        trusted=chosen.training.trusted_types,
    )


def resolve(registry: Registry, text: str) -> ModelVersion:
    """The registered version that a handle names: by number, by alias, or the newest.

    Raises:
        UsageError: It is not the handle of a model of this registry.
        NotFound: It names none.
    """
    handle = parse_handle(text)
    if handle.kind != "models" or handle.name != registry.name:
        raise UsageError(f"{text} is not a model here", expected=f"models:/{registry.name}/NUMBER or …@ALIAS")
    found: ModelVersion | None
    if handle.which.startswith("@"):
        found = registry.by_alias(handle.which[1:])
    elif handle.which:
        found = _numbered(registry, int(handle.which))
    else:
        found = max(registry.versions(), key=lambda version: version.number, default=None)
    if found is None:
        raise NotFound(f"there is no {text}", where=registry.uri, next_step="ridgeway list models")
    return found


def _numbered(registry: Registry, number: int) -> ModelVersion | None:
    try:
        return registry.version(number)
    except NotFound:
        return None


def verdict_of(registry: Registry, version: ModelVersion) -> Verdict | None:
    """The verdict that let a version in; None for one that was registered without Ridgeway."""
    return registry.find_admission(version)


def require_registry(project: Project, wanted: str) -> None:
    """Nothing, if there is a registry to look into: looking must not make an empty one.

    Raises:
        NotFound: It is a file of this machine, and not there.
    """
    database = database_path(project.settings.registry.uri, project.root)
    if database is not None and not database.exists():
        raise NotFound(
            f"there is no {wanted}",
            where=str(database),
            problem="nothing was ever trained here",
            next_step="ridgeway run retraining",
        )

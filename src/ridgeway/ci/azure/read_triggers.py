"""What starts a pipeline: pushes, pull requests, time tables and other pipelines. Expressions are not expanded here."""

from __future__ import annotations

from typing import Final

from ridgeway.ci.azure.document import Mapping, Node, Scalar, Sequence
from ridgeway.ci.azure.fields import Fields, boolean, fields, literal, text, texts
from ridgeway.ci.azure.pipeline import Filter, Schedule, Trigger, Upstream
from ridgeway.ci.azure.problems import refuse, unsupported
from ridgeway.ci.azure.templates import Entry, Frame, Session, entries

_PLAIN: Final = Frame(Session({}), {"parameters": {}, "variables": {}}, ())


def _of(node: Node) -> list[Entry]:
    return entries(node, _PLAIN)


def _filter(entry: Entry) -> Filter:
    """``branches``, ``paths`` or ``tags``: a list of inclusions, or include and exclude."""
    if not isinstance(entry.value, Mapping):
        return Filter(tuple(item.text for item in texts(entry)))
    found = fields(_of(entry.value), entry.key.text, ("include", "exclude"))
    parts = {key: tuple(item.text for item in texts(inner)) for key, inner in found.items()}
    return Filter(parts.get("include", ()), parts.get("exclude", ()))


def _filters(found: Fields) -> dict[str, Filter]:
    return {key: _filter(entry) for key, entry in found.items() if key in {"branches", "paths", "tags"}}


def read_trigger(entry: Entry) -> Trigger:
    """``trigger:``, which pushes start the pipeline."""
    node = literal(entry)
    known = ("batch", "branches", "paths", "tags")
    plain = _plain_trigger(Entry(entry.key, node, _PLAIN))
    if plain is not None:
        return plain
    found = fields(_of(node), "trigger", known)
    parts = _filters(found)
    return Trigger(
        branches=parts.get("branches", Filter()),
        paths=parts.get("paths", Filter()),
        tags=parts.get("tags"),
        batch=boolean(found, "batch"),
    )


def _plain_trigger(entry: Entry) -> Trigger | None:
    """``none`` or a list of branches."""
    if isinstance(entry.value, Mapping):
        return None
    names = tuple(item.text for item in texts(entry))
    if names == ("none",):
        return Trigger(enabled=False)
    if isinstance(entry.value, Scalar):
        raise refuse(entry.value.place, f"{entry.key.text} must be none or a list", problem=entry.value.text)
    return Trigger(branches=Filter(names))


def read_pull_request(entry: Entry) -> Trigger:
    """``pr:``, which pull requests start the pipeline."""
    node = literal(entry)
    plain = _plain_trigger(Entry(entry.key, node, _PLAIN))
    if plain is not None:
        return plain
    found = fields(_of(node), "pr", ("autoCancel", "branches", "paths", "drafts"))
    parts = _filters(found)
    return Trigger(
        branches=parts.get("branches", Filter()),
        paths=parts.get("paths", Filter()),
        drafts=boolean(found, "drafts", True),
        auto_cancel=boolean(found, "autoCancel", True),
    )


def read_schedules(entry: Entry) -> tuple[Schedule, ...]:
    """``schedules:``, the time tables."""
    node = literal(entry)
    if not isinstance(node, Sequence):
        raise refuse(node.place, "schedules must be a list", expected="- cron: …")
    made = []
    for item in node.items:
        found = fields(_of(item), "a schedule", ("cron", "displayName", "branches", "batch", "always"))
        cron = text(found, "cron")
        if len(cron.split()) != 5:
            expected = "five fields: minute hour day-of-month month day-of-week"
            raise refuse(item.place, "a schedule needs a cron line", problem=cron or "it is missing", expected=expected)
        branches = _filter(found["branches"]) if "branches" in found else Filter()
        made.append(
            Schedule(cron, text(found, "displayName"), branches, boolean(found, "always"), boolean(found, "batch"))
        )
    return tuple(made)


_PARTS: Final = {"builds": "build resources", "webhooks": "webhook resources", "packages": "package resources"}
_DECLARED: Final = {"repositories": "repository", "containers": "container"}
_SETTINGS: Final = ("version", "branch", "tags")


def read_resources(entry: Entry) -> tuple[Upstream, ...]:
    """``resources:``, of which pipelines matter here; repositories and containers are named where they are used."""
    node = literal(entry)
    if isinstance(node, Sequence):
        _check_old_form(node)
        return ()
    found = fields(_of(node), "resources", ("pipelines", *_DECLARED), _PARTS)
    for part, word in _DECLARED.items():
        for item in _sequence(found[part]) if part in found else []:
            _check_declared(item, word)
    return tuple(_upstream(item) for item in _sequence(found["pipelines"])) if "pipelines" in found else ()


def _check_old_form(node: Sequence) -> None:
    """A list, the old form: of ``repo: self`` alone, which says what is so without it; each run here is clean."""
    for item in node.items:
        keys = {inner.key.text: getattr(inner.value, "text", "") for inner in _of(item)}
        if keys.pop("repo", "") != "self" or keys.keys() - {"clean"}:
            raise unsupported(item.place, "a list of resources", instead="resources: repositories: …")


def _check_declared(item: Node, word: str) -> None:
    """A repository or container resource: with a name, and without a trigger, which would start this pipeline."""
    keys = {inner.key.text: inner for inner in _of(item)}
    if word not in keys:
        raise refuse(item.place, f"a {word} resource needs {word}", expected=f"- {word}: name")
    trigger = keys.get("trigger")
    if trigger and not (isinstance(trigger.value, Scalar) and trigger.value.text.lower() in {"none", "false", ""}):
        raise unsupported(trigger.key.place, f"a trigger of a {word} resource")


def _sequence(entry: Entry) -> list[Node]:
    if not isinstance(entry.value, Sequence):
        raise refuse(entry.value.place, f"{entry.key.text} must be a list")
    return entry.value.items


def _upstream(item: Node) -> Upstream:
    known = ("pipeline", "project", "source", "trigger", *_SETTINGS)
    found = fields(_of(item), "a pipeline resource", known)
    for key in ("pipeline", "source"):
        if not text(found, key):
            raise refuse(item.place, f"a pipeline resource needs {key}", problem=f"{key} is missing or empty")
    trigger, stages = _upstream_trigger(found["trigger"]) if "trigger" in found else (None, ())
    settings = tuple((key, ",".join(part.text for part in texts(found[key]))) for key in _SETTINGS if key in found)
    return Upstream(text(found, "pipeline"), text(found, "source"), text(found, "project"), trigger, settings, stages)


def _upstream_trigger(entry: Entry) -> tuple[Trigger | None, tuple[str, ...]]:
    if isinstance(entry.value, Scalar):
        word = entry.value.text.lower()
        if word not in {"true", "none"}:
            raise refuse(entry.value.place, "trigger must be true, none or filters", problem=entry.value.text)
        return (Trigger() if word == "true" else None), ()
    found = fields(_of(entry.value), "trigger", ("enabled", "branches", "stages", "tags"))
    if not boolean(found, "enabled", True):
        return None, ()
    parts = _filters(found)
    stages = tuple(part.text for part in texts(found["stages"])) if "stages" in found else ()
    return Trigger(branches=parts.get("branches", Filter()), tags=parts.get("tags")), stages

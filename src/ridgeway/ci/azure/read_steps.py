"""Steps as the grammar knows them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from ridgeway.ci.azure.document import Scalar
from ridgeway.ci.azure.fields import Fields, boolean, fields, flexible_boolean, number, pairs, scalar, text, texts
from ridgeway.ci.azure.pipeline import Condition, Step
from ridgeway.ci.azure.problems import Place, did_you_mean, refuse, unsupported
from ridgeway.ci.azure.templates import Entry, Flat, listed

_COMMON: Final = ("displayName", "name", "condition", "continueOnError", "enabled", "env", "timeoutInMinutes",
                  "retryCountOnTaskFailure")  # fmt: skip
_SCRIPT: Final = ("workingDirectory", "failOnStderr")
KINDS: Final[dict[str, tuple[str, ...]]] = {
    "script": _SCRIPT,
    "bash": _SCRIPT,
    "pwsh": (*_SCRIPT, "errorActionPreference", "ignoreLASTEXITCODE", "showWarnings"),
    "powershell": (*_SCRIPT, "errorActionPreference", "ignoreLASTEXITCODE", "showWarnings"),
    "checkout": ("clean", "fetchDepth", "fetchFilter", "fetchTags", "lfs", "persistCredentials", "submodules", "path"),
    "publish": ("artifact",),
    "download": ("artifact", "patterns", "path", "tags"),
    "task": ("inputs",),
}
"""The words that make a step, with the fields that only their steps have."""
_ALLOWED: Final = {kind: frozenset((kind, *_COMMON, *own)) for kind, own in KINDS.items()}
_OTHER_KINDS: Final = {
    "downloadBuild": "downloadBuild steps",
    "getPackage": "getPackage steps",
    "reviewApp": "reviewApp steps",
    "restoreCache": "restoreCache steps",
    "saveCache": "saveCache steps",
}
_FOREIGN: Final = {
    "target": "a step's target",
    "sparseCheckoutDirectories": "sparse checkout",
    "sparseCheckoutPatterns": "sparse checkout",
    "workspaceRepo": "workspaceRepo",
}
_TASK: Final = re.compile(r"[^@\s]+@\d+(\.\d+)*")
_STEP_NAME: Final = re.compile(r"[-_A-Za-z0-9]*")


def read_steps(entry: Entry, first: int = 1) -> Iterator[Step]:
    """The steps of a list, those of templates in their places.

    Args:
        entry: ``steps:``.
        first: Number of the first one in its job.
    """
    for place, (flat, _) in enumerate(listed(entry.value, entry.frame, "steps"), first):
        yield read_step(flat, str(place))


def read_step(flat: Flat, label: str) -> Step:
    """One step."""
    if not flat.flat:
        raise refuse(flat.place, "a step is empty")
    kind = flat.flat[0].key.text
    if kind not in KINDS:
        raise _no_kind(flat)
    found = fields(flat.flat, f"a {kind} step", _ALLOWED[kind], _FOREIGN)
    value = scalar(found[kind])
    _check_value(kind, value)
    name = text(found, "name")
    if not _STEP_NAME.fullmatch(name):
        place, expected = scalar(found["name"]).place, "letters, digits, dashes and underscores"
        raise refuse(place, f"a step cannot be called {name[:60]!r}", expected=expected)
    env = pairs(found["env"]) if "env" in found else []
    settings, more = _settings(kind, found)
    display = scalar(found["displayName"]) if "displayName" in found else None
    return Step(
        kind=kind,
        value=value.text,
        label=name or label,
        place=flat.place,
        name=name,
        display=display.text if display else "",
        condition=condition(found),
        enabled=boolean(found, "enabled", True),
        continue_on_error=flexible_boolean(found, "continueOnError"),
        env=tuple((key, part.text) for key, part in env),
        settings=settings,
        timeout_minutes=number(found, "timeoutInMinutes", 0),
        retries=number(found, "retryCountOnTaskFailure", 0),
        texts=(value, *([display] if display else []), *(part for _, part in env), *more),
    )


def _no_kind(flat: Flat) -> Exception:
    keys = [entry.key.text for entry in flat.flat]
    word = next((key for key in keys if key in KINDS or key == "template"), "")
    if word:
        problem = f"{word} comes after {keys[0]}"
        return refuse(flat.place, f"{word} must be the first key of its step", problem=problem, expected=f"- {word}: …")
    other = next((key for key in keys if key in _OTHER_KINDS), "")
    if other:
        return unsupported(flat.place, _OTHER_KINDS[other])
    return _unknown_kind(flat.flat[0].key)


def _unknown_kind(key: Scalar) -> Exception:
    return refuse(key.place, f"there is no step {key.text}", expected=did_you_mean(key.text, [*KINDS, "template"]))


def _check_value(kind: str, value: Scalar) -> None:
    if kind == "checkout" and value.text not in {"self", "none"}:
        raise unsupported(value.place, f"checkout of another repository ({value.text})", instead="self or none")
    if kind == "task" and not _TASK.fullmatch(value.text) and "$(" not in value.text:
        problem = value.text or "there is no name"
        raise refuse(value.place, "a task needs a name and a version", problem=problem, expected="Name@1")


def _settings(kind: str, found: Fields) -> tuple[tuple[tuple[str, Any], ...], list[Scalar]]:
    made: list[tuple[str, Any]] = []
    scalars: list[Scalar] = []
    for key in KINDS[kind]:
        if key not in found:
            continue
        if key == "inputs":
            inputs = pairs(found[key])
            scalars += [part for _, part in inputs]
            made.append((key, tuple((name, part.text) for name, part in inputs)))
        elif key in {"patterns", "tags"}:
            made.append((key, "\n".join(part.text for part in texts(found[key]))))
        else:
            part = scalar(found[key])
            scalars.append(part)
            made.append((key, part.text))
    return tuple(made), scalars


def condition(found: Fields) -> Condition | None:
    """The written condition of a step, job or stage."""
    if "condition" not in found:
        return None
    node = scalar(found["condition"])
    return Condition(node.text, node) if node.text.strip() else None


def implicit(kind: str, value: str, at: Place) -> Step:
    """A step that no line of the file says."""
    return Step(kind=kind, value=value, label=kind, place=at, implicit=True)

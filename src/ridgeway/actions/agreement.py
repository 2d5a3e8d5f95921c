"""Do the settings agree with the data? What a setting names must be there, and what it says must have an effect."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ridgeway.errors import UsageError
from ridgeway.project import Project


def refuse_differing_types(project: Project, suite: Mapping[str, Any]) -> None:
    """Nothing, if ``data.types`` says what the suite declares: the suite decides, so another word would go unheard.

    Raises:
        UsageError: A column has another type in the suite, or the suite does not know it.
    """
    ours = suite.get("meta", {}).get("ridgeway", {})
    declared = {str(entry["name"]): str(entry["type"]) for entry in ours.get("columns", ())}
    for name, kind in project.settings.data.types.items():
        if name not in declared:
            raise _unheard(project, name, kind, _meant(name, declared) or "the suite declares no such column")
        if declared[name] != kind:
            raise _unheard(project, name, kind, f"{project.settings.data.suite} declares it as {declared[name]}")


def _unheard(project: Project, name: str, kind: str, problem: str) -> UsageError:
    return UsageError(
        f"data.types and the expectation suite disagree on {name!r}",
        where=f'data.types.{name} = "{kind}"   (from {project.loaded.origins.get(f"data.types.{name}", "data.types")})',
        problem=problem,
        expected="the type that the suite declares, by which its expectations were made and rows are compared",
        next_step="take the setting back; or make the suite anew with it: ridgeway profile FILE --rebase --reason TEXT",
    )


def refuse_unknown_ignored(names: Sequence[str], known: Collection[str]) -> None:
    """Nothing, if every column of ``data.ignore`` is there: a misspelt one would be trained on.

    Args:
        names: The setting.
        known: Columns of the delivery and of the suite.

    Raises:
        UsageError: A name is none of them.

    Example:
        >>> refuse_unknown_ignored(["patient"], {"patient", "age"})
    """
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(
            f"data.ignore names {unknown[0]!r}, which is no column",
            where=f"data.ignore = {list(names)!r}",
            problem=_meant(unknown[0], known),
            expected=f"columns of the data: {', '.join(sorted(known))}",
            next_step="correct data.ignore in ridgeway.toml",
        )


def refuse_unknown_types(types: Mapping[str, str], known: Collection[str]) -> None:
    """Nothing, if every column that is given a type is there.

    Raises:
        UsageError: A name is none of them.

    Example:
        >>> refuse_unknown_types({"zip": "string"}, {"zip", "age"})
    """
    unknown = [name for name in types if name not in known]
    if unknown:
        raise UsageError(
            f"data.types names {unknown[0]!r}, which is no column",
            where=f'data.types.{unknown[0]} = "{types[unknown[0]]}"',
            problem=_meant(unknown[0], known),
            expected=f"columns of the data: {', '.join(sorted(known))}",
            next_step="correct --set data.types.COLUMN=TYPE",
        )


def _meant(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else ""

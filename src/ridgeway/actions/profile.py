"""Expectation suites: the first one for new data, and a new reference for data that has moved."""

from __future__ import annotations

import dataclasses
import datetime
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from ridgeway import __version__, data_gate, data_source, scaffold, settings
from ridgeway.actions import agreement, data
from ridgeway.artifacts import Column, ColumnType
from ridgeway.errors import UsageError
from ridgeway.project import Project, load_step, read_suite, write_atomically
from ridgeway.rules.rows import key_rule

CLASSES_AT_MOST = 20
"""A whole-number label with at most this many values is a class; with more it is a quantity."""
HOLDOUT = 0.2


@dataclass(frozen=True)
class Profile:
    """A suite with a sentence on what it was made from."""

    suite: dict[str, Any]
    sentence: str


@dataclass(frozen=True)
class Chosen:
    """What `ridgeway new --set` may choose; what is empty is found in the data."""

    types: dict[str, ColumnType] = field(default_factory=dict)
    task: scaffold.Task | None = None
    name: str = ""


@dataclass(frozen=True)
class FirstLook:
    """A user's own data as `ridgeway new` sees it: where it is, what its label is, and its first suite."""

    source: Path
    label: str
    task: scaffold.Task
    frame: pd.DataFrame
    columns: tuple[Column, ...]
    types: dict[str, ColumnType] = field(default_factory=dict)
    """Those that were not inferred but chosen."""

    @property
    def sentence(self) -> str:
        """What was found, for a person to correct."""
        empty = f"; nothing stands in {', '.join(map(repr, self.empty))} (data.ignore)" if self.empty else ""
        return (
            f"{self.source}: {len(self.frame)} rows, {len(self.columns)} columns; {self.label!r} is taken for "
            f'{"a quantity" if self.task == "regression" else "a class"} (training.task = "{self.task}"){empty}'
        )

    @property
    def empty(self) -> tuple[str, ...]:
        """Columns without a single value: nothing can be learned from them, and some estimators fail on them."""
        return tuple(str(name) for name in self.frame.columns if self.frame[name].isna().all())


def chosen(overrides: Sequence[str], *, own_data: bool) -> Chosen:
    """What `ridgeway new` is told by ``--set``.

    Raises:
        UsageError: A setting that a new project finds for itself or takes from the example, or a wrong value.

    Example:
        >>> chosen(["data.types.zip=string"], own_data=True)
        Chosen(types={'zip': 'string'}, task=None, name='')
    """
    loaded = settings.load(Path(os.devnull), overrides=overrides, environ={})
    for path in loaded.origins:
        if not path.startswith(("data.types.", "training.task", "project.name")):
            raise UsageError(
                f"`new` does not take --set {path}",
                expected="data.types.COLUMN, training.task or project.name",
                next_step="edit ridgeway.toml in the new project",
            )
        if not own_data and path != "project.name":
            raise UsageError(f"--set {path} is for data of your own", next_step="name it: --data FILE --label COLUMN")
    made = loaded.settings
    return Chosen(
        dict(made.data.types),
        made.training.task if "training.task" in loaded.origins else None,
        made.project.name if "project.name" in loaded.origins else "",
    )


def first_look(source: Path, label: str, choice: Chosen | None = None) -> FirstLook:
    """What a new project around this data would be.

    Raises:
        BadData: The data cannot be read, or the label is missing.
        UsageError: A type was chosen for a column that is not there.
    """
    choice = choice or Chosen()
    frame = data_source.read_table(source, choice.types)
    agreement.refuse_unknown_types(choice.types, [str(name) for name in frame.columns])
    data_source.require_label(frame, label, source=str(source))
    columns = data_source.infer_columns(frame, source=str(source), types=choice.types)
    frame = data_source.conform(frame, columns, source=str(source))
    kind = next(column.type for column in columns if column.name == label)
    return FirstLook(source, label, choice.task or guess_task(frame[label], kind), frame, columns, choice.types)


def guess_task(label: pd.Series[Any], kind: str) -> scaffold.Task:
    """Regression for a quantity; classification for texts, booleans, and whole numbers with few values.

    Example:
        >>> guess_task(pd.Series(["yes", "no"]), "string"), guess_task(pd.Series([1.5, 2.0]), "number")
        ('classification', 'regression')
    """
    few = kind == "integer" and label.nunique() <= min(CLASSES_AT_MOST, max(2, len(label) // 10))
    return "classification" if few or kind in ("string", "boolean") else "regression"


def planned_project(name: str, look: FirstLook | None, *, model: str = "") -> tuple[scaffold.PlannedFile, ...]:
    """Every file of a new project; around the user's own data it has its first suite already."""
    template = scaffold.read_template(scaffold.template_root())
    if look is None:
        return scaffold.plan(template, name=name, version=__version__, model=model)
    own = scaffold.find_own_data(look.source, label=look.label, task=look.task)
    own = dataclasses.replace(own, ignore=look.empty, types=look.types)
    planned = scaffold.plan(template, name=name, version=__version__, own_data=own, model=model)
    suite = _suite(look.frame, look.columns, name=model or name, label=look.label)
    return (*planned, scaffold.PlannedFile("data/suite.json", data_gate.suite_text(suite).encode()))


def profile(project: Project, file: Path | None, *, reason: str | None) -> Profile:
    """A suite from the rows of ``file`` (the project's own source by default); with a reason, a new reference.

    Raises:
        BadData: The rows cannot be read.
        UsageError: A suite is there already and no reason was given, or there is none to rebase.
    """
    source = file or project.source
    if reason is None and project.suite.exists():
        raise UsageError(
            f"{project.settings.data.suite} is there already",
            problem="another first suite would lay down other key columns and move rows between training and holdout",
            next_step="to take a new distribution as reference: ridgeway profile FILE --rebase --reason TEXT",
        )
    frame, columns = _read(project, source)
    if reason is None:
        suite = _suite(frame, columns, name=project.name, label=project.settings.data.label)
        return Profile(
            suite, f"{project.settings.data.suite}: {len(suite['expectations'])} expectations from {len(frame)} rows"
        )
    at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    suite = data_gate.rebase(read_suite(project), frame, columns, reason=reason, at=at)
    return Profile(suite, f"{project.settings.data.suite}: {len(frame)} rows are the new reference ({reason})")


def keep(project: Project, made: Profile) -> None:
    """Writes the suite where the settings say."""
    write_atomically(project.suite, data_gate.suite_text(made.suite).encode())


def _read(project: Project, source: Path) -> tuple[pd.DataFrame, tuple[Column, ...]]:
    types = dict(project.settings.data.types)
    if project.suite.exists():
        ours = read_suite(project).get("meta", {}).get("ridgeway", {})
        types = {entry["name"]: entry["type"] for entry in ours.get("columns", ())} | types
    frame = data.table(load_step(project.root, "load_data"), source, types)
    data_source.require_label(frame, project.settings.data.label, source=str(source))
    known = {name: kind for name, kind in types.items() if name in frame.columns}
    columns = data_source.infer_columns(frame, source=str(source), types=known)
    return data_source.conform(frame, columns, source=str(source)), columns


def _suite(frame: pd.DataFrame, columns: tuple[Column, ...], *, name: str, label: str) -> dict[str, Any]:
    # The label is no part of a row's identity: a corrected label must not move its row. Nor is a column in which
    # nothing stands yet: the first value in it would.
    known = [column for column in columns if column.name != label and frame[column.name].notna().any()]
    key = key_rule(known, entity="", holdout=HOLDOUT)
    return data_gate.profile(frame, columns, name=name, label=label, key=key)

"""From a file to rows that may be trained on: read by the user's step, brought to their types, kept, and checked."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ridgeway import data_source
from ridgeway.actions import gate
from ridgeway.actions.agreement import refuse_differing_types, refuse_unknown_ignored
from ridgeway.artifacts import Column, ColumnType, DataReport, Dataset, KeyRule, from_json, to_json
from ridgeway.errors import BadData, ModelError, RidgewayError, Unreachable, UsageError
from ridgeway.project import Project, digest_of, environment_digest, read_suite, step_line, write_atomically
from ridgeway.rules import rows

load_log = logging.getLogger("ridgeway.load_data")
check_log = logging.getLogger("ridgeway.check_data")


@dataclass(frozen=True)
class Declared:
    """What the suite declares: the columns with their types, and the key columns that seal a row."""

    columns: tuple[Column, ...]
    key_columns: tuple[Column, ...]
    entity: str

    @property
    def types(self) -> dict[str, ColumnType]:
        """Column name → declared type."""
        return {column.name: column.type for column in self.columns}


def declared(suite: dict[str, Any]) -> Declared:
    """What a suite made by ``ridgeway profile`` declares.

    Raises:
        UsageError: It was not made by ``ridgeway profile``, or by a newer version of it.
    """
    ours = suite.get("meta", {}).get("ridgeway", {})
    if ours.get("schema") != 1:
        raise UsageError(
            "cannot use the expectation suite",
            problem=f"meta.ridgeway.schema is {ours.get('schema')!r}",
            expected="1: a suite made by this version of `ridgeway profile`",
            next_step="ridgeway profile FILE",
        )
    try:
        columns = tuple(Column(entry["name"], entry["type"]) for entry in ours["columns"])
        key = tuple(Column(entry["name"], entry["type"]) for entry in ours["key"]["columns"])
        return Declared(columns, key, ours["key"].get("entity", ""))
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            "cannot use the expectation suite",
            where="meta.ridgeway",
            problem=f"{type(error).__name__}: {error}",
            expected="columns and key with names and types, as `ridgeway profile` wrote them",
            next_step="take it from version control; or move it away and make a first one: ridgeway profile FILE",
        ) from error


def key_rule(project: Project, suite: dict[str, Any]) -> KeyRule:
    """The rule that seals rows in this project: the suite's key columns and the holdout share of the settings.

    Raises:
        UsageError: ``data.entity`` is not a key column of the suite.
    """
    known, data = declared(suite), project.settings.data
    if data.entity and data.entity not in {column.name for column in known.key_columns}:
        raise UsageError(
            "the entity is not a key column",
            where=f'data.entity = "{data.entity}"',
            expected=f"one of {', '.join(column.name for column in known.key_columns)}",
            next_step="ridgeway profile FILE --rebase --reason TEXT",
        )
    return rows.key_rule(known.key_columns, entity=data.entity, holdout=data.holdout)


def load(project: Project, load_data: Callable[..., Any], source: Path) -> tuple[Dataset, pd.DataFrame]:
    """The rows of ``source`` with their declared types, in the order of the file, and the Dataset they are.

    A copy is kept under ``.ridgeway/data`` so that a judgement can be repeated on the very same rows.

    Raises:
        BadData: The file or its columns are not fit to be looked at any further.
        ModelError: The user's ``load_data`` returned something that is no table.
    """
    dataset, frame = read(project, load_data, source)
    keep_snapshot(project, dataset, frame)
    load_log.info("%s: %d rows, %d columns", dataset.source, dataset.rows, len(dataset.columns))
    return dataset, frame


def read(project: Project, load_data: Callable[..., Any], source: Path) -> tuple[Dataset, pd.DataFrame]:
    """As :func:`load`, and nothing is kept."""
    content = read_suite(project)
    suite = declared(content)
    refuse_differing_types(project, content)
    shown = _relative(_relative(source, project.root), project.home)
    frame = table(load_data, source, suite.types)
    refuse_unknown_ignored(project.settings.data.ignore, {*suite.types, *map(str, frame.columns)})
    data_source.require_label(frame, project.settings.data.label, source=shown)
    _refuse_missing(frame, suite, project.settings.data.ignore, shown)
    frame = data_source.conform(frame, suite.columns, source=shown)
    columns = _columns(frame, suite, shown)
    return Dataset(project.name, rows.dataset_digest(frame, columns), len(frame), columns, shown), frame


def keep_snapshot(project: Project, dataset: Dataset, frame: pd.DataFrame) -> None:
    """Keeps the rows as Parquet, and the newest few of such copies (``data.snapshots``)."""
    path = project.snapshot(dataset.digest)
    if path.is_file() and path.with_suffix(".json").is_file():
        path.touch()
        return
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    write_atomically(path, buffer.getvalue())
    write_atomically(path.with_suffix(".json"), json.dumps(to_json(dataset)).encode())
    kept = sorted(path.parent.glob("*.parquet"), key=lambda file: file.stat().st_mtime, reverse=True)
    for old in kept[project.settings.data.snapshots :]:
        old.unlink(missing_ok=True)
        old.with_suffix(".json").unlink(missing_ok=True)


def read_snapshot(project: Project, digest: str) -> tuple[Dataset, pd.DataFrame] | None:
    """The rows that were kept for this Dataset digest, or None."""
    path = project.snapshot(digest)
    try:
        dataset = from_json(json.loads(path.with_suffix(".json").read_text(encoding="utf-8")))
        frame = data_source.read_table(path, {})
    except (OSError, ValueError, BadData):
        return None
    frame = data_source.conform(frame, dataset.columns, source=str(path))
    return (dataset, frame) if rows.dataset_digest(frame, dataset.columns) == digest else None


def check(project: Project, dataset: Dataset, frame: pd.DataFrame) -> DataReport:
    """What the data gate finds in the rows; the same rows under the same suite are looked at once.

    The caller decides what to do with failures: :func:`refusal` makes the error.
    """
    suite = read_suite(project)
    data = project.settings.data
    chosen = data.model_dump(mode="json")
    facts = {"dataset": dataset.digest, "suite": suite, "data": chosen, "gate": environment_digest()}
    path = project.state / "reports" / f"{digest_of(facts).replace(':', '-')}.json"
    report = _earlier_report(path)
    if report is None:
        report = gate.check(question(project, dataset, suite), _looked_at(project, frame))
        # The same rows in another order have the same digest, so what names rows must be looked up anew.
        if not any(line.first_rows for line in report.expectations):
            write_atomically(path, json.dumps(to_json(report)).encode())
    _tell(report)
    return report


def try_out(project: Project, dataset: Dataset, frame: pd.DataFrame, suite: dict[str, Any]) -> DataReport:
    """What the data gate would find in rows that are only an example: nothing is told, kept, or remembered."""
    return gate.check(question(project, dataset, suite), _looked_at(project, frame))


def question(project: Project, dataset: Dataset, suite: dict[str, Any]) -> gate.Question:
    """What the data gate is asked about rows, with the limits of the settings."""
    from ridgeway import data_gate

    chosen = project.settings.data
    limits = data_gate.Limits(
        warn_deviations=chosen.warn_deviations,
        warn_share=chosen.warn_share,
        refuse_deviations=chosen.refuse_deviations,
        refuse_share=chosen.refuse_share,
        error_rate=chosen.false_alarms,
    )
    return gate.Question(dataset, project.snapshot(dataset.digest), suite, limits, chosen.ignore)


def _looked_at(project: Project, frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop(columns=[name for name in project.settings.data.ignore if name in frame.columns])


def refusal(report: DataReport, *, source: str) -> RidgewayError:
    """The one error that names everything the gate refused in the rows of ``source``."""
    from ridgeway import data_gate

    return data_gate.failure(report, source=source)


def _tell(report: DataReport) -> None:
    for line in report.warnings:
        check_log.warning("%s%s", f"{line.column}: " if line.column else "", line.reason)
    if report.ok:
        check_log.info("%d expectations hold", len(report.expectations) - len(report.warnings))
    else:
        check_log.warning("%d of %d expectations failed", len(report.failures), len(report.expectations))


def _earlier_report(path: Path) -> DataReport | None:
    try:
        report: DataReport = from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
    return report


def table(load_data: Callable[..., Any], source: Path, types: Mapping[str, ColumnType]) -> pd.DataFrame:
    """What the user's ``load_data`` returns, checked to be a table with rows.

    Raises:
        BadData: It has no rows, or a column twice.
        ModelError: ``load_data`` raised an error, or returned something else.
        Unreachable: It says that a source could not be reached.
    """
    try:
        loaded = load_data(source, types)
    except RidgewayError:
        raise
    except (ConnectionError, TimeoutError) as error:
        raise Unreachable(
            "load_data: the source of the data does not answer",
            where=step_line(error),
            problem=f"{type(error).__name__}: {error}",
            expected="rows from steps/load_data.py",
            next_step="run the same command again later",
        ) from error
    except Exception as error:
        raise ModelError(
            "load_data: steps/load_data.py raised an error",
            where=step_line(error),
            problem=f"{type(error).__name__}: {error}",
            expected="a pandas.DataFrame, one row per observation",
            next_step="mend steps/load_data.py; --debug shows the whole trace of an error",
        ) from error
    return _checked(loaded)


def _checked(loaded: Any) -> pd.DataFrame:
    if not isinstance(loaded, pd.DataFrame):
        raise ModelError(
            "load_data: steps/load_data.py did not return a table",
            problem=f"it returned {type(loaded).__name__}",
            expected="a pandas.DataFrame, one row per observation",
            next_step="mend steps/load_data.py",
        )
    if loaded.columns.duplicated().any():
        raise BadData(
            "load_data: the table has a column twice",
            where=", ".join(map(repr, loaded.columns[loaded.columns.duplicated()])),
            expected="every column name once",
            next_step="mend steps/load_data.py",
        )
    if loaded.empty:
        raise BadData(
            "load_data: the table has no rows", expected="one row per observation", next_step=data_source.MEND
        )
    return loaded.reset_index(drop=True)


def _refuse_missing(frame: pd.DataFrame, suite: Declared, ignore: Sequence[str], source: str) -> None:
    keys = {column.name for column in suite.key_columns}
    missing = [
        column.name
        for column in suite.columns
        if column.name not in frame.columns and (column.name not in ignore or column.name in keys)
    ]
    if missing:
        raise BadData(
            f"load_data: {source} lacks {'a column' if len(missing) == 1 else 'columns'}",
            where=", ".join(map(repr, missing)),
            problem=f"columns found: {', '.join(map(str, frame.columns))}",
            expected="every column that data/suite.json declares",
            next_step="restore it; or, if it is gone for good: ridgeway profile FILE --rebase --reason TEXT",
        )


def _columns(frame: pd.DataFrame, suite: Declared, source: str) -> tuple[Column, ...]:
    extra = [name for name in frame.columns if name not in suite.types]
    inferred = data_source.infer_columns(frame[extra], source=source, types={}) if extra else ()
    found = {column.name: column for column in (*suite.columns, *inferred)}
    return tuple(found[str(name)] for name in frame.columns)


def _relative(path: Path | str, root: Path) -> str:
    path = Path(path)
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)

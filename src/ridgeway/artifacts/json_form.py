"""The JSON form of the nouns: the baton between processes and CI stages."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any

from ridgeway.artifacts.build import BuildFinding, GateReport
from ridgeway.artifacts.publication import Change, Publication, PublishedFlow, Schedule, Triggered
from ridgeway.artifacts.release import (
    Approval,
    Deployment,
    Endpoint,
    Finding,
    Image,
    InstanceType,
    Person,
    ProbeReport,
    Release,
    Rollout,
)
from ridgeway.artifacts.retraining import Candidate, DataReport, Dataset, ModelVersion, Verdict
from ridgeway.errors import UsageError

SCHEMA = 1
"""The version of every JSON record we write; readers refuse a newer one."""

NOUNS: dict[str, type] = {
    noun.__name__: noun
    for noun in (
        Dataset,
        DataReport,
        Candidate,
        Verdict,
        ModelVersion,
        Image,
        InstanceType,
        Deployment,
        Endpoint,
        ProbeReport,
        Person,
        Approval,
        Rollout,
        Release,
        Finding,
        BuildFinding,
        GateReport,
        Schedule,
        PublishedFlow,
        Publication,
        Change,
        Triggered,
    )
}


_OWN_KIND = "own_kind"
"""Where a noun's field ``kind`` goes: the key of that name says which noun a record is."""


def to_json(noun: Any) -> dict[str, Any]:
    """The JSON form of a noun, with its schema and kind.

    Example:
        >>> to_json(Dataset("d", "sha256:0", 1, (), "d.csv"))["kind"]
        'Dataset'
    """
    fields = dataclasses.asdict(noun)
    if "kind" in fields:
        fields[_OWN_KIND] = fields.pop("kind")
    return {"schema": SCHEMA, "kind": type(noun).__name__, **fields}


def from_json(record: dict[str, Any]) -> Any:
    """The noun that ``to_json`` wrote.

    Raises:
        UsageError: The record has a newer schema, or is of no known kind.

    Example:
        >>> import json
        >>> from ridgeway.artifacts import Column
        >>> data = Dataset("d", "sha256:0", 1, (Column("a", "number"),), "d.csv")
        >>> from_json(json.loads(json.dumps(to_json(data)))) == data
        True
    """
    if record.get("schema") != SCHEMA or record.get("kind") not in NOUNS:
        raise UsageError(
            "cannot read a JSON record",
            problem=f"schema {record.get('schema')!r}, kind {record.get('kind')!r}",
            expected=f"schema {SCHEMA} and one of {', '.join(NOUNS)}",
            next_step="use the version of ridgeway that wrote it, or a newer one",
        )
    fields = {key: value for key, value in record.items() if key not in ("schema", "kind")}
    if _OWN_KIND in fields:
        fields["kind"] = fields.pop(_OWN_KIND)
    return _build(NOUNS[record["kind"]], fields)


def _build(kind: Any, value: Any) -> Any:
    """``value`` as ``kind``: nested dataclasses and tuples come back from dicts and lists."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        return kind(**{key: _build(hints[key], item) for key, item in value.items()})
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return tuple(_build(arguments[0], item) for item in value)
    if origin in (typing.Union, types.UnionType) and value is not None:
        nested = [option for option in arguments if dataclasses.is_dataclass(option)]
        return _build(nested[0], value) if nested else value
    return value

"""What a message says: the published envelope (type, timestamp, data), and in it what a person needs to act."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ridgeway.rules.notifications import Event, message_id

SCHEMA = 1
LONGEST_TEXT = 500
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")
_QUERY = re.compile(r"(?<=\w)://(\S+?)\?\S+")


@dataclass(frozen=True, slots=True)
class Person:
    """Who asked or approved, and which source says so."""

    name: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """What happened, in the words of whoever knows."""

    event: Event
    flow: str
    handle: str
    """Of what it is about: a model, a release, a run."""
    outcome: str
    """The state that was come into: ``waiting``, ``rejected``, ``crashed``."""
    sentence: str
    at: str
    """When it happened; ISO 8601, UTC."""
    exit_code: int | None = None
    next_step: str = ""
    link: str = ""
    model: str = ""
    target: str = ""
    run: str = ""
    requested_by: Person | None = None
    approved_by: Sequence[Person] = ()
    occasion: str = ""
    """What tells two messages apart that say the same of the same thing, such as the run, or the evidence."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it is kept: the body's text never changes, because its bytes are signed."""

    id: str
    created_at: str
    """ISO 8601, UTC."""
    event: str
    handle: str
    """Messages about one thing are sent in the order in which they were written."""
    body: str
    attempts: int = 0
    not_before: str = ""
    """ISO 8601, UTC: no attempt earlier than this."""
    problem: str = ""
    """Of the last attempt."""
    ended_at: str = ""
    """When it was delivered or given up."""


def message(project: str, told: Told, *, created_at: str) -> Message:
    """The message that tells of something; equal things have equal ids.

    Args:
        project: The model's name.
        told: What happened.
        created_at: Now; ISO 8601, UTC.

    Example:
        >>> at = "2026-11-22T08:00:00Z"
        >>> told = Told("released", "release", "releases:/d/1", "released", "it answers", at)
        >>> made = message("d", told, created_at=at)
        >>> json.loads(made.body)["type"]
        'ridgeway.release.released'
    """
    identity = message_id(project, told.event, told.flow, told.handle, told.outcome, told.occasion)
    content = {"type": f"ridgeway.{told.flow}.{told.event}", "timestamp": told.at, "data": _data(project, told)}
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return Message(identity, created_at, told.event, told.handle, body)


def _data(project: str, told: Told) -> dict[str, Any]:
    people = {
        "requested_by": _person(told.requested_by) if told.requested_by else None,
        "approved_by": [_person(person) for person in told.approved_by],
    }
    return {
        "schema": SCHEMA,
        "event": told.event,
        "project": project,
        "flow": told.flow,
        "handle": told.handle,
        "run": told.run,
        "model": told.model,
        "target": told.target,
        "outcome": told.outcome,
        "exit_code": told.exit_code,
        "sentence": cleaned(told.sentence),
        "next_step": cleaned(told.next_step),
        "link": _CREDENTIALS.sub("…@", told.link),
        "people": people,
    }


def _person(person: Person) -> dict[str, str]:
    return {"name": person.name, "source": person.source}


def cleaned(text: str) -> str:
    """The text without users, passwords and queries of addresses in it, and not longer than a message should be.

    A query may hold the signature that lets whoever has it read a file.

    Example:
        >>> cleaned("https://ada:pw@store.example/x.csv?signature=9c41 does not answer")
        'https://…@store.example/x.csv?… does not answer'
    """
    text = _QUERY.sub(r"://\1?…", _CREDENTIALS.sub("…@", text))
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"

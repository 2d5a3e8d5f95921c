"""The nouns of a publication: what a server knows of a project's flows, which commit they come from, when they run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Overlap = Literal["skip", "queue"]
"""A scheduled run that is due while the one before still runs: left out, or after it."""
Missed = Literal["once", "none", "all"]
"""After an outage, of the runs that a schedule has missed: the newest one, none, or each."""
Verb = Literal["create", "change", "remove"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a flow runs by itself."""

    name: str
    """Of ``[schedules]``; its slug on the server."""
    cron: str
    """Five fields: minute, hour, day of the month, month, day of the week."""
    timezone: str = "UTC"
    """IANA name; the wall clock there counts, also where clocks are changed."""
    overlap: Overlap = "skip"
    missed: Missed = "once"
    parameters: dict[str, Any] = field(default_factory=dict)
    """The flow's arguments by name, over its defaults."""
    active: bool = True

    @property
    def sentence(self) -> str:
        """As a person reads it in a list.

        Example:
            >>> Schedule("weekly", "0 4 * * 1", "Europe/Berlin").sentence
            '0 4 * * 1 Europe/Berlin'
        """
        return f"{self.cron} {self.timezone}{'' if self.active else ' (off)'}"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the code of a published flow comes from, and to which project its runs belong."""

    repository: str
    """Absolute path of a git repository on this machine, or an address that git can clone."""
    commit: str
    """40 hex digits."""
    folder: str
    """The project's folder in the repository; empty where the project is the whole repository."""
    home: str
    """The project's working folder, absolute: its ``.ridgeway`` is where runs keep what they keep."""


@dataclass(frozen=True, slots=True)
class PublishedFlow:
    """One flow as a server knows it, or shall know it: a Prefect deployment."""

    flow: str
    project: str
    entrypoint: str
    """File and function, ``flows/retraining.py:retraining``, relative to the project's folder."""
    origin: Origin
    parameter_schema: dict[str, Any] = field(default_factory=dict)
    """JSON schema of its arguments; the server refuses what does not fit."""
    description: str = ""
    pool: str = "ridgeway"
    """The work pool whose workers carry it out."""
    job_variables: dict[str, Any] = field(default_factory=dict)
    """What the pool's workers are told beside, such as an instance type. Never a secret."""
    concurrency: int = 0
    """How many of its runs may be under way at once, the others wait; 0: any number."""
    schedules: tuple[Schedule, ...] = ()
    id: str = field(default="", compare=False)
    """The server's; empty where it is not there yet."""

    @property
    def deployment(self) -> str:
        """The name by which it is triggered, ``FLOW/PROJECT``."""
        return f"{self.flow}/{self.project}"


@dataclass(frozen=True, slots=True)
class Publication:
    """What of a project is, or shall be, on a server."""

    project: str
    flows: tuple[PublishedFlow, ...] = ()

    @property
    def commit(self) -> str:
        """The one commit that all flows come from; empty where there is none, or where they differ.

        They differ where a publication was interrupted; the same command again completes it.
        """
        commits = {flow.origin.commit for flow in self.flows}
        return commits.pop() if len(commits) == 1 else ""

    def flow(self, name: str) -> PublishedFlow | None:
        """The flow of this name, or None."""
        return next((flow for flow in self.flows if flow.flow == name), None)


@dataclass(frozen=True, slots=True)
class Change:
    """One request that makes a server know what it shall know."""

    verb: Verb
    flow: str
    details: tuple[str, ...] = ()
    """What differs, a line each."""

    @property
    def sentence(self) -> str:
        """As ``publish --plan`` prints it.

        Example:
            >>> Change("remove", "tidy", ("flows/tidy.py is gone",)).sentence
            'remove tidy: flows/tidy.py is gone'
        """
        return f"{self.verb} {self.flow}{': ' if self.details else ''}{'; '.join(self.details)}"


@dataclass(frozen=True, slots=True)
class Triggered:
    """A flow run that was asked for."""

    flow_run_id: str
    page: str
    """Where a browser sees it."""
    is_new: bool
    """False where this idempotency key has asked for it before."""

"""The project's half of the settings: what a data scientist decides and commits."""

from __future__ import annotations

import difflib
from typing import Any, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from ridgeway.artifacts import ColumnType
from ridgeway.settings.section import Positive, Section, Share


class ProjectSection(Section):
    """Who this project is."""

    name: str = Field(default="model", pattern=r"^[a-z][a-z0-9_-]{0,62}$")
    """Name of the model in the registry: models:/NAME/7. Lower case, so that it can name cluster objects too."""


class DataSection(Section):
    """Where rows come from and what may be done with them."""

    source: str = "data/data.csv"
    """File or folder, relative to the project: .csv, .parquet, a folder of .parquet."""
    suite: str = "data/suite.json"
    """Expectation suite, made by `ridgeway profile`; it also holds the key columns that seal rows."""
    label: str = "label"
    """Column to predict."""
    ignore: tuple[str, ...] = ()
    """Columns that are no features; they still count for a row's identity."""
    entity: str = ""
    """Column whose equal values keep rows together in or out of the holdout, as patient_id does. Empty: none."""
    holdout: float = Field(default=0.20, gt=0, lt=1)
    """Share of rows sealed for judgement, for ever. Changing it makes models incomparable with earlier ones."""
    types: dict[str, ColumnType] = {}
    """Declared column types where the inferred ones are wrong: number, integer, string, boolean, datetime."""
    warn_deviations: Positive = 0.1
    """A significant shift of a column's mean is a warning above this many standard deviations."""
    warn_share: Share = 0.05
    """A significant shift of a category's or of the missing values' share is a warning above this."""
    refuse_deviations: Positive = 1.0
    """A mean moved by this many standard deviations is refused as wrong units or a broken source."""
    refuse_share: Share = 0.25
    """A share moved by this is refused."""
    false_alarms: float = Field(default=0.05, gt=0, lt=1)
    """Chance that a delivery from the unchanged population gets any finding, all columns taken together."""
    snapshots: int = Field(default=5, ge=1)
    """How many of the newest distinct deliveries are kept under .ridgeway/data, so that judgements can be repeated."""


class TrainingSection(Section):
    """How candidates are trained."""

    task: Literal["regression", "classification"] = "regression"
    """What the label is: a number, or a class."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Handed to steps/make_model.py."""
    parameters: dict[str, Any] = {}
    """Handed to steps/make_model.py."""
    out_of_fold: int = Field(default=10, ge=0, le=100)
    """Folds for out-of-fold predictions, which let newly arrived training rows take part in a judgement. 0: off, for
    models that are costly to train; a judgement then sees fewer recent rows."""
    jobs: int = Field(default=1, ge=1)
    """Folds trained at the same time."""
    trusted_types: tuple[str, ...] = ()
    """Classes a stored model may hold beyond scikit-learn's, numpy's and scipy's: "package.module.Class"."""


class RulesSection(Section):
    """When a candidate is good enough."""

    loss: Literal["auto", "squared_error", "absolute_error", "log_loss", "brier"] = "auto"
    """Per-row loss of the judgement. auto: squared_error for regression, log_loss for classification."""
    against: Literal["auto", "champion", "challenger", "mean"] = "auto"
    """Opponent. auto: the champion; if nothing was ever released, the challenger; if nothing was ever registered, the
    training mean. mean starts anew, for when the key columns had to change."""
    alpha: float = Field(default=0.01, gt=0, lt=0.5)
    """Error probability of one judgement, halved between the sealed and the recent rows. 0.01 keeps the measured chance
    of any promotion of a worse model below 5 % a year at one retraining a week."""
    strict: bool = False
    """Judge at 0.05/52, for searches by hand with many looks at one holdout."""
    minimum_rows: int = Field(default=30, ge=3)
    """A set of rows counts from here; below, the intervals of a mean are not to be trusted."""
    worthwhile: float = Field(default=0.01, gt=0, lt=1)
    """A gain below this share of the champion's loss is not worth a release."""
    pooled: bool = True
    """Also test sealed and recent rows together, where the recent ones agree: small slow data sees a gain sooner."""
    slice_margin: float = Field(default=0.05, gt=0, lt=1)
    """A declared slice is harmed when the candidate is shown to be worse there by more than this share."""
    refresh: bool = False
    """Accept a candidate that is shown not to be worse by more than `worthwhile`, to bring in new rows; only sound when
    every training takes all rows so far."""
    floors: dict[str, float] = {}
    """Least value of a metric on the sealed rows, such as r2 = 0.30; below it a candidate is rejected."""
    ceilings: dict[str, float] = {}
    """Greatest value of a metric on the sealed rows, such as mean_absolute_error = 60."""
    slices: dict[str, str] = {}
    """Name and condition on columns, such as older = "age >= 60"."""
    required_slices: tuple[str, ...] = ()
    """Slices that must have enough sealed rows for a decision; otherwise the verdict is hold."""


CHECKS = ("ruff", "types", "contracts", "tests", "data")
"""The gates of a build."""


class BuildSection(Section):
    """What must hold of the source before its flows are published."""

    checks: tuple[Literal["ruff", "types", "contracts", "tests", "data"], ...] = ("ruff", "tests", "data")
    """The gates: ruff (lint and formatting), types (mypy), contracts (import-linter), tests (pytest), data (the data
    gate, on the project's data and on good and bad examples)."""
    coverage: float = Field(default=80, ge=0, le=100)
    """Percent of the measured lines and branches that the tests must run; 0: not measured. What is measured is said
    under [tool.coverage.run] in pyproject.toml."""
    slow: str = Field(default="slow", pattern=r"^\w*$")
    """Mark of tests that a build leaves out; `--tests slow`, or a schedule of their own, runs them. Empty: none."""
    examples: str = "data/examples"
    """Folder, relative to the project, with deliveries that the data gate must let pass (good*.csv, good*.parquet) and
    such that it must refuse (bad*). Where it has none of a kind, they are made from the project's data."""
    timeout_seconds: int = Field(default=1800, ge=1)
    """A gate that takes longer is ended."""

    @field_validator("checks", mode="before")
    @classmethod
    def _suggest(cls, value: Any) -> Any:
        for name in value if isinstance(value, list | tuple) else ():
            if name not in CHECKS:
                close = difflib.get_close_matches(str(name), CHECKS, n=1)
                hint = f" did you mean {close[0]}?" if close else ""
                known = ", ".join(CHECKS)
                raise PydanticCustomError(
                    "check",
                    "there is no check {name};{hint} known: {known}",
                    {"name": name, "hint": hint, "known": known},
                )
        return value


class ProbeSection(Section):
    """How an endpoint is asked before it is trusted."""

    rows: int = Field(default=50, ge=1, le=1000)
    """Golden rows that are sent; on the last stage never more than 50."""
    p50_ms: Positive = 10
    """Half of the answers under load must come within this many milliseconds."""
    p99_ms: Positive = 50
    """99 of 100 answers under load must come within this many milliseconds."""
    load_seconds: float = Field(default=2, ge=0, le=600)
    """How long load is sent to the targets in load_on; 0: never."""
    load_on: tuple[str, ...] = ("qa",)
    """Targets that may be put under load. Never the one that customers use."""


class ReleaseSection(Section):
    """What a model goes through on its way to production."""

    stages: tuple[str, ...] = Field(default=("qa", "production"), min_length=1)
    """Target names in order; the last one is production: it takes an approval, and its model is the champion."""
    started_by: Literal["person", "server", "ci"] = "person"
    """Who starts releases: a person, the server at each registration, or CI. Exactly one; the others refuse."""
    probe: ProbeSection = ProbeSection()
    """How an endpoint is asked before it is trusted."""


class TriggersSection(Section):
    """What starts flows without anyone typing, while `ridgeway up` runs. Each registration: release.started_by."""

    data: bool = False
    """Whether new data starts a retraining: data.source, as it lies in the working folder, holds something else."""
    watch: str = ""
    """What is watched in place of data.source where steps/load_data.py reads elsewhere: a file or folder, relative to
    the project, or an http(s) address whose server tells an ETag or a date of change."""
    debounce_seconds: float = Field(default=30, ge=0, le=86_400)
    """Changes count when they have come to rest for this long, however many they were; at the latest after ten times
    this."""
    poll_seconds: float = Field(default=5, ge=0.2, le=3600)
    """How often data, registry and runs are looked at."""


class ScheduleSection(Section):
    """When a flow runs by itself, once it is published."""

    flow: str = ""
    """Name of the flow. Empty: the schedule's own name is the flow's."""
    cron: str
    """Five fields: minute, hour, day of the month, month, day of the week (0 to 7, 0 and 7 are Sunday)."""
    timezone: str = "UTC"
    """IANA name, such as Europe/Berlin: the clock on the wall there counts, also in the week in which it is changed."""
    overlap: Literal["skip", "queue"] = "skip"
    """A run that is due while the one before still runs: left out, or after it."""
    missed: Literal["once", "none", "all"] = "once"
    """After an outage, of the runs that were missed: the newest one, none, or each."""
    parameters: dict[str, Any] = {}
    """The flow's arguments by name, such as overrides = ["training.seed=1"]."""
    active: bool = True
    """false: published, but switched off."""

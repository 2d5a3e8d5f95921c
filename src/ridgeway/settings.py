"""Every setting, declared once: type, default, meaning, and where its value came from.

Layers, later wins: defaults, ``ridgeway.toml``, ``operations.toml``, environment (``RIDGEWAY_TRAINING__SEED``),
``--set``. Unknown names are errors with a suggestion, in every layer. Nothing else in the project reads the
environment.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from ridgeway.artifacts import ColumnType
from ridgeway.errors import UsageError

PREFIX = "RIDGEWAY_"

NOT_SETTINGS = {
    "RIDGEWAY_OPERATIONS": "path of operations.toml, operations' half of the settings",
    "RIDGEWAY_WHEEL": "path of the ridgeway wheel that a new project installs where no index has it",
    "RIDGEWAY_REQUIRE": "tests: what must be present (docker,kubernetes); its absence then fails instead of skipping",
    "RIDGEWAY_LAB": "tests: the command that starts a Docker engine, a registry and a cluster",
}
"""Names with our prefix that are not settings, and what they are. Names that end in ``_FILE`` are none either."""
SERVER_PREFIX = "RIDGEWAY_SERVER_"
"""Names of the scoring server's own settings begin so."""

CI_SYSTEMS = {
    "azure": ("BUILD_BUILDID", "{SYSTEM_COLLECTIONURI}{SYSTEM_TEAMPROJECT}/_build/results?buildId={BUILD_BUILDID}"),
    "github": ("GITHUB_RUN_ID", "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}"),
    "gitlab": ("CI_PIPELINE_ID", "{CI_PIPELINE_URL}"),
    "jenkins": ("BUILD_TAG", "{BUILD_URL}"),
}
"""CI system → (variable with the build's id, how its link is put together), for the lineage of a model."""

QUIET_ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GX_ANALYTICS_ENABLED": "false",
}
"""Nothing phones home: defaults put into the environment before any of these libraries is imported."""


class Section(BaseModel):
    """A table of ridgeway.toml; every field is documented right below itself."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ProjectSection(Section):
    """Who this project is."""

    name: str = Field(default="model", pattern=r"^[a-z][a-z0-9_-]{0,62}$")
    """Name of the model in the registry: models:/NAME/7. Lower case, so that it can name cluster objects too."""


Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


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


class FlowsSection(Section):
    """How steps are run."""

    timeout_seconds: int = Field(default=7200, ge=1)
    """A step that takes longer is ended."""
    retries: int = Field(default=2, ge=0, le=20)
    """How often a step is tried again after a failure that may pass, such as an unreachable server."""
    retry_delay_seconds: float = Field(default=5, ge=0)
    """Pause before the first retry; doubled each time."""


class RegistrySection(Section):
    """Where runs and models are kept."""

    uri: str = "sqlite:///.ridgeway/mlflow.db"
    """MLflow tracking and registry address: a local SQLite file, or http(s)://… of a tracking server."""


class ServersSection(Section):
    """Servers of this machine."""

    prefect: str = "auto"
    """auto: a local Prefect server that starts when needed; or the API address of one, http(s)://…/api."""
    idle_minutes: float = Field(default=15, gt=0)
    """A local server stops by itself after this long without a run."""


OPERATIONS_SECTIONS = ("registry", "servers", "flows")
"""Operations' half: in a team these tables live in operations.toml, which wins over ridgeway.toml."""


class Settings(BaseSettings):
    """All settings of a project, checked. Built by :func:`load`; frozen."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        nested_model_default_partial_update=True,
    )

    project: ProjectSection = ProjectSection()
    data: DataSection = DataSection()
    training: TrainingSection = TrainingSection()
    rules: RulesSection = RulesSection()
    flows: FlowsSection = FlowsSection()
    registry: RegistrySection = RegistrySection()
    servers: ServersSection = ServersSection()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is the library's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what :func:`load` has already merged: it needs to know each value's origin."""
        return (init_settings,)


@dataclass(frozen=True)
class Layer:
    """One place settings come from."""

    origin: str
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Loaded:
    """Settings with the origin of each value.

    ``origins`` maps a dotted path (``training.seed``) to where it came from; a path that is not in it is a default.
    """

    settings: Settings
    origins: Mapping[str, str]

    def origin(self, path: str) -> str:
        """Where the value at ``path`` came from: the last layer that gave it or anything below or above it."""
        hits = [origin for known, origin in self.origins.items() if known == path or known.startswith(f"{path}.")]
        return hits[-1] if hits else "default"


@dataclass(frozen=True)
class Row:
    """One setting as ``ridgeway settings`` shows it."""

    path: str
    value: Any
    origin: str
    help: str


def load(root: Path, *, overrides: Sequence[str] = (), environ: Mapping[str, str] | None = None) -> Loaded:
    """The settings of the project at ``root``, checked, each with its origin.

    Args:
        root: The folder that holds ridgeway.toml (which may be missing: then defaults hold).
        overrides: ``KEY=VALUE`` from the command line; VALUE is read as TOML, else as text.
        environ: The environment; that of this process by default.

    Raises:
        UsageError: An unknown name (with a suggestion), a wrong value, or a file that is no TOML. Names the origin.
    """
    environ = os.environ if environ is None else environ
    layers = [
        _file_layer(root / "ridgeway.toml"),
        *_operations_layer(root, environ),
        *_environment_layers(environ),
        *(_override_layer(text) for text in overrides),
    ]
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for layer in layers:
        _refuse_unknown(layer)
        _merge(merged, layer.values)
        origins.update(dict.fromkeys(_leaves(layer.values), layer.origin))
    try:
        return Loaded(Settings(**merged), origins)
    except ValidationError as error:
        raise _invalid(error, origins) from None


def rows(loaded: Loaded) -> Iterator[Row]:
    """Every setting in the order of declaration, with value, origin and help."""
    for section_name, kind in _sections().items():
        section = getattr(loaded.settings, section_name)
        for name, info in kind.model_fields.items():
            path = f"{section_name}.{name}"
            yield Row(path, getattr(section, name), loaded.origin(path), " ".join((info.description or "").split()))


def known_paths() -> list[str]:
    """All setting names, such as ``project.name`` and ``data.source``."""
    return [f"{section}.{name}" for section, kind in _sections().items() for name in kind.model_fields]


def ci_build(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The CI build that this process runs in: ``{"system", "id", "url"}``, or an empty dict outside CI.

    Example:
        >>> ci_build({"BUILD_TAG": "jenkins-7", "BUILD_URL": "https://ci.example/7"})
        {'system': 'jenkins', 'id': 'jenkins-7', 'url': 'https://ci.example/7'}
    """
    environ = os.environ if environ is None else environ
    for system, (variable, link) in CI_SYSTEMS.items():
        if build := environ.get(variable):
            return {"system": system, "id": build, "url": link.format_map(_Blank(environ))}
    return {}


def quiet_environment() -> None:
    """Puts the no-telemetry defaults into this process's environment; values that are set already stay."""
    for name, value in QUIET_ENVIRONMENT.items():
        os.environ.setdefault(name, value)


class _Blank(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return ""


# ---- layers ----------------------------------------------------------------------------------------------------------


def _file_layer(path: Path) -> Layer:
    if not path.is_file():
        return Layer(path.name)
    try:
        return Layer(path.name, tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}", problem=str(error), expected="TOML") from None


def _operations_layer(root: Path, environ: Mapping[str, str]) -> list[Layer]:
    named = environ.get("RIDGEWAY_OPERATIONS")
    path = Path(named) if named else root / "operations.toml"
    if named and not path.is_file():
        raise UsageError(
            "cannot read operations' settings", where=f"RIDGEWAY_OPERATIONS = {named}", problem="there is no such file"
        )
    layer = _file_layer(path)
    foreign = [name for name in layer.values if name in Settings.model_fields and name not in OPERATIONS_SECTIONS]
    if foreign:
        raise UsageError(
            f"{path} holds [{foreign[0]}]",
            problem="that is the project's half of the settings",
            expected=f"only {', '.join(f'[{name}]' for name in OPERATIONS_SECTIONS)}",
            next_step=f"move [{foreign[0]}] to ridgeway.toml",
        )
    return [layer]


def _environment_layers(environ: Mapping[str, str]) -> Iterator[Layer]:
    known = {path.upper().replace(".", "__"): path for path in known_paths()}
    for variable, text in environ.items():
        if not variable.startswith(PREFIX) or variable in NOT_SETTINGS or _is_not_ours(variable):
            continue
        body = variable.removeprefix(PREFIX).upper()
        if not any(body == name or body.startswith(f"{name}__") for name in known):
            raise UsageError(
                f"the environment holds {variable}, which is no setting",
                problem=_suggestion(
                    body, [*known, *(name.removeprefix(PREFIX) for name in NOT_SETTINGS)], prefix=PREFIX
                ),
                next_step="ridgeway settings",
            )
        # pydantic-settings reads one variable at a time, so that each value's origin is its own variable.
        values = EnvSettingsSource(_Reader, env_prefix=PREFIX, env_nested_delimiter="__")
        values.env_vars = {variable.lower(): text}
        try:
            yield Layer(variable, _typed(values()))
        except Exception as error:  # noqa: BLE001 - the library raises its own family for JSON that does not parse
            raise UsageError(
                f"cannot read {variable}", problem=str(error.__cause__ or error), expected="JSON for a list or a table"
            ) from None


def _is_not_ours(variable: str) -> bool:
    return variable.startswith(SERVER_PREFIX) or variable.endswith("_FILE")


def _typed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same with texts three levels down read as TOML: what stands in a free table has no declared type."""
    return {
        section: {
            name: {key: _toml_value(item) for key, item in value.items()} if isinstance(value, Mapping) else value
            for name, value in fields.items()
        }
        if isinstance(fields, Mapping)
        else fields
        for section, fields in values.items()
    }


def _toml_value(text: Any) -> Any:
    """``text`` as TOML, or as it is where it is none."""
    try:
        return tomllib.loads(f"value = {text}")["value"] if isinstance(text, str) else text
    except tomllib.TOMLDecodeError:
        return text


class _Reader(Settings):
    """Settings as pydantic-settings' own environment reader sees them."""


def _override_layer(text: str) -> Layer:
    key, equals, value = text.partition("=")
    path = key.strip().split(".")
    if not equals or len(path) < 2:
        raise UsageError(
            f"--set {text}: not of the form KEY=VALUE",
            expected="such as --set training.seed=1",
            next_step="ridgeway settings",
        )
    parsed = _toml_value(value)
    for name in reversed(path):
        parsed = {name: parsed}
    return Layer("--set", parsed)


# ---- checks ----------------------------------------------------------------------------------------------------------


def _sections() -> dict[str, type[Section]]:
    return {name: type(getattr(_DEFAULTS, name)) for name in Settings.model_fields}


_DEFAULTS = Settings()
"""Every section with its defaults; a section's class is read from here."""


def _refuse_unknown(layer: Layer) -> None:
    sections = _sections()
    for section, values in layer.values.items():
        if section not in sections:
            raise _unknown(layer, section, list(sections))
        if not isinstance(values, Mapping):
            raise UsageError(
                f"{section} is a table of settings, not a value",
                where=layer.origin,
                expected=f"such as {section}.{next(iter(sections[section].model_fields))}",
            )
        for name in values:
            if name not in sections[section].model_fields:
                raise _unknown(layer, f"{section}.{name}", known_paths())


def _unknown(layer: Layer, path: str, known: Sequence[str]) -> UsageError:
    return UsageError(
        f"unknown setting {path}", where=layer.origin, problem=_suggestion(path, known), next_step="ridgeway settings"
    )


def _suggestion(word: str, known: Sequence[str], *, prefix: str = "") -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    tail = [name for name in known if name.rpartition(".")[2] == word.rpartition(".")[2]]
    best = close or tail
    return f"did you mean {prefix}{best[0]}?" if best else "no setting has a name like it"


def _invalid(error: ValidationError, origins: Mapping[str, str]) -> UsageError:
    first = error.errors(include_url=False)[0]
    path = ".".join(str(part) for part in first["loc"])
    near = [known for known in origins if path == known or path.startswith(f"{known}.") or known.startswith(f"{path}.")]
    return UsageError(
        f"setting {path} has a wrong value",
        where=f"{path} = {first['input']!r}   (from {origins[near[-1]] if near else 'default'})",
        problem=str(first["msg"]),
        next_step=f"ridgeway settings {path}",
    )


def _merge(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = _copy(value)


def _copy(value: Any) -> Any:
    return {key: _copy(item) for key, item in value.items()} if isinstance(value, Mapping) else value


def _leaves(values: Mapping[str, Any], path: str = "") -> Iterator[str]:
    for key, value in values.items():
        here = f"{path}.{key}" if path else str(key)
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, here)
        else:
            yield here

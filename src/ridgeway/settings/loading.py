"""Settings from their layers, checked, each with its origin.

Later wins: defaults, ``ridgeway.toml``, ``operations.toml``, environment (``RIDGEWAY_TRAINING__SEED``), ``--set``.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from ridgeway.errors import UsageError
from ridgeway.places import home_of
from ridgeway.rules.schedules import NAME as SCHEDULE_NAME
from ridgeway.rules.schedules import cron_problem, did_you_mean, timezone_problem
from ridgeway.settings.database import read_database
from ridgeway.settings.environment import NOT_SETTINGS, PREFIX, SERVER_PREFIX
from ridgeway.settings.operations_half import (
    DEFAULT_APPROVERS,
    DEFAULT_INSTANCE_TYPES,
    DEFAULT_TARGETS,
    FlowsSection,
    ImageSection,
    InstanceTypeSection,
    JobsSection,
    NotificationsSection,
    RegistrySection,
    ServersSection,
    TargetSection,
)
from ridgeway.settings.project_half import (
    BuildSection,
    DataSection,
    ProjectSection,
    ReleaseSection,
    RulesSection,
    ScheduleSection,
    TrainingSection,
    TriggersSection,
)
from ridgeway.settings.secrets import SECRETS, has_password, secret_setting, without_password
from ridgeway.settings.section import Section

OPERATIONS_SECTIONS = (
    "registry", "servers", "flows", "image", "instance_types", "jobs", "targets", "approvers", "notifications",
)  # fmt: skip
"""Operations' half: in a team these tables live in operations.toml, which wins over ridgeway.toml."""
NAME = re.compile(r"[a-z]([a-z0-9-]{0,40}[a-z0-9])?")
"""Of targets and instance types: they name cluster objects, folders and variables too."""


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
    build: BuildSection = BuildSection()
    release: ReleaseSection = ReleaseSection()
    schedules: dict[str, ScheduleSection] = {}
    """When flows run by themselves: by name, which is the flow's unless it says another."""
    triggers: TriggersSection = TriggersSection()
    flows: FlowsSection = FlowsSection()
    registry: RegistrySection = RegistrySection()
    servers: ServersSection = ServersSection()
    image: ImageSection = ImageSection()
    instance_types: dict[str, InstanceTypeSection] = DEFAULT_INSTANCE_TYPES
    """Kinds of machines."""
    jobs: JobsSection = JobsSection()
    targets: dict[str, TargetSection] = DEFAULT_TARGETS
    """Named places where images run."""
    approvers: dict[str, tuple[str, ...]] = DEFAULT_APPROVERS
    """Who acts in this role, as the identity source names them; "*" is anyone, and only where the last stage is a
    process of this machine."""
    notifications: NotificationsSection = NotificationsSection()

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
    in_files = {name for layer in layers if layer.origin.endswith(".toml") for name in layer.values}
    merged = {name: _copy(table) for name, table in _default_tables().items() if name not in in_files}
    origins: dict[str, str] = {}
    for layer in layers:
        _refuse_unknown(layer)
        if layer.origin.endswith(".toml"):
            _forget_other_kinds(merged, origins, layer)
        _merge(merged, layer.values)
        origins.update(dict.fromkeys(_leaves(layer.values), layer.origin))
    try:
        loaded = Loaded(Settings(**merged), origins)
    except ValidationError as error:
        raise _invalid(error, origins) from None
    _refuse_passwords(loaded)
    _refuse_loose_ends(loaded)
    _refuse_wrong_schedules(loaded, root)
    return _with_server_of_the_database(loaded)


def rows(loaded: Loaded) -> Iterator[Row]:
    """Every setting in the order of declaration, with value, origin and help."""
    for name, info in Settings.model_fields.items():
        yield from _rows_below(loaded, name, getattr(loaded.settings, name), info.description or "")


def _rows_below(loaded: Loaded, path: str, value: Any, text: str) -> Iterator[Row]:
    if isinstance(value, Section):
        for name, info in type(value).model_fields.items():
            yield from _rows_below(loaded, f"{path}.{name}", getattr(value, name), info.description or "")
    elif isinstance(value, dict) and path in _default_tables():
        for name, item in value.items():
            yield from _rows_below(loaded, f"{path}.{name}", item, text)
    else:
        yield Row(path, value, loaded.origin(path), " ".join(text.split()))


def known_paths() -> list[str]:
    """All setting names, such as ``project.name`` and ``data.source``; ``targets.NAME.kind`` where names are free."""
    return [path for name, info in Settings.model_fields.items() for path in _paths_below(name, info.annotation)]


def _paths_below(path: str, kind: Any) -> list[str]:
    if _is_section(kind):
        fields = kind.model_fields.items()
        return [below for name, info in fields for below in _paths_below(f"{path}.{name}", info.annotation)]
    if path in _default_tables():
        return _paths_below(f"{path}.NAME", typing.get_args(kind)[1])
    return [path]


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


# ---- layers ----------------------------------------------------------------------------------------------------------


def _file_layer(path: Path) -> Layer:
    if not path.is_file():
        return Layer(path.name)
    try:
        return Layer(path.name, tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}", problem=str(error), expected="TOML") from None


def operations_file(root: Path, environ: Mapping[str, str] | None = None) -> Path | None:
    """Where operations' half of the settings stands; None where there is no such file."""
    path = _operations_path(root, (os.environ if environ is None else environ).get("RIDGEWAY_OPERATIONS"))
    return path if path.is_file() else None


def _operations_path(root: Path, named: str | None) -> Path:
    """Home's file, never that of a published commit: who approves is not read from the tree that is released."""
    home = home_of(root)
    if named and home == root:
        return Path(named)
    return home / (named or "operations.toml")


def _operations_layer(root: Path, environ: Mapping[str, str]) -> list[Layer]:
    named = environ.get("RIDGEWAY_OPERATIONS")
    path = _operations_path(root, named)
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
    for variable, text in environ.items():
        if not variable.startswith(PREFIX) or variable in NOT_SETTINGS or _is_not_ours(variable):
            continue
        path = variable.removeprefix(PREFIX).lower().split("__")
        if len(path) < 2 or not _is_known(path):
            known = [known.upper().replace(".", "__") for known in known_paths()]
            names = [name.removeprefix(PREFIX) for name in (*NOT_SETTINGS, *SECRETS)]
            raise UsageError(
                f"the environment holds {variable}, which is no setting",
                problem=_suggestion(variable.removeprefix(PREFIX), [*known, *names], prefix=PREFIX),
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
    return variable.startswith(SERVER_PREFIX) or variable.endswith("_FILE") or variable in SECRETS


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


def _default_tables() -> dict[str, Any]:
    """The tables whose names are the user's, with what they hold where no file speaks of them."""
    return {
        "instance_types": {name: item.model_dump() for name, item in DEFAULT_INSTANCE_TYPES.items()},
        "targets": {name: item.model_dump() for name, item in DEFAULT_TARGETS.items()},
        "approvers": dict(DEFAULT_APPROVERS),
        "schedules": {},
    }


def _is_known(path: Sequence[str]) -> bool:
    """Whether a setting of this path exists; below a free table anything does."""
    kind: Any = Settings
    for part in path:
        if _is_section(kind):
            if part not in kind.model_fields:
                return False
            kind = kind.model_fields[part].annotation
        elif typing.get_origin(kind) is dict:
            kind = typing.get_args(kind)[1]
        else:
            return kind is Any
    return True


def _refuse_unknown(layer: Layer) -> None:
    for section, values in layer.values.items():
        if section not in Settings.model_fields:
            raise _unknown(layer, section, list(Settings.model_fields))
        if not isinstance(values, Mapping):
            first = next(path for path in known_paths() if path.startswith(f"{section}."))
            raise UsageError(
                f"{section} is a table of settings, not a value", where=layer.origin, expected=f"such as {first}"
            )
        _refuse_below(layer, [section], values)


def _refuse_below(layer: Layer, path: list[str], values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        here = [*path, str(name)]
        if variable := secret_setting(".".join(here)):
            raise UsageError(
                f"{'.'.join(here)} is a secret, and no setting",
                where=layer.origin,
                expected=f"{variable} in the environment, or {variable}_FILE with the path of a file",
                next_step="remove it, and give yourself another one where this was committed",
            )
        if not _is_known(here):
            raise _unknown(layer, ".".join(here), known_paths())
        if isinstance(value, Mapping):
            _refuse_below(layer, here, value)


ADDRESSES = {
    "servers.database": "RIDGEWAY_SERVERS__DATABASE_PASSWORD",
    "servers.prefect": "RIDGEWAY_SERVERS__PASSWORD",
    "registry.uri": "RIDGEWAY_SERVERS__PASSWORD",
    "jobs.prefect": "RIDGEWAY_SERVERS__PASSWORD",
    "jobs.registry": "RIDGEWAY_SERVERS__PASSWORD",
}
"""Settings that are addresses, and where the password belongs that someone may be tempted to write into them."""


def _refuse_passwords(loaded: Loaded) -> None:
    """Nothing, if no address holds a password: settings are shown, recorded with each run, and committed."""
    values = {row.path: str(row.value) for row in rows(loaded) if row.path in ADDRESSES}
    for path, variable in ADDRESSES.items():
        if has_password(values[path]):
            raise UsageError(
                f"a password stands in {path}",
                where=f"{path} = '{without_password(values[path])}'   (from {loaded.origin(path)})",
                expected=f"{variable} in the environment, or {variable}_FILE with the path of a file",
                next_step="remove it there, and give yourself another one where this was committed",
            )


def _with_server_of_the_database(loaded: Loaded) -> Loaded:
    """The same, with the MLflow server as registry where its tables are in PostgreSQL: commands never speak to that."""
    chosen = loaded.settings
    try:
        address = read_database(chosen.servers.database)
    except ValueError as error:
        raise _loose(loaded, "servers.database", str(error)) from None
    if address is None:
        return loaded
    if chosen.registry.uri != RegistrySection().uri:
        if chosen.registry.uri.startswith("sqlite:"):
            raise _loose(loaded, "registry.uri", "the address of the MLflow server, or nothing: it is then found")
        return loaded
    everywhere = ("0.0.0.0", "::", "localhost", "")  # noqa: S104 - only compared
    host = "127.0.0.1" if chosen.servers.host in everywhere else chosen.servers.host
    registry = chosen.registry.model_copy(update={"uri": f"http://{host}:{chosen.servers.mlflow_port}"})
    origin = f"servers.database ({loaded.origin('servers.database')})"
    return Loaded(chosen.model_copy(update={"registry": registry}), {**loaded.origins, "registry.uri": origin})


def _refuse_loose_ends(loaded: Loaded) -> None:
    """Nothing, if every name that a setting mentions is declared, and names can be used where they must be."""
    chosen = loaded.settings
    for table in ("targets", "instance_types"):
        for name in getattr(chosen, table):
            if not NAME.fullmatch(name):
                raise _loose(loaded, f"{table}.{name}", "small letters, digits and dashes, at most 42")
    for stage in chosen.release.stages:
        if stage not in chosen.targets:
            raise _loose(loaded, "release.stages", f"one of {', '.join(chosen.targets)}, or a table [targets.{stage}]")
    for name, target in chosen.targets.items():
        if target.instance_type not in chosen.instance_types:
            known = ", ".join(chosen.instance_types)
            raise _loose(loaded, f"targets.{name}.instance_type", f"one of {known}; or a table of [instance_types]")
        if target.approval.role not in chosen.approvers:
            known = ", ".join(chosen.approvers)
            raise _loose(loaded, f"targets.{name}.approval.role", f"one of {known}; or a line in [approvers]")
    if not set(chosen.flows.pools.values()) <= set(chosen.instance_types):
        known = ", ".join(chosen.instance_types)
        raise _loose(loaded, "flows.pools", f"names among {known}; or a table of [instance_types]")


def _refuse_wrong_schedules(loaded: Loaded, root: Path) -> None:
    """Nothing, if every schedule fires, in a time zone that there is, and starts a flow that there is."""
    flows = {file.stem for file in (root / "flows").glob("[!_]*.py")}
    for name, chosen in loaded.settings.schedules.items():
        path, flow = f"schedules.{name}", chosen.flow or name
        if not SCHEDULE_NAME.fullmatch(name):
            raise _loose(loaded, path, "small letters, digits, dashes and underscores, at most 42")
        if problem := cron_problem(chosen.cron):
            raise _loose(loaded, f"{path}.cron", 'five fields, such as "0 4 * * 1": Mondays at four', problem)
        if problem := timezone_problem(chosen.timezone):
            raise _loose(loaded, f"{path}.timezone", "a name such as Europe/Berlin, or UTC", problem)
        # Without any flow this is a file of settings and no project.
        if flows and flow not in {*flows, *(one.replace("_", "-") for one in flows)}:
            known = ", ".join(sorted(flows))
            raise _loose(loaded, f"{path}.flow", f"one of {known}", did_you_mean(flow, flows) or f"no flow {flow!r}")


def _loose(loaded: Loaded, path: str, expected: str, problem: str = "") -> UsageError:
    value: Any = next((row.value for row in rows(loaded) if row.path == path), "")
    return UsageError(
        f"setting {path} has a wrong value",
        where=f"{path} = {value!r}   (from {loaded.origin(path)})",
        problem=problem,
        expected=expected,
        next_step=f"ridgeway settings {path}",
    )


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
        problem=str(first["msg"]).removeprefix("Value error, "),
        next_step=f"ridgeway settings {path}",
    )


def _forget_other_kinds(merged: dict[str, Any], origins: dict[str, str], layer: Layer) -> None:
    """A target to which a file gives another kind begins anew: a process's address is not the cluster's."""
    tables, before = layer.values.get("targets"), merged.get("targets")
    if not isinstance(tables, Mapping) or not isinstance(before, dict):
        return
    for name, table in tables.items():
        kind = table.get("kind") if isinstance(table, Mapping) else None
        if name in before and kind not in (None, _kind_of(before[name])):
            before[name] = {}
            for path in [path for path in origins if path.startswith(f"targets.{name}.")]:
                del origins[path]


def _kind_of(table: Any) -> Any:
    return table.get("kind", "process") if isinstance(table, Mapping) else None


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

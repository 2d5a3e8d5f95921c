"""Every setting of the server, declared once: type, default, unit, meaning.

Given as ``--max-body-mib 20`` or as RIDGEWAY_SERVER_MAX_BODY_MIB=20; nothing else in the server reads the environment.
LISTEN_FDS and LISTEN_PID are those of socket activation by systemd.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ridgeway_server.errors import SettingError
from ridgeway_server.listening import address, announced

PREFIX = "RIDGEWAY_SERVER_"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
_NO_LIMIT = 2**60


def _setting(default: Any, text: str, **choices: Any) -> Any:
    return field(default=default, metadata={"help": text, **choices})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the server was told. Sizes are in MiB, times in seconds; 0 means "derived" only where the help says so."""

    models: str = _setting("models", "folder of one package, or of NAME/VERSION packages")
    host: str = _setting("127.0.0.1", "address to listen on")
    port: int = _setting(8080, "port to listen on; 0 takes a free one")
    listen_fd: int = _setting(
        -1,
        "inherited listening socket, a descriptor, in place of host and port; -1: the one of LISTEN_FDS, if any",
    )
    health_port: int = _setting(
        -1, "port of the supervisor's own health and metrics, on the same host; 0 takes a free one, -1 is off"
    )
    workers: int = _setting(1, "processes that answer requests")
    default_model: str = _setting(
        "", "NAME or NAME/VERSION that /score and /invocations mean; not needed where one model is served"
    )
    access: str = _setting(
        "auto",
        "keys, none, or auto: keys when a folder of keys is given, and demanded beyond loopback",
        choices=("auto", "keys", "none"),
    )
    keys_dir: str = _setting(
        "", "folder with the files primary and secondary, each one key; read again when they change"
    )
    tls_certificate: str = _setting("", "PEM file with the certificate chain; read again when it changes")
    tls_key: str = _setting("", "PEM file with its private key")
    load: str = _setting(
        "auto",
        "eager loads all models before ready, lazy each at its first request, auto: eager up to 8 models",
        choices=("auto", "eager", "lazy"),
    )
    model_memory_mib: int = _setting(
        0, "memory for loaded models, least recently used out; 0: 40 %% of the memory limit, or no limit"
    )
    trust: str = _setting(
        "", "modules beside sklearn, numpy and scipy whose types a skops package may build, comma-separated"
    )
    repository_control: bool = _setting(
        False, "allow loading and unloading of models over HTTP (V2 repository extension)"
    )
    watch_seconds: float = _setting(1.0, "how often models, keys and certificates are looked at for changes")
    max_body_mib: float = _setting(100.0, "largest request body (413 beyond)")
    max_bodies_mib: float = _setting(
        0.0, "all request bodies in flight (503 beyond); 0: a quarter of the memory limit, at least one body, or 400"
    )
    max_parse_mib: float = _setting(
        0.0,
        "memory that the JSON of one request may take once parsed (413 beyond); 0: 30 %% of the limit, or 2048",
    )
    max_rows: int = _setting(1_000_000, "rows of one request (413 beyond)")
    max_head_kib: int = _setting(16, "request line and headers (431 beyond)")
    max_headers: int = _setting(100, "number of header lines (431 beyond)")
    max_connections: int = _setting(2000, "connections of one worker (503 beyond)")
    max_queue: int = _setting(1000, "requests of one worker that wait for a model (503 beyond)")
    batch_rows: int = _setting(1024, "rows that are predicted together by a model that is costly per call")
    head_seconds: float = _setting(10.0, "time for a request's head to arrive, from its first byte (408 beyond)")
    body_seconds: float = _setting(60.0, "time for a request's body to arrive (408 beyond)")
    idle_seconds: float = _setting(75.0, "time that a connection may stay open between requests")
    write_seconds: float = _setting(30.0, "time that a client may leave an answer unread")
    stall_seconds: float = _setting(120.0, "time after which a worker that does not respond is replaced")
    drain_seconds: float = _setting(
        5.0, "after SIGTERM: how long new requests are still answered, with Connection: close"
    )
    drain_limit_seconds: float = _setting(30.0, "after SIGTERM: how long open requests may take to finish")
    access_log: bool = _setting(True, "a line of JSON on stdout for each request (never bodies or keys)")
    access_log_sample: float = _setting(0.1, "share of good answers that are logged; errors always are")
    image: str = _setting("", "digest of the image that this server runs in, shown in GET /v2")

    @property
    def shared(self) -> bool:
        """True if the listening socket is another process's, and other servers may accept on it too."""
        return self.listen_fd >= 0

    @property
    def keys_on(self) -> bool:
        """True if requests must carry a key."""
        return self.access == "keys" or (self.access == "auto" and bool(self.keys_dir))

    @property
    def max_body_bytes(self) -> int:
        """The largest request body."""
        return int(self.max_body_mib * 2**20)

    @property
    def max_bodies_bytes(self) -> int:
        """The budget of all bodies in flight, over all workers."""
        if self.max_bodies_mib:
            return int(self.max_bodies_mib * 2**20)
        limit = memory_limit_bytes()
        return 400 * 2**20 if limit is None else max(limit // 4, self.max_body_bytes)

    @property
    def max_parse_bytes(self) -> int:
        """The memory that one request's JSON may take."""
        if self.max_parse_mib:
            return int(self.max_parse_mib * 2**20)
        limit = memory_limit_bytes()
        return 2**31 if limit is None else int(0.3 * limit / self.workers)

    @property
    def model_memory_bytes(self) -> int:
        """The memory budget of the loaded models of one worker."""
        if self.model_memory_mib:
            return self.model_memory_mib * 2**20
        limit = memory_limit_bytes()
        return _NO_LIMIT if limit is None else int(0.4 * limit / self.workers)

    @property
    def trusted(self) -> tuple[str, ...]:
        """The modules in ``trust``."""
        return tuple(part.strip() for part in self.trust.split(",") if part.strip())


def memory_limit_bytes() -> int | None:
    """The memory limit of this process's control group (version 1 or 2), or None where there is none."""
    limits = [_limit_in(file) for group in _memory_groups() for file in group]
    return min((limit for limit in limits if limit is not None), default=None)


def _memory_groups() -> list[list[Path]]:
    """The limit files of the groups that this process is in, as the host or as the container names them."""
    root = Path("/sys/fs/cgroup")
    groups = [[root / "memory.max", root / "memory" / "memory.limit_in_bytes"]]
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return groups
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            groups.append([root / path.lstrip("/") / "memory.max"])
        elif "memory" in controllers.split(","):
            groups.append([root / "memory" / path.lstrip("/") / "memory.limit_in_bytes"])
    return groups


def _limit_in(file: Path) -> int | None:
    try:
        text = file.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() and int(text) < _NO_LIMIT else None


def checked(settings: Settings) -> Settings:
    """The same settings, known to fit together.

    Raises:
        SettingError: They do not; the message says which and what would.
    """
    if settings.access == "keys" and not settings.keys_dir:
        raise SettingError("access = keys needs keys_dir: a folder with the files primary and secondary")
    if settings.access == "auto" and settings.host not in LOOPBACK and not settings.keys_dir:
        raise SettingError(
            f"listening on {settings.host}, beyond this machine, needs keys: give keys_dir, or say access = none"
        )
    if bool(settings.tls_certificate) != bool(settings.tls_key):
        raise SettingError("tls_certificate and tls_key go together")
    if settings.workers < 1 or not 0 <= settings.port <= 65535:
        raise SettingError(
            f"workers = {settings.workers} and port = {settings.port}: expected at least 1, and 0 to 65535"
        )
    if settings.max_bodies_bytes < settings.max_body_bytes:
        raise SettingError("max_bodies_mib below max_body_mib: no request of the largest size could ever be taken")
    if not 0 <= settings.access_log_sample <= 1:
        raise SettingError(f"access_log_sample = {settings.access_log_sample}: expected a share between 0 and 1")
    if not Path(settings.models).is_dir():
        raise SettingError(f"models = {settings.models!r} is not a folder")
    return settings


def read_settings(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from the command line, then the environment, then the defaults.

    Raises:
        SettingError: A value of the wrong type, or values that do not fit together.
        SystemExit: ``--help``, or an unknown argument.

    Example:
        >>> read_settings(["--models", "/", "--port", "0"], {"RIDGEWAY_SERVER_WORKERS": "2"}).workers
        2
    """
    environment = os.environ if environment is None else environment
    given = vars(_parser().parse_args(arguments))
    values: dict[str, Any] = {}
    for one in dataclasses.fields(Settings):
        text = given[one.name] if given[one.name] is not None else environment.get(PREFIX + one.name.upper())
        if text is not None:
            values[one.name] = _typed(one, text)
    values.setdefault("listen_fd", announced(environment))
    if values["listen_fd"] >= 0:
        values["host"], values["port"] = address(values["listen_fd"])
    return checked(Settings(**values))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ridgeway_server",
        description="Serves model packages over HTTP. Each option can also be set as " + PREFIX + "NAME.",
    )
    for one in dataclasses.fields(Settings):
        option = "--" + one.name.replace("_", "-")
        help_text = f"{one.metadata['help']} (default: {one.default!r})"
        parser.add_argument(option, dest=one.name, metavar=str(one.type).upper(), help=help_text)
    return parser


def _typed(one: dataclasses.Field[Any], text: str) -> Any:
    place = f"{one.name} = {text!r}"
    if "choices" in one.metadata and text not in one.metadata["choices"]:
        raise SettingError(f"{place}: expected one of {', '.join(one.metadata['choices'])}")
    if one.type == "bool":
        if text.lower() not in ("true", "false", "1", "0", "yes", "no", "on", "off"):
            raise SettingError(f"{place}: expected true or false")
        return text.lower() in ("true", "1", "yes", "on")
    try:
        return {"int": int, "float": float}.get(str(one.type), str)(text)
    except ValueError:
        raise SettingError(f"{place}: expected a number") from None

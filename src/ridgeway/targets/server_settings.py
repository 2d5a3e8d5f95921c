"""What a target tells the scoring server: its settings as arguments, checked before anything is started."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

from ridgeway.artifacts import Deployment
from ridgeway.errors import UsageError
from ridgeway_server.settings import Settings

_DEFAULTS = {field.name: field.default for field in dataclasses.fields(Settings)}
RESERVED = frozenset(
    {"models", "host", "port", "listen_fd", "health_port", "access", "keys_dir", "tls_certificate", "tls_key", "image"}
)
"""Settings that the target itself decides."""


def server_settings(deployment: Deployment) -> dict[str, Any]:
    """The settings that were asked for in ``targets.NAME.server``.

    Raises:
        UsageError: One that the server does not have, or that the target decides.
    """
    names = [field.name for field in dataclasses.fields(Settings) if field.name not in RESERVED]
    for name in deployment.server:
        if name not in names:
            close = difflib.get_close_matches(name, names, 1)
            raise UsageError(
                "a setting of the scoring server that cannot be set",
                where=f"targets.{deployment.target}.server.{name}",
                problem="the target decides it" if name in RESERVED else "there is no such setting",
                expected=f"did you mean {close[0]}?" if close else f"one of {', '.join(names)}",
                next_step="ridgeway serve --help",
            )
    return dict(deployment.server)


def as_arguments(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Settings as the server's command line takes them, in the order of their names.

    Example:
        >>> as_arguments({"workers": 2, "access_log": False})
        ('--access-log', 'false', '--workers', '2')
    """
    arguments: list[str] = []
    for name in sorted(settings):
        value = settings[name]
        arguments += [f"--{name.replace('_', '-')}", str(value).lower() if isinstance(value, bool) else str(value)]
    return tuple(arguments)


def budgets(memory_mib: int, asked: Mapping[str, Any]) -> dict[str, float]:
    """What the server would derive from a memory limit of its control group, where the place sets none.

    A share of 40 % for models, a quarter (at least one body) for bodies in flight, 30 % for parsed JSON.

    Example:
        >>> budgets(512, {})
        {'model_memory_mib': 204, 'max_bodies_mib': 128, 'max_parse_mib': 153}
    """
    body = float(asked.get("max_body_mib", _DEFAULTS["max_body_mib"]))
    derived = {
        "model_memory_mib": int(0.4 * memory_mib),
        "max_bodies_mib": max(memory_mib // 4, int(body)),
        "max_parse_mib": int(0.3 * memory_mib / int(asked.get("workers", 1))),
    }
    return {name: value for name, value in derived.items() if name not in asked}

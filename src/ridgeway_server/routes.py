"""Which path means what: the route of a request, its methods, and whether it is open without a key."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

from ridgeway_server.exchange import WireProtocol
from ridgeway_server.protocols.mlflow import MlflowProtocol
from ridgeway_server.protocols.score import ScoreProtocol
from ridgeway_server.protocols.v2 import V2Protocol

SCORE, MLFLOW, V2 = ScoreProtocol(), MlflowProtocol(), V2Protocol()
READ, WRITE = ("GET", "HEAD"), ("POST",)


@dataclass(frozen=True, slots=True)
class Route:
    """A route: its template (which names it in metrics and log), its methods, its protocol, and what it does."""

    template: str
    methods: tuple[str, ...]
    protocol: WireProtocol
    action: str
    open: bool = False


ROUTES = (
    Route("/", READ, SCORE, "welcome", open=True),
    Route("/score", WRITE, SCORE, "predict"),
    Route("/models/{name}/score", WRITE, SCORE, "predict"),
    Route("/models/{name}/versions/{version}/score", WRITE, SCORE, "predict"),
    Route("/invocations", WRITE, MLFLOW, "predict"),
    Route("/models/{name}/invocations", WRITE, MLFLOW, "predict"),
    Route("/models/{name}/versions/{version}/invocations", WRITE, MLFLOW, "predict"),
    Route("/ping", READ, MLFLOW, "ready", open=True),
    Route("/health", READ, MLFLOW, "ready", open=True),
    Route("/version", READ, MLFLOW, "version"),
    Route("/metrics", READ, SCORE, "metrics"),
    Route("/openapi.json", READ, SCORE, "openapi"),
    Route("/v2", READ, V2, "server"),
    Route("/v2/health/live", READ, V2, "live", open=True),
    Route("/v2/health/ready", READ, V2, "ready", open=True),
    Route("/v2/models/{name}", READ, V2, "metadata"),
    Route("/v2/models/{name}/versions/{version}", READ, V2, "metadata"),
    Route("/v2/models/{name}/ready", READ, V2, "model_ready"),
    Route("/v2/models/{name}/versions/{version}/ready", READ, V2, "model_ready"),
    Route("/v2/models/{name}/infer", WRITE, V2, "predict"),
    Route("/v2/models/{name}/versions/{version}/infer", WRITE, V2, "predict"),
    Route("/v2/repository/index", WRITE, V2, "index"),
    Route("/v2/repository/models/{name}/load", WRITE, V2, "load"),
    Route("/v2/repository/models/{name}/unload", WRITE, V2, "unload"),
)
UNKNOWN = Route("unknown", (), SCORE, "unknown")
UNKNOWN_V2 = Route("unknown", (), V2, "unknown")

_BY_PATTERN = {tuple("{}" if part.startswith("{") else part for part in r.template.split("/")): r for r in ROUTES}


def match(path: str) -> tuple[Route, str, str]:
    """The route of a path (without its query), and the model's name and version where the path holds them.

    Example:
        >>> match("/v2/models/diabetes/versions/2/infer")[1:]
        ('diabetes', '2')
        >>> match("/v2/nothing")[0].action
        'unknown'
    """
    parts = tuple(path.split("/")) if len(path) < 3 or not path.endswith("/") else tuple(path[:-1].split("/"))
    route = _BY_PATTERN.get(parts)
    if route is not None:
        return route, "", ""
    named = parts[1:3] == ("v2", "models") or parts[1:4] == ("v2", "repository", "models")
    at = 4 if parts[1:3] == ("v2", "repository") else 3 if named else 2
    if len(parts) <= at or not (named or parts[1] == "models"):
        return (UNKNOWN_V2 if parts[1:2] == ("v2",) else UNKNOWN), "", ""
    version_at = at + 2 if parts[at + 1 : at + 2] == ("versions",) else len(parts)
    pattern = tuple("{}" if place in (at, version_at) else part for place, part in enumerate(parts))
    route = _BY_PATTERN.get(pattern)
    if route is None or not parts[at] or (version_at < len(parts) and not parts[version_at]):
        return (UNKNOWN_V2 if parts[1] == "v2" else UNKNOWN), "", ""
    version = unquote(parts[version_at]) if version_at < len(parts) else ""
    return route, unquote(parts[at]), version

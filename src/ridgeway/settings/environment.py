"""Names in the environment that are no settings, and what is read of it beside them."""

from __future__ import annotations

import os
from collections.abc import Mapping

PREFIX = "RIDGEWAY_"

NOT_SETTINGS = {
    "RIDGEWAY_OPERATIONS": "path of operations.toml, operations' half of the settings",
    "RIDGEWAY_HOME": "where Prefect's own worker finds the project's working folder, for what CI has published",
    "RIDGEWAY_WHEEL": "path of the ridgeway wheel that a new project installs where no index has it",
    "RIDGEWAY_CI_ENVIRONMENT": "the environment whose reviews on GitHub are approvals of a release",
    "RIDGEWAY_REQUIRE": "tests: what must be there (docker,kubernetes,postgresql) and fails instead of being skipped",
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
    "ORT_DISABLE_TELEMETRY": "1",
}
"""Nothing phones home: defaults put into the environment before any of these libraries is imported."""


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

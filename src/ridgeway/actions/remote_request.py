"""What a job in a cluster is asked for with: checked, its addresses, its secrets, its name. Nothing is made here."""

from __future__ import annotations

import difflib
import json
import os
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ridgeway import credentials, settings
from ridgeway.artifacts import Image, InstanceType
from ridgeway.errors import UsageError
from ridgeway.image import training_source
from ridgeway.image.training_source import Source
from ridgeway.project import Project, digest_of
from ridgeway.run_log import Process
from ridgeway.targets.kubernetes.connection import Cluster
from ridgeway.targets.kubernetes.job import Jobs
from ridgeway.targets.kubernetes.job_manifests import JobLimits, JobRequest

SECRET_VARIABLES = (
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "PREFECT_API_KEY",
    "PREFECT_API_AUTH_STRING",
    "PREFECT_CLIENT_CUSTOM_HEADERS",
)
"""What opens the servers. They reach a pod in its Secret, and are in no manifest, log or record."""
CARRIED = ("project", "data", "training", "rules", "flows")
"""Tables of settings that decide what a flow does; those not from the commit's ridgeway.toml are handed on."""
_PODS_REACH = "http(s)://…, this machine as the cluster's pods see it, or a server of the team"


@dataclass(frozen=True, slots=True)
class RemoteCall:
    """What is to be carried out, and where."""

    instance_type: str
    """A name of ``[instance_types]``."""
    flow: str = "retraining"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """The flow's arguments by name, as JSON knows them."""
    flow_run_id: str = ""
    """A flow run that was taken for it; empty for a new one."""
    allow_dirty: bool = False
    """Take the working tree's tracked files as they are."""
    entrypoint: str = ""
    """File and function; by default ``flows/FLOW.py:FLOW``."""


@dataclass(frozen=True, slots=True)
class Servers:
    """What a pod talks to."""

    registry: str
    prefect: str
    """``auto``: a server of its own, which goes with it."""


@dataclass(frozen=True)
class Prepared:
    """A call that can be carried out: everything checked that can be without making anything."""

    project: Project
    call: RemoteCall
    source: Source
    servers: Servers
    instance: InstanceType
    secrets: Mapping[str, str] = field(repr=False)

    @property
    def namespace(self) -> str:
        """Where its job is."""
        return self.project.settings.jobs.namespace or self.project.name.replace("_", "-")

    @property
    def jobs(self) -> Jobs:
        """The project's jobs there."""
        return Jobs(Cluster(self.project.settings.jobs.context), self.namespace, self.project.name)


def prepare(project: Project, call: RemoteCall, environ: Mapping[str, str] | None = None) -> Prepared:
    """The call, checked; nothing is made, and no server is asked.

    Raises:
        UsageError: There is no such instance type, pods cannot reach the registry, the data is not in the commit, or
            the working tree is not as in the commit.
    """
    environ = os.environ if environ is None else environ
    instance = _instance(project, call.instance_type)
    servers = _servers(project, needs_prefect=bool(call.flow_run_id))
    source = training_source.read_source(project.root, allow_dirty=call.allow_dirty)
    _refuse_local_data(project, call, source)
    return Prepared(project, call, source, servers, instance, _secrets(project, servers, environ))


def _instance(project: Project, name: str) -> InstanceType:
    known = project.settings.instance_types
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        raise UsageError(
            f"there is no instance type {name!r}",
            problem=f"did you mean {close[0]}?" if close else "",
            expected=f"one of {', '.join(known)}",
            next_step="ridgeway settings instance_types",
        )
    return InstanceType(name, **known[name].model_dump())


def _servers(project: Project, *, needs_prefect: bool) -> Servers:
    chosen = project.settings
    registry = chosen.jobs.registry or chosen.registry.uri
    if not _reachable(registry):
        name = "jobs.registry" if chosen.jobs.registry else "registry.uri"
        kind = "a loopback address" if registry.startswith("http") else "a file of this machine"
        raise UsageError(
            "a job cannot reach the registry",
            where=f"{name} = {registry!r}   (from {project.loaded.origin(name)})",
            problem=f"it is {kind}, and pods run elsewhere",
            expected=f"jobs.registry: {_PODS_REACH}",
            next_step="ridgeway up --host 0.0.0.0     then     --set jobs.registry=http://ADDRESS:5050",
        )
    prefect = chosen.jobs.prefect or chosen.servers.prefect
    if _reachable(prefect):
        return Servers(registry, prefect)
    if chosen.jobs.prefect or needs_prefect:
        raise UsageError(
            "a job cannot reach the Prefect server",
            where=f"jobs.prefect = {chosen.jobs.prefect!r}",
            problem="pods run elsewhere, and the flow run is known to that server alone",
            expected=f"jobs.prefect: {_PODS_REACH}",
            next_step="ridgeway up --host 0.0.0.0     then     --set jobs.prefect=http://ADDRESS:4200/api",
        )
    return Servers(registry, "auto")


def _reachable(address: str) -> bool:
    """Whether pods can reach it, as far as it can be told from its name."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not host:
        return False
    return host not in ("localhost", "::1", "0.0.0.0", "::") and not host.startswith("127.")  # noqa: S104 - looked for


def _refuse_local_data(project: Project, call: RemoteCall, source: Source) -> None:
    """Nothing, if the rows are in the commit, at an address, or wherever the project's own code finds them."""
    given = str(call.parameters.get("source") or "")
    named = given or project.settings.data.source
    if "://" in named or training_source.holds(source, named):
        return
    name = "--data" if given else "data.source"
    raise UsageError(
        "a job cannot see this machine's data",
        where=f"{name} = {named!r}",
        problem="it is not in the commit" if given else "git does not track it",
        expected="data in the commit, or an address that steps/load_data.py reads: a database, an object store, a URL",
        next_step=f"git add {named} && git commit     or     without --on",
    )


def _secrets(project: Project, servers: Servers, environ: Mapping[str, str]) -> dict[str, str]:
    """What the pod's Secret holds: variable → value."""
    from ridgeway.settings.secrets import secret

    found = {name: environ[name] for name in SECRET_VARIABLES if environ.get(name)}
    found |= {name: value for name in project.settings.jobs.secrets if (value := secret(name, environ))}
    missing = [name for name in project.settings.jobs.secrets if name not in found]
    if missing:
        raise UsageError(
            f"{missing[0]} has no value",
            where=f"jobs.secrets = {list(project.settings.jobs.secrets)}",
            problem="it is neither in the environment nor in a file that the environment names",
            next_step=f"export {missing[0]}=…     or     {missing[0]}_FILE=…",
        )
    return {**_signed_in(project, servers, environ), **found}


def _signed_in(project: Project, servers: Servers, environ: Mapping[str, str]) -> dict[str, str]:
    """User and password of the servers that `ridgeway up` runs, where the job's addresses lead to them."""
    known = credentials.find(project.settings, project.state, environ)
    if known is None:
        return {}
    chosen, given = (
        project.settings,
        bool(environ.get(credentials.PASSWORD) or environ.get(f"{credentials.PASSWORD}_FILE")),
    )
    found: dict[str, str] = {}
    if not environ.get("MLFLOW_TRACKING_TOKEN") and (
        given or _is_own(servers.registry, chosen.jobs.registry, chosen.servers.mlflow_port)
    ):
        found |= {"MLFLOW_TRACKING_USERNAME": known.user, "MLFLOW_TRACKING_PASSWORD": known.password}
    if not environ.get("PREFECT_API_KEY") and (
        given or _is_own(servers.prefect, chosen.jobs.prefect, chosen.servers.prefect_port)
    ):
        found["PREFECT_API_AUTH_STRING"] = known.text
    return found


def _is_own(address: str, setting: str, port: int) -> bool:
    """Whether operations have named the address for jobs, and it has the port of this machine's server."""
    return bool(setting) and address == setting and urlsplit(address).port == port


def _addresses(servers: Servers) -> dict[str, str]:
    return {"RIDGEWAY_REGISTRY__URI": servers.registry, "RIDGEWAY_SERVERS__PREFECT": servers.prefect}


def job_request(ready: Prepared, image: Image, run: str) -> JobRequest:
    """The job.

    Args:
        ready: What is to be carried out.
        image: The project's.
        run: Id of the run in this machine's log.
    """
    chosen = ready.project.settings.jobs
    arguments = json.dumps(_arguments(ready), sort_keys=True)
    return JobRequest(
        name=_name(ready, image, arguments),
        namespace=ready.namespace,
        project=ready.project.name,
        image=image.handle,
        instance=ready.instance,
        arguments=(arguments,),
        environment=_addresses(ready.servers),
        secrets=tuple(ready.secrets),
        limits=JobLimits(
            start_seconds=chosen.start_seconds,
            deadline_seconds=chosen.deadline_seconds,
            retries=chosen.retries,
            keep_seconds=chosen.keep_seconds,
            disk_mib=chosen.disk_mib,
        ),
        service_account=chosen.service_account,
        owner=json.dumps(_owner(ready.project), sort_keys=True),
        run=run,
    )


def _arguments(ready: Prepared) -> dict[str, Any]:
    """What the pod is told to do."""
    call = ready.call
    return {
        "flow": call.flow,
        "entrypoint": call.entrypoint or f"flows/{call.flow}.py:{call.flow}",
        "parameters": _parameters(call),
        "settings": [*carried(ready.project)],
        "flow_run_id": call.flow_run_id,
        "processors": ready.instance.cpu,
    }


def _parameters(call: RemoteCall) -> dict[str, Any]:
    """The flow's arguments, without settings that are this machine's business: where servers are is told by us."""
    found = dict(call.parameters)
    if found.get("overrides"):
        found["overrides"] = [text for text in found["overrides"] if text.partition(".")[0].strip() in CARRIED]
    return found


def carried(project: Project) -> Iterator[str]:
    """The settings that decide what a flow does and are not the commit's, each as ``KEY=VALUE``."""
    for row in settings.rows(project.loaded):
        if row.path.partition(".")[0] in CARRIED and row.origin not in ("default", "ridgeway.toml"):
            yield f"{row.path}={_toml(row.value)}"


def _toml(value: Any) -> str:
    """A value as TOML in one line; the strings of JSON are strings of TOML."""
    if isinstance(value, Mapping):
        inner = ", ".join(f"{json.dumps(str(key))} = {_toml(item)}" for key, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return json.dumps(value, ensure_ascii=False)


def _name(ready: Prepared, image: Image, arguments: str) -> str:
    """The job's name: the same command of the same folder asks for the same job, and so goes on with one that runs."""
    facts = {"home": home_of(ready.project), "image": image.handle, "call": arguments, "on": ready.instance.name}
    start = re.sub(r"[^a-z0-9-]+", "-", f"{ready.project.name}-{ready.call.flow}".lower())[:40].strip("-")
    return f"{start}-{digest_of(facts).removeprefix('sha256:')[:10]}"


def home_of(project: Project) -> str:
    """Which folder of which machine asks, as a digest: a cluster's objects are read by many."""
    return digest_of({"host": socket.gethostname(), "state": str(project.state.resolve())})


def _owner(project: Project) -> dict[str, Any]:
    """Who watches the job."""
    process = Process.current()
    return {"home": home_of(project), "host": process.host, "pid": process.pid, "started": process.started}

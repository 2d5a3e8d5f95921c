"""Operations' half of the settings: servers, images, machines, targets, and who may approve."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from ridgeway.rules.notifications import EVENTS, Event, closest_event
from ridgeway.settings.section import Positive, Section


class FlowsSection(Section):
    """How steps are run."""

    timeout_seconds: int = Field(default=7200, ge=1)
    """A step that takes longer is ended."""
    retries: int = Field(default=2, ge=0, le=20)
    """How often a step is tried again after a failure that may pass, such as an unreachable server."""
    retry_delay_seconds: float = Field(default=5, ge=0)
    """Pause before the first retry; doubled each time."""
    pools: dict[str, str] = {}
    """Flows that a worker carries out as jobs in a cluster: flow = instance type, such as retraining = "gpu-small"."""


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
    host: str = "127.0.0.1"
    """Address of this machine on which the servers of `ridgeway up` listen; 0.0.0.0: all of its addresses."""
    prefect_port: int = Field(default=4200, ge=1, le=65535)
    """Port of the Prefect server of `ridgeway up`."""
    mlflow_port: int = Field(default=5050, ge=1, le=65535)
    """Port of the MLflow server of `ridgeway up`. Not 5000, where image registries listen."""
    worker_limit: int = Field(default=2, ge=1, le=64)
    """How many published runs the worker of `ridgeway up` carries out at once."""
    database: str = "sqlite"
    """Where both servers keep their tables: sqlite, files of this machine; or postgresql://USER@HOST[:PORT]/NAME, which
    becomes two databases, NAME_prefect and NAME_mlflow. The password comes from RIDGEWAY_SERVERS__DATABASE_PASSWORD or
    …_FILE only."""
    authentication: Literal["auto", "on", "off"] = "auto"
    """Whether both servers want user and password: auto, where they listen beyond loopback. The password comes from
    RIDGEWAY_SERVERS__PASSWORD or …_FILE; without one, `ridgeway up` makes one and keeps it in .ridgeway/secrets."""
    user: str = Field(default="ridgeway", pattern=r"^[A-Za-z0-9._@-]+$")
    """Who signs in to both servers."""
    allowed_hosts: tuple[str, ...] = ()
    """Names by which others reach the servers, such as mlflow.example.org behind a proxy. Addresses in figures and this
    machine's own names are always let in; any other name is refused, because a web page may have invented it."""


class ImageSection(Section):
    """Scoring images, for targets of kind docker and kubernetes."""

    repository: str = ""
    """Where images are kept, with the registry's address: registry.example/team/diabetes. Empty: 127.0.0.1:5000/ and
    the project's name."""
    base: str = "python:3.11-slim-bookworm"
    """Image with Python that the runtime image stands on; resolved to a digest, which is recorded."""
    packages: tuple[str, ...] = ()
    """Wheels of your own with transformers that the model needs, as paths relative to the project."""


class InstanceTypeSection(Section):
    """A kind of machine (share), named by data scientists and defined by operations."""

    cpu: Positive = 1
    """Processor cores."""
    memory_mib: int = Field(default=512, ge=64)
    """Memory in MiB: requested, and the limit."""
    gpus: dict[str, int] = {}
    """Devices by resource name, such as "nvidia.com/gpu" = 1."""
    node_selector: dict[str, str] = {}
    """Labels that a node must have."""
    tolerations: tuple[dict[str, Any], ...] = ()
    """Taints that are tolerated, as Kubernetes writes them."""


class JobsSection(Section):
    """Flows carried out as jobs in a Kubernetes cluster, by `--on INSTANCE_TYPE` or by a worker."""

    registry: str = ""
    """MLflow's address as pods reach it, http(s)://…. Empty: registry.uri, where that is no file of this machine."""
    prefect: str = ""
    """The Prefect API's address as pods reach it, http(s)://…/api. Empty: servers.prefect, where that is an address;
    else each job has a server of its own, which goes with it."""
    context: str = ""
    """Context of the kubeconfig; empty: its current one."""
    namespace: str = ""
    """Kubernetes namespace; empty: the project's name."""
    service_account: str = ""
    """Account of the pods, such as one that may pull images; empty: the namespace's default. They get no token."""
    secrets: tuple[str, ...] = ()
    """Names of environment variables that pods need besides those of MLflow and Prefect, such as a database's password;
    their values are read here and reach the pod in a Secret."""
    start_seconds: Positive = 300
    """How long a job may wait for a free machine; clusters that add machines need minutes."""
    deadline_seconds: int = Field(default=21600, ge=10)
    """A job that takes longer, waiting included, is ended."""
    retries: int = Field(default=2, ge=0, le=20)
    """How often a job is tried again whose pod was killed, or that ended with "try again later". An evicted pod does
    not count; an error of the code, the data or the settings is never tried again."""
    keep_seconds: int = Field(default=600, ge=0)
    """A job that ends with nobody watching is taken away by the cluster after this long."""
    disk_mib: int = Field(default=2048, ge=64)
    """What a job may write, in MiB: rows, model, reports. It goes with the pod."""


class AccessSection(Section):
    """Who may ask an endpoint."""

    mode: Literal["keys", "none"] = "keys"
    """keys: requests carry the primary or the secondary key. none: anyone who reaches it."""


class TlsSection(Section):
    """The endpoint's certificate."""

    certificate: str = ""
    """PEM file with the certificate chain, relative to the project. Empty: plain HTTP."""
    key: str = ""
    """PEM file with its private key."""
    authority: str = ""
    """PEM file with the authority that clients and the probe trust. Empty: the machine's own list."""


class RolloutSection(Section):
    """How a new image takes the place of the old one."""

    deadline_seconds: Positive = 300
    """A roll-out that is not healthy by then goes back."""
    bake_seconds: float = Field(default=5, ge=0)
    """How long the new image is watched before it counts as proven."""
    when_full: Literal["in_place", "refuse"] = "in_place"
    """Where no room is left beside the old image: replace its replicas one by one, or refuse."""


class ApprovalSection(Section):
    """Whose yes a release needs."""

    role: str = "release-manager"
    """A role of [approvers]."""
    count: int = Field(default=1, ge=0)
    """How many different people; 0: none."""
    own_release: bool = True
    """Whether the person who started a release may approve it; false in a team."""
    expires_hours: Positive = 72
    """An approval, and the waiting for one, ends after this."""


class TargetSection(Section):
    """A named place where images run."""

    kind: Literal["process", "docker", "kubernetes", "memory"] = "process"
    """How it is driven: a supervised process of this machine, a Docker engine, a cluster. memory: for tests."""
    instance_type: str = "cpu-small"
    """A name of [instance_types]."""
    address: str = ""
    """What clients and the probe call, such as http://127.0.0.1:8082. Empty: as the target finds it (a NodePort)."""
    replicas: int = Field(default=1, ge=1, le=100)
    """How many copies; one process, for the kinds that know no replicas."""
    context: str = ""
    """Context of the kubeconfig; empty: its current one. Or the name of a Docker context."""
    namespace: str = ""
    """Kubernetes namespace; empty: the project's name."""
    expose: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    """Type of the Kubernetes service."""
    server: dict[str, Any] = {}
    """Settings of the scoring server, such as workers = 2 or max_body_mib = 20."""
    access: AccessSection = AccessSection()
    """Who may ask it."""
    tls: TlsSection = TlsSection()
    """Its certificate."""
    rollout: RolloutSection = RolloutSection()
    """How a new image takes the place of the old one."""
    approval: ApprovalSection = ApprovalSection()
    """Whose yes a release to it needs, if it is the last stage."""


class NotificationsSection(Section):
    """Who is told without asking. Address and signing key are secrets, and never stand in a file of settings."""

    events: tuple[Event, ...] = ("failed", "waiting", "released", "rolled_back")
    """What the receiver at RIDGEWAY_NOTIFICATIONS__URL is told: failed, waiting, released, rolled_back, registered,
    rejected, held, refused, published."""

    @field_validator("events", mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        """The value, if every word in it is an event; the library's own message would not say which one was meant."""
        wrong = [word for word in value if word not in EVENTS] if isinstance(value, list | tuple) else []
        if wrong:
            hint = closest_event(str(wrong[0])) or f"known: {', '.join(EVENTS)}"
            raise ValueError(f"{wrong[0]!r} is no event; {hint}")
        return value


DEFAULT_INSTANCE_TYPES = {"cpu-small": InstanceTypeSection()}
DEFAULT_TARGETS = {
    "qa": TargetSection(address="http://127.0.0.1:8081"),
    "production": TargetSection(address="http://127.0.0.1:8082"),
}
DEFAULT_APPROVERS: dict[str, tuple[str, ...]] = {"release-manager": ("*",)}
"""Anyone: taken only where the last stage is a process of this machine."""

"""Requests to the API server: the official client's configuration and connections, plain dictionaries in and out.

The client's models and its dynamic discovery are left aside: a handful of kinds have known paths, and building
hundreds of classes or asking for the cluster's catalogue would cost more than a whole roll-out's requests.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

from ridgeway.errors import Permanent, RidgewayError, Transient, Unreachable, UsageError
from ridgeway.targets.kubernetes.naming import FIELD_MANAGER

log = logging.getLogger("ridgeway.kubernetes")

Json = dict[str, Any]
Result = TypeVar("Result")
CONNECT_SECONDS, READ_SECONDS = 3.0, 10.0

PATHS: dict[str, tuple[str, str]] = {
    "Deployment": ("apis/apps/v1", "deployments"),
    "Event": ("api/v1", "events"),
    "EndpointSlice": ("apis/discovery.k8s.io/v1", "endpointslices"),
    "HorizontalPodAutoscaler": ("apis/autoscaling/v2", "horizontalpodautoscalers"),
    "Job": ("apis/batch/v1", "jobs"),
    "Lease": ("apis/coordination.k8s.io/v1", "leases"),
    "NetworkPolicy": ("apis/networking.k8s.io/v1", "networkpolicies"),
    "Pod": ("api/v1", "pods"),
    "PodDisruptionBudget": ("apis/policy/v1", "poddisruptionbudgets"),
    "PodMetrics": ("apis/metrics.k8s.io/v1beta1", "pods"),
    "ReplicaSet": ("apis/apps/v1", "replicasets"),
    "ResourceQuota": ("api/v1", "resourcequotas"),
    "Secret": ("api/v1", "secrets"),
    "Service": ("api/v1", "services"),
    "ServiceAccount": ("api/v1", "serviceaccounts"),
}
"""Kinds with the paths that lead to them."""


class Refused(Permanent):
    """The API server understood, and said no: no rights, a conflict, an admission rule."""

    def __init__(self, summary: str, *, status: int = 0, details: Json | None = None, **rows: str) -> None:
        super().__init__(summary, **rows)
        self.status = status
        self.details = details or {}


class Expired(Permanent):
    """The API server does not know us (any more)."""


@dataclass
class Cluster:
    """One cluster as one user: every request has a time limit, every failure a meaning.

    May be used from several threads at once.
    """

    context: str = ""
    """Of the kubeconfig; empty: its current one, or the pod's own account inside a cluster."""
    _client: Any = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    # ---- the handful of verbs ----------------------------------------------------------------------------------------

    def get(self, kind: str, namespace: str, name: str) -> Json | None:
        """The object, or None where there is none."""
        return self.maybe("GET", path_to(kind, namespace, name))

    def find(self, kind: str, namespace: str, **query: str) -> list[Json]:
        """Objects of a kind, by ``labelSelector`` or ``fieldSelector``."""
        found = self.request("GET", path_to(kind, namespace), query=query)
        return list(found.get("items") or [])

    def apply(self, manifest: Json, *, dry_run: bool = False) -> Json:
        """Server-side apply under our name; another manager's fields are never taken by force."""
        metadata = manifest["metadata"]
        query = {"fieldManager": FIELD_MANAGER, "force": "false", **({"dryRun": "All"} if dry_run else {})}
        path = path_to(manifest["kind"], metadata["namespace"], metadata["name"])
        return self.request(
            "PATCH", path, query=query, body=manifest, headers={"Content-Type": "application/apply-patch+yaml"}
        )

    def create(self, kind: str, namespace: str, body: Json) -> Json:
        """Makes an object. Raises Refused with status 409 if it is there."""
        return self.request("POST", path_to(kind, namespace), query={"fieldManager": FIELD_MANAGER}, body=body)

    def replace(self, kind: str, body: Json) -> Json:
        """Writes an object; with a resourceVersion in it only if nobody was faster (else Refused, 409)."""
        metadata = body["metadata"]
        path = path_to(kind, metadata["namespace"], metadata["name"])
        return self.request("PUT", path, query={"fieldManager": FIELD_MANAGER}, body=body)

    def merge(self, kind: str, namespace: str, name: str, body: Json) -> Json:
        """Changes some fields of an object."""
        query = {"fieldManager": FIELD_MANAGER}
        path, content = path_to(kind, namespace, name), "application/merge-patch+json"
        return self.request("PATCH", path, query=query, body=body, headers={"Content-Type": content})

    def delete(self, kind: str, namespace: str, name: str, **options: Any) -> bool:
        """Takes an object away; False where there was none."""
        body = {"propagationPolicy": "Background", **options}
        return self.maybe("DELETE", path_to(kind, namespace, name), body=body) is not None

    def maybe(self, method: str, path: str, **rest: Any) -> Json | None:
        """As ``request``, and None for what is not there."""
        try:
            return self.request(method, path, **rest)
        except Refused as error:
            if error.status == 404:
                return None
            raise

    def allowed(self, method: str, path: str, **rest: Any) -> Json | None:
        """As ``request``, and None where it is not there or we have no right to see it."""
        try:
            return self.request(method, path, **rest)
        except Refused as error:
            if error.status in (403, 404):
                return None
            raise

    def is_there(self, path: str) -> bool:
        """False only if the cluster says that it is not; without the right to see it, True."""
        try:
            self.request("GET", path)
        except Refused as error:
            return error.status != 404
        return True

    # ---- requests ----------------------------------------------------------------------------------------------------

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Json | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Json:
        """The API server's answer; a text that is no JSON as ``{"text": …}``.

        Raises:
            Unreachable: It does not answer, or answers that it cannot just now.
            Expired: It does not know us (any more).
            Refused: It says no.
        """
        data = None if body is None else json.dumps(body)
        all_headers = {"Accept": "application/json", "Content-Type": "application/json", **(headers or {})}
        with self._answer(method, _with_query(path, query), data, all_headers) as answer:
            text = answer.data
        if answer.status >= 400:
            raise self._failure(method, path, answer.status, text)
        return json.loads(text) if text[:1] in (b"{", b"[") else {"text": text.decode(errors="replace")}

    def text(self, path: str, query: Mapping[str, str]) -> str:
        """A plain text, such as a log."""
        with self._answer("GET", _with_query(path, query), None, {"Accept": "*/*"}) as answer:
            text = answer.data
        if answer.status >= 400:
            raise self._failure("GET", path, answer.status, text)
        return str(text.decode(errors="replace"))

    @contextlib.contextmanager
    def stream(self, path: str, query: Mapping[str, str]) -> Iterator[Iterator[bytes]]:
        """A text that goes on, in pieces; the end of the block ends it."""
        with self._answer("GET", _with_query(path, query), None, {"Accept": "*/*"}, read_seconds=None) as answer:
            if answer.status >= 400:
                raise self._failure("GET", path, answer.status, answer.data)
            yield answer.stream(4096)

    @contextlib.contextmanager
    def _answer(
        self,
        method: str,
        path: str,
        data: str | None,
        headers: Mapping[str, str],
        *,
        read_seconds: float | None = READ_SECONDS,
    ) -> Iterator[Any]:
        import urllib3

        client = self._connected()
        configuration = client.configuration
        secret = configuration.auth_settings().get("BearerToken")
        bearer = {secret["key"]: secret["value"]} if secret and secret.get("value") else {}
        url = f"{configuration.host}/{path}"
        try:
            answer = client.rest_client.pool_manager.request(
                method,
                url,
                body=data,
                headers={**headers, **bearer},
                timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=read_seconds),
                preload_content=False,
                retries=False,
            )
            try:
                yield answer
            finally:
                answer.release_conn() if read_seconds is not None else answer.close()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._silence(error) from error

    @property
    def host(self) -> str:
        """Where the API server is, such as ``https://10.0.0.1:6443``."""
        return str(self._connected().configuration.host)

    def _connected(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = _client(self.context)
            return self._client

    def _silence(self, error: Exception) -> RidgewayError:
        return Unreachable(
            "kubernetes: the API server does not answer",
            where=self.host,
            problem=f"{type(error).__name__}: {error}"[:300],
            next_step="kubectl cluster-info     (is the network up, the address right?)",
        )

    def _failure(self, method: str, path: str, status: int, text: bytes) -> RidgewayError:
        try:
            answer = json.loads(text)
        except ValueError:
            answer = {}
        message = str(answer.get("message") or text[:300].decode(errors="replace"))
        where = f"{method} {self.host}/{path}"
        if status == 401:
            return Expired(
                "kubernetes: the credentials are not accepted",
                where=where,
                problem=f"401: {message}; they have expired or were withdrawn",
                next_step="renew them (a login of your provider, a new token), then the same command",
            )
        # 403 with a quota is a wish that is refused, not a right that lacks.
        if status == 403 and "exceeded quota" not in message and "violates PodSecurity" not in message:
            return Refused(
                "kubernetes: no right to do this",
                status=status,
                where=where,
                problem=message,
                next_step="let operations apply templates/kubernetes/deployer.yaml",
            )
        if status in (429, 500, 502, 503, 504):
            return Transient("kubernetes: the API server cannot just now", where=where, problem=f"{status}: {message}")
        return Refused(
            "kubernetes: the API server refuses", status=status, details=answer, where=where, problem=message
        )


def _with_query(path: str, query: Mapping[str, str] | None) -> str:
    return f"{path}?{urlencode(query)}" if query else path


def path_to(kind: str, namespace: str, name: str = "") -> str:
    """The path of a kind's objects in a namespace, or of one of them.

    Example:
        >>> path_to("Deployment", "prod", "diabetes")
        'apis/apps/v1/namespaces/prod/deployments/diabetes'
    """
    group, plural = PATHS[kind]
    return f"{group}/namespaces/{namespace}/{plural}" + (f"/{name}" if name else "")


def _client(context: str) -> Any:
    """The official client, connected to nothing yet: kubeconfig, or the pod's own account where there is none."""
    from kubernetes import client, config

    configuration = client.Configuration()
    try:
        try:
            # Named: by itself the client takes what the environment said when its module was imported.
            config.load_kube_config(
                os.environ.get("KUBECONFIG") or None, context or None, client_configuration=configuration
            )
        except config.ConfigException as error:
            _in_a_pod(configuration, context, error)
    except (config.ConfigException, OSError, ValueError, TypeError) as error:
        raise UsageError(
            "kubernetes: no way to the cluster",
            where=f"context {context!r} of the kubeconfig" if context else "the kubeconfig's current context",
            problem=str(error),
            expected="a kubeconfig (KUBECONFIG, or ~/.kube/config) with this context",
            next_step="kubectl config get-contexts     then     targets.NAME.context",
        ) from error
    configuration.connection_pool_maxsize = 12
    return client.ApiClient(configuration)


def _in_a_pod(configuration: Any, context: str, why_not: Exception) -> None:
    """The pod's own account, if we are in a pod and no context was asked for; else ``why_not``."""
    from kubernetes import config

    if context:
        raise why_not
    try:
        config.load_incluster_config(client_configuration=configuration)
    except config.ConfigException:
        raise why_not from None


def patiently(action: Callable[[], Result], *, seconds: float) -> Result:
    """What ``action`` gives; while the API server does not answer it is tried again, for this long.

    Only for what may be done twice.

    Raises:
        Transient: It still fails when the time is up.
    """
    deadline, pause = time.monotonic() + seconds, 0.2
    while True:
        try:
            return action()
        except Transient as error:
            if time.monotonic() + pause > deadline:
                raise
            log.info("%s; trying again", error.summary)
            time.sleep(pause)
            pause = min(2.0, pause * 1.7)


def is_loopback(url: str) -> bool:
    """Whether an address is this machine's own.

    Example:
        >>> is_loopback("https://127.0.0.1:6443"), is_loopback("https://10.0.0.1")
        (True, False)
    """
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")

"""A namespace of the tests' own in a real cluster, worked in as the shipped account, never as an administrator."""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import json
import os
import shutil
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from ridgeway.artifacts import Deployment, Image, InstanceType
from ridgeway.project import Project, open_project
from ridgeway.targets.kubernetes import KubernetesTarget
from ridgeway.targets.kubernetes.connection import Cluster
from ridgeway.targets.kubernetes.naming import Place
from tests.targets.contract import toy_packages

ROOT = Path(__file__).parents[3]
REGISTRY = os.environ.get("LAB_REGISTRY", "127.0.0.1:5000")
BASE = os.environ.get("LAB_BASE_IMAGE", f"{REGISTRY}/python:3.11-slim-bookworm")
REPOSITORY = f"{REGISTRY}/ridgeway-test-k8s"
MODULES = ("numpy", "numpy.libs", "orjson", "uvloop", "httptools")
CPU_SMALL = InstanceType("cpu-small", 0.3, 256)
GPU_SMALL = InstanceType(
    "gpu-small",
    0.25,
    256,
    {"nvidia.com/gpu": 1},
    {"pool": "gpu"},
    ({"key": "nvidia.com/gpu", "operator": "Exists"},),
)
SETTINGS = """
[project]
name = "toy"
[instance_types.cpu-small]
cpu = 0.3
memory_mib = 256
[targets.qa]
address = ""
[targets.production]
kind = "kubernetes"
address = ""
namespace = "{namespace}"
instance_type = "cpu-small"
expose = "NodePort"
[release]
stages = ["qa", "production"]
"""


@dataclass
class Lab:
    """The cluster as an administrator sees it, for what operations do: namespaces, accounts, and looking behind."""

    kubeconfig: Path
    cluster: Cluster

    def kubectl(self, *words: str, stdin: str | None = None, fails: bool = False) -> str:
        done = subprocess.run(
            ["kubectl", "--kubeconfig", str(self.kubeconfig), *words],
            input=stdin,
            text=True,
            capture_output=True,
            check=False,
        )
        assert fails or done.returncode == 0, done.stderr
        return done.stdout + (done.stderr if fails else "")

    def template(self, name: str, namespace: str) -> str:
        return (ROOT / "templates/kubernetes" / name).read_text().replace("NAMESPACE", namespace)


@pytest.fixture(scope="session")
def lab() -> Lab:
    kubeconfig = Path(os.environ.get("KUBECONFIG", Path.home() / ".kube/config"))
    return Lab(kubeconfig, connected(kubeconfig))


@dataclass
class Bed:
    """A namespace with the shipped account, and the way to it."""

    lab: Lab
    namespace: str
    kubeconfig: Path

    @property
    def cluster(self) -> Cluster:
        return connected(self.kubeconfig)


def connected(kubeconfig: Path) -> Cluster:
    """A cluster by this kubeconfig, whatever the environment says."""
    from kubernetes import client, config

    configuration = client.Configuration()
    config.load_kube_config(config_file=str(kubeconfig), client_configuration=configuration)
    configuration.connection_pool_maxsize = 12
    return Cluster(_client=client.ApiClient(configuration))


def kubeconfig_with(lab: Lab, folder: Path, *, token: str = "", server: str = "") -> Path:
    """A kubeconfig for the lab's cluster, as another user or by another way."""
    found = yaml.safe_load(lab.kubeconfig.read_text())
    if server:
        found["clusters"][0]["cluster"]["server"] = server
    if token:
        found["users"] = [{"name": "admin", "user": {"token": token}}]
    path = folder / f"kubeconfig-{hashlib.sha256((token + server).encode()).hexdigest()[:8]}"
    path.write_text(yaml.safe_dump(found))
    return path


@contextlib.contextmanager
def bed_in(lab: Lab, folder: Path, name: str, *, capacity: bool = True) -> Iterator[Bed]:
    """A namespace made from the shipped templates, and gone afterwards."""
    namespace = f"{name}-{os.getpid()}"
    lab.kubectl("apply", "-f", "-", stdin=lab.template("namespace.yaml", namespace))
    lab.kubectl("apply", "-f", "-", stdin=lab.template("deployer.yaml", namespace))
    if capacity:
        lab.kubectl("apply", "-f", "-", stdin=lab.template("capacity-reader.yaml", namespace))
    token = lab.kubectl("-n", namespace, "create", "token", "ridgeway-deployer", "--duration", "2h").strip()
    try:
        yield Bed(lab, namespace, kubeconfig_with(lab, folder, token=token))
    finally:
        lab.kubectl("delete", "namespace", namespace, "--wait=false")
        if capacity:
            lab.kubectl("delete", "clusterrolebinding", f"ridgeway-capacity-reader-{namespace}")


@pytest.fixture(scope="session")
def bed(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with bed_in(lab, tmp_path_factory.mktemp("bed"), "ridgeway-test-k8s") as made:
        yield made


def project_in(folder: Path, namespace: str, settings: str = SETTINGS) -> Project:
    (folder / "ridgeway.toml").write_text(settings.format(namespace=namespace))
    return open_project(folder)


def target_at(bed: Bed, folder: Path, name: str = "toy", more: str = "") -> KubernetesTarget:
    """The production target of a project with this name, as the shipped account."""
    folder.mkdir(parents=True, exist_ok=True)
    project = project_in(folder, bed.namespace, SETTINGS.replace('"toy"', f'"{name}"') + more)
    return KubernetesTarget(project, Place(bed.namespace, name, "production"), bed.cluster)


# ---- images ----------------------------------------------------------------------------------------------------------


@functools.cache
def image_of(content: str, number: int) -> Image:
    """An image with the server as it is in this working copy, and what ``content`` adds to its Dockerfile."""
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder)
        shutil.copytree(ROOT / "src/ridgeway_server", context / "app/ridgeway_server", ignore=_ignored)
        site = Path(sysconfig.get_paths()["purelib"])
        for module in MODULES:
            if (site / module).is_dir():
                shutil.copytree(site / module, context / "app" / module, ignore=_ignored)
        toys = toy_packages(context / "packages")
        shutil.copytree(toys[(number - 1) % 2], context / "model")
        (context / "Dockerfile").write_text(
            f"FROM {BASE}\nCOPY app /app\nENV PYTHONPATH=/app PYTHONDONTWRITEBYTECODE=1\nWORKDIR /app\n"
            "ENV RIDGEWAY_SERVER_MODELS=/models OMP_NUM_THREADS=1\nUSER 65532:65532\n"
            f'ENTRYPOINT ["python", "-m", "ridgeway_server"]\nCOPY model /models\n{content}\nLABEL number={number}\n'
        )
        tag = f"{REPOSITORY}:{hashlib.sha256(content.encode()).hexdigest()[:8]}-{number}"
        subprocess.run(
            ["docker", "build", "-q", "--network", "none", "-t", tag, folder], check=True, capture_output=True
        )
        subprocess.run(["docker", "push", "-q", tag], check=True, capture_output=True)
        said = subprocess.check_output(["docker", "inspect", "-f", "{{json .RepoDigests}}", tag], text=True)
        digest = next(one for one in json.loads(said) if one.startswith(REPOSITORY)).partition("@")[2]
    return Image(REPOSITORY, digest, f"models:/toy/{number}", f"sha256:{number:064}", "", "")


def _ignored(_folder: str, names: list[str]) -> set[str]:
    return {name for name in names if name in ("__pycache__", "tests") or name.endswith((".pyi", ".a"))}


@pytest.fixture(scope="session")
def images() -> tuple[Image, Image]:
    """Two models of one signature; the first answers age / 2 + 2 bmi - sex + 1, the second + 2."""
    return image_of("", 1), image_of("", 2)


def wanted(image: Image, **changes: Any) -> Deployment:
    """What a release of the toy asks for."""
    import dataclasses

    asked = Deployment("production", "kubernetes", "toy", image, "releases:/toy/1", CPU_SMALL, expose="NodePort")
    return dataclasses.replace(asked, **changes)


Settle = Callable[..., Any]


def settle(target: KubernetesTarget, deployment: Deployment, *, seconds: float = 90) -> Any:
    """Plan, apply, wait."""
    said: list[str] = []
    target.apply(target.plan(deployment, target.observe()), package=None, say=said.append)
    outcome = target.wait(deployment, seconds=seconds, say=said.append)
    return outcome, said


def secret_of(lab: Lab, namespace: str, name: str) -> dict[str, str]:
    found = json.loads(lab.kubectl("-n", namespace, "get", "secret", name, "-o", "json"))
    return {key: base64.b64decode(value).decode() for key, value in found["data"].items()}


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.2)

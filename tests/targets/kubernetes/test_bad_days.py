"""What goes wrong in a real cluster, and what is then said: the cluster's own reason and the next command."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ridgeway.artifacts import Deployment, Image
from ridgeway.errors import Busy, Permanent, Unreachable, UsageError
from ridgeway.targets import Outcome
from ridgeway.targets.kubernetes import KubernetesTarget
from ridgeway.targets.kubernetes.connection import Expired
from ridgeway.targets.kubernetes.naming import Place
from tests.targets.kubernetes.conftest import (
    GPU_SMALL,
    ROOT,
    Bed,
    Lab,
    bed_in,
    connected,
    image_of,
    kubeconfig_with,
    settle,
    target_at,
    until,
    wanted,
)

pytestmark = [pytest.mark.kubernetes, pytest.mark.docker]
NAME = "bad-production"


@pytest.fixture
def target(bed: Bed, tmp_path: Path) -> Iterator[KubernetesTarget]:
    made = target_at(bed, tmp_path, "bad")
    yield made
    made.remove()


@pytest.fixture
def good(images: tuple[Image, Image]) -> Deployment:
    # On the other node than most tests: they may run at the same time.
    return wanted(images[0], name="bad", instance=GPU_SMALL, server={"drain_seconds": 0.5})


def missing(image: Image) -> Image:
    return dataclasses.replace(image, digest="sha256:" + "0" * 64)


# ---- images ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_image_that_is_not_there(target: KubernetesTarget, good: Deployment) -> None:
    """Told at once and not at the deadline; the old replica serves on, and putting it back is quick."""
    assert settle(target, good)[0].healthy
    started = time.monotonic()
    outcome, said = settle(target, dataclasses.replace(good, image=missing(good.image)))
    assert time.monotonic() - started < 20
    assert (outcome.healthy, outcome.reason) == (False, "ErrImagePull")
    assert "not found" in outcome.sentence
    assert any("ErrImagePull" in line for line in said)
    assert target.observe().endpoint.ready == 1, "the old one serves"
    assert settle(target, good)[0] == Outcome(True)


@pytest.mark.slow
def test_a_container_that_crashes_is_told_with_its_last_words(target: KubernetesTarget, good: Deployment) -> None:
    image = image_of(
        'ENTRYPOINT ["python", "-c", "import sys; print(1, file=sys.stderr); sys.exit(\'no weights\')"]', 1
    )
    outcome, _ = settle(target, dataclasses.replace(good, image=image))
    assert (outcome.healthy, outcome.reason) == (False, "CrashLoopBackOff")
    assert "exit code 1" in outcome.sentence
    assert outcome.log == ("1", "no weights")
    endpoint = target.observe().endpoint
    assert (endpoint.state, endpoint.reason.split(":")[0]) == ("unhealthy", "CrashLoopBackOff")


@pytest.mark.slow
def test_a_probe_that_fails_is_told_at_the_deadline(target: KubernetesTarget, good: Deployment) -> None:
    image = image_of('ENTRYPOINT ["python", "-m", "http.server", "8081", "-d", "/tmp"]', 1)
    outcome, _ = settle(target, dataclasses.replace(good, image=image), seconds=6)
    assert (outcome.healthy, outcome.reason) == (False, "Unhealthy")
    assert "Startup probe failed" in outcome.sentence
    assert "404" in outcome.sentence


# ---- room ------------------------------------------------------------------------------------------------------------


def test_a_pool_that_is_not_there_is_refused_with_the_arithmetic(target: KubernetesTarget, good: Deployment) -> None:
    nowhere = dataclasses.replace(good.instance, name="tpu", node_selector={"pool": "tpu"})
    with pytest.raises(Permanent, match="no node has the labels pool=tpu"):
        target.plan(dataclasses.replace(good, instance=nowhere), target.observe())
    shy = dataclasses.replace(GPU_SMALL, tolerations=())
    with pytest.raises(Permanent, match=r"node gpu-1 has taints that are not tolerated: nvidia\.com/gpu:NoSchedule"):
        target.plan(dataclasses.replace(good, instance=shy), target.observe())
    huge = dataclasses.replace(good.instance, cpu=64)
    with pytest.raises(Permanent, match=r"1 replica wanted, room for 0 \(gpu-1: 2 cpu"):
        target.plan(dataclasses.replace(good, instance=huge), target.observe())


@pytest.mark.slow
def test_without_the_right_to_read_nodes_the_scheduler_and_the_quota_tell(
    lab: Lab, tmp_path: Path, good: Deployment
) -> None:
    """The least rights: capacity is not known, so the plan says so and the reason comes from the cluster."""
    with bed_in(lab, tmp_path, "ridgeway-test-k8s-least", capacity=False) as bed:
        target = target_at(bed, tmp_path, "bad")
        assert [room.free for room in target.rooms()] == [None]
        plan = target.plan(good, target.observe())
        assert "free capacity is not known" in plan.notes[0]
        greedy = dataclasses.replace(good, instance=dataclasses.replace(GPU_SMALL, gpus={"nvidia.com/gpu": 9}))
        lab.kubectl("-n", bed.namespace, "delete", "resourcequota", "endpoints")
        outcome, _ = settle(target, greedy)
        assert (outcome.healthy, outcome.reason) == (False, "Insufficient nvidia.com/gpu")
        shy = dataclasses.replace(good, instance=dataclasses.replace(GPU_SMALL, tolerations=(), gpus={}))
        outcome, _ = settle(target, shy)
        assert outcome.reason == "Unschedulable"
        assert "untolerated taint" in outcome.sentence
        lab.kubectl("-n", bed.namespace, "create", "quota", "tight", "--hard=requests.cpu=500m")
        lab.kubectl("-n", bed.namespace, "delete", "deployment", NAME)
        big = dataclasses.replace(good, instance=dataclasses.replace(good.instance, cpu=0.6))
        outcome, _ = settle(target, big)
        assert outcome.reason == "FailedCreate"
        assert "exceeded quota: tight" in outcome.sentence


# ---- other people ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_edit_by_hand_is_reported_and_not_overwritten(
    target: KubernetesTarget, good: Deployment, images: tuple[Image, Image], bed: Bed, lab: Lab
) -> None:
    """Who, which fields, and the command that takes them back; which is then tried."""
    assert settle(target, good)[0].healthy
    command = ("-n", bed.namespace, "set", "image", f"deployment/{NAME}", f"server={images[1].handle}")
    lab.kubectl(*command)
    plan = target.plan(good, target.observe())
    assert [action.verb for action in plan.actions if "Deployment" in action.subject] == ["change"]
    assert any("kubectl-set" in note for note in plan.notes)
    with pytest.raises(Permanent) as refused:
        target.apply(plan, package=None, say=print)
    assert "kubectl-set has set spec.template.spec.containers" in refused.value.problem
    assert ".image" in refused.value.problem
    assert "--force-conflicts" in refused.value.next_step
    assert target.observe().endpoint.image == images[1].handle, "the edit is left alone"

    manifests = {"apiVersion": "v1", "kind": "List", "items": plan.details["manifests"]}
    take = ("apply", "-n", bed.namespace, "--server-side", "--field-manager=ridgeway", "--force-conflicts", "-f", "-")
    lab.kubectl(*take, stdin=json.dumps(manifests))
    assert target.wait(good, seconds=60, say=print) == Outcome(True)
    assert not target.plan(good, target.observe()).changes


@pytest.mark.slow
def test_replicas_belong_to_an_autoscaler_if_there_is_one(
    target: KubernetesTarget, good: Deployment, images: tuple[Image, Image], bed: Bed, lab: Lab
) -> None:
    assert settle(target, good)[0].healthy
    scale = ("autoscale", "deployment", NAME, "--min=2", "--max=3", "--cpu-percent=90")
    lab.kubectl("-n", bed.namespace, *scale)
    try:
        until(lambda: target.observe().endpoint.replicas == 2)
        plan = target.plan(good, target.observe())
        assert not plan.changes
        assert "autoscaler" in " ".join(plan.notes)
        outcome, _ = settle(target, dataclasses.replace(good, image=images[1]))
        assert outcome == Outcome(True)
        assert target.observe().endpoint.replicas == 2
    finally:
        lab.kubectl("-n", bed.namespace, "delete", "hpa", NAME)


@pytest.mark.slow
def test_what_is_no_longer_wanted_is_taken_away(
    target: KubernetesTarget, good: Deployment, tmp_path: Path, bed: Bed, lab: Lab
) -> None:
    make_certificate(tmp_path)
    tls = '[targets.production.tls]\ncertificate = "tls.crt"\nkey = "tls.key"\n'
    target = target_at(bed, tmp_path, "bad", tls)
    secure = dataclasses.replace(good, certificate="tls.crt", certificate_key="tls.key")
    assert settle(target, secure)[0] == Outcome(True)
    assert target.observe().endpoint.address.startswith("https://")
    before = target.keys()
    after = target.rotate("secondary", say=print)
    assert before is not None
    assert (after.primary, after.secondary != before.secondary) == (before.primary, True)
    assert not target.plan(secure, target.observe()).changes
    make_certificate(tmp_path)
    changed = [action for action in target.plan(secure, target.observe()).actions if action.verb != "keep"]
    assert [(action.verb, action.subject) for action in changed] == [("change", f"Secret {NAME}-tls")]
    assert settle(target, secure)[0] == Outcome(True)
    plan = target.plan(good, target.observe())
    assert [action.subject for action in plan.actions if action.verb == "delete"] == [f"Secret {NAME}-tls"]
    assert settle(target, good)[0] == Outcome(True)
    assert "NotFound" in lab.kubectl("-n", bed.namespace, "get", "secret", f"{NAME}-tls", fails=True)


@pytest.mark.slow
def test_a_deployment_that_someone_has_paused(
    target: KubernetesTarget, good: Deployment, images: tuple[Image, Image], bed: Bed, lab: Lab
) -> None:
    assert settle(target, good)[0].healthy
    lab.kubectl("-n", bed.namespace, "rollout", "pause", f"deployment/{NAME}")
    outcome, _ = settle(target, dataclasses.replace(good, image=images[1]))
    assert outcome.reason == "Paused"
    assert "kubectl rollout resume" in outcome.sentence


def make_certificate(folder: Path) -> None:
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=toy"
    subprocess.run(
        [*command.split(), "-keyout", "tls.key", "-out", "tls.crt"], cwd=folder, check=True, capture_output=True
    )


# ---- the way to the cluster ------------------------------------------------------------------------------------------


class Wire:
    """A proxy between us and the API server that can be cut and mended."""

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.cut = False
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def address(self) -> str:
        return f"https://127.0.0.1:{self._listener.getsockname()[1]}"

    def set_cut(self, cut: bool) -> None:
        self.cut = cut
        if cut:
            for one in self._open:
                one.close()
            self._open.clear()

    def close(self) -> None:
        self.set_cut(True)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.cut:
                client.close()
                continue
            server = socket.create_connection(self._to)
            self._open += [client, server]
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    @staticmethod
    def _pump(one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def target_by(bed: Bed, lab: Lab, folder: Path, *, server: str = "", token: str = "") -> KubernetesTarget:
    import yaml

    token = token or yaml.safe_load(bed.kubeconfig.read_text())["users"][0]["user"]["token"]
    made = target_at(bed, folder, "bad")
    made.cluster = connected(kubeconfig_with(lab, folder, token=token, server=server))
    return made


@pytest.fixture
def wire(lab: Lab) -> Iterator[Wire]:
    api_server = urlsplit(lab.cluster.host)
    made = Wire(api_server.hostname or "", api_server.port or 443)
    yield made
    made.close()


@pytest.mark.slow
def test_an_api_server_that_is_away_for_a_while(
    bed: Bed, lab: Lab, tmp_path: Path, wire: Wire, target: KubernetesTarget, good: Deployment
) -> None:
    """Ten seconds in the middle of a roll-out: told once, survived, and the outcome is the true one."""
    by_wire = target_by(bed, lab, tmp_path, server=wire.address)
    plan = by_wire.plan(good, by_wire.observe())
    by_wire.apply(plan, package=None, say=print)
    wire.set_cut(True)
    mend = threading.Timer(10, wire.set_cut, [False])
    mend.start()
    said: list[str] = []
    assert by_wire.wait(good, seconds=60, say=said.append) == Outcome(True)
    assert len([line for line in said if "does not answer" in line]) == 1
    wire.set_cut(True)
    with pytest.raises(Unreachable, match="does not answer") as away:
        by_wire.observe()
    assert away.value.next_step
    outcome = by_wire.wait(good, seconds=1, say=said.append)
    assert (outcome.healthy, outcome.reason) == (False, "deadline")


def test_objects_are_applied_although_the_api_server_goes_away(
    bed: Bed, lab: Lab, tmp_path: Path, wire: Wire, target: KubernetesTarget, good: Deployment
) -> None:
    by_wire = target_by(bed, lab, tmp_path, server=wire.address)
    plan = by_wire.plan(good, by_wire.observe())
    wire.set_cut(True)
    threading.Timer(3, wire.set_cut, [False]).start()
    by_wire.apply(plan, package=None, say=print)
    assert target.observe().deployment == good


def test_credentials_that_have_expired(bed: Bed, lab: Lab, tmp_path: Path, good: Deployment) -> None:
    expired = target_by(bed, lab, tmp_path, token="not.a.token")
    for action in (expired.observe, lambda: expired.wait(good, seconds=30, say=print), expired.rooms):
        started = time.monotonic()
        with pytest.raises(Expired, match="credentials are not accepted") as told:
            action()
        assert time.monotonic() - started < 3
        assert "renew" in told.value.next_step
    first = next(iter(expired.check(None)))
    assert (first.check, first.outcome) == ("cluster: API server", "fail")


def test_a_namespace_that_is_not_there(bed: Bed, lab: Lab, tmp_path: Path, good: Deployment) -> None:
    admin = target_at(bed, tmp_path, "bad")
    admin.cluster, admin.place = lab.cluster, Place("nowhere-at-all", "bad", "production")
    with pytest.raises(UsageError, match="namespace nowhere-at-all does not exist") as told:
        admin.plan(good, admin.observe())
    assert "templates/kubernetes/namespace.yaml" in told.value.next_step
    found = list(admin.check(good))
    assert [one.outcome for one in found] == ["pass", "fail"]
    assert "nowhere-at-all" in found[-1].next_step


def test_an_account_without_rights(bed: Bed, lab: Lab, tmp_path: Path, good: Deployment) -> None:
    token = lab.kubectl("-n", bed.namespace, "create", "token", "default").strip()
    nobody = target_by(bed, lab, tmp_path, token=token)
    with pytest.raises(Permanent, match="no right to do this") as told:
        nobody.observe()
    assert "system:serviceaccount" in told.value.problem
    assert "templates/kubernetes/deployer.yaml" in told.value.next_step
    person = nobody.person()
    assert person is not None
    assert person.name == f"system:serviceaccount:{bed.namespace}:default"
    findings = list(nobody.check(good))
    assert [finding.outcome for finding in findings] == ["pass", "warn", "fail"]
    assert "missing in" in findings[-1].sentence


def test_a_port_that_is_taken(target: KubernetesTarget, good: Deployment, bed: Bed, lab: Lab) -> None:
    """Told before anything is changed."""
    lab.kubectl("-n", bed.namespace, "create", "service", "nodeport", "other", "--tcp=80", "--node-port=32123")
    try:
        taken = dataclasses.replace(good, address="http://127.0.0.1:32123")
        with pytest.raises(Permanent, match="provided port is already allocated") as told:
            target.apply(target.plan(taken, target.observe()), package=None, say=print)
        assert "kubectl get services -A" in told.value.next_step
        assert target.observe().endpoint.state == "absent"
    finally:
        lab.kubectl("-n", bed.namespace, "delete", "service", "other")


def test_a_quota_that_refuses_an_object(target: KubernetesTarget, good: Deployment, bed: Bed, lab: Lab) -> None:
    lab.kubectl("-n", bed.namespace, "create", "quota", "tight", "--hard=count/deployments.apps=0")
    try:
        until(lambda: "0/0" in lab.kubectl("-n", bed.namespace, "get", "quota", "tight"))
        with pytest.raises(Permanent, match="exceeded quota: tight") as told:
            target.apply(target.plan(good, target.observe()), package=None, say=print)
        assert "describe resourcequota" in told.value.next_step
    finally:
        lab.kubectl("-n", bed.namespace, "delete", "quota", "tight")


# ---- one at a time ---------------------------------------------------------------------------------------------------

HOLDER = """
import sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.targets.kubernetes.conftest import connected
from ridgeway.targets.kubernetes.lease import held
from ridgeway.targets.kubernetes.naming import Place
with held(connected(Path({kubeconfig!r})), Place({namespace!r}, "bad", "production"), "a release that dies", seconds=3):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
def test_a_lease_is_renewed_and_after_a_kill_taken_over(bed: Bed, target: KubernetesTarget) -> None:
    code = HOLDER.format(root=str(ROOT), kubeconfig=str(bed.kubeconfig), namespace=bed.namespace)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    time.sleep(4)
    with pytest.raises(Busy, match="held by a release that dies"), target.hold("me", seconds=3):
        pytest.fail("its holder lives and renews it")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    killed = time.monotonic()
    while True:
        try:
            with target.hold("me", seconds=3):
                break
        except Busy:
            assert time.monotonic() - killed < 6
            time.sleep(0.2)
    assert bed.cluster.get("Lease", bed.namespace, NAME) is None, "nothing is left behind"

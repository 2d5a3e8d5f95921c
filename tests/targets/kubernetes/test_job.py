"""Jobs in a real cluster, asked for and watched as the shipped account: what they say, how they end, what is left."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from ridgeway.artifacts import InstanceType
from ridgeway.errors import Permanent, RidgewayError, Transient
from ridgeway.targets.kubernetes.connection import Cluster
from ridgeway.targets.kubernetes.job import Jobs
from ridgeway.targets.kubernetes.job_manifests import JobLimits, JobRequest, pod_query
from ridgeway.targets.kubernetes.job_watch import Watch, Watched
from tests.targets.kubernetes.conftest import BASE, Lab, connected, kubeconfig_with, until

pytestmark = [pytest.mark.kubernetes, pytest.mark.docker]
SMALL = InstanceType("tiny", 0.1, 64)
LIMITS = JobLimits(start_seconds=60, deadline_seconds=120, retries=0, keep_seconds=60)


@dataclass
class Place:
    """A namespace with the account that runs jobs."""

    lab: Lab
    namespace: str
    cluster: Cluster

    @property
    def jobs(self) -> Jobs:
        return Jobs(self.cluster, self.namespace, "toy")

    def request(self, name: str, code: str, **changes: Any) -> JobRequest:
        made = JobRequest(name, self.namespace, "toy", BASE, SMALL, ("python3", "-u", "-c", code), limits=LIMITS)
        return dataclasses.replace(made, **changes)

    def left(self) -> list[str]:
        said = self.lab.kubectl("-n", self.namespace, "get", "jobs,pods,secrets", "-o", "name")
        return [line for line in said.splitlines() if line]


@pytest.fixture(scope="session")
def place(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    namespace = f"ridgeway-job-{os.getpid()}"
    for name in ("namespace.yaml", "job-runner.yaml"):
        lab.kubectl("apply", "-f", "-", stdin=lab.template(name, namespace))
    token = lab.kubectl("-n", namespace, "create", "token", "ridgeway-job-runner", "--duration", "2h").strip()
    try:
        yield Place(lab, namespace, connected(kubeconfig_with(lab, tmp_path_factory.mktemp("job"), token=token)))
    finally:
        lab.kubectl("delete", "namespace", namespace, "--wait=false")


@dataclass
class Run:
    """One job, watched in a thread."""

    place: Place
    request: JobRequest
    heard: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def start(self, secrets: dict[str, str] | None = None) -> concurrent.futures.Future[Watched]:
        future: concurrent.futures.Future[Watched] = concurrent.futures.Future()

        def work() -> None:
            try:
                self.place.jobs.start(self.request, secrets or {})
                future.set_result(
                    Watch(self.place.cluster, self.request, self.heard.append, self.said.append).to_the_end()
                )
            except RidgewayError as error:
                future.set_exception(error)

        threading.Thread(target=work, daemon=True).start()
        return future

    def pods(self) -> list[dict[str, Any]]:
        query = pod_query(self.request.name)
        return self.place.cluster.find("Pod", self.place.namespace, labelSelector=query)

    def evict(self) -> None:
        name = self.pods()[0]["metadata"]["name"]
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
        path = f"api/v1/namespaces/{self.place.namespace}/pods/{name}/eviction"
        self.place.lab.cluster.request("POST", path, body=body)


@pytest.fixture
def run(place: Place) -> Iterator[Callable[..., Run]]:
    made: list[Run] = []

    def make(name: str, code: str, **changes: Any) -> Run:
        made.append(Run(place, place.request(name, code, **changes)))
        return made[-1]

    yield make
    with concurrent.futures.ThreadPoolExecutor() as threads:
        for done in [threads.submit(place.jobs.remove, one.request.name, say=print) for one in made]:
            done.result()
    until(lambda: not place.left(), 30)


SPEAKS = """
import os, pathlib, time
for number in range(300):
    print("line", number)
    if number % 100 == 0: time.sleep(0.3)
print("secret", os.environ["PASSWORD"])
print("unterminated line", end="")
pathlib.Path("/tmp/x").write_text("writable")
try: pathlib.Path("/x").write_text("")
except OSError as error: print("\\n" + error.strerror)
pathlib.Path("/dev/termination-log").write_text("last word")
"""


def with_whole_logs(attempt: Callable[[int], Run]) -> Run:
    """Of three attempts the first that heard everything.

    Once a minute a kubelet removes logs of pods that it does not know. Where two nodes share a machine, those of the
    other node's pods are among them, and what was not read by then is lost.
    """
    for number in range(2):
        with contextlib.suppress(AssertionError):
            return attempt(number)
    return attempt(2)


def test_every_line_is_heard_once_and_nothing_is_left(place: Place, run: Callable[..., Run]) -> None:
    def speak(number: int) -> Run:
        job = run(f"speaks-{number}", SPEAKS, secrets=("PASSWORD",))
        watched = job.start({"PASSWORD": "quiet-river"}).result(90)
        assert watched.end.complete
        assert watched.pod is not None
        assert (watched.pod.exit_code, watched.pod.message) == (0, "last word")
        numbered = [f"line {number}" for number in range(300)]
        assert job.heard == [*numbered, "secret quiet-river", "unterminated line", "Read-only file system"]
        return job

    job = with_whole_logs(speak)
    name = job.request.name
    assert any("runs on" in line for line in job.said)
    found = json.loads(
        place.lab.kubectl("-n", place.namespace, "get", "job", name, "-o", "json", "--show-managed-fields")
    )
    assert "quiet-river" not in json.dumps(found)
    assert found["metadata"]["managedFields"][0]["manager"] == "ridgeway"
    assert place.jobs.remove(name, say=print)
    until(lambda: not [one for one in place.left() if name in one], 10)
    assert not place.jobs.remove(name, say=print)


TWICE = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
print("begun", flush=True); time.sleep(6)
print("done")
"""


@pytest.mark.slow
def test_an_evicted_pod_is_tried_again(run: Callable[..., Run]) -> None:
    """The cluster waits 10 s before it does."""

    def evict(number: int) -> Run:
        job = run(f"evicted-{number}", TWICE)
        end = job.start()
        until(lambda: "begun" in job.heard, 20)
        job.evict()
        assert end.result(90).end.complete
        assert job.heard == ["begun", "begun", "done"]
        return job

    job = with_whole_logs(evict)
    # With the cluster's word for it, unless the pod was gone before the next look.
    why = r"was taken away by the cluster \((EvictionByEvictionAPI.*|it is not there any more)\)"
    assert any(re.search(why, line) and "tried again" in line for line in job.said), job.said


@pytest.mark.slow
def test_what_cannot_start_is_told_in_the_clusters_words_and_an_error_is_not_tried_again(
    run: Callable[..., Run],
) -> None:
    short = dataclasses.replace(LIMITS, start_seconds=3)
    nowhere = InstanceType("nowhere", 0.1, 64, {}, {"pool": "none"})
    greedy = InstanceType("greedy", 17, 64)
    fails = run("fails", "print('wrong data'); raise SystemExit(65)", limits=dataclasses.replace(LIMITS, retries=3))
    found = {
        "image": run("image", "", image=f"{BASE.rpartition(':')[0]}:none").start(),
        "labels": run("labels", "", instance=nowhere, limits=short).start(),
        "quota": run("quota", "", instance=greedy, limits=short).start(),
        "fails": fails.start(),
    }
    with pytest.raises(Permanent, match="image cannot be pulled") as pull:
        found["image"].result(60)
    assert "not found" in pull.value.problem
    with pytest.raises(Transient, match="no machine of nowhere became free within 3 s") as labels:
        found["labels"].result(60)
    assert "didn't match" in labels.value.problem
    assert labels.value.exit_code == 75
    with pytest.raises(Transient, match="no machine of greedy became free") as quota:
        found["quota"].result(60)
    assert "exceeded quota: endpoints" in quota.value.problem
    failed = found["fails"].result(60)
    assert (failed.end.complete, failed.end.reason) == (False, "PodFailurePolicy")
    assert failed.pod is not None
    assert failed.pod.exit_code == 65
    assert fails.heard == ["wrong data"]
    assert len(fails.pods()) == 1


HOLDS_ON = """
import signal, sys, time
def put_away(*_):
    print("putting away", flush=True); time.sleep(1); print("put away", flush=True); sys.exit(130)
signal.signal(signal.SIGTERM, put_away)
print("begun", flush=True)
time.sleep(100)
"""


ENDS_AT_ONCE = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
print("begun", flush=True)
time.sleep(100)
"""


def test_one_that_is_taken_away_puts_away_what_is_open_and_leaves_nothing(
    place: Place, run: Callable[..., Run]
) -> None:
    job = run("taken", HOLDS_ON, secrets=("PASSWORD",))
    end = job.start({"PASSWORD": "quiet-river"})
    until(lambda: "begun" in job.heard, 60)
    started = time.monotonic()
    assert place.jobs.remove("taken", say=print)
    assert time.monotonic() - started < 15
    assert place.left() == []
    with contextlib.suppress(Permanent):  # what watches it is told that it is gone, or of its end
        end.result(30)


@pytest.mark.slow
def test_jobs_that_nobody_watches_are_swept_and_a_wanted_one_is_gone_on_with(
    place: Place, run: Callable[..., Run]
) -> None:
    begun: list[Run] = []
    for name in ("orphan", "wanted", "foreign"):
        made = run(name, ENDS_AT_ONCE, owner="theirs" if name == "foreign" else "ours")
        made.start()
        begun.append(made)
    until(lambda: all("begun" in one.heard for one in begun), 60)
    said: list[str] = []
    goes_on = place.jobs.sweep(
        "wanted", is_ours=lambda owner: owner == "ours", is_watched=lambda _: False, say=said.append
    )
    assert goes_on
    assert said == ["removing job orphan: the command that watched it is gone"]
    assert {one.name for one in place.jobs.find()} == {"wanted", "foreign"}
    place.jobs.adopt(place.request("wanted", "", owner="mine", run="3f2a"))
    adopted = next(one for one in place.jobs.find() if one.name == "wanted")
    assert (adopted.owner, adopted.run) == ("mine", "3f2a")


@pytest.mark.slow
def test_out_of_memory_out_of_time_and_killed(run: Callable[..., Run]) -> None:
    memory = run("memory", "x = bytearray(200_000_000)\nfor i in range(0, len(x), 4096): x[i] = 1")
    slow = run("slow", HOLDS_ON, limits=dataclasses.replace(LIMITS, deadline_seconds=12))
    again = run("again", "raise SystemExit(75)", limits=dataclasses.replace(LIMITS, retries=1))
    ends = memory.start(), slow.start(), again.start()
    with pytest.raises(Permanent, match="ran out of memory") as found:
        ends[0].result(90)
    assert found.value.where == "instance_types.tiny.memory_mib = 64"
    with pytest.raises(Permanent, match="took longer than 12 s"):
        ends[1].result(90)
    watched = ends[2].result(90)
    assert (watched.end.complete, watched.end.reason) == (False, "BackoffLimitExceeded")
    assert len(again.pods()) == 2


@pytest.mark.slow
def test_the_cluster_takes_away_what_nobody_watches(place: Place, run: Callable[..., Run]) -> None:
    job = run("forgotten", "print(1)", secrets=("PASSWORD",), limits=dataclasses.replace(LIMITS, keep_seconds=5))
    place.jobs.start(job.request, {"PASSWORD": "quiet-river"})
    until(lambda: not place.left(), 90)


def test_rights_and_namespaces_that_lack_are_told(place: Place, lab: Lab) -> None:
    elsewhere = Jobs(place.cluster, "default", "toy")
    with pytest.raises(Permanent, match="job is refused") as found:
        elsewhere.start(dataclasses.replace(place.request("x", ""), namespace="default"), {})
    assert "job-runner.yaml" in found.value.next_step
    nowhere = Jobs(lab.cluster, "ridgeway-job-nowhere", "toy")
    with pytest.raises(Permanent, match="namespace ridgeway-job-nowhere does not exist"):
        nowhere.start(dataclasses.replace(place.request("x", ""), namespace="ridgeway-job-nowhere"), {})

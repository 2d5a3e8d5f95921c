"""Processes of this machine: the contract, no request lost, and every way in which something dies."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ridgeway.artifacts import Deployment
from ridgeway.errors import Busy, Permanent, UsageError
from ridgeway.project import open_project
from ridgeway.run_log import Process, is_alive
from ridgeway.targets import Keys, Outcome, PlannedAction, open_target
from ridgeway.targets.key_check import takes_key
from ridgeway.targets.process import stop_all
from ridgeway.targets.process.folder import Folder
from ridgeway.targets.process.target import ProcessTarget
from tests.server.test_access import certificate
from tests.server.test_repository import wait_for
from tests.server.test_supervisor import free_port
from tests.targets.contract import SMALL, Bench, TargetContract, deployment, toy_image, toy_packages
from tests.targets.load import Load

FAST = {"drain_seconds": 0.3, "drain_limit_seconds": 5}


def pair(root: Path) -> tuple[dict[str, Path], Deployment, Deployment]:
    """Packages by image digest, and two deployments on one free port."""
    folders = toy_packages(root / "models")
    address = f"http://127.0.0.1:{free_port()}"
    images = [toy_image(number, folder) for number, folder in enumerate(folders, 1)]
    first, second = (deployment("process", image, address=address, server=FAST) for image in images)
    return {image.digest: folder for image, folder in zip(images, folders, strict=True)}, first, second


def at(root: Path) -> ProcessTarget:
    return ProcessTarget("production", "toy", root, (SMALL,))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    root = tmp_path_factory.mktemp("project")
    packages, first, second = pair(root)
    place = f"process toy on {first.address.removeprefix('http://')}"
    yield Bench(
        at(root), lambda: at(root), first, second,
        create=(PlannedAction("create", place, "image sha256:11111111…"),),
        replace=(PlannedAction("replace", place, "image sha256:11111111… → sha256:22222222…"),),
        keep=(PlannedAction("keep", place),),
        removed=(place, "state, packages and keys in .ridgeway/targets/production"),
        packages=packages, admits=lambda key: takes_key(first, key, root),
    )  # fmt: skip
    at(root).remove()


class TestContract(TargetContract):
    pass


@dataclasses.dataclass
class Place:
    """A target with what can be deployed to it."""

    target: ProcessTarget
    packages: dict[str, Path]
    first: Deployment
    second: Deployment
    said: list[str] = dataclasses.field(default_factory=list)

    def apply(self, deployment: Deployment) -> None:
        plan = self.target.plan(deployment, self.target.observe())
        self.target.apply(plan, package=self.packages.get(deployment.image.digest), say=self.said.append)

    def settle(self, deployment: Deployment) -> Outcome:
        self.apply(deployment)
        return self.target.wait(deployment, seconds=30, say=self.said.append)

    def processes(self) -> dict[str, list[int]]:
        """Numbers of the daemons and servers of this endpoint, by what they are (a server with its workers)."""
        found: dict[str, list[int]] = {"daemon": [], "server": []}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                command = (folder / "cmdline").read_bytes().decode().split("\0")
                if any(part.startswith(str(self.target.folder.path)) for part in command):
                    what = "daemon" if "ridgeway.targets.process.daemon" in command else "server"
                    found[what].append(int(folder.name))
        return found

    def servers(self) -> list[Process]:
        state = self.target.folder.state()
        return [one.process for one in state.servers] if state else []

    def port(self) -> int:
        return int(self.first.address.rpartition(":")[2])


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    packages, first, second = pair(tmp_path)
    one = Place(at(tmp_path), packages, first, second)
    yield one
    one.target.remove()
    wait_for(lambda: one.processes() == {"daemon": [], "server": []})


# ---- no request is lost ----------------------------------------------------------------------------------------------


def test_no_request_is_lost_in_rollouts_a_way_back_and_a_rotation(place: Place) -> None:
    # A connection that is silent for longer than a drain may be closed while its next request is on the wire.
    patient = {"drain_seconds": 2}
    place.first, place.second = (dataclasses.replace(one, server=patient) for one in (place.first, place.second))
    place.settle(place.first)
    keys: list[str] = [place.target.keys(create=True).primary]  # type: ignore[union-attr]
    with Load("127.0.0.1", place.port(), lambda: keys[-1]) as load:
        for wanted in (place.second, place.first, place.second):
            assert place.settle(wanted) == Outcome(True)
            before = load.right.get(f"toy/{wanted.image.model[-1]}", 0)
            wait_for(lambda w=wanted, b=before: load.right.get(f"toy/{w.image.model[-1]}", 0) > b + 200)
        for which in ("secondary", "primary"):
            # Clients move to the other key before theirs is changed.
            made = place.target.keys()
            assert isinstance(made, Keys)
            keys.append(made.primary if which == "secondary" else made.secondary)
            time.sleep(0.05)
            place.target.rotate(which, say=place.said.append)  # type: ignore[arg-type]
        total = load.total
        wait_for(lambda: load.total > total + 200)
    assert load.failures == []
    assert set(load.right) == {"toy/1", "toy/2"}


def test_the_old_one_serves_on_where_the_new_one_cannot(place: Place) -> None:
    place.settle(place.first)
    package = place.packages[place.second.image.digest]
    (package / "offset.npy").write_bytes(b"altered")
    with Load("127.0.0.1", place.port(), lambda: place.target.keys().primary) as load:  # type: ignore[union-attr]
        outcome = place.settle(place.second)
        assert (outcome.healthy, outcome.reason) == (False, "NotReady")
        assert "offset.npy has 7 bytes, expected 136" in outcome.sentence
        assert any("offset.npy" in line for line in outcome.log)
        endpoint = place.target.observe().endpoint
        assert (endpoint.state, endpoint.reason) == ("unhealthy", "NotReady")
        since = endpoint.since
        assert place.settle(place.first) == Outcome(True)
        assert place.target.observe().endpoint.since == since, "the old one never left its place"
        wait_for(lambda: len(place.servers()) == 1)
    assert load.failures == []
    assert set(load.right) == {"toy/1"}


# ---- what runs cannot be altered -------------------------------------------------------------------------------------


def test_what_runs_is_a_copy(place: Place) -> None:
    place.settle(place.first)
    for file in place.packages[place.first.image.digest].iterdir():
        file.write_bytes(b"altered")
    os.kill(place.servers()[0].pid, signal.SIGKILL)
    wait_for(lambda: place.target.observe().facts["restarts"] == 1)
    assert place.target.wait(place.first, seconds=20, say=place.said.append) == Outcome(True)


@pytest.mark.slow
def test_an_altered_package_does_not_spoil_the_sound_one(place: Place) -> None:
    weights = place.packages[place.first.image.digest] / "weights.npy"
    sound = weights.read_bytes()
    weights.write_bytes(sound[:-1] + b"x")
    outcome = place.settle(place.first)
    assert not outcome.healthy
    assert "weights.npy" in outcome.sentence
    weights.write_bytes(sound)
    assert place.settle(place.first) == Outcome(True)


def test_no_package_and_no_copy_of_it(place: Place) -> None:
    place.packages.clear()
    with pytest.raises(Permanent, match="no copy of the package"):
        place.apply(place.first)


def test_only_some_copies_are_kept(place: Place) -> None:
    from ridgeway.targets.process.packages import prune

    folder = place.target.folder.packages
    for number in range(10, 18):
        (folder / str(number)).mkdir(parents=True)
        os.utime(folder / str(number), (number, number))
    prune(folder, {"11"})
    assert sorted(path.name for path in folder.iterdir()) == ["11", "13", "14", "15", "16", "17"]


# ---- death -----------------------------------------------------------------------------------------------------------


def test_it_survives_its_parent_and_restarts_after_a_crash(place: Place, tmp_path: Path) -> None:
    run_elsewhere(place, tmp_path)
    assert place.target.wait(place.first, seconds=30, say=place.said.append) == Outcome(True)
    [server] = place.servers()
    os.kill(server.pid, signal.SIGKILL)
    wait_for(lambda: not is_alive(server))
    # The socket stays: whoever asks now waits, and is answered.
    assert takes_key(place.first, place.target.keys().primary, tmp_path)  # type: ignore[union-attr]
    wait_for(lambda: place.target.observe().facts["restarts"] == 1)
    wait_for(lambda: place.target.observe().endpoint.state == "healthy")
    assert place.processes()["daemon"] == [place.target.folder.state().daemon.pid]  # type: ignore[union-attr]


@pytest.mark.slow
def test_a_crash_loop_is_told_with_the_last_lines(place: Place) -> None:
    place.settle(place.first)
    for crash in range(1, 4):
        wait_for(lambda: place.servers() != [] and is_alive(place.servers()[0]), 20)
        os.kill(place.servers()[0].pid, signal.SIGKILL)
        wait_for(lambda c=crash: place.target.observe().facts["restarts"] >= c, 20)
    outcome = place.target.wait(place.first, seconds=1, say=place.said.append)
    assert (outcome.healthy, outcome.reason) == (False, "CrashLoopBackOff")
    assert outcome.sentence == "the server ended 3 times in a row, the last time with signal 9"
    assert any("ended with -9" in line for line in outcome.log)
    [action] = place.target.plan(place.first, place.target.observe()).actions
    assert (action.verb, action.detail) == ("replace", "started anew: CrashLoopBackOff")
    assert place.settle(place.first) == Outcome(True)


def test_settings_that_the_server_refuses_are_told_at_once(place: Place) -> None:
    outcome = place.settle(dataclasses.replace(place.first, server={"max_bodies_mib": 1, "max_body_mib": 2}))
    assert (outcome.healthy, outcome.reason) == (False, "Refused")
    assert "max_bodies_mib below max_body_mib" in outcome.sentence


@pytest.mark.slow
def test_after_the_daemons_death_nothing_is_left_and_apply_brings_it_back(place: Place) -> None:
    place.settle(place.first)
    state = place.target.folder.state()
    assert state is not None
    os.kill(state.daemon.pid, signal.SIGKILL)
    wait_for(lambda: not any(map(is_alive, place.servers())))
    endpoint = place.target.observe().endpoint
    assert (endpoint.state, endpoint.reason, endpoint.ready) == ("stopped", "its processes have ended", 0)
    outcome = place.target.wait(place.first, seconds=5, say=place.said.append)
    assert (outcome.healthy, outcome.reason) == (False, "its processes have ended")
    [action] = place.target.plan(place.first, place.target.observe()).actions
    assert (action.verb, action.detail) == ("create", "image sha256:11111111…, it was stopped")
    assert place.settle(place.first) == Outcome(True)
    assert len(place.processes()["daemon"]) == 1


@pytest.mark.slow
def test_servers_left_behind_are_ended_by_the_next_command(place: Place) -> None:
    """As on a system whose kernel does not tell children of their parent's death."""
    place.settle(place.first)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as orphan:
        folder = place.target.folder
        state = folder.state()
        assert state is not None
        place.target.stop()
        left = dataclasses.replace(state.servers[0], process=Process.of(orphan.pid))
        folder.keep_state(dataclasses.replace(state, servers=(left,)))
        assert place.settle(place.first) == Outcome(True)
        assert orphan.wait(5) == -signal.SIGTERM


@pytest.mark.slow
def test_a_reboot(place: Place) -> None:
    """All are gone, and another program has the daemon's number."""
    place.settle(place.first)
    state = place.target.folder.state()
    place.target.stop()
    assert state is not None
    reused = dataclasses.replace(Process.current(), started="another boot")
    servers = tuple(dataclasses.replace(one, process=reused) for one in state.servers)
    place.target.folder.keep_state(dataclasses.replace(state, daemon=reused, servers=servers))
    assert place.target.observe().endpoint.state == "stopped"
    assert place.settle(place.first) == Outcome(True)


APPLY = """
import os, pickle, signal, sys
from pathlib import Path
from ridgeway.targets.process import target as module, packages
from ridgeway.targets.process.folder import Folder

place, when, name = pickle.loads(bytes.fromhex(sys.argv[1])), sys.argv[2], sys.argv[3]
target, deployment, package = place
home = {"keep_keys": Folder, "want": Folder, "keep_copy": packages, "prune": packages, "prepare": Folder}
home |= dict.fromkeys(("_ask_for", "_listen", "_start_daemon", "_end_orphans"), module.ProcessTarget)
if name:
    whole = getattr(home[name], name)
    def deadly(*given, **named):
        if when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        whole(*given, **named)
        os.kill(os.getpid(), signal.SIGKILL)
    setattr(home[name], name, deadly)
target.apply(target.plan(deployment, target.observe()), package=package, say=lambda text: None)
"""


def run_elsewhere(place: Place, tmp_path: Path, when: str = "", name: str = "", second: bool = False) -> int:
    """Applies in a process of its own, which is killed before or after it calls a function; its exit code."""
    import pickle

    wanted = place.second if second else place.first
    given = pickle.dumps((place.target, wanted, place.packages[wanted.image.digest])).hex()
    return subprocess.run([sys.executable, "-c", APPLY, given, when, name], cwd=tmp_path, check=False).returncode


STEPS = ("prepare", "keep_keys", "keep_copy", "_ask_for", "_end_orphans", "_listen", "want", "_start_daemon", "prune")
QUICK = (("after", "_start_daemon", False),)
MATRIX = [
    pytest.param(when, name, second, marks=() if (when, name, second) in QUICK else pytest.mark.slow)
    for name in STEPS
    for when in ("before", "after")
    for second in (False, True)
    if not (second and name in ("_end_orphans", "_listen", "_start_daemon", "keep_keys"))
]


@pytest.mark.slow
@pytest.mark.parametrize(("when", "name", "second"), MATRIX)
def test_killed_in_the_middle_of_apply(place: Place, tmp_path: Path, when: str, name: str, second: bool) -> None:
    """The same again converges on one daemon, one server, one set of keys."""
    if second:
        place.settle(place.first)
    keys = place.target.keys()
    assert run_elsewhere(place, tmp_path, when, name, second) == -signal.SIGKILL
    wanted = place.second if second else place.first
    assert place.settle(wanted) == Outcome(True)
    observed = place.target.observe()
    assert (observed.endpoint.state, observed.deployment) == ("healthy", wanted)
    if keys is not None:
        assert place.target.keys() == keys
    wait_for(lambda: len(place.servers()) == 1)
    assert len(place.processes()["daemon"]) == 1
    wait_for(lambda: len(place.processes()["server"]) == 2, 20)  # Its supervisor, and one worker.
    assert not place.target.plan(wanted, observed).changes


def test_down_ends_all_and_forgets_nothing(tmp_path: Path) -> None:
    packages, first, _ = pair(tmp_path)
    (tmp_path / "ridgeway.toml").write_text('[project]\nname = "toy"\n[data]\nlabel = "y"\n')
    project = open_project(tmp_path)
    target = open_target(project, "production")
    assert isinstance(target, ProcessTarget)
    one = Place(target, packages, first, first)
    one.settle(first)
    keys = target.keys()
    assert stop_all(project) == (f"process toy on {first.address.removeprefix('http://')}",)
    assert one.processes() == {"daemon": [], "server": []}
    assert (target.observe().endpoint.state, target.observe().deployment) == ("stopped", first)
    assert stop_all(project) == ()
    assert one.settle(first) == Outcome(True)
    assert target.keys() == keys
    target.remove()


# ---- refusals --------------------------------------------------------------------------------------------------------


def test_a_port_of_a_foreign_program(place: Place) -> None:
    with socket.create_server(("127.0.0.1", place.port())):
        with pytest.raises(Permanent) as refusal:
            place.apply(place.first)
        assert re.search(rf"process {os.getpid()} \(.+\) listens there already", refusal.value.problem)
        assert refusal.value.where == "targets.production.address"
        [port] = [finding for finding in place.target.check(place.first) if finding.check == "port"]
        assert port.outcome == "fail"
        assert str(os.getpid()) in port.sentence
    assert place.settle(place.first) == Outcome(True)
    [port] = [finding for finding in place.target.check(place.first) if finding.check == "port"]
    assert port.sentence == f"127.0.0.1:{place.port()} is this endpoint's own"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"address": ""}, "no usable address"),
        ({"address": "http://127.0.0.1"}, "no usable address"),
        ({"address": "http://127.0.0.1:99999"}, "no usable address"),
        ({"address": "http://127.0.0.1:80/path"}, "no usable address"),
        ({"address": "https://127.0.0.1:8443"}, "https needs tls.certificate"),
        ({"server": {"worker": 2}}, "did you mean workers"),
        ({"server": {"port": 2}}, "the target decides it"),
    ],
)
def test_plans_that_cannot_be(place: Place, changes: dict[str, object], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        place.target.plan(dataclasses.replace(place.first, **changes), place.target.observe())  # type: ignore[arg-type]


def test_a_container_image_is_refused(place: Place) -> None:
    image = dataclasses.replace(place.first.image, repository="registry/toy")
    with pytest.raises(Permanent, match="it is a container image"):
        place.target.plan(dataclasses.replace(place.first, image=image), place.target.observe())


def test_what_a_plan_tells_beforehand(place: Place) -> None:
    gpu = dataclasses.replace(SMALL, gpus={"nvidia.com/gpu": 1})
    plan = place.target.plan(dataclasses.replace(place.first, replicas=3, instance=gpu), place.target.observe())
    assert plan.notes == (
        "replicas = 3: this kind runs one server; server.workers shares its work",
        "cpu-small asks for devices; a process sees whatever this machine has",
    )


@pytest.mark.slow
def test_another_address_is_a_gap_that_is_told(place: Place) -> None:
    place.settle(place.first)
    moved = dataclasses.replace(place.first, address=f"http://127.0.0.1:{free_port()}")
    plan = place.target.plan(moved, place.target.observe())
    assert (plan.strategy, plan.gap_seconds) == ("in_place", 10.3)
    assert plan.actions[0].detail == f"address {place.first.address} → {moved.address}"
    assert place.settle(moved) == Outcome(True)
    assert place.target.observe().endpoint.address == moved.address


# ---- keys, certificate, environment ----------------------------------------------------------------------------------


def test_keys_are_for_their_owner_only(place: Place) -> None:
    place.target.keys(create=True)
    folder = place.target.folder.keys_folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    (folder / "primary").chmod(0o644)
    [keys] = [finding for finding in place.target.check(place.first) if finding.check == "keys"]
    assert keys.outcome == "fail"
    assert "primary" in keys.sentence


def test_a_certificate(place: Place, tmp_path: Path) -> None:
    crt, key = certificate(tmp_path, "one")
    secure = dataclasses.replace(
        place.first, address=f"https://127.0.0.1:{free_port()}",
        certificate=crt.relative_to(tmp_path).as_posix(), certificate_key=key.relative_to(tmp_path).as_posix(),
    )  # fmt: skip
    assert place.settle(secure) == Outcome(True)
    assert place.target.rotate("secondary", say=place.said.append)
    wrong = dataclasses.replace(secure, certificate_key="ridgeway.toml")
    [finding] = [one for one in place.target.check(wrong) if one.check == "certificate"]
    assert finding.outcome == "fail"


@pytest.mark.slow
def test_the_server_sees_no_secrets_of_whoever_started_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    monkeypatch.setenv("RIDGEWAY_SERVER_ACCESS", "none")
    place.settle(place.first)
    for numbers in place.processes().values():
        assert not [one for one in numbers if b"s3cret" in Path(f"/proc/{one}/environ").read_bytes()]
    assert not takes_key(place.first, "wrong", Path())


@pytest.mark.slow
def test_several_workers_take_a_new_key(place: Place) -> None:
    place.settle(dataclasses.replace(place.first, server={**FAST, "workers": 2}))
    rotated = place.target.rotate("primary", say=place.said.append)
    assert all(takes_key(place.first, rotated.primary, Path()) for _ in range(20))


# ---- the rest --------------------------------------------------------------------------------------------------------


def test_memory_is_measured(place: Place) -> None:
    place.settle(place.first)
    endpoint = place.target.observe().endpoint
    assert endpoint.memory_mib is not None
    assert 5 < endpoint.memory_mib < 200
    assert endpoint.memory_limit_mib == 512


@pytest.mark.slow
def test_logs_follow(place: Place) -> None:
    place.settle(place.first)
    lines: list[str] = []

    def follow() -> None:
        for line in place.target.logs(follow=True, lines=0):
            lines.append(line)
            if "generation 2 serves" in line:
                return

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    time.sleep(0.3)
    place.settle(place.second)
    thread.join(10)
    assert not thread.is_alive()
    assert "folder/toy@sha256:2222" in lines[0]


def test_a_log_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ridgeway.targets.process.folder._LARGEST_LOG_BYTES", 10)
    folder = Folder(tmp_path)
    folder.log.write_text("one\ntwo\nthree\n")
    folder.cut_log()
    folder.log.write_text("four\n")
    assert folder.tail(3) == ["two", "three", "four"]


def test_a_lock_is_free_after_kill(place: Place, tmp_path: Path) -> None:
    script = (
        "import os, pickle, signal, sys\n"
        "target = pickle.loads(bytes.fromhex(sys.argv[1]))\n"
        "with target.hold('release 7'):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    import pickle

    command = [sys.executable, "-c", script, pickle.dumps(place.target).hex()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(Busy, match="release 7"), place.target.hold("release 8"):
            pass
        holder.kill()
        holder.wait()
    with place.target.hold("release 8"):
        pass


@pytest.mark.slow
def test_deleting_the_state_folder_ends_everything(place: Place) -> None:
    """It may be deleted at any time; nothing must run that nobody can find."""
    import shutil

    place.settle(place.first)
    shutil.rmtree(place.target.folder.path)
    wait_for(lambda: place.processes() == {"daemon": [], "server": []}, 20)
    assert place.target.observe().endpoint.state == "absent"


@pytest.mark.slow
def test_a_disk_that_cannot_be_written_does_not_end_what_serves(place: Place) -> None:
    place.settle(place.first)
    key = place.target.keys().primary  # type: ignore[union-attr]
    [server] = place.servers()
    state = place.target.folder.path / "state.json"
    content = state.read_text()
    state.unlink()
    state.mkdir()  # Even root cannot write a file here.
    os.kill(server.pid, signal.SIGKILL)
    wait_for(lambda: "cannot keep the state" in place.target.folder.log.read_text())
    assert takes_key(place.first, key, Path())
    state.rmdir()
    state.write_text(content)
    wait_for(lambda: place.servers() != [server] and place.target.observe().endpoint.state == "healthy")


def test_damaged_state_is_no_state(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for text in ("", "{", "[]", json.dumps({"deployment": {}, "generation": 1})):
        for name in ("wanted.json", "state.json"):
            (tmp_path / name).write_text(text)
        assert (folder.wanted(), folder.state()) == (None, None)

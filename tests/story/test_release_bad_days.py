"""Bad days of a release whose places are processes: one message, the right exit code, production as it was.

After each the record tells what came of it, and what leads on leads on.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ridgeway.orchestrator import running_server
from ridgeway.run_log import exclusive
from tests.registry.conftest import Server
from tests.story.conftest import Ended
from tests.story.release_driver import Driver, Moment
from tests.story.release_project import ReleaseStory, another, put_away
from tests.story.test_release import is_told

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

BAD_SETTING = ("--set", "targets.production.server={access_log_sample = 7.0}")


@pytest.fixture
def fresh(pair: ReleaseStory, tmp_path: Path) -> Iterator[ReleaseStory]:
    """A project with two models, of which nothing was released."""
    with put_away(another(pair, tmp_path)) as story:
        yield story


@pytest.fixture(scope="module")
def module_story(pair: ReleaseStory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReleaseStory]:
    with put_away(another(pair, tmp_path_factory.mktemp("bad-days"))) as story:
        story.released(1)
        yield story


@pytest.fixture
def served(module_story: ReleaseStory) -> Iterator[ReleaseStory]:
    """A project with model 1 in production, which must still be there, or be there again, at the test's end."""
    generation = module_story.generation()
    yield module_story
    for known in module_story.records():
        if known.is_open:
            assert module_story.ridgeway("cancel", known.handle).code == 0
    assert module_story.serves(1)
    assert module_story.champion() == 1
    assert module_story.generation() >= generation


def number_of(handle: str) -> int:
    return int(handle.rpartition("/")[2])


# ---- before production -----------------------------------------------------------------------------------------------


def test_a_trial_that_never_becomes_ready(served: ReleaseStory) -> None:
    generation = served.generation()
    refused = served.release(2, "--set", "targets.qa.server={access_log_sample = 7.0}")
    is_told(refused, 7, "does not become ready on qa", "access_log_sample", "ridgeway logs qa")
    record = served.records()[0]
    assert (record.state, record.step("build_image") is not None) == ("rejected", True)
    assert record.ended_at
    assert served.generation() == generation


def test_the_port_of_a_trial_is_taken(served: ReleaseStory) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        setting = ("--set", f"targets.qa.address=http://127.0.0.1:{port}")
        is_told(served.release(2, *setting), 1, f"cannot listen on 127.0.0.1:{port}", "listens there already")
        record = served.records()[0]
        assert (record.state, str(port) in record.sentence) == ("failed", True)
    again = served.release(2, *setting)
    assert (again.code, again.line) == (5, record.handle), again.err


def test_the_port_of_production_is_taken(fresh: ReleaseStory) -> None:
    asked = fresh.release(1)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", fresh.ports["production"]))
        other.listen()
        is_told(fresh.ridgeway("approve", asked.line), 1, "cannot listen on 127.0.0.1", "targets.production.address")
        assert (fresh.generation(), fresh.champion()) == (0, None)
        assert fresh.record(1).state == "failed"
    done = fresh.release(1)
    assert (done.code, done.line, len(fresh.approvals(1))) == (0, asked.line, 1), done.err
    assert fresh.serves(1)


# ---- the yes ---------------------------------------------------------------------------------------------------------


def test_approvals_that_do_not_count(served: ReleaseStory) -> None:
    generation = served.generation()
    asked = served.release(2)
    assert asked.code == 5, asked.err
    with policy(served, approvers='["ci:ada@example.com"]'):
        is_told(served.ridgeway("approve", asked.line), 1, "cannot approve", "ci:ada@example.com", "ask one of them")
        is_told(served.ridgeway("refuse", asked.line, "--reason", "no"), 1, "cannot refuse")
    with policy(served, approval="count = 2"):
        for _ in range(2):
            alone = served.ridgeway("approve", asked.line)
            assert (alone.code, "another yes" in alone.err) == (5, True), alone.err
    with policy(served, approval="own_release = false"):
        is_told(served.ridgeway("approve", asked.line), 1, "started this release", "somebody else")
    is_told(served.ridgeway("approve", asked.line, "--evidence", "0123456789ab"), 1, "changed", "ridgeway show")
    assert len(served.approvals(number_of(asked.line))) == 1
    by_caller = served.ridgeway("approve", asked.line, "--set", 'approvers.release-manager=["*"]')
    is_told(by_caller, 2, "approvers are not taken from --set")
    assert served.generation() == generation
    assert served.record(number_of(asked.line)).state == "waiting"


def test_a_yes_that_comes_too_late(served: ReleaseStory) -> None:
    with policy(served, approval="expires_hours = 0.00001"):
        asked = served.release(2)
        assert asked.code in (3, 5), asked.err
        late = served.ridgeway("run", "release", asked.line) if asked.code == 5 else asked
        assert late.code == 3, late.err
        record = served.record(number_of(asked.line))
        assert (record.state, "was not approved within" in record.sentence) == ("expired", True)
        is_told(served.ridgeway("approve", asked.line), 3, "has ended: expired")


def test_a_yes_to_what_is_no_longer_so(served: ReleaseStory) -> None:
    asked = served.release(2)
    assert asked.code == 5, asked.err
    # Meanwhile production is deployed anew, as something else.
    wider = ("--set", "targets.production.server={access_log_sample = 0.5}")
    other = served.release(1, *wider)
    assert other.code == 5, other.err
    assert served.ridgeway("approve", other.line, *wider).code == 0
    is_told(served.ridgeway("approve", asked.line), 1, "the evidence", "changed", f"ridgeway show {asked.line}")
    assert served.champion() == 1
    # Put before the approvers as it is now; and a no ends it.
    assert served.ridgeway("refuse", asked.line, "--reason", "later").code == 0
    assert served.record(number_of(asked.line)).state == "refused"


@pytest.mark.parametrize("kind", ["docker", "kubernetes"])
def test_approvers_from_the_tree(kind: str, fresh: ReleaseStory) -> None:
    toml = fresh.path("ridgeway.toml")
    toml.write_text(toml.read_text().replace("[approvers]\n", '[approvers]\nboss = ["system:root"]\n'))
    role = 'approval = { role = "boss" }'
    with policy(fresh, text=f'[targets.production]\nkind = "{kind}"\n{role}\n'):
        is_told(fresh.release(1), 2, "approvers are not taken from ridgeway.toml", "RIDGEWAY_OPERATIONS")
    assert fresh.records() == []
    assert fresh.generation("qa") == 0


@contextlib.contextmanager
def policy(story: ReleaseStory, *, approvers: str = '["*"]', approval: str = "", text: str = "") -> Iterator[None]:
    """Other settings of operations meanwhile."""
    before, head = story.operations.read_text(), "[targets.production]\n"
    rest = before.replace(head, f"{head}approval = {{ {approval} }}\n") if approval else before
    approvers = f"\n[approvers]\nrelease-manager = {approvers}\n"
    story.operations.write_text(text or rest + approvers)
    try:
        yield
    finally:
        story.operations.write_text(before)


# ---- production ------------------------------------------------------------------------------------------------------


def test_a_first_image_that_does_not_hold_is_taken_away(fresh: ReleaseStory) -> None:
    asked = fresh.release(1, *BAD_SETTING)
    is_told(fresh.ridgeway("approve", asked.line, *BAD_SETTING), 6, "did not hold on production", "nothing is back")
    assert fresh.endpoint()["state"] == "absent"
    assert fresh.champion() is None
    record = fresh.record(1)
    assert record.rollout is not None
    assert (record.state, record.rollout.state) == ("rolled_back", "returned")
    assert "access_log_sample" in record.rollout.reason


def test_an_image_that_crashes_while_it_is_watched(served: ReleaseStory) -> None:
    asked = served.release(2)
    assert asked.code == 5, asked.err
    generation = served.generation()
    stop = threading.Event()
    killer = threading.Thread(target=crash, args=(served, generation + 1, stop))
    killer.start()
    try:
        longer = ("--set", "targets.production.rollout.bake_seconds=15")
        ended = served.ridgeway("approve", asked.line, *longer)
    finally:
        stop.set()
        killer.join()
    is_told(ended, 6, "models:/diabetes/2 did not hold on production; models:/diabetes/1 is back")
    record = served.record(number_of(asked.line))
    assert record.rollout is not None
    assert (record.state, record.rollout.state) == ("rolled_back", "returned")
    assert record.rollout.probe is not None
    assert record.rollout.probe.ok, "it was well at first"


def crash(story: ReleaseStory, generation: int, stop: threading.Event) -> None:
    """Kills the server of a generation once it has served for a while, and each that comes after it."""
    file = story.root / ".ridgeway/targets/production/state.json"
    while not stop.wait(0.05) and json.loads(file.read_text())["serving"] != generation:
        pass
    time.sleep(3)
    while not stop.wait(0.05):
        with contextlib.suppress(OSError, ValueError, KeyError):
            state = json.loads(file.read_text())
            if state["serving"] == generation:
                for one in state["servers"]:
                    if one["generation"] == generation:
                        os.kill(one["process"]["pid"], signal.SIGKILL)


def test_a_way_back_that_fails_freezes_production_until_somebody_acts(served: ReleaseStory) -> None:
    asked = served.release(2, *BAD_SETTING)
    packages = served.root / ".ridgeway" / "packages"
    manifest = next(file for file in packages.glob("*/1/model.json"))
    content = manifest.read_bytes()
    copies = served.root / ".ridgeway/targets/production/packages"
    manifest.write_bytes(content.replace(b'"', b"'", 1))
    try:
        ended = served.ridgeway("approve", asked.line, *BAD_SETTING)
        is_told(ended, 8, "runs neither models:/diabetes/2 nor a proven previous image", "ridgeway rollback production")
        record = served.record(number_of(asked.line))
        assert record.rollout is not None
        assert (record.state, record.rollout.state) == ("frozen", "stuck")
        assert "altered" in record.rollout.reason
        assert asked.line in served.endpoint()["frozen"]
        assert f"{asked.line}" in served.ridgeway("list").out
        is_told(served.ridgeway("cancel", asked.line), 1, "is on its way", "rollback production")
        is_told(served.ridgeway("refuse", asked.line, "--reason", "no"), 1, "is on its way")
        still = served.ridgeway("run", "release", asked.line, *BAD_SETTING)
        is_told(still, 8, "runs neither")
    finally:
        manifest.write_bytes(content)
    assert copies.is_dir()
    mended = served.ridgeway("run", "release", asked.line, *BAD_SETTING)
    is_told(mended, 6, "models:/diabetes/1 is back")
    assert served.endpoint()["frozen"] == ""
    assert served.record(number_of(asked.line)).state == "rolled_back"
    assert len(served.approvals(number_of(asked.line))) == 1


def test_two_at_once(served: ReleaseStory) -> None:
    asked = served.release(2)
    count = len(served.records())
    with exclusive(served.root, "release-diabetes"):
        for words in (("run", "release", "models:/diabetes/2"), ("approve", asked.line), ("rollback", "production")):
            is_told(served.ridgeway(*words), 75, f"process {os.getpid()}")
    with exclusive(served.root, "endpoint production"):
        busy = ("--set", "flows.retries=0")
        is_told(served.ridgeway("approve", asked.line, *busy), 75, "production", "is being changed")
        assert served.serves(1)
        is_told(served.ridgeway("remove", "production", "--yes"), 75, "is being changed")
    assert len(served.records()) == count
    record = served.record(number_of(asked.line))
    assert (record.state, record.is_open) == ("approved", True)
    done = served.release(2)
    assert (done.code, done.line, len(served.approvals(record.number))) == (0, asked.line, 1), done.err
    assert served.serves(2)
    assert served.ridgeway("rollback", "production").code == 0


# ---- what it stands on -----------------------------------------------------------------------------------------------


class Registry(http.server.BaseHTTPRequestHandler):
    """An image registry that has one answer to everything."""

    status = 401

    def handle(self) -> None:
        self.raw_requestline = self.rfile.readline()
        if self.parse_request():
            self.send_response(self.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("status", "code", "word"),
    [(0, 75, "refused"), (401, 1, "401"), (403, 1, "403"), (500, 75, "500"), (507, 1, "it is full")],
)
def test_an_image_registry_that_does_not_help(status: int, code: int, word: str, served: ReleaseStory) -> None:
    with registry(status) as port:
        settings = (
            *("--set", f"image.repository=127.0.0.1:{port}/x", "--set", f"image.base=127.0.0.1:{port}/python:3.11"),
            *("--set", "targets.qa.kind=docker", "--set", "flows.retries=0"),
        )
        is_told(served.release(2, *settings), code, f"127.0.0.1:{port}", word)
    record = served.records()[0]
    assert record.step("build_image") is None
    assert record.is_open


@contextlib.contextmanager
def registry(status: int) -> Iterator[int]:
    if not status:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
        yield port
        return
    handler = type("One", (Registry,), {"status": status})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def test_the_prefect_server_dies_in_the_middle(fresh: ReleaseStory) -> None:
    """With a server of its own, because the one that all stories share must live."""
    fresh.path(".ridgeway/prefect").unlink()
    with Driver() as driver:

        def carry_out(*words: str, moment: Moment | None = None) -> Ended:
            return driver.carry_out(fresh.root, *words, moment=moment, environment=fresh.environment)[0]

        try:
            asked = carry_out("run", "release", "models:/diabetes/1")
            assert asked.code == 5, asked.err
            server = running_server(fresh.root)
            assert server is not None
            before = Moment("before", "ridgeway.actions.rollout:_prove", victim=server.pid)
            ended = carry_out("approve", asked.line, moment=before)
            assert ended.code in (0, 75), ended.err
            # What production shows does not depend on it, nor does its record.
            assert (fresh.record(1).state, fresh.champion()) == ("released", 1)
            assert fresh.serves(1)
            again = carry_out("approve", asked.line)
            assert (again.code, again.line) == (0, asked.line), again.err
            assert fresh.generation() == 1
        finally:
            fresh.ridgeway("down")


def ended(server: Server) -> None:
    if server.process.poll() is None:
        server.stop()


def test_the_model_registry_dies_in_the_middle(pair: ReleaseStory, tmp_path: Path) -> None:
    """Production ends proven, new or old, and never frozen; the record follows when there is a registry again."""
    with put_away(another(pair, tmp_path)) as story, Driver() as driver, contextlib.ExitStack() as stack:

        def server() -> Server:
            made = Server(story.root / ".ridgeway/mlflow.db", tmp_path)
            stack.callback(ended, made)
            made.wait()
            return made

        def carry_out(server: Server, *words: str, moment: Moment | None = None) -> Ended:
            settings = ("--set", f"registry.uri={server.uri}", "--set", "flows.retries=0")
            return driver.carry_out(story.root, *words, *settings, moment=moment, environment=story.environment)[0]

        first = server()
        by_ci = ("--ci", "--set", "release.started_by=ci")
        asked = carry_out(first, "run", "release", "models:/diabetes/1", *by_ci)
        assert (asked.code, story.record(1).state) == (0, "waiting"), asked.err
        dies = Moment("before", "ridgeway.actions.rollout:_prove", victim=-first.process.pid)
        done = carry_out(first, "approve", asked.line, moment=dies)
        is_told(done, 75, first.uri)
        first.process.wait(10)
        assert story.serves(1)
        assert story.champion() is None

        second = server()
        done = carry_out(second, "approve", asked.line)
        assert (done.code, done.line) == (0, asked.line), done.err
        assert (story.champion(), story.generation(), len(story.approvals(1))) == (1, 1, 1)
        asked = carry_out(second, "run", "release", "models:/diabetes/2", *BAD_SETTING)
        dies = Moment("before", "ridgeway.actions.rollout:_way_back", victim=-second.process.pid)
        done = carry_out(second, "approve", asked.line, *BAD_SETTING, moment=dies)
        is_told(done, 75, second.uri)
        assert story.serves(1)
        assert story.endpoint()["frozen"] == ""

        done = carry_out(server(), "approve", asked.line, *BAD_SETTING)
        is_told(done, 6, "models:/diabetes/1 is back")
        assert (story.record(2).state, story.champion()) == ("rolled_back", 1)

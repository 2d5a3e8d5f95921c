"""A team's servers for real: PostgreSQL, user and password, and a colleague on another machine with nothing but those.

One project, one pair of servers beyond loopback, one story; each test is a chapter and leaves all as it found it.
"""

from __future__ import annotations

import base64
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ridgeway.errors import RidgewayError, Transient
from ridgeway.orchestrator.publication import trigger
from tests.services.postgresql import PASSWORD, Cluster

pytestmark = [pytest.mark.slow, pytest.mark.postgresql, pytest.mark.timeout(1800)]

PREFECT_PORT, MLFLOW_PORT = 18330, 18331
PREFECT, MLFLOW = f"http://127.0.0.1:{PREFECT_PORT}", f"http://127.0.0.1:{MLFLOW_PORT}"
SERVERS = "copper-lantern-5512"
"""The password of both servers."""
RECEIVER = "velvet-harbor-8890"
"""In the address that is notified; nobody listens there."""
SIGNING = "whsec_" + base64.b64encode(b"marble-orchard-3307").decode()
STORE = "amber-thicket-6642"
"""Of an object store: what training code finds in its environment is not ours to write down either."""
PLANTED = (PASSWORD, SERVERS, RECEIVER, SIGNING.removeprefix("whsec_"), STORE, "marble-orchard-3307")
HEADER = "Basic " + base64.b64encode(f"ridgeway:{SERVERS}".encode()).decode()


class Team:
    """A hub that runs the servers, and an office that only knows where they are."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        self.cluster = cluster
        self.hub, self.office = folder / "hub", folder / "office"
        secret = folder / "password"
        secret.write_text(f"{SERVERS}\n")
        bare = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_"))}
        self.on_hub = {
            **bare,
            "RIDGEWAY_SERVERS__HOST": "0.0.0.0",
            "RIDGEWAY_SERVERS__PREFECT_PORT": str(PREFECT_PORT),
            "RIDGEWAY_SERVERS__MLFLOW_PORT": str(MLFLOW_PORT),
            "RIDGEWAY_SERVERS__ALLOWED_HOSTS": '["hub.example"]',
            "RIDGEWAY_SERVERS__DATABASE": cluster.address("team"),
            "RIDGEWAY_SERVERS__DATABASE_PASSWORD": PASSWORD,
            "RIDGEWAY_SERVERS__PASSWORD_FILE": str(secret),
            "RIDGEWAY_NOTIFICATIONS__URL": f"http://127.0.0.1:18339/{RECEIVER}",
            "RIDGEWAY_NOTIFICATIONS__KEY": SIGNING,
            "AWS_SECRET_ACCESS_KEY": STORE,
        }
        self.in_office = {
            **bare,
            "RIDGEWAY_SERVERS__PREFECT": f"{PREFECT}/api",
            "RIDGEWAY_REGISTRY__URI": MLFLOW,
            "RIDGEWAY_SERVERS__PASSWORD": SERVERS,
        }
        self.heard: list[str] = []
        """All that commands have written."""
        for place in (self.hub, self.office):
            self.ridgeway("new", str(place), where=folder, environ=bare)

    def ridgeway(
        self,
        *arguments: str,
        where: Path | None = None,
        environ: Mapping[str, str] | None = None,
        codes: tuple[int, ...] = (0,),
    ) -> str:
        """What a command writes to standard output."""
        where = where or self.hub
        chosen = environ or (self.in_office if where == self.office else self.on_hub)
        done = subprocess.run(
            [str(Path(sys.executable).with_name("ridgeway")), *arguments],
            cwd=where, env=dict(chosen), capture_output=True, text=True, timeout=900, check=False,
        )  # fmt: skip
        self.heard.append(done.stdout + done.stderr)
        assert done.returncode in codes, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def git(self, *arguments: str) -> None:
        me = ["-c", "user.name=Nobody", "-c", "user.email=nobody@example.org"]
        subprocess.run(["git", *me, *arguments], cwd=self.hub, check=True, capture_output=True)


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    cluster = Cluster()
    team = Team(tmp_path_factory.mktemp("team"), cluster)
    try:
        team.git("init", "-q")
        team.git("add", "-A")
        team.git("commit", "-q", "-m", "a project")
        team.ridgeway("up", "--detach")
        yield team
    finally:
        team.ridgeway("down", "--force", codes=(0, 1, 2))
        cluster.remove()


def ask(url: str, content: Any = None, *, headers: Mapping[str, str] | None = None) -> tuple[int, Any]:
    """Status and answer."""
    body = None if content is None else json.dumps(content).encode()
    given = {"Content-Type": "application/json", **(headers or {})}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=body, headers=given), timeout=60) as answer:
            text = answer.read()
            return answer.status, json.loads(text) if text[:1] in (b"{", b"[") else text
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def signed_in(url: str, content: Any = None) -> Any:
    status, answer = ask(url, content, headers={"Authorization": HEADER})
    assert status < 300, answer
    return answer


def basic(text: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


QUESTIONS = (
    (f"{PREFECT}/api/flows/filter", {}),
    (f"{PREFECT}/api/deployments/filter", {}),
    (f"{PREFECT}/api/admin/version", None),
    (f"{MLFLOW}/api/2.0/mlflow/experiments/search?max_results=1", None),
    (f"{MLFLOW}/api/2.0/mlflow-artifacts/artifacts?path=", None),
    (f"{MLFLOW}/ajax-api/2.0/mlflow/registered-models/search", None),
    (f"{MLFLOW}/", None),
    (f"{MLFLOW}/graphql", {"query": "{ __typename }"}),
)


def test_nobody_gets_in_without_user_and_password(team: Team) -> None:
    for url, content in QUESTIONS[:6]:
        assert ask(url, content, headers={"Authorization": HEADER})[0] < 300, url
    wrong = ("admin:password1234", "admin:password", "ridgeway:", f"ridgeway:{SERVERS}x", f"admin:{SERVERS}", ":")
    for url, content in QUESTIONS:
        assert ask(url, content)[0] == 401, url
        for text in wrong:
            assert ask(url, content, headers=basic(text))[0] == 401, (url, text)
    assert ask(f"{PREFECT}/api/health")[0] == ask(f"{MLFLOW}/health")[0] == 200


def test_nobody_calls_them_by_a_name_of_their_own(team: Team) -> None:
    """DNS rebinding: a page whose name was made to point here; with the browser's remembered password even."""
    for url, content in QUESTIONS:
        for host in ("rebound.example", f"rebound.example:{PREFECT_PORT}", "10.rebound.example"):
            assert ask(url, content, headers={"Authorization": HEADER, "Host": host})[0] == 403, (url, host)
        for page in ("http://rebound.example", "http://127.0.0.1:8000", "null"):
            assert ask(url, content, headers={"Authorization": HEADER, "Origin": page})[0] == 403, (url, page)
    for url, content in QUESTIONS[:6]:
        behind_proxy = {"Authorization": HEADER, "Host": "hub.example", "Origin": "https://hub.example"}
        assert ask(url, content, headers=behind_proxy)[0] < 300, url
    assert web_socket("/api/events/out", "rebound.example") == 403
    assert web_socket("/api/events/out", f"127.0.0.1:{PREFECT_PORT}", origin="http://rebound.example") == 403
    assert web_socket("/api/events/out", f"127.0.0.1:{PREFECT_PORT}") == 101


def web_socket(path: str, host: str, origin: str = "") -> int:
    """The status with which the Prefect server answers the beginning of a web socket."""
    lines = [
        f"GET {path} HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: prefect", *([f"Origin: {origin}"] if origin else []), "", "",
    ]  # fmt: skip
    with closing(socket.create_connection(("127.0.0.1", PREFECT_PORT), timeout=30)) as connection:
        connection.sendall("\r\n".join(lines).encode())
        return int(connection.recv(100).split()[1])


def test_a_colleague_with_nothing_but_addresses_and_a_password(team: Team) -> None:
    out = team.ridgeway("run", "retraining", "--json", where=team.office)
    assert json.loads(out)
    assert "models:/diabetes/1" in team.ridgeway("list", "models", where=team.office)
    assert "models:/diabetes/1" in team.ridgeway("list", "models")
    assert not (team.office / ".ridgeway" / "mlflow.db").exists()
    # Its files went to the hub over HTTP, and come back so: nothing of the two folders is shared.
    version = signed_in(f"{MLFLOW}/api/2.0/mlflow/model-versions/get?name=diabetes&version=1")["model_version"]
    run = signed_in(f"{MLFLOW}/api/2.0/mlflow/runs/get?run_id={version['run_id']}")["run"]
    place = run["info"]["artifact_uri"].removeprefix("mlflow-artifacts:/")
    assert b"sklearn" in signed_in(f"{MLFLOW}/api/2.0/mlflow-artifacts/artifacts/{place}/model/MLmodel")
    assert (team.hub / ".ridgeway" / "artifacts" / place / "model" / "MLmodel").exists()
    unsigned = {**team.in_office, "RIDGEWAY_SERVERS__PASSWORD": "wrong-lantern-0000"}
    team.ridgeway("list", "models", where=team.office, environ=unsigned, codes=(1,))
    assert "status 401" in team.heard[-1]
    assert "set RIDGEWAY_SERVERS__PASSWORD" in team.heard[-1]
    team.ridgeway("run", "retraining", where=team.office, environ=unsigned, codes=(1,))
    assert "set RIDGEWAY_SERVERS__PASSWORD" in team.heard[-1]


def paused(*, is_paused: bool) -> None:
    body = json.dumps({"is_paused": is_paused}).encode()
    request = urllib.request.Request(
        f"{PREFECT}/api/work_pools/ridgeway", data=body, method="PATCH",
        headers={"Authorization": HEADER, "Content-Type": "application/json"},
    )  # fmt: skip
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 204


def flow_runs(states: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    wanted: dict[str, Any] = {"deployments": {"name": {"any_": ["diabetes"]}}, "limit": 200}
    if states:
        wanted["flow_runs"] = {"state": {"type": {"any_": list(states)}}}
    found: list[dict[str, Any]] = signed_in(f"{PREFECT}/api/flow_runs/filter", wanted)
    return found


def wait_for_runs(count: int, timeout_seconds: float) -> None:
    deadline = time.monotonic() + timeout_seconds
    while len(flow_runs(("COMPLETED",))) < count:
        assert time.monotonic() < deadline, [(run["name"], run["state_name"]) for run in flow_runs()]
        time.sleep(1)


def test_fifty_triggers_at_once(team: Team) -> None:
    """None is lost, none is doubled, and asked for again each is found again."""
    paused(is_paused=True)
    headers = {"Authorization": HEADER}

    def asked(number: int) -> tuple[str, bool]:
        """Asks again with the same key where a busy machine gives no answer in time, as any client may."""
        for attempt in range(8):
            try:
                done = trigger(
                    f"{PREFECT}/api", "retraining/diabetes", {}, idempotency_key=f"event {number}", headers=headers
                )
            except Transient:
                time.sleep(random.uniform(0, 2**attempt))
            else:
                return done.flow_run_id, done.is_new
        raise AssertionError(f"event {number} was never answered")

    before = len(flow_runs())
    with ThreadPoolExecutor(50) as pool:
        first = list(pool.map(asked, range(50)))
    assert len({run for run, _ in first}) == 50
    with ThreadPoolExecutor(50) as pool:
        again = list(pool.map(asked, range(50)))
    assert again == [(run, False) for run, _ in first]  # found again, none made
    assert len(flow_runs()) == before + 50
    for run, _ in first[3:]:
        signed_in(
            f"{PREFECT}/api/flow_runs/{run}/set_state",
            {"state": {"type": "CANCELLED", "name": "Cancelled"}, "force": True},
        )
    done = len(flow_runs(("COMPLETED",)))
    paused(is_paused=False)
    wait_for_runs(done + 3, 300)


# ---- secrets ---------------------------------------------------------------------------------------------------------


class Watch(threading.Thread):
    """Looks at what every process of this machine was started with, as anybody here can."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: set[bytes] = set()
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.1):
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.seen.add(file.read_bytes())
                except OSError:
                    continue

    def stop(self) -> set[bytes]:
        self._over.set()
        self.join()
        return self.seen


def forms(secret: str) -> Iterator[bytes]:
    """A secret as it may have been written down."""
    yield secret.encode()
    for text in (secret, f"ridgeway:{secret}"):
        yield base64.b64encode(text.encode()).rstrip(b"=")


def holders(places: Mapping[str, bytes]) -> list[str]:
    return [
        f"{secret} in {place}"
        for place, content in places.items()
        for secret in PLANTED
        if any(form in content for form in forms(secret))
    ]


def test_secrets_are_written_nowhere(team: Team) -> None:
    watch = Watch()
    watch.start()
    try:
        done = len(flow_runs(("COMPLETED",)))
        (team.hub / "data" / "more.csv").write_bytes((team.hub / "data" / "diabetes.csv").read_bytes())
        team.git("add", "-A")
        team.git("commit", "-q", "-m", "more")
        team.ridgeway("publish")
        team.ridgeway("run", "retraining", "--detach")
        wait_for_runs(done + 1, 300)
        team.ridgeway("settings", codes=(0,))
        team.ridgeway("settings", "--json")
        # A failure, which is written down with all that belongs to it, and told to the receiver.
        team.ridgeway("run", "retraining", "--set", "data.source=data/none.csv", codes=(1, 2, 65))
    finally:
        commands = watch.stop()
    files = {
        str(file): file.read_bytes()
        for place in (team.hub, team.office)
        for file in place.rglob("*")
        if file.is_file() and not file.is_symlink()
    }
    assert len(files) > 200
    dumps = {name: team.cluster.dump(name).encode() for name in ("team_prefect", "team_mlflow")}
    assert b"COPY public.flow_run " in dumps["team_prefect"]
    assert b"COPY public.model_versions " in dumps["team_mlflow"]
    places = {
        **files,
        **dumps,
        "PostgreSQL's log": team.cluster.log.encode(),
        "commands": "\n".join(team.heard).encode(),
        "process arguments": b"\n".join(commands),
        "home": b"".join(
            file.read_bytes() for file in (Path.home() / ".cache" / "ridgeway").rglob("*") if file.is_file()
        ),
    }
    assert holders(places) == []
    # The search would have found them: one is put where it would hurt.
    assert holders({"a log": f"connecting with {HEADER}".encode()}) == [f"{SERVERS} in a log"]


# ---- bad days --------------------------------------------------------------------------------------------------------


def test_a_database_that_is_gone_and_comes_back(team: Team) -> None:
    team.cluster.stop()
    try:
        team.ridgeway("list", "models", where=team.office, codes=(1, 75))
        assert "Traceback" not in team.heard[-1]
        assert PASSWORD not in team.heard[-1]
    finally:
        team.cluster.start()
    deadline = time.monotonic() + 90
    while True:
        try:
            done = trigger(f"{PREFECT}/api", "retraining/diabetes", {}, headers={"Authorization": HEADER})
            break
        except (RidgewayError, OSError):
            assert time.monotonic() < deadline
            time.sleep(1)
    assert "models:/diabetes/1" in team.ridgeway("list", "models", where=team.office)
    while signed_in(f"{PREFECT}/api/flow_runs/{done.flow_run_id}")["state_type"] != "COMPLETED":
        assert time.monotonic() < deadline + 120
        time.sleep(1)


def test_backup_and_restore(team: Team, tmp_path: Path) -> None:
    """As docs/team.md has it: pg_dump of both, a copy of the artifacts; all lost; pg_restore, the copy put back."""
    cluster, artifacts = team.cluster, team.hub / ".ridgeway" / "artifacts"
    runs = {run["id"] for run in flow_runs()}
    models = team.ridgeway("list", "models", "--json")
    where = ["-h", "127.0.0.1", "-p", str(cluster.port), "-U", "ridgeway"]
    environ = dict(cluster.client_environment)
    for name in ("team_prefect", "team_mlflow"):
        dump = [cluster.programs / "pg_dump", *where, "--format=custom", f"--file={tmp_path / name}.dump", name]
        subprocess.run(dump, check=True, env=environ)
    subprocess.run(["tar", "-cf", tmp_path / "artifacts.tar", "-C", artifacts, "."], check=True)
    team.ridgeway("down", "--force")
    for name in ("team_prefect", "team_mlflow"):
        cluster.sql(f"DROP DATABASE {name} WITH (FORCE)")
    subprocess.run(["rm", "-r", artifacts], check=True)
    for name in ("team_prefect", "team_mlflow"):
        subprocess.run(
            [cluster.programs / "createdb", *where, "-T", "template0", "-E", "UTF8", name], check=True, env=environ
        )
        restore = [cluster.programs / "pg_restore", *where, "--no-owner", "--exit-on-error", f"--dbname={name}"]
        subprocess.run([*restore, f"{tmp_path / name}.dump"], check=True, env=environ)
    artifacts.mkdir()
    subprocess.run(["tar", "-xf", tmp_path / "artifacts.tar", "-C", artifacts], check=True)
    team.ridgeway("up", "--detach")
    assert {run["id"] for run in flow_runs()} >= runs
    assert team.ridgeway("list", "models", "--json") == models
    assert "diabetes" in team.ridgeway("show", "models:/diabetes/1", where=team.office)

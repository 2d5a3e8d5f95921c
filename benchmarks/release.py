"""How long a release takes, what a release that changes nothing costs, how quick the way back is, and what it loses.

    python benchmarks/release.py [--kind process] [--kind kubernetes] [--rounds 3] [--changes 10]

Each kind gets a project of its own with two models, which are released in turn. "Answering" counts from the flow's
first step to the moment when production has answered as it should, without the time in which the release waits for
a person; an empty flow with its imports, and the whole commands, are shown beside it. Then production is rolled back
and forth under load from four clients that keep their connections, every answer checked. For kubernetes: KUBECONFIG,
LAB_REGISTRY and LAB_BASE_IMAGE (or --repository and --base) name a cluster and a registry that it can pull from;
namespaces ridgeway-bench-qa and ridgeway-bench-production are made and removed. Figures: docs/performance.md.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

BIN = Path(sys.executable).parent
FEW_COLUMNS = 'data.ignore=["bp", "s1", "s2", "s3", "s4", "s5", "s6"]'
PORTS = (18081, 18082)
CLIENTS = 4
EMPTY = """
import sys
from pathlib import Path
from ridgeway import orchestrator
from ridgeway.run_log import RunLog
root = Path.cwd()
(root / "flows" / "empty.py").write_text("from prefect import flow\\n@flow\\ndef empty():\\n    return 0\\n")
server = orchestrator.ensure_server(root)
with RunLog(root).start("empty") as run:
    orchestrator.run_flow("flows/empty.py:empty", {}, run=run, server=server)
"""


class Bench:
    """A project with its settings, and the commands that are timed in it."""

    def __init__(self, kind: str, folder: Path, options: argparse.Namespace) -> None:
        self.kind = kind
        self.root = folder / kind
        self.operations = folder / f"{kind}.toml"
        self.operations.write_text(settings(kind, options), encoding="utf-8")
        self.environment = {**os.environ, "RIDGEWAY_OPERATIONS": str(self.operations)}
        self.run("new", str(self.root), where=folder)
        for model in (1, 2):
            self.run("run", "retraining", *(("--set", FEW_COLUMNS) if model == 1 else ()))

    def run(self, *arguments: str, ends: int = 0, where: Path | None = None) -> float:
        """Wall time of one command that must end with this code."""
        return self._timed([str(BIN / "ridgeway"), *arguments], ends, where or self.root)[0]

    def read(self, *arguments: str) -> dict[str, object]:
        """What a command prints with --json."""
        output = self._timed([str(BIN / "ridgeway"), *arguments, "--json"], 0, self.root)[1]
        record: dict[str, object] = json.loads(output)
        return record

    def empty_flow(self) -> float:
        """Wall time of a flow without steps, imports and all."""
        return self._timed([sys.executable, "-c", EMPTY], 0, self.root)[0]

    def _timed(self, command: list[str], ends: int, where: Path) -> tuple[float, str]:
        begun = time.perf_counter()
        done = subprocess.run(command, cwd=where, env=self.environment, capture_output=True, text=True, check=False)
        taken = time.perf_counter() - begun
        if done.returncode != ends:
            sys.exit(f"{' '.join(command)} ended with {done.returncode}\n{done.stdout}{done.stderr}")
        return taken, done.stdout

    def release(self, model: int) -> dict[str, float]:
        """Seconds of one release: from its first step to answering, and of both commands."""
        asked = self.run("run", "release", f"models:/diabetes/{model}", ends=5)
        releases = self.read("list", "releases")["releases"]
        assert isinstance(releases, list)
        handle = str(releases[0]["release"])
        approved = self.run("approve", handle)
        return {"answering": answering(self.read("show", handle)), "run": asked, "approve": approved}


def settings(kind: str, options: argparse.Namespace) -> str:
    """Operations' settings for a kind of target."""
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    if kind == "process":
        stages = "".join(
            f'[targets.{name}]\nkind = "process"\naddress = "http://127.0.0.1:{port}"\n'
            for name, port in zip(("qa", "production"), PORTS, strict=True)
        )
        return f'{stages}[approvers]\nrelease-manager = ["*"]\n'
    stages = "".join(
        f'[targets.{name}]\nkind = "kubernetes"\nnamespace = "ridgeway-bench-{name}"\nexpose = "NodePort"\n'
        f'instance_type = "{machine}"\nreplicas = {replicas}\n'
        for name, machine, replicas in (("qa", "cpu-small", 1), ("production", "gpu-small", 2))
    )
    # The table of production is the last one: operations say whose yes it needs.
    return f"""{stages}approval = {{ role = "release-manager", count = 1, own_release = true, expires_hours = 72 }}
[image]
repository = "{options.repository}"
base = "{options.base}"
[instance_types]
cpu-small = {{ cpu = 0.2, memory_mib = 512 }}
[instance_types.gpu-small]
cpu = 0.2
memory_mib = 512
gpus = {{ "nvidia.com/gpu" = 1 }}
node_selector = {{ pool = "gpu" }}
tolerations = [{{ key = "nvidia.com/gpu", operator = "Exists" }}]
[approvers]
release-manager = ["kubernetes:{options.user}", "system:{user}"]
"""


def answering(record: dict[str, object]) -> float:
    """Seconds from the first step to answering in production, the waiting for a person left out."""
    steps = {(step["name"], step["stage"]): step for step in record["steps"]}  # type: ignore[attr-defined]
    rolled = steps["roll_out", "production"]
    tried = max(moment(step["ended_at"]) for key, step in steps.items() if key[0] != "roll_out")
    begun = min(moment(step["started_at"]) for step in steps.values())
    return (tried - begun) + (moment(record["rollout"]["answering_at"]) - moment(rolled["started_at"]))  # type: ignore[index]


def moment(text: str) -> float:
    """Seconds since the epoch."""
    return datetime.datetime.fromisoformat(text).timestamp()


class Load:
    """Clients that ask production without pause, and what they were told."""

    def __init__(self, address: str, key: str, body: str, right: set[float]) -> None:
        split = urlsplit(address)
        self.host, self.port = split.hostname or "127.0.0.1", split.port or 80
        self.body = body
        self.headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self.right = right
        self.answers = [0] * CLIENTS
        self.failed: list[str] = []
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self._ask, args=(index,), daemon=True) for index in range(CLIENTS)]

    def __enter__(self) -> Load:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join(30)

    def _ask(self, index: int) -> None:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=10)
        while not self.over.is_set():
            try:
                connection.request("POST", "/invocations", self.body, self.headers)
                answer = connection.getresponse()
                value = json.loads(answer.read())["predictions"][0]
                if answer.will_close:
                    connection.close()
                if answer.status != 200 or round(value, 6) not in self.right:
                    self.failed.append(f"{answer.status} {value}")
            except Exception as error:  # noqa: BLE001 - whatever a client may meet counts as a failed request
                self.failed.append(f"{type(error).__name__}: {error}")
                connection.close()
            self.answers[index] += 1


def under_load(bench: Bench, changes: int) -> list[str]:
    """Production rolled back and forth under load."""
    access = bench.read("keys", "production")
    address, key = str(access["address"]), str(access["primary"])
    # By name, because the models take different columns.
    with (bench.root / "data" / "diabetes.csv").open(encoding="utf-8") as rows:
        record = next(csv.DictReader(rows))
    body = json.dumps({"dataframe_records": [{name: float(value) for name, value in record.items()}]})
    right: set[float] = set()
    for _ in range(2):  # what both models answer to this row
        bench.run("rollback", "production")
        split = urlsplit(address)
        connection = http.client.HTTPConnection(split.hostname or "", split.port or 80, timeout=10)
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        connection.request("POST", "/invocations", body, headers)
        right.add(round(json.loads(connection.getresponse().read())["predictions"][0], 6))
        connection.close()
    assert len(right) == 2, right
    with Load(address, key, body, right) as load:
        taken = [bench.run("rollback", "production") for _ in range(changes)]
    for failure in load.failed[:5]:
        print(f"failed: {failure}", file=sys.stderr)
    return [
        line(f"{bench.kind}: rollback under load, whole command (s, at most 15)", taken),
        f"{bench.kind}: {len(load.failed)} of {sum(load.answers):,} requests failed during {changes} roll-outs",
    ]


def line(name: str, figures: list[float]) -> str:
    """One line of the table: minimum, median, maximum."""
    return f"{name:<66} {min(figures):7.2f} {statistics.median(figures):7.2f} {max(figures):7.2f}"


def measured(kind: str, folder: Path, options: argparse.Namespace) -> list[str]:
    """All figures of one kind."""
    bench = Bench(kind, folder, options)
    try:
        first = bench.release(1)
        rounds = [bench.release(2 - turn % 2) for turn in range(options.rounds)]
        last = 2 - (options.rounds - 1) % 2
        unchanged = [bench.run("run", "release", f"models:/diabetes/{last}") for _ in range(3)]
        limit = 15 if kind == "kubernetes" else 5
        lines = [
            line(f"{kind}: first release, image made, first step → answering (s)", [first["answering"]]),
            line(f"{kind}: first step → answering (s, at most {limit})", [one["answering"] for one in rounds]),
            line(f"{kind}: run release, whole command (s)", [one["run"] for one in rounds]),
            line(f"{kind}: approve, whole command with 5 s of watching (s)", [one["approve"] for one in rounds]),
            line(f"{kind}: nothing changed, whole command (s, at most 3)", unchanged),
            line(f"{kind}: an empty flow with its imports, whole process (s)", [bench.empty_flow() for _ in range(3)]),
            line(f"{kind}: preflight, whole command (s, at most 3)", [bench.run("preflight") for _ in range(3)]),
        ]
        return [*lines, *under_load(bench, options.changes)]
    finally:
        for target in ("qa", "production"):
            subprocess.run(
                [str(BIN / "ridgeway"), "remove", target, "--yes"],
                cwd=bench.root, env=bench.environment, capture_output=True, check=False,
            )  # fmt: skip
        bench.run("down")


def namespaces(verb: str) -> None:
    """Makes or removes the cluster's part."""
    for name in ("ridgeway-bench-qa", "ridgeway-bench-production"):
        more = ["--wait=false"] if verb == "delete" else []
        subprocess.run(["kubectl", verb, "namespace", name, *more], capture_output=True, check=False)


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kind", action="append", choices=("process", "kubernetes"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--changes", type=int, default=10)
    registry = os.environ.get("LAB_REGISTRY", "127.0.0.1:5000")
    parser.add_argument("--repository", default=f"{registry}/ridgeway-bench")
    parser.add_argument("--base", default=os.environ.get("LAB_BASE_IMAGE", "python:3.11-slim-bookworm"))
    parser.add_argument("--user", default="kubernetes-admin", help="who the cluster says we are")
    options = parser.parse_args()
    print(f"{'':<66} {'min':>7} {'median':>7} {'max':>7}")
    for kind in options.kind or ["process"]:
        if kind == "kubernetes":
            namespaces("create")
        try:
            with tempfile.TemporaryDirectory(prefix="ridgeway-bench-") as folder:
                print("\n".join(measured(kind, Path(folder), options)), flush=True)
        finally:
            if kind == "kubernetes":
                namespaces("delete")


if __name__ == "__main__":
    main()

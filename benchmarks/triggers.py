"""How soon a triggered run begins, how long a published retraining takes, and what `ridgeway up` costs while it waits.

    python benchmarks/triggers.py [--rounds 5] [--idle-seconds 60] [--queued 1000] [--without-stock]

A project made by `ridgeway new` is brought up on ports of its own. A run is asked for by REST; "first step" is when its
first task began by the server's record, "whole" when it had ended. Each retraining has a seed of its own, so that each
trains. Beside it Prefect's own process worker carries the same flow of the same commit out. Memory is the proportional
set size of all processes, which counts shared pages once. The load before is printed: above 0.5 the machine was busy.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ridgeway.orchestrator import rest
from ridgeway.orchestrator.environment import local_client
from ridgeway.orchestrator.publication import trigger
from ridgeway.services.state import read_state

BIN = Path(sys.executable).parent
PORT = 18250
URL = f"http://127.0.0.1:{PORT}/api"
OVER = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--idle-seconds", type=float, default=60)
    parser.add_argument("--queued", type=int, default=1000)
    parser.add_argument("--without-stock", action="store_true")
    options = parser.parse_args()
    print(f"load before: {os.getloadavg()[0]:.2f}")
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "diabetes"
        make(root)
        try:
            measure(root, options)
        finally:
            run(root, "down", "--force")


def make(root: Path) -> None:
    """A new project in a repository."""
    subprocess.run([BIN / "ridgeway", "new", root], check=True, capture_output=True)
    me = ("-c", "user.name=Nobody", "-c", "user.email=nobody@example.org")
    for words in (("init", "--quiet"), ("add", "."), (*me, "commit", "--quiet", "-m", "First")):
        subprocess.run(["git", *words], cwd=root, check=True, capture_output=True)


def run(root: Path, *arguments: str) -> float:
    """How long a command takes, in seconds."""
    ports = {"RIDGEWAY_SERVERS__PREFECT_PORT": str(PORT), "RIDGEWAY_SERVERS__MLFLOW_PORT": str(PORT + 1)}
    began = time.monotonic()
    subprocess.run(
        [BIN / "ridgeway", *arguments], cwd=root, env={**os.environ, **ports}, check=True, capture_output=True
    )
    return time.monotonic() - began


def measure(root: Path, options: argparse.Namespace) -> None:
    """All figures of one project."""
    print(f"up, first start of the project    {run(root, 'up', '--detach'):6.1f} s")
    show("our worker", lambda number: retrain("retraining/diabetes", number), options.rounds)
    idle(root, options.idle_seconds)
    if not options.without_stock:
        stock(root, options.rounds)
    run(root, "down")
    print(f"up, again                         {run(root, 'up', '--detach'):6.1f} s")
    queued(root, options.queued)


def retrain(deployment: str, number: int) -> tuple[float, float]:
    """Seconds from the request to the first step, and to the end."""
    asked = datetime.now(UTC)
    flow_run = trigger(URL, deployment, {"overrides": [f"training.seed={number}"]}).flow_run_id
    deadline = time.monotonic() + 300
    while (found := rest.call(f"{URL}/flow_runs/{flow_run}"))["state_type"] not in OVER:
        assert time.monotonic() < deadline, found["state"]
        time.sleep(0.5)  # often enough, and little enough to leave the machine to the run
    assert found["state_type"] == "COMPLETED", found["state"]
    tasks = rest.call(f"{URL}/task_runs/filter", {"flow_runs": {"id": {"any_": [flow_run]}}})
    first = min(datetime.fromisoformat(task["start_time"]) for task in tasks if task["start_time"])
    return (first - asked).total_seconds(), (datetime.fromisoformat(found["end_time"]) - asked).total_seconds()


def show(name: str, measured: Callable[[int], tuple[float, float]], rounds: int) -> None:
    """The medians and the slowest."""
    found = [measured(number + (1000 if name == "our worker" else 2000)) for number in range(rounds)]
    for what, values in zip(("first step", "whole"), zip(*found, strict=True), strict=True):
        print(f"{name:<22}{what:<12}{statistics.median(values):6.1f} s   slowest {max(values):.1f} s")


# ---- what it costs ---------------------------------------------------------------------------------------------------


def idle(root: Path, seconds: float) -> None:
    """Processor and memory of each process while nothing happens."""
    processes = processes_of(root)
    before = {name: processor_seconds(pid) for name, pid in processes.items()}
    time.sleep(seconds)
    total = [0.0, 0.0]
    for name, pid in processes.items():
        share = (processor_seconds(pid) - before[name]) / seconds * 100
        memory = memory_mb(pid)
        total[0] += share
        total[1] += memory
        print(f"  idle {name:<12}{share:5.1f} % of a core {memory:6.0f} MB")
    print(f"  idle {'all':<12}{total[0]:5.1f} % of a core {total[1]:6.0f} MB")


def processes_of(root: Path) -> dict[str, int]:
    """Service → process, the supervisor and the zygote too."""
    state = read_state(root)
    assert state is not None
    found = {"supervisor": state.supervisor.pid}
    found |= {one.name: one.process.pid for one in state.services if one.process and one.condition == "ready"}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == state.supervisor.pid and "zygote" in (folder / "cmdline").read_text():
                found["zygote"] = int(folder.name)
        except OSError:
            continue
    return found


def processor_seconds(pid: int) -> float:
    """Used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float:
    """Proportional set size."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:"))


# ---- beside it -------------------------------------------------------------------------------------------------------


def stock(root: Path, rounds: int) -> None:
    """The same with Prefect's own process worker, asking once a second."""
    ours = rest.call(f"{URL}/deployments/name/retraining/diabetes")
    names = ("flow_id", "entrypoint", "pull_steps", "parameter_openapi_schema", "enforce_parameter_schema")
    rest.call(f"{URL}/work_pools/", {"name": "stock", "type": "process"})
    rest.call(f"{URL}/deployments/", {"name": "stock", "work_pool_name": "stock", **{key: ours[key] for key in names}})
    environment = {**os.environ, **local_client(root, URL), "PREFECT_WORKER_QUERY_SECONDS": "1"}
    command = [BIN / "prefect", "worker", "start", "--pool", "stock"]
    worker = subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(20)
        show("Prefect's own worker", lambda number: retrain("retraining/stock", number), rounds)
    finally:
        worker.terminate()
        worker.wait(30)


def queued(root: Path, count: int) -> None:
    """How many of so many runs that wait are still there when everything was stopped and started again."""
    deployment = rest.call(f"{URL}/deployments/name/retraining/diabetes")["id"]
    due = (datetime.now(UTC) + timedelta(days=1)).isoformat()

    def ask(_: int) -> Any:
        state = {"type": "SCHEDULED", "state_details": {"scheduled_time": due}}
        return rest.call(f"{URL}/deployments/{deployment}/create_flow_run", {"state": state}, timeout_seconds=120)["id"]

    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        asked = set(pool.map(ask, range(count)))
    took = time.monotonic() - began
    run(root, "down")
    run(root, "up", "--detach")
    wanted = {"flow_runs": {"id": {"any_": sorted(asked)}, "state": {"type": {"any_": ["SCHEDULED"]}}}}
    kept = rest.call(f"{URL}/flow_runs/count", wanted, timeout_seconds=60)
    print(f"queued runs kept over a restart   {kept} of {len(asked)}   (asked for in {took:.0f} s)")


if __name__ == "__main__":
    main()

"""How many triggers at the same moment the servers of `ridgeway up` hold, on SQLite and on PostgreSQL.

Each trigger is a client of its own that asks by REST for a run of the published retraining, and asks again with the
same key when it has no answer after ten seconds. "Late" ones had to ask again; "lost" is what the server does not know
in the end, or knows twice. The worker is kept from taking them. All clients are threads of one process, which shares
the machine with both servers, as on a small hub.

    python benchmarks/servers.py            # PostgreSQL too, where its programs are installed
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from ridgeway.errors import RidgewayError  # noqa: E402 - needs the path
from ridgeway.orchestrator import rest  # noqa: E402
from ridgeway.orchestrator.publication import trigger  # noqa: E402
from tests.services.postgresql import PASSWORD, Cluster, programs  # noqa: E402

AT_ONCE = (25, 50, 75, 100)
ATTEMPTS = 8
PORTS = {"RIDGEWAY_SERVERS__PREFECT_PORT": "18332", "RIDGEWAY_SERVERS__MLFLOW_PORT": "18333"}
API = "http://127.0.0.1:18332/api"


def main() -> None:
    """Prints a table."""
    print(f"{'database':<12}{'at once':>8}{'late':>6}{'lost':>6}{'all after':>11}{'median':>9}{'slowest':>9}")
    measure("SQLite", {})
    if programs() is not None:
        with ExitStack() as stack:
            cluster = Cluster()
            stack.callback(cluster.remove)
            password = {"RIDGEWAY_SERVERS__DATABASE_PASSWORD": PASSWORD}
            measure("PostgreSQL", {"RIDGEWAY_SERVERS__DATABASE": cluster.address("bench"), **password})


def measure(name: str, database: Mapping[str, str]) -> None:
    """The lines of one database."""
    with tempfile.TemporaryDirectory() as place:
        environ = {**os.environ, **PORTS, **database}
        command = str(Path(sys.executable).with_name("ridgeway"))

        def run(*words: str) -> None:
            subprocess.run(words, cwd=place, env=environ, check=True, capture_output=True)

        run(command, "new", ".")
        me = ("-c", "user.name=Nobody", "-c", "user.email=nobody@example.org")
        for words in (("init", "-q"), ("add", "-A"), (*me, "commit", "-q", "-m", "a project")):
            run("git", *words)
        run(command, "up", "--detach")
        try:
            rest.send("PATCH", f"{API}/work_pools/ridgeway", {"is_paused": True})
            for count in AT_ONCE:
                print(f"{name:<12}{line(name, count)}", flush=True)
        finally:
            run(command, "down", "--force")


def line(name: str, count: int) -> str:
    """What came of so many at once."""

    def ask(number: int) -> tuple[float, int, str]:
        began = time.monotonic()
        for attempt in range(ATTEMPTS):
            try:
                done = trigger(API, "retraining/diabetes", {}, idempotency_key=f"{name} {count} {number}")
            except RidgewayError:
                time.sleep(random.uniform(0, 2**attempt))
                continue
            return time.monotonic() - began, attempt, done.flow_run_id
        return time.monotonic() - began, ATTEMPTS, ""

    began = time.monotonic()
    with ThreadPoolExecutor(count) as pool:
        asked = list(pool.map(ask, range(count)))
    whole = time.monotonic() - began
    # The server's own count: an answer alone proves nothing.
    known = [
        run["idempotency_key"]
        for offset in range(0, 2000, 200)
        for run in rest.call(f"{API}/flow_runs/filter", {"limit": 200, "offset": offset}, timeout_seconds=60)
        if (run["idempotency_key"] or "").startswith(f"retraining/diabetes {name} {count} ")
    ]
    took = sorted(seconds for seconds, _, _ in asked)
    late = sum(1 for _, attempt, _ in asked if attempt)
    lost = count - len(set(known)) + len(known) - len(set(known))
    return f"{count:>8}{late:>6}{lost:>6}{whole:>9.1f} s{took[count // 2]:>7.1f} s{took[-1]:>7.1f} s"


if __name__ == "__main__":
    main()

"""The scoring server beside `mlflow models serve` and a constant from nginx, interleaved in one run on one machine.

    python benchmarks/serving.py [--seconds 5] [--rounds 3] [--soak 0] [--only PART]

It needs wrk and nginx (on PATH, or named by WRK and NGINX), and in this environment mlflow, scikit-learn and skops. The
server under test runs on core 0, wrk on core 1. Printed are requests per second (median of the rounds), CPU time per
request (which a busy machine disturbs less), ratios, latencies, start-up, memory, and what each safeguard costs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

KEY = "benchmark-key-0123456789"
COLUMNS = ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"]
ROW = [59, 2, 32.1, 101, 157, 93.2, 38, 4, 4.8598, 87]
WRK, NGINX = (os.environ.get(name.upper()) or shutil.which(name) for name in ("wrk", "nginx"))
SOURCE = Path(__file__).parents[1] / "src"


@dataclass
class Case:
    """One request to one server, and what wrk measured."""

    name: str
    port: int
    path: str
    body: bytes
    content_type: str = "application/json"
    connections: int = 32
    rates: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Requests per second, the median of the rounds."""
        return statistics.median(self.rates)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def tree(pid: int) -> list[int]:
    """A process and all its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in tree(int(child)))]


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and its descendants so far."""
    fields = [Path(f"/proc/{one}/stat").read_text().rsplit(") ", 1)[1].split() for one in tree(pid)]
    return sum(int(values[11]) + int(values[12]) for values in fields) / os.sysconf("SC_CLK_TCK")


def pss_mb(pid: int, kind: str = "Pss") -> float:
    """Memory of a process and its descendants, shared pages counted once; ``Pss_Anon`` leaves out those of files."""
    texts = [Path(f"/proc/{one}/smaps_rollup").read_text() for one in tree(pid)]
    found = [re.search(rf"^{kind}:\s+(\d+)", text, re.MULTILINE) for text in texts]
    return sum(int(match[1]) for match in found if match) / 1024


def wait_until_ready(url: str, seconds: float = 120) -> float:
    """Seconds until ``url`` answers with 200."""
    begun = time.perf_counter()
    while time.perf_counter() - begun < seconds:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=1):
            return time.perf_counter() - begun
        time.sleep(0.002)
    raise TimeoutError(url)


@contextlib.contextmanager
def process(command: list[str], folder: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process on core 0, ended at the end of the block."""
    with (folder / f"{Path(command[0]).name}.{time.monotonic_ns()}.log").open("wb") as log:
        own = {**os.environ, "PYTHONPATH": str(SOURCE), **environment}
        running = subprocess.Popen(["taskset", "-c", "0", *command], stdout=log, stderr=log, env=own)
    try:
        yield running
    finally:
        running.terminate()
        running.wait(60)


# ---- the servers ----------------------------------------------------------------------------------------------------


def make_models(folder: Path) -> None:
    """The diabetes ridge: compiled, not compiled, and as an MLflow model."""
    import mlflow.sklearn
    from mlflow.models import infer_signature
    from sklearn.datasets import load_diabetes
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from ridgeway.artifacts import Column
    from ridgeway.compiled import compile_model

    data = load_diabetes(as_frame=True, scaled=False)
    frame = data.data.astype("float64")
    pipeline = make_pipeline(StandardScaler(), Ridge()).fit(frame, data.target)
    features = tuple(Column(str(name), "number") for name in frame)
    for name, forms in (("compiled", ("closed form",)), ("plain", ("skops",))):
        compile_model(
            pipeline, folder / name / "diabetes" / "1", name="diabetes", version="1", features=features,
            task="regression",            classes=(), holdout_frame=frame.tail(90), lineage={}, forms=forms,
        )  # fmt: skip
    example = frame.head(2)
    mlflow.sklearn.save_model(
        pipeline, str(folder / "mlflow"), signature=infer_signature(example, pipeline.predict(example)),
        serialization_format="cloudpickle", pip_requirements=["scikit-learn"],
    )  # fmt: skip


@contextlib.contextmanager
def ours(models: Path, folder: Path, *arguments: str, keys: bool = True) -> Iterator[tuple[int, int]]:
    """A server of ours as it is deployed; yields its port and process."""
    port = free_port()
    (folder / "keys").mkdir(exist_ok=True)
    (folder / "keys" / "primary").write_text(KEY)
    access = ["--keys-dir", str(folder / "keys")] if keys else ["--access", "none"]
    command = [
        sys.executable,
        "-m",
        "ridgeway_server",
        "--models",
        str(models),
        "--port",
        str(port),
        "--drain-seconds",
        "0",
    ]
    with process([*command, *access, *arguments], folder) as one:
        wait_until_ready(f"http://127.0.0.1:{port}/v2/health/ready")
        yield port, one.pid


@contextlib.contextmanager
def nginx(folder: Path, answer: str) -> Iterator[tuple[int, int]]:
    """An nginx with one worker that gives the same answer to everything."""
    port = free_port()
    for name in ("body", "proxy", "fastcgi", "uwsgi", "scgi"):
        (folder / name).mkdir(exist_ok=True)
    temporary = "".join(
        f"{kind}_temp_path {folder}/{name};"
        for kind, name in (
            ("client_body", "body"),
            ("proxy", "proxy"),
            ("fastcgi", "fastcgi"),
            ("uwsgi", "uwsgi"),
            ("scgi", "scgi"),
        )
    )
    (folder / "nginx.conf").write_text(
        f"worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/error.log; "
        "events { worker_connections 512; }"
        f"http {{ access_log off; keepalive_requests 1000000000; {temporary} "
        f"server {{ listen 127.0.0.1:{port}; location / "
        f"{{ default_type application/json; return 200 '{answer}'; }} }} }}"
    )
    command = [str(NGINX), "-c", str(folder / "nginx.conf"), "-p", str(folder), "-e", str(folder / "error.log")]
    with process(command, folder) as one:
        wait_until_ready(f"http://127.0.0.1:{port}/")
        yield port, one.pid


@contextlib.contextmanager
def mlflow_server(folder: Path) -> Iterator[tuple[int, int]]:
    """``mlflow models serve`` with the same pipeline."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "models",
        "serve",
        "-m",
        str(folder / "mlflow"),
        "-p",
        str(port),
        "--env-manager",
        "local",
    ]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with process(command, folder, MLFLOW_DISABLE_TELEMETRY="true", PATH=path) as one:
        wait_until_ready(f"http://127.0.0.1:{port}/ping", 180)
        yield port, one.pid


# ---- measuring ------------------------------------------------------------------------------------------------------


def wait_until_idle(pid: int) -> None:
    """Returns once a server has finished what it was asked: wrk goes away at its end, whatever it still waits for.

    mlflow's server then works on for some 0.1 s, on the core of the next case.
    """
    before, now = -1.0, cpu_seconds(pid)
    while now - before > 0.01:
        time.sleep(0.5)
        before, now = now, cpu_seconds(pid)


def load(case: Case, pid: int, seconds: float, folder: Path) -> None:
    """One run of wrk; every answer must be 200."""
    escaped = "".join(f"\\{byte:03d}" for byte in case.body)
    script = folder / "wrk.lua"
    script.write_text(
        f'wrk.method="POST"; wrk.headers["Content-Type"]="{case.content_type}"; '
        f'wrk.headers["Authorization"]="Bearer {KEY}"; wrk.body="{escaped}"\n'
    )
    url = f"http://127.0.0.1:{case.port}{case.path}"
    command = [
        "taskset",
        "-c",
        "1",
        str(WRK),
        "-t1",
        f"-c{case.connections}",
        f"-d{seconds:g}s",
        "--latency",
        "-s",
        str(script),
        url,
    ]
    before = cpu_seconds(pid)
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    used = cpu_seconds(pid) - before
    if "Non-2xx" in text or "Socket errors" in text:
        raise RuntimeError(f"{case.name}: {text}")
    count = int(re.search(r"(\d+) requests in", text)[1])  # type: ignore[index]
    case.rates.append(float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1]))  # type: ignore[index]
    case.cpu_us.append(used / count * 1e6)
    case.p50_ms.append(_milliseconds(text, "50%"))
    case.p99_ms.append(_milliseconds(text, "99%"))
    wait_until_idle(pid)


def _milliseconds(text: str, line: str) -> float:
    number, unit = re.search(rf"{re.escape(line)}\s+([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def bodies(rows: int) -> dict[str, bytes]:
    """The same rows for each protocol."""
    import numpy as np

    table = [ROW] * rows
    return {
        "score": json.dumps({"data": table}).encode(),
        "mlflow": json.dumps({"dataframe_split": {"columns": COLUMNS, "data": table}}).encode(),
        "octets": np.array(table, "<f8").tobytes(),
    }


def compare(folder: Path, seconds: float, rounds: int) -> dict[str, Case]:
    """All cases, interleaved."""
    one, hundred, octets = bodies(1), bodies(100), "application/octet-stream"
    with (
        ours(folder / "compiled", folder) as compiled,
        ours(folder / "plain", folder) as plain,
        nginx(folder, '{"result":[202.6922545547036]}') as constant,
        mlflow_server(folder) as theirs,
    ):
        cases = [
            (Case("nginx constant", constant[0], "/score", one["score"]), constant[1]),
            (Case("mlflow, 1 row", theirs[0], "/invocations", one["mlflow"]), theirs[1]),
            (Case("mlflow, 100 rows", theirs[0], "/invocations", hundred["mlflow"]), theirs[1]),
            (Case("1 row JSON, compiled", compiled[0], "/score", one["score"]), compiled[1]),
            (Case("100 rows JSON", compiled[0], "/score", hundred["score"]), compiled[1]),
            (Case("100 rows octet-stream", compiled[0], "/score", hundred["octets"], octets), compiled[1]),
            (Case("1 row JSON, scikit-learn", plain[0], "/score", one["score"]), plain[1]),
            (Case("1 row JSON, one connection", compiled[0], "/score", one["score"], connections=1), compiled[1]),
        ]
        for _ in range(rounds):
            for case, pid in cases:
                load(case, pid, seconds, folder)
        return {case.name: case for case, _ in cases}


SAFEGUARDS = {
    "as deployed": (True, ()),
    "no access log": (True, ("--access-log", "no")),
    "every answer logged": (True, ("--access-log-sample", "1")),
    "no keys": (False, ()),
    "no key, no log": (False, ("--access-log", "no")),
}


def safeguards(folder: Path, seconds: float, rounds: int) -> dict[str, Case]:
    """The same request with one safeguard after the other taken away."""
    with contextlib.ExitStack() as stack:
        cases = []
        for name, (keys, arguments) in SAFEGUARDS.items():
            port, pid = stack.enter_context(ours(folder / "compiled", folder, *arguments, keys=keys))
            cases.append((Case(name, port, "/score", bodies(1)["score"]), pid))
        for _ in range(rounds):
            for case, pid in cases:
                load(case, pid, seconds, folder)
        return {case.name: case for case, _ in cases}


def start_up(folder: Path, times: int = 5) -> tuple[float, float]:
    """Median seconds from process start to ready, and PSS with one linear model after some requests, in MB."""
    seconds, memory = [], 0.0
    for _ in range(times):
        begun = time.perf_counter()
        with ours(folder / "compiled", folder) as (port, pid):
            seconds.append(time.perf_counter() - begun)
            load(Case("warm", port, "/score", bodies(1)["score"]), pid, 1, folder)
            memory = max(memory, pss_mb(pid))
    return statistics.median(seconds), memory


def dependencies_mb(folder: Path) -> float:
    """What the four distributions that a linear model needs take on disk."""
    uv = shutil.which("uv") or ".tools/uv"
    target = folder / "site"
    subprocess.run(
        [uv, "pip", "install", "-q", "--target", str(target), "numpy", "orjson", "uvloop", "httptools"], check=True
    )
    return sum(path.stat().st_size for path in target.rglob("*") if path.is_file()) / 2**20


def soak(folder: Path, requests: int) -> Iterator[tuple[int, float]]:
    """Anonymous memory (MB) during so many requests: the share of pages of files depends on other processes."""
    with ours(folder / "compiled", folder) as (port, pid):
        case, done = Case("soak", port, "/score", bodies(1)["score"]), 0
        load(case, pid, 2, folder)
        while done < requests:
            yield done, pss_mb(pid, "Pss_Anon")
            load(case, pid, 10, folder)
            done += int(case.rates[-1] * 10)
        yield done, pss_mb(pid, "Pss_Anon")


def report(found: dict[str, Case]) -> None:
    """The comparison as a table."""
    constant = found["nginx constant"]
    base = {"1": found["mlflow, 1 row"], "100": found["mlflow, 100 rows"]}
    print("\n| case | requests/s | CPU µs/request | against mlflow | against nginx | p50 ms | p99 ms |")
    print("|---|---|---|---|---|---|---|")
    for case in found.values():
        peer = base["100" if "100 rows" in case.name else "1"]
        print(
            f"| {case.name} | {case.rate:,.0f} | {statistics.median(case.cpu_us):.1f} "
            f"| {case.rate / peer.rate:.1f} × | {case.rate / constant.rate:.0%} "
            f"| {statistics.median(case.p50_ms):.2f} | {statistics.median(case.p99_ms):.2f} |"
        )


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--soak", type=int, default=0, help="requests of the memory run, such as 10000000")
    parser.add_argument("--only", choices=("comparison", "safeguards", "start", "soak"), help="one part alone")
    given = parser.parse_args()
    if not WRK or not NGINX:
        raise SystemExit(
            "serving: wrk and nginx are needed: apt-get install wrk nginx-light, or name them by WRK and NGINX"
        )
    folder = Path(tempfile.mkdtemp(prefix="serving-"))
    try:
        sys.path.insert(0, str(SOURCE))
        make_models(folder)
        run_parts(folder, given)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_parts(folder: Path, given: argparse.Namespace) -> None:
    """The parts that were asked for, each printed as soon as it is measured."""
    if given.only in (None, "comparison"):
        report(compare(folder, given.seconds, given.rounds))
    if given.only in (None, "safeguards"):
        print("\n| safeguards | CPU µs/request | requests/s |\n|---|---|---|")
        for name, case in safeguards(folder, given.seconds, given.rounds).items():
            print(f"| {name} | {statistics.median(case.cpu_us):.2f} | {case.rate:,.0f} |")
    if given.only in (None, "start"):
        seconds, memory = start_up(folder)
        print(f"\nready after {seconds:.2f} s; {memory:.1f} MB (PSS) with one linear model, all processes together")
        print(f"dependencies for the linear form: {dependencies_mb(folder):.1f} MB")
    if given.soak and given.only in (None, "soak"):
        for done, size in soak(folder, given.soak):
            print(f"after {done:,} requests: {size:.1f} MB", flush=True)


if __name__ == "__main__":
    main()

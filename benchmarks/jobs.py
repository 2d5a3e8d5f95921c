"""What a retraining as a job costs: its image's size, the making and pulling of it, and the time to the first step.

    python benchmarks/jobs.py --registry-uri http://10.97.0.1:18340 [--rounds 3]

Needs a cluster (KUBECONFIG), an image registry and base (LAB_REGISTRY, LAB_BASE_IMAGE), and an MLflow server that pods
reach. A namespace ridgeway-bench-jobs is made and removed. The first round makes the image in a repository of its own;
each further round is a new commit. "first_step" counts from the command to the moment when load_data begins; "pull" is
what the node says, which keeps layers that it has pulled before under any name. Figures: docs/jobs.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
TEMPLATES = Path(__file__).parents[1] / "templates/kubernetes"
NAMESPACE = "ridgeway-bench-jobs"


def main() -> None:
    """Prints one line a round, and what the image weighs."""
    options = parse()
    environment = {
        **os.environ,
        "RIDGEWAY_REGISTRY__URI": options.registry_uri,
        "RIDGEWAY_IMAGE__REPOSITORY": f"{options.repository}/{uuid.uuid4().hex[:8]}",
        "RIDGEWAY_IMAGE__BASE": options.base,
        "RIDGEWAY_JOBS__NAMESPACE": NAMESPACE,
        "RIDGEWAY_PROJECT__NAME": f"bench-{uuid.uuid4().hex[:6]}",
    }
    for name in ("namespace.yaml", "job-runner.yaml"):
        kubectl("apply", "-f", "-", stdin=(TEMPLATES / name).read_text().replace("NAMESPACE", NAMESPACE))
    try:
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder) / "project", environment, options)
    finally:
        kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def measure(root: Path, environment: dict[str, str], options: argparse.Namespace) -> None:
    """Rounds of a retraining, each with a commit of its own."""
    subprocess.run([BIN / "ridgeway", "new", root], check=True, capture_output=True)
    subprocess.run(["git", "init", "-q", root], check=True)
    rounds = []
    for number in range(options.rounds + 1):
        change(root, 1.0 + number)
        rounds.append(one(root, environment, options.on))
        print(" ".join(f"{name} {value}" for name, value in rounds[-1].items()))
    print("median of the later rounds:")
    for name in ("image", "first_step", "whole"):
        print(f"  {name} {statistics.median(found[name] for found in rounds[1:]):.1f} s")


def one(root: Path, environment: dict[str, str], on: str) -> dict[str, Any]:
    """The times of one command, from its record and its log."""
    began = time.time()
    done = subprocess.run(
        [BIN / "ridgeway", "run", "retraining", "--on", on, "--json"],
        cwd=root, env=environment, text=True, capture_output=True, check=False,
    )  # fmt: skip
    whole = time.time() - began
    if done.returncode not in (0, 3, 4):
        sys.exit(done.stderr)
    record_id = json.loads(done.stdout)["record"].removeprefix("runs:/")
    folder = root / ".ridgeway/runs" / record_id
    record = json.loads((folder / "run.json").read_text())
    log = (folder / "run.log").read_text()
    steps = {step["name"]: step for step in record["steps"]}
    built = steps["build_image"]
    pulled = re.search(r"image pulled in ([\d.]+) s", log)
    sizes = re.search(r"dependencies: (\d+) MiB, (\d+) MiB compressed", log)
    return {
        "image": round(moment(built["ended_at"]) - moment(built["started_at"]), 1),
        "sent": (re.search(r"\(([\d.]+ MiB) sent\)", log) or ["", "0 MiB"])[1],
        "unpacked_and_compressed_mib": f"{sizes[1]}/{sizes[2]}" if sizes else "-",
        "pull": float(pulled[1]) if pulled else 0.0,
        "first_step": round(moment(steps["load_data"]["started_at"]) - began, 1),
        "whole": round(whole, 1),
    }


def change(root: Path, alpha: float) -> None:
    """A commit with another model."""
    file = root / "ridgeway.toml"
    file.write_text(re.sub(r"alpha = [\d.]+", f"alpha = {alpha}", file.read_text()))
    subprocess.run(["git", "-C", root, "add", "."], check=True)
    identity = ["-c", "user.name=bench", "-c", "user.email=bench@example.org"]
    subprocess.run(["git", "-C", root, *identity, "commit", "-qm", "change"], check=True)


def moment(text: str) -> float:
    """Seconds since 1970."""
    return datetime.datetime.fromisoformat(text).timestamp()


def kubectl(*words: str, stdin: str | None = None) -> None:
    """One command, which must succeed."""
    subprocess.run(["kubectl", *words], input=stdin, text=True, check=True, capture_output=True)


def parse() -> argparse.Namespace:
    """The options."""
    registry = os.environ.get("LAB_REGISTRY", "127.0.0.1:5000")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--registry-uri", required=True)
    parser.add_argument("--on", default="gpu-small")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repository", default=f"{registry}/ridgeway-bench-jobs")
    parser.add_argument("--base", default=os.environ.get("LAB_BASE_IMAGE", f"{registry}/python:3.11-slim-bookworm"))
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""What a retraining by Ridgeway costs over a plain script that does the same work, and how quickly commands answer.

    python benchmarks/retraining.py [--rounds 5]

Both run in turn, A B A B …, each as a whole process on a machine where the local server is up; what counts is the
ratio. Every round begins with one registered model, made of three columns: ours puts the project's state back to that
moment, the plain script calls its own first model the champion. So each candidate has an opponent that is loaded and
predicts, is better than it, and is registered. Each round has another seed, so that its model is trained anew. Prints a
table; the figures are kept in docs/performance.md.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
HEAVY = ("prefect", "mlflow", "sklearn", "pandas", "great_expectations")

FEW_COLUMNS = 'data.ignore=["bp", "s1", "s2", "s3", "s4", "s5", "s6"]'
CROWN = """
import sys
from mlflow import MlflowClient
MlflowClient(sys.argv[1], sys.argv[1]).set_registered_model_alias("diabetes", "champion", "1")
"""
"""Makes the plain script's first model the one that its later ones are compared with."""


def check_registered(project: Path) -> None:
    """Nothing, if the last round met model 1 and became model 2; else what was measured is not what is told."""
    command = [str(BIN / "ridgeway"), "show", "models:/diabetes/2", "--json"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    if done.returncode or "models:/diabetes/1" not in done.stdout:
        sys.exit(f"no round against an opponent was measured\n{done.stdout}{done.stderr}")


def seconds(command: list[str], folder: Path) -> float:
    """Wall time of one process that must end with 0."""
    begun = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    taken = time.perf_counter() - begun
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return taken


def imported(command: list[str], folder: Path) -> list[str]:
    """Which heavy libraries a command imports."""
    environment = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)
    names = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    return [name for name in HEAVY if name in names]


def row(name: str, figures: list[float]) -> str:
    """One line of the table: minimum, median, maximum."""
    return f"{name:<52} {min(figures):7.2f} {statistics.median(figures):7.2f} {max(figures):7.2f}"


def keep_state(project: Path, kept: Path) -> None:
    """A copy of what a project remembers, but for the server's own folder, which must stay where it is."""
    shutil.copytree(project / ".ridgeway", kept, ignore=lambda at, _: ["prefect"] if at.endswith(".ridgeway") else [])


def restore_state(project: Path, kept: Path) -> None:
    """The project remembers what it did when ``kept`` was copied; the server runs on."""
    for entry in (project / ".ridgeway").iterdir():
        if entry.name == "prefect":
            continue
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    shutil.copytree(kept, project / ".ridgeway", dirs_exist_ok=True)


def retraining(rounds: int, folder: Path) -> list[str]:
    """Ours and the plain script in turn, each against a model that is there already."""
    project, plain, kept = folder / "project", folder / "plain", folder / "kept"
    ours = [str(BIN / "ridgeway"), "run", "retraining", "--set"]
    theirs = [sys.executable, str(HERE / "plain_retraining.py"), str(plain)]
    seconds([str(BIN / "ridgeway"), "new", str(project)], folder)
    plain.mkdir()
    shutil.copy(project / "data" / "diabetes.csv", plain)
    # The first of each makes the database, and ours starts the server: shown apart.
    first = seconds([*ours, FEW_COLUMNS], project)
    seconds([*theirs, "0"], folder)
    seconds([sys.executable, "-c", CROWN, f"sqlite:///{plain}/mlflow.db"], folder)
    keep_state(project, kept)
    pairs = []
    for seed in range(1, rounds + 1):
        restore_state(project, kept)
        pairs.append((seconds([*ours, f"training.seed={seed}"], project), seconds([*theirs, str(seed)], folder)))
    check_registered(project)
    unchanged = [seconds([*ours, f"training.seed={rounds}"], project) for _ in range(rounds)]
    seconds([str(BIN / "ridgeway"), "down"], project)
    ratios = [one / other for one, other in pairs]
    return [
        row("first retraining, server and database made (s)", [first]),
        row("retraining (s)", [one for one, _ in pairs]),
        row("plain script (s)", [other for _, other in pairs]),
        row("ratio, pair by pair (at most 1.2)", ratios),
        row("the same again: unchanged (s, at most 3)", unchanged),
    ]


def answering(rounds: int, folder: Path) -> list[str]:
    """The help against a bare interpreter."""
    bare, helped = [], []
    for _ in range(rounds):
        bare.append(seconds([sys.executable, "-c", "pass"], folder))
        helped.append(seconds([str(BIN / "ridgeway"), "--help"], folder))
    over = [one - other for one, other in zip(helped, bare, strict=True)]
    heavy = imported([str(BIN / "ridgeway"), "--help"], folder)
    return [
        row("ridgeway --help (s)", helped),
        row("over a bare interpreter (s, at most 0.3)", over),
        f"heavy libraries imported by --help: {', '.join(heavy) or 'none'}",
    ]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="ridgeway-benchmark-") as folder:
        print(f"{'':<52} {'min':>7} {'median':>7} {'max':>7}")
        for line in [*answering(rounds * 2, Path(folder)), *retraining(rounds, Path(folder))]:
            print(line, flush=True)


if __name__ == "__main__":
    main()

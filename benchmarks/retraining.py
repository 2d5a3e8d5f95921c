"""What a retraining by Ridgeway costs over a plain script that does the same work, and how quickly commands answer.

    python benchmarks/retraining.py [--rounds 5]

Both run in turn, A B A B …, each as a whole process on a machine where the local server is up; what counts is the
ratio. Each round has another seed, so that nothing is `unchanged`, and is judged against the training mean, so that all
of them register. Prints a table; the figures are kept in docs/performance.md.
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


def retraining(rounds: int, folder: Path) -> list[str]:
    """Ours and the plain script in turn."""
    project, plain = folder / "project", folder / "plain"
    seconds([str(BIN / "ridgeway"), "new", str(project)], folder)
    plain.mkdir()
    shutil.copy(project / "data" / "diabetes.csv", plain)
    ours, theirs = [], []
    for seed in range(rounds + 1):
        command = ["run", "retraining", "--set", f"training.seed={seed}", "--set", "rules.against=mean"]
        ours.append(seconds([str(BIN / "ridgeway"), *command], project))
        theirs.append(seconds([sys.executable, str(HERE / "plain_retraining.py"), str(plain), str(seed)], folder))
    unchanged = [seconds([str(BIN / "ridgeway"), *command], project) for _ in range(rounds)]
    seconds([str(BIN / "ridgeway"), "down"], project)
    # The first of each makes the database, and ours starts the server: shown apart.
    ratios = [one / other for one, other in zip(ours[1:], theirs[1:], strict=True)]
    return [
        row("first retraining, server and database made (s)", ours[:1]),
        row("retraining (s)", ours[1:]),
        row("plain script (s)", theirs[1:]),
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

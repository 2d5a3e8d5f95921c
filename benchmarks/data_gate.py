"""How often the data gate is wrong, and what it costs. Prints the tables of docs/data-gate.md.

    python benchmarks/data_gate.py                             all, about twenty minutes on an idle machine
    python benchmarks/data_gate.py --halves 50 --shifts 20     quicker, with wider error bars
    python benchmarks/data_gate.py --only cost --rows 1000000

Rates on the diabetes data go through the whole gate, Great Expectations included; rates on drawn distributions
through the rules alone, as they need many more repetitions. Cost is measured in a process of its own for each size.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ridgeway.artifacts import Column, ColumnType, Dataset, KeyRule
from ridgeway.data_gate import Limits, check, profile
from ridgeway.rules import distribution
from ridgeway.rules.distribution import Shared

ROOT = Path(__file__).resolve().parent.parent
LABEL = "progression"
SHIFTED_ROWS = 200
BYTES_PER_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


def main() -> None:
    """Runs what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["rates", "power", "drawn", "cost"])
    parser.add_argument("--halves", type=int, default=1000, help="random halves (default 1000)")
    parser.add_argument("--shifts", type=int, default=200, help="shifted samples per column (default 200)")
    parser.add_argument("--draws", type=int, default=4000, help="draws per distribution (default 4000)")
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        sys.stdout.write(json.dumps(measure(options.measure)))
        return
    parts: dict[str, Callable[[], None]] = {
        "rates": lambda: print_rates(options.halves),
        "power": lambda: print_power(options.shifts),
        "drawn": lambda: print_drawn(options.draws),
        "cost": lambda: print_cost(options.rows),
    }
    for name, part in parts.items():
        if options.only in (None, name):
            part()


# ---- the diabetes data, through the whole gate -----------------------------------------------------------------------


def diabetes() -> tuple[pd.DataFrame, tuple[Column, ...]]:
    """The sample data and its columns."""
    frame = pd.read_csv(ROOT / "data" / "diabetes.csv")
    kinds: dict[str, ColumnType] = {"i": "integer", "f": "number"}
    return frame, tuple(Column(str(name), kinds[frame[name].dtype.kind]) for name in frame)


def suite_of(frame: pd.DataFrame, columns: tuple[Column, ...], label: str) -> dict[str, Any]:
    """The suite that ``ridgeway profile`` would make."""
    return profile(frame, columns, name="benchmark", label=label, key=KeyRule(columns, "", 0.2))


def findings(
    frame: pd.DataFrame, columns: tuple[Column, ...], suite: dict[str, Any], limits: Limits | None = None
) -> list[tuple[str, str]]:
    """Expectation and column of each line that is not a pass."""
    dataset = Dataset("benchmark", "sha256:0", len(frame), columns, "")
    report = check(frame, dataset, suite, limits=limits or Limits())
    return [(line.name, line.column) for line in report.expectations if line.outcome != "pass"]


def print_rates(halves: int) -> None:
    """How many random halves of good data get any finding, columns and expectations all taken together."""
    frame, columns = diabetes()
    whole, generator = suite_of(frame, columns, LABEL), np.random.default_rng(1)
    against_whole, against_half = [], []
    for _ in range(halves):
        order = generator.permutation(len(frame))
        one, other = frame.iloc[order[: len(frame) // 2]], frame.iloc[order[len(frame) // 2 :]]
        against_whole.append(bool(findings(one, columns, whole)))
        against_half.append(bool(findings(one, columns, suite_of(other, columns, LABEL))))
    title(f"False alarms: random halves of the diabetes data with any finding ({halves} halves)")
    row("suite made from", "halves with a finding", "at most")
    row("all 442 rows", interval(against_whole), "5 %")
    row("the other half", interval(against_half), "5 %")


def print_power(shifts: int) -> None:
    """How often a shift by half a standard deviation is found, in each column of 200 rows."""
    frame, columns = diabetes()
    whole, generator = suite_of(frame, columns, LABEL), np.random.default_rng(2)
    title(f"Power: half a standard deviation in one column of {SHIFTED_ROWS} rows ({shifts} samples a column)")
    row("column", "suite of all 442 rows", "suite of the other 242 rows", "at least")
    for column in columns:
        found: tuple[list[bool], list[bool]] = ([], [])
        for _ in range(shifts):
            order = generator.permutation(len(frame))
            sample = shifted(frame.iloc[order[:SHIFTED_ROWS]], frame, column, generator)
            rest = suite_of(frame.iloc[order[SHIFTED_ROWS:]], columns, LABEL)
            for results, suite in zip(found, (whole, rest), strict=True):
                results.append(distribution_found(sample, columns, suite, column.name))
        row(column.name, interval(found[0]), interval(found[1]), "95 %")


def distribution_found(frame: pd.DataFrame, columns: tuple[Column, ...], suite: dict[str, Any], column: str) -> bool:
    """Whether the one expectation finds it that looks at the column's distribution, at its part of the error rate."""
    wanted = ("expect_column_distribution_to_hold", column)
    one = [entry for entry in suite["expectations"] if (entry["type"], entry["kwargs"].get("column")) == wanted]
    rate = Limits().error_rate / len(columns)
    return bool(findings(frame, columns, {**suite, "expectations": one}, Limits(error_rate=rate)))


def shifted(sample: pd.DataFrame, frame: pd.DataFrame, column: Column, generator: np.random.Generator) -> pd.DataFrame:
    """The sample with the column's mean moved by half a standard deviation, whole numbers staying whole.

    A column of two categories moves by changing rows from the one to the other.
    """
    values = frame[column.name]
    half = float(values.std()) / 2
    if values.nunique() == 2:
        low, high = sorted(values.unique())
        share = half / (high - low) / float((sample[column.name] == low).mean())
        change = (sample[column.name] == low) & (generator.random(len(sample)) < share)
        return sample.assign(**{column.name: sample[column.name].mask(change, high)})
    return sample.assign(**{column.name: sample[column.name] + (round(half) if column.type == "integer" else half)})


# ---- drawn distributions, through the rules alone --------------------------------------------------------------------


def print_drawn(draws: int) -> None:
    """How often two samples of one distribution are told apart, for one column at an error probability of 5 %."""
    title(f"False alarms of the rules alone, one column at 5 %, sizes left out of account ({draws} draws)")
    row("distribution", "30, then 30", "442, then 30", "442, then 200", "30, then 5000", "5000, then 5000")
    for name, draw in distributions():
        rates = []
        for rows_then, rows_now in ((30, 30), (442, 30), (442, 200), (30, 5000), (5000, 5000)):
            generator = np.random.default_rng(3)
            times = draws if max(rows_then, rows_now) < 1000 else draws // 4
            rates.append(interval([told_apart(draw, generator, rows_then, rows_now) for _ in range(times)]))
        row(name, *rates)


def distributions() -> Iterator[tuple[str, Callable[[np.random.Generator, int], np.ndarray[Any, Any]]]]:
    """Friendly and unfriendly ones."""
    shares = 1 / np.arange(1, 201)
    yield "normal", lambda generator, rows: generator.normal(size=rows)
    yield "lognormal", lambda generator, rows: generator.lognormal(size=rows)
    yield "Student, 3 degrees", lambda generator, rows: generator.standard_t(3, size=rows)
    yield "counts, mean 0.3", lambda generator, rows: generator.poisson(0.3, size=rows).astype(float)
    yield "two categories", lambda generator, rows: generator.choice(["a", "b"], p=[0.9, 0.1], size=rows)
    yield (
        "200 categories",
        lambda generator, rows: generator.choice(200, p=shares / shares.sum(), size=rows).astype(str),
    )


def told_apart(
    draw: Callable[[np.random.Generator, int], np.ndarray[Any, Any]],
    generator: np.random.Generator,
    rows_then: int,
    rows_now: int,
) -> bool:
    """Whether a second sample of the same distribution gets a finding, however small."""
    then, now = draw(generator, rows_then), draw(generator, rows_now)
    shared = Shared(Limits(warn_deviations=0.0, warn_share=0.0), 1)
    if then.dtype.kind == "f":
        if then.min() == then.max():
            return False
        shifts = distribution.number_shifts(distribution.number_reference(then), now)
    else:
        reference = distribution.category_reference(*_counted(then))
        shifts = distribution.category_shifts(reference, *_counted(now))
    return distribution.judge(shifts, shared).severity != "pass"


def _counted(values: np.ndarray[Any, Any]) -> tuple[list[str], list[int]]:
    names, counts = np.unique(values, return_counts=True)
    return names.tolist(), counts.tolist()


# ---- cost ------------------------------------------------------------------------------------------------------------


def print_cost(sizes: list[int]) -> None:
    """Time and memory of one check on nine number columns and one of strings."""
    title(f"Cost: 10 columns, one of them strings ({os.cpu_count()} CPUs)")
    row("rows", "import s", "check s", "of it CPU s", "refusal s", "rows' own GB", "peak GB")
    for size in sizes:
        command = [sys.executable, __file__, "--measure", str(size)]
        cost = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        row(f"{size:,}", *(f"{cost[key]:.2f}" for key in ("import", "check", "cpu", "refused", "rows", "peak")))


def measure(rows: int) -> dict[str, float]:
    """Seconds and gigabytes for one size; the peak is the process's, imports and data included."""
    started = time.perf_counter()
    import ridgeway.data_gate.evaluation  # noqa: F401

    imported = time.perf_counter()
    generator = np.random.default_rng(0)
    frame = pd.DataFrame({f"c{number}": generator.normal(50, 10, size=rows) for number in range(9)})
    frame["town"] = pd.Series(generator.choice(["Ulm", "Bonn", "Jena", "Köln"], size=rows), dtype="str")
    columns = tuple(Column(name, "string" if name == "town" else "number") for name in frame)
    reference = frame.head(100_000)
    suite = suite_of(reference, columns, "c0")
    check_started, cpu_started = time.perf_counter(), time.process_time()
    clean = findings(frame, columns, suite)
    checked, cpu_used = time.perf_counter(), time.process_time() - cpu_started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * BYTES_PER_RSS_UNIT
    refused_started = time.perf_counter()
    found = findings(frame.assign(c1=frame["c1"] * 2.2046), columns, suite)
    refused = time.perf_counter()
    if clean or not found:
        raise SystemExit(f"the gate is wrong: {clean} on good data, {found} on a wrong unit")
    return {
        "import": imported - started,
        "check": checked - check_started,
        "cpu": cpu_used,
        "refused": refused - refused_started,
        "rows": float(frame.memory_usage(deep=True).sum()) / 1e9,
        "peak": peak / 1e9,
    }


# ---- tables ----------------------------------------------------------------------------------------------------------


def title(text: str) -> None:
    """A heading."""
    print(f"\n{text}\n", flush=True)


def row(*cells: str) -> None:
    """One line of a table."""
    print("  ".join(f"{cell:<{20 if number == 0 else 24}}" for number, cell in enumerate(cells)).rstrip(), flush=True)


def interval(hits: list[bool]) -> str:
    """A rate with its 95 % interval (Wilson 1927).

    Example:
        >>> interval([True] + [False] * 99)
        '1.0 % (0.2 to 5.4)'
    """
    count, share, z = len(hits), sum(hits) / len(hits), 1.96
    middle, scale = share + z * z / (2 * count), 1 + z * z / count
    reach = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return f"{100 * share:.1f} % ({100 * (middle - reach) / scale:.1f} to {100 * (middle + reach) / scale:.1f})"


if __name__ == "__main__":
    main()

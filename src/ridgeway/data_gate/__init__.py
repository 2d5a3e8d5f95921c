"""The door to Great Expectations: what a data set must look like (a suite), and whether it does (a report).

    suite = profile(frame, columns, name="diabetes", label="progression", key=rule)
    report = check(frame, dataset, suite, limits=Limits())
    if not report.ok: raise failure(report)

Only ``evaluation`` and ``expectations`` import Great Expectations, which takes seconds; making, reading and rebasing a
suite does not wait for it. docs/data-gate.md says what each expectation means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ridgeway.data_gate.lines import failure
from ridgeway.data_gate.suite import SuiteError, profile, read_suite, rebase, suite_digest, suite_text
from ridgeway.rules.distribution import Limits

if TYPE_CHECKING:
    import pandas as pd

    from ridgeway.artifacts import DataReport, Dataset

__all__ = ["Limits", "SuiteError", "check", "failure", "profile", "read_suite", "rebase", "suite_digest", "suite_text"]


def check(
    frame: pd.DataFrame, dataset: Dataset, suite: dict[str, Any], *, limits: Limits, ignore: tuple[str, ...] = ()
) -> DataReport:
    """What the suite says about the rows: one line per expectation, in the suite's order.

    Findings are returned, not raised: ``failure`` makes the error. Nothing is written to disk or sent anywhere.

    Args:
        frame: The rows, with columns in their declared types and without the ignored ones.
        dataset: The noun that describes them; only its handle goes into the report.
        suite: As made by ``profile``, possibly edited by hand: any Great Expectations type may be added.
        limits: Sizes from which a significant shift warns or refuses, and the error probability.
        ignore: Columns that were left out of ``frame``; expectations that name one are neither evaluated nor counted.

    Raises:
        SuiteError: The suite is empty, newer than this version, holds an expectation that does not exist, or one that
            cannot be evaluated on this data. Great Expectations itself would pass the first three.
    """
    from ridgeway.data_gate.evaluation import evaluate

    return evaluate(frame, dataset.handle, suite, limits=limits, ignore=ignore)

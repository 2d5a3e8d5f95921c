"""The promotion gate: accept, reject or hold a candidate, each with evidence, at a measured yearly error rate.

``judge`` is the whole rule as a pure function of evidence; ``decide`` is its heart, one table for one judgement or for
many. docs/promotion-gate.md explains it, benchmarks/promotion_gate.py measures it.
"""

from ridgeway.rules.promotion.decision import CODES, REASONS, Findings, decide
from ridgeway.rules.promotion.identities import SeenRows, check_identities, recent_rows
from ridgeway.rules.promotion.judgement import judge
from ridgeway.rules.promotion.losses import (
    CLASSIFICATION_LOSSES,
    HIGHER_IS_BETTER,
    LOSSES,
    LOWER_IS_BETTER,
    REGRESSION_LOSSES,
    baseline_predictions,
    metrics,
    row_losses,
    same_predictions,
)
from ridgeway.rules.promotion.paired import Paired, lower_bound, p_value_of_harm, summarise, upper_bound
from ridgeway.rules.promotion.policy import Context, Evidence, Policy

__all__ = [
    "CLASSIFICATION_LOSSES",
    "CODES",
    "HIGHER_IS_BETTER",
    "LOSSES",
    "LOWER_IS_BETTER",
    "REASONS",
    "REGRESSION_LOSSES",
    "Context",
    "Evidence",
    "Findings",
    "Paired",
    "Policy",
    "SeenRows",
    "baseline_predictions",
    "check_identities",
    "decide",
    "judge",
    "lower_bound",
    "metrics",
    "p_value_of_harm",
    "recent_rows",
    "row_losses",
    "same_predictions",
    "summarise",
    "upper_bound",
]

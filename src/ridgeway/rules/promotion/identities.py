"""Which rows a model has seen: sorted 64-bit row identities, so that no model is judged on rows it was trained on.

An identity is the hash of a row's key columns (or of its entity, then several rows share one). At ten million rows a
wrong refusal by a chance collision has a probability of about 3 in a million (n²/2⁶⁵).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ridgeway.errors import EvidenceError

Identities = NDArray[np.uint64]


@dataclass(frozen=True, slots=True, eq=False)
class SeenRows:
    """The identities of all rows of a model's Dataset, training and sealed apart, each sorted in ascending order.

    Raises:
        EvidenceError: An array that is not one-dimensional, not of 64-bit unsigned integers, or not sorted.
    """

    training: Identities
    sealed: Identities

    def __post_init__(self) -> None:
        for name, rows in (("training", self.training), ("sealed", self.sealed)):
            problem = ""
            if rows.ndim != 1 or rows.dtype != np.uint64:
                problem = f"shape {rows.shape}, type {rows.dtype}"
            elif (rows[1:] < rows[:-1]).any():
                problem = "not in ascending order"
            if problem:
                raise EvidenceError(
                    "cannot read the row identities", where=name, problem=problem, expected="sorted 64-bit integers"
                )


def recent_rows(identities: Identities, champion: SeenRows) -> NDArray[np.bool_]:
    """Which rows arrived after the champion: those in no part of its Dataset, neither training nor sealed.

    Args:
        identities: One per row, in any order.
        champion: What the champion's Dataset held.

    Returns:
        A mask of the same length. Memory and time are linear in the rows, but for a sort.

    Example:
        >>> champion = SeenRows(np.array([3, 7], dtype=np.uint64), np.array([5], dtype=np.uint64))
        >>> recent_rows(np.array([9, 5, 3, 1], dtype=np.uint64), champion)
        array([ True, False, False,  True])
    """
    order = np.argsort(identities, kind="stable")
    ordered = identities[order]
    seen = _members(ordered, champion.training) | _members(ordered, champion.sealed)
    mask = np.empty(identities.size, dtype=bool)
    mask[order] = ~seen
    return mask


def check_identities(candidate: SeenRows, champion: SeenRows | None, recent: Identities | None = None) -> None:
    """Nothing, if the judgement is sound; an error and no verdict, if a model would be judged on rows it has seen.

    Args:
        candidate: What the candidate's Dataset held; its sealed rows are those of the judgement.
        champion: The same of the champion; None where there is none.
        recent: Identities of the rows of the recent set, in any order.

    Raises:
        EvidenceError: A sealed row of either model is in a training set of either, or a recent row is in the
            champion's Dataset. The message has the number of such rows and the first of them.

    Example:
        >>> ours = SeenRows(np.array([1, 2], dtype=np.uint64), np.array([8], dtype=np.uint64))
        >>> check_identities(ours, SeenRows(np.array([1], dtype=np.uint64), np.array([8], dtype=np.uint64)))
    """
    models = {"candidate": candidate} if champion is None else {"candidate": candidate, "champion": champion}
    for sealed_of, sealed in models.items():
        for trained, training in models.items():
            _refuse(
                sealed.sealed[_members(sealed.sealed, training.training)],
                f"sealed rows of the {sealed_of} are training rows of the {trained}",
            )
    if champion is not None and recent is not None:
        _refuse(recent[~recent_rows(recent, champion)], "recent rows are in the champion's data")


def _members(ordered: Identities, among: Identities) -> NDArray[np.bool_]:
    """Which of ``ordered`` (ascending) occur in ``among`` (ascending).

    A binary search with ascending needles stays in the processor's cache; ``np.isin`` would sort both arrays again.
    """
    if not among.size:
        return np.zeros(ordered.size, dtype=bool)
    places = np.searchsorted(among, ordered)
    places[places == among.size] = 0
    found: NDArray[np.bool_] = among[places] == ordered
    return found


def _refuse(rows: Identities, what: str) -> None:
    if rows.size:
        raise EvidenceError(
            "no verdict: the evidence is not sound",
            problem=f"{rows.size} {what}; the first has the identity {int(rows[0]):016x}",
            expected="rows that neither model was trained on",
            next_step="train the candidate again under the champion's key columns and holdout share",
        )

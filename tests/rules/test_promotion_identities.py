"""Row identities: no verdict on rows that a model has seen, and ten million rows in seconds."""

import time
import tracemalloc

import numpy as np
import pytest

from ridgeway.errors import EvidenceError
from ridgeway.rules.promotion import SeenRows, check_identities, recent_rows


def ids(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint64)


CHAMPION = SeenRows(ids(1, 2, 3), ids(10, 11))
CANDIDATE = SeenRows(ids(1, 2, 3, 4), ids(10, 11, 12))


def test_recent_rows_are_in_no_part_of_the_champions_data() -> None:
    rows = ids(12, 3, 10, 4, 2**64 - 1, 0, 4)
    assert recent_rows(rows, CHAMPION).tolist() == [True, False, False, True, True, True, True]
    assert recent_rows(ids(), CHAMPION).tolist() == []
    assert recent_rows(rows, SeenRows(ids(), ids())).all()


def test_sound_evidence_passes() -> None:
    check_identities(CANDIDATE, CHAMPION, ids(4, 12))
    check_identities(CANDIDATE, CHAMPION)
    check_identities(CANDIDATE, None)
    check_identities(CANDIDATE, SeenRows(ids(), ids()), CANDIDATE.training)
    # Rows of one entity share their identity.
    check_identities(SeenRows(ids(1, 1, 2), ids(10, 10)), CHAMPION, ids(12, 12))


@pytest.mark.parametrize(
    ("candidate", "champion", "problem"),
    [
        (SeenRows(ids(1, 10), ids(10)), None, "1 sealed rows of the candidate are training rows of the candidate"),
        (CANDIDATE, SeenRows(ids(10, 12), ids(11)), "2 sealed rows of the candidate are training rows of the champion"),
        (SeenRows(ids(1, 11), ids(12)), CHAMPION, "1 sealed rows of the champion are training rows of the candidate"),
        (SeenRows(ids(1), ids(12)), SeenRows(ids(3), ids(3)), "of the champion are training rows of the champion"),
    ],
)
def test_a_sealed_row_in_a_training_set_is_an_error(candidate: SeenRows, champion: SeenRows, problem: str) -> None:
    with pytest.raises(EvidenceError, match=problem):
        check_identities(candidate, champion)


@pytest.mark.parametrize("row", [1, 10])
def test_a_recent_row_in_the_champions_data_is_an_error(row: int) -> None:
    with pytest.raises(EvidenceError, match=f"1 recent rows are in the champion's data[^\n]*{row:016x}"):
        check_identities(CANDIDATE, CHAMPION, ids(12, row))


@pytest.mark.parametrize(
    "rows", [ids(2, 1), np.array([1, 2]), np.array([1.0]), ids(1, 2).reshape(2, 1)], ids=["order", "int", "float", "2d"]
)
def test_identities_that_are_not_sorted_64_bit_integers_are_refused(rows: np.ndarray) -> None:
    with pytest.raises(EvidenceError, match="training"):
        SeenRows(rows, ids())
    with pytest.raises(EvidenceError, match="sealed"):
        SeenRows(ids(), rows)


def measure(rows: int) -> tuple[float, float]:
    """Seconds for a whole check of so many rows, and the peak of its memory as a multiple of the identities' own."""
    identities = np.random.default_rng(0).permutation(np.arange(rows, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    old = np.sort(identities[: rows // 2])
    candidate, champion = (SeenRows(part[part % 5 != 0], part[part % 5 == 0]) for part in (np.sort(identities), old))
    tracemalloc.start()
    started = time.perf_counter()
    mask = recent_rows(identities, champion)
    check_identities(candidate, champion, identities[mask])
    seconds = time.perf_counter() - started
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert mask.sum() == rows - rows // 2
    assert mask[rows // 2 :].all()
    return seconds, peak / identities.nbytes


def test_a_million_rows_take_a_moment_and_linear_memory() -> None:
    seconds, memory = measure(1_000_000)
    assert seconds < 5
    assert memory < 6


@pytest.mark.slow
def test_ten_million_rows_take_seconds_and_linear_memory() -> None:
    seconds, memory = measure(10_000_000)
    assert seconds < 40
    assert memory < 6

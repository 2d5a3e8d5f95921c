"""What a row is: its identity by content, whether it is sealed, and the digest of a set of rows.

A row's identity is a 64-bit hash of its key columns, canonical by declared type, so that a CSV and a Parquet file with
the same values agree. The hash is our own few lines over numpy because it has to stay the same for ever: a library that
changed its mixing would move rows between training and holdout. The mixing function is the finaliser of SplitMix64
(Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", section 3); strings enter by BLAKE2b.
With 1e7 rows the chance that any two different rows share an identity is below 3e-6 (birthday bound, n²/2⁶⁵).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ridgeway.artifacts import Column, KeyRule

Words = npt.NDArray[np.uint64]

_MISSING = np.uint64(0x6D697373696E6721)
_SEALED_SALT = np.uint64(0x7365616C65640566)
"""Any number would do, as long as it never changes: it decides which rows are sealed. With this one the worked example
has 88 of its 442 rows sealed, and its two models differ on them as clearly as they do on the whole."""
_FOLD_SALT = np.uint64(0x666F6C6473000001)
_EXACT = 2**53
"""Whole numbers up to here are the same as float64 and as int64, so both formats hash alike."""


def identities(frame: pd.DataFrame, columns: Sequence[Column]) -> Words:
    """One 64-bit identity per row, from the named columns; equal exactly (up to collisions) for equal values.

    Args:
        frame: Rows with the declared types; more columns than the named ones do no harm.
        columns: What the identity is made of; their order does not matter.

    Returns:
        Array of shape (rows,), in the order of the frame.

    Example:
        >>> csv, parquet = pd.DataFrame({"a": [1, 0]}), pd.DataFrame({"a": [1.0, -0.0]})
        >>> same = [Column("a", "number")]
        >>> bool((identities(csv, same) == identities(parquet, same)).all())
        True
    """
    state = np.zeros(len(frame), dtype=np.uint64)
    for column in sorted(columns, key=lambda column: column.name):
        word = canonical_words(frame[column.name], column) + _seed(column.name)
        state = _mix(state * np.uint64(0x9E3779B97F4A7C15) ^ _mix(word))
    return state


def sealed(row_identities: Words, holdout: float) -> npt.NDArray[np.bool_]:
    """Which rows belong to the holdout, for ever: about the share ``holdout`` of all possible identities.

    Example:
        >>> bool(sealed(np.arange(100_000, dtype=np.uint64), 0.2).mean().round(2) == 0.2)
        True
    """
    share = (_mix(row_identities ^ _SEALED_SALT) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    result: npt.NDArray[np.bool_] = share < holdout
    return result


def fold_numbers(row_identities: Words, folds: int) -> npt.NDArray[np.int64]:
    """The out-of-fold fold of each row, 0 to ``folds - 1``; rows of one identity (one entity) share a fold."""
    return (_mix(row_identities ^ _FOLD_SALT) % np.uint64(folds)).astype(np.int64)


def canonical_order(frame: pd.DataFrame, columns: Sequence[Column]) -> npt.NDArray[np.int64]:
    """The order in which rows are digested and trained on: by identity over all columns, not by the file."""
    return np.argsort(identities(frame, columns), kind="stable")


def dataset_digest(frame: pd.DataFrame, columns: Sequence[Column]) -> str:
    """``sha256:…`` over names, declared types and values; no order of rows or columns and no file format changes it.

    Rows are brought into canonical order first, so the digest itself is a plain SHA-256 over column after column.
    """
    ordered = sorted(columns, key=lambda column: column.name)
    order = canonical_order(frame, ordered)
    digest = hashlib.sha256(json.dumps([[column.name, column.type] for column in ordered]).encode())
    digest.update(str(len(frame)).encode())
    for column in ordered:
        digest.update(np.ascontiguousarray(canonical_words(frame[column.name], column)[order]).data)
        if column.type == "string":
            digest.update(_string_table(frame[column.name]))
    return f"sha256:{digest.hexdigest()}"


def identities_digest(sorted_identities: Words) -> str:
    """Sixteen hex digits that name a set of rows, such as today's sealed ones."""
    return hashlib.sha256(np.ascontiguousarray(sorted_identities).data).hexdigest()[:16]


def key_rule(columns: Sequence[Column], *, entity: str, holdout: float) -> KeyRule:
    """The key rule that today's settings and the suite's key columns make.

    With an entity, rows are sealed by it alone, so that one patient's rows stay together.
    """
    chosen = [column for column in columns if column.name == entity] if entity else list(columns)
    return KeyRule(tuple(sorted(chosen, key=lambda column: column.name)), entity, holdout)


def canonical_words(values: pd.Series[Any], column: Column) -> Words:
    """One 64-bit word per value of the declared type, whatever it is kept as; −0 is 0, a missing value is one word.

    It hangs on the declared type and the value alone: a column that is kept otherwise because one value is missing
    (booleans among objects, whole numbers among floats) gives the same words for all others.
    """
    if column.type == "string":
        return _string_words(values)
    if column.type == "datetime":
        return _time_words(values)
    if pd.api.types.is_integer_dtype(values.dtype):
        return _integer_words(values)
    is_number = pd.api.types.is_numeric_dtype(values.dtype)
    numbers = values if is_number else pd.to_numeric(values, errors="coerce")  # booleans among objects, beside a gap
    floats = numbers.to_numpy(dtype=np.float64, na_value=np.nan) + 0.0
    return np.where(np.isnan(floats), _MISSING, floats.view(np.uint64))


def _time_words(values: pd.Series[Any]) -> Words:
    stamps = values.dt.tz_convert("UTC").dt.tz_localize(None) if values.dt.tz is not None else values
    return np.where(values.isna(), _MISSING, stamps.to_numpy("datetime64[ns]").view(np.uint64))


def _integer_words(values: pd.Series[Any]) -> Words:
    missing = values.isna().to_numpy()
    whole = values.fillna(0).to_numpy(dtype=np.int64)
    # Beyond what a float holds exactly, neighbours must stay apart; up to there a float column has the same words.
    large = (whole > _EXACT) | (whole < -_EXACT)
    words = np.where(large, _mix(whole.view(np.uint64)), (whole.astype(np.float64) + 0.0).view(np.uint64))
    return np.where(missing, _MISSING, words)


def _string_words(values: pd.Series[Any]) -> Words:
    codes, texts = pd.factorize(values, use_na_sentinel=True)
    table = np.empty(len(texts) + 1, dtype=np.uint64)
    table[-1] = _MISSING  # code -1
    for index, text in enumerate(texts):
        table[index] = _text_word(_text(text))
    result: Words = table[codes]
    return result


def _string_table(values: pd.Series[Any]) -> bytes:
    """Every distinct text, so that the digest rests on SHA-256 over the texts and not on their 64-bit words."""
    return json.dumps(sorted({_text(text) for text in values.dropna().unique()})).encode()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value)


def _text_word(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _seed(name: str) -> np.uint64:
    return np.uint64(_text_word(name))


def _mix(words: Words) -> Words:
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    result: Words = words ^ (words >> np.uint64(31))
    return result

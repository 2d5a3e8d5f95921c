"""Reads a table from a CSV file, a Parquet file or a folder of Parquet, and brings it to its declared types.

Both formats are read by Arrow, so that missing values, whole numbers and texts come out alike. Everything that makes a
table unfit to be looked at any further is an error here: unreadable, cut off, wrong delimiter, doubled or missing
columns, text in a number, infinity, no rows. What the values may be is the data gate's business.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet

from ridgeway.artifacts import Column, ColumnType
from ridgeway.errors import BadData

FIRST_ROWS = 10
"""How many row numbers and values a message names before it says how many more there are."""
BLOCK_BYTES = 16 << 20
"""Arrow reads a CSV file in blocks of this size, side by side, and infers types from the first."""
NUMBER_LIKE = 0.9
"""A text column of which at least this share reads as numbers is taken for a number column with errors in it."""
MEND = "mend the data, then run the same command again"
"""What to do where only the data can be at fault."""


def read_table(source: Path, types: Mapping[str, ColumnType]) -> pd.DataFrame:
    """The rows of ``source`` in the order of the file, with Arrow's inferred types.

    Args:
        source: A ``.csv`` file (UTF-8, comma), a ``.parquet`` file, or a folder of ``.parquet`` files (by name).
        types: Declared types; columns declared ``string`` are read as text, so that ``007`` stays ``007``.

    Raises:
        BadData: The file is missing, unreadable, cut off, empty, not UTF-8, ragged, or has a column twice.
    """
    if not source.exists():
        raise BadData(
            f"load_data: cannot read {source}",
            problem="there is no such file",
            expected="a .csv file, a .parquet file, or a folder of .parquet files",
            next_step="ridgeway settings data.source",
        )
    try:
        is_text = source.suffix.lower() in {".csv", ".tsv", ".txt"} and not source.is_dir()
        table = _read_csv(source, types) if is_text else _read_parquet(source)
    except (pa.ArrowInvalid, OSError, UnicodeDecodeError) as error:
        raise _unreadable(source, error) from error
    _refuse_doubled(source, table.column_names)
    if table.num_rows == 0:
        raise BadData(
            f"load_data: {source} has no rows",
            problem=f"a header with {table.num_columns} columns and nothing below it"
            if table.num_columns
            else "it is empty",
            expected="one row per observation",
            next_step=MEND,
        )
    try:
        return _to_frame(source, table)
    except pa.ArrowInvalid as error:
        raise _unreadable(source, error) from error


def conform(frame: pd.DataFrame, columns: Sequence[Column], *, source: str) -> pd.DataFrame:
    """The frame with every declared column brought to its type; columns that are not declared stay as they are.

    ``number`` becomes float64, ``integer`` int64 (float64 where values are missing or not whole: the gate reports
    that), ``boolean`` bool, ``datetime`` datetime64[ns, UTC-naive], ``string`` text. Row order and numbers stay.

    Raises:
        BadData: A number that does not parse, or an infinity; names the column, the values and their rows.
    """
    converted = {
        column.name: _CONVERSIONS[column.type](frame[column.name], source)
        for column in columns
        if column.name in frame.columns
    }
    return frame.assign(**converted)


def infer_columns(frame: pd.DataFrame, *, source: str, types: Mapping[str, ColumnType]) -> tuple[Column, ...]:
    """The columns with their types as found, ``types`` over them: what a first profile declares.

    Raises:
        BadData: A text column that is nearly all numbers: the rest are taken for typing errors, not for categories.
    """
    return tuple(Column(str(name), types.get(str(name)) or _inferred(frame[name], source)) for name in frame.columns)


def require_label(frame: pd.DataFrame, label: str, *, source: str) -> None:
    """Nothing, if the label column is there and has a value in every row.

    Raises:
        BadData: It is missing, or some of its values are.
    """
    if label not in frame.columns:
        raise BadData(
            f"load_data: {source} has no label column",
            where=f'data.label = "{label}"',
            problem=f"columns found: {_some(list(map(str, frame.columns)))}{_delimiter_hint(frame)}",
            expected=f"a column {label!r}",
            next_step="ridgeway settings data.label",
        )
    missing = np.flatnonzero(frame[label].isna().to_numpy())
    if len(missing):
        raise BadData(
            f"load_data: {source}: the label is missing in {len(missing)} of {len(frame)} rows",
            where=f"column {label!r}, {rows_text(missing)}",
            expected="a label in every row",
            next_step=MEND,
        )


def rows_text(positions: Sequence[int] | np.ndarray[Any, Any]) -> str:
    """Row numbers as a person counts them, from 1 after the header: ``rows 3, 17 and 40 more``."""
    numbers = [str(int(position) + 1) for position in positions]
    return ("row " if len(numbers) == 1 else "rows ") + _some(numbers)


def _some(items: Sequence[str]) -> str:
    rest = len(items) - FIRST_ROWS
    return ", ".join(items[:FIRST_ROWS]) + (f" and {rest} more" if rest > 0 else "")


# ---- CSV -------------------------------------------------------------------------------------------------------------


def _read_csv(source: Path, types: Mapping[str, ColumnType]) -> pa.Table:
    if source.stat().st_size == 0:
        raise pa.ArrowInvalid("the file is empty")
    text = {name: pa.string() for name, kind in types.items() if kind == "string"}
    try:
        return _csv_table(source, text, block_bytes=BLOCK_BYTES)
    except pa.ArrowInvalid as error:
        if "conversion error" not in str(error):
            raise
        # Types are inferred from the first block: with the whole file as one block a late text makes a text column,
        # which conform() then reports row by row.
        return _csv_table(source, text, block_bytes=min(source.stat().st_size + 1, 2**31 - 1))


def _with_texts(source: Path, table: pa.Table, declared: Collection[str], *, block_bytes: int) -> pa.Table:
    """The table with its text columns read once more: only an empty text is missing there, "NA" may be Namibia."""
    names = [field.name for field in table.schema if pa.types.is_string(field.type)]
    if not names or len(set(table.column_names)) < table.num_columns:
        return table
    texts = pa.csv.read_csv(
        source,
        read_options=pa.csv.ReadOptions(block_size=block_bytes),
        parse_options=pa.csv.ParseOptions(newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(
            strings_can_be_null=True,
            null_values=[""],
            include_columns=names,
            column_types=dict.fromkeys(names, pa.string()),
        ),
    )
    for name in names:
        # Not where most of it reads as numbers: those are numbers with errors in them, and NA means missing there.
        if name in declared or not _number_like(table[name]):
            table = table.set_column(table.column_names.index(name), name, texts[name])
    return table


def _number_like(column: pa.ChunkedArray) -> bool:
    present = column.drop_null().to_pandas()
    return bool(len(present)) and bool(pd.to_numeric(present, errors="coerce").notna().mean() >= NUMBER_LIKE)


def _csv_table(source: Path, text: Mapping[str, pa.DataType], *, block_bytes: int) -> pa.Table:
    ragged: list[tuple[int | None, int, int]] = []

    def note(row: Any) -> str:
        ragged.append((row.number, row.actual_columns, row.expected_columns))
        return "skip"

    def read(*, threads: bool) -> pa.Table:
        return pa.csv.read_csv(
            source,
            read_options=pa.csv.ReadOptions(block_size=block_bytes, use_threads=threads),
            parse_options=pa.csv.ParseOptions(invalid_row_handler=note, newlines_in_values=True),
            convert_options=pa.csv.ConvertOptions(strings_can_be_null=True, column_types=dict(text)),
        )

    table = read(threads=True)
    if any(pa.types.is_binary(field.type) for field in table.schema if field.name):  # how Arrow reads what is no text
        raise pa.ArrowInvalid("invalid UTF8 data")
    if ragged:
        ragged.clear()
        read(threads=False)  # row numbers are only known to a single thread
        number, actual, expected = ragged[0]
        row = f"row {number - 1}" if number else "a row"  # Arrow counts the header as row 1
        more = f" (and {len(ragged) - 1} more rows like it)" if len(ragged) > 1 else ""
        raise pa.ArrowInvalid(f"{row} has {actual} values where the header has {expected}{more}")
    return _with_texts(source, table, text, block_bytes=block_bytes)


# ---- Parquet ---------------------------------------------------------------------------------------------------------


def _read_parquet(source: Path) -> pa.Table:
    files = sorted(source.glob("**/*.parquet")) if source.is_dir() else [source]
    if not files:
        raise pa.ArrowInvalid("the folder holds no .parquet file")
    tables = [_parquet_table(file) for file in files]
    try:
        return tables[0] if len(tables) == 1 else pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowTypeError as error:
        raise pa.ArrowInvalid(f"the {len(files)} files do not agree: {error}") from error


def _parquet_table(file: Path) -> pa.Table:
    if file.stat().st_size == 0:
        raise pa.ArrowInvalid(f"{file.name} is empty")
    try:
        table = pa.parquet.ParquetFile(file).read()
        # Pandas writes the row labels of a filtered or shuffled frame as a column of this name; they are no data.
        return table.drop_columns([name for name in table.column_names if re.fullmatch(r"__index_level_\d+__", name)])
    except PermissionError:
        raise
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).splitlines()[0]
        raise pa.ArrowInvalid(
            f"{file.name} is not a whole Parquet file ({reason}): was it cut off while it was written?"
        ) from error


# ---- both ------------------------------------------------------------------------------------------------------------


def _to_frame(source: Path, table: pa.Table) -> pd.DataFrame:
    plain = []
    for field, column in zip(table.schema, table.columns, strict=True):
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        if pa.types.is_decimal(kind):
            kind = pa.float64()
        elif pa.types.is_date(kind):
            kind = pa.timestamp("us")
        elif pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            raise BadData(
                f"load_data: {source}: column {field.name!r} is of type {field.type}",
                expected="numbers, texts, booleans or times, one value in each row",
                next_step="unpack it in steps/load_data.py, or leave it out of the file",
            )
        elif pa.types.is_time(kind) or pa.types.is_null(kind):
            kind = pa.string()
        plain.append(_without_empty(column.cast(kind) if kind != field.type else column))
    typed = pa.table(plain, names=table.column_names)
    frame = typed.to_pandas()
    # A float cannot hold whole numbers beyond 2⁵³: where one is missing among them, pandas keeps them its own way.
    exact = {
        name: typed[name].to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get) for name in _large_with_gaps(typed)
    }
    return frame.assign(**exact) if exact else frame


def _without_empty(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Empty texts as missing ones: a CSV file cannot tell them apart, so a Parquet file must not."""
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return column
    return pa.compute.if_else(pa.compute.equal(column, ""), pa.scalar(None, column.type), column)


def _large_with_gaps(table: pa.Table) -> list[str]:
    found = []
    for field, column in zip(table.schema, table.columns, strict=True):
        if pa.types.is_integer(field.type) and column.null_count:
            bounds = pa.compute.min_max(column).as_py()
            if bounds["max"] is not None and max(abs(bounds["min"]), abs(bounds["max"])) > 2**53:
                found.append(field.name)
    return found


def _refuse_doubled(source: Path, names: Sequence[str]) -> None:
    doubled = [name for name, count in Counter(names).items() if count > 1]
    if doubled:
        raise BadData(
            f"load_data: {source} has a column twice",
            where=f"header, {', '.join(map(repr, doubled))}",
            expected="every column name once",
            next_step=MEND,
        )
    empty = [str(index + 1) for index, name in enumerate(names) if not str(name).strip()]
    if empty:
        raise BadData(
            f"load_data: {source} has a column without a name",
            where=f"header, column {', '.join(empty)}",
            expected="a name for every column",
            next_step=MEND,
        )


def _unreadable(source: Path, error: Exception) -> BadData:
    problem, expected = str(error).splitlines()[0], "a .csv file, a .parquet file, or a folder of .parquet files"
    if "utf8" in problem.lower() or "utf-8" in problem.lower():
        problem, expected = f"not UTF-8: {_first_bad_byte(source)}", "text encoded as UTF-8"
    elif isinstance(error, PermissionError):
        problem = "permission denied"
    elif "Empty CSV file" in problem:
        problem, expected = "a header and nothing below it", "one row per observation"
    return BadData(f"load_data: cannot read {source}", problem=problem, expected=expected, next_step=MEND)


def _first_bad_byte(source: Path) -> str:
    content = source.read_bytes()
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return f"byte 0x{content[error.start]:02x} in line {line}"
    return "a broken character"


def _delimiter_hint(frame: pd.DataFrame) -> str:
    if frame.shape[1] == 1:
        name = str(frame.columns[0])
        for sign, spelled in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
            if sign in name:
                return f"\nthe header looks separated by {spelled}: convert it, or read it in steps/load_data.py"
    return ""


def _inferred(values: pd.Series[Any], source: str) -> ColumnType:
    if pd.api.types.is_bool_dtype(values.dtype) or (values.dtype == object and _all_booleans(values)):
        return "boolean"
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return "datetime"
    if pd.api.types.is_integer_dtype(values.dtype):
        return "integer"
    if pd.api.types.is_numeric_dtype(values.dtype):
        whole = values.notna() & (values == np.floor(values))
        # Whole numbers with gaps come out of Arrow as floats.
        return "integer" if values.isna().any() and values.notna().any() and whole.equals(values.notna()) else "number"
    present = values.dropna()
    if len(present) and pd.to_numeric(present, errors="coerce").notna().mean() >= NUMBER_LIKE:
        _to_numbers(values, source)  # raises unless every one of them reads as a number
    return "string"


def _all_booleans(values: pd.Series[Any]) -> bool:
    present = values.dropna()
    return bool(len(present)) and all(isinstance(value, bool | np.bool_) for value in present)


def _to_numbers(values: pd.Series[Any], source: str) -> pd.Series[Any]:
    numbers = pd.to_numeric(values, errors="coerce").astype("float64")
    bad = np.flatnonzero((numbers.isna() & values.notna()).to_numpy())
    if len(bad):
        shown = ", ".join(repr(str(values.iloc[int(row)])) for row in bad[:3])
        raise BadData(
            f"load_data: {source}: column {values.name!r} holds text where numbers are expected",
            where=f"column {values.name!r}, {rows_text(bad)}",
            problem=f"{len(bad)} of {len(values)} values are no numbers, such as {shown}",
            expected="a number with a decimal point, or nothing",
            next_step=f"correct the rows; or, if it is text: --set data.types.{values.name}=string at `ridgeway new`,\n"
            "or at `ridgeway profile FILE --rebase --reason TEXT`",
        )
    return _finite(numbers, source)


def _finite(numbers: pd.Series[Any], source: str) -> pd.Series[Any]:
    bad = np.flatnonzero(np.isinf(numbers.to_numpy(dtype=np.float64, na_value=np.nan)))
    if len(bad):
        raise BadData(
            f"load_data: {source}: column {numbers.name!r} holds infinite numbers",
            where=f"column {numbers.name!r}, {rows_text(bad)}",
            problem=f"{len(bad)} of {len(numbers)} values are infinite",
            expected="finite numbers, or nothing where a value is missing",
            next_step=MEND,
        )
    return numbers


def _to_integers(values: pd.Series[Any], source: str) -> pd.Series[Any]:
    if pd.api.types.is_integer_dtype(values.dtype):
        return values if values.isna().any() else values.astype("int64")
    numbers = _to_numbers(values, source)
    whole = (
        not numbers.isna().any() and bool((numbers == np.floor(numbers)).all()) and bool((numbers.abs() < 2**53).all())
    )
    return numbers.astype("int64") if whole else numbers


def _to_text(values: pd.Series[Any], _source: str) -> pd.Series[Any]:
    if isinstance(values.dtype, pd.StringDtype):
        return values
    return values.map(_as_text, na_action="ignore").astype(object)


def _as_text(value: Any) -> str:
    """The text a CSV file would hold: whole numbers that became floats beside a missing value are whole again."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _to_booleans(values: pd.Series[Any], source: str) -> pd.Series[Any]:
    if pd.api.types.is_bool_dtype(values.dtype) or _all_booleans(values):
        return values
    return _to_numbers(values, source)


def _to_times(values: pd.Series[Any], source: str) -> pd.Series[Any]:
    times = pd.to_datetime(values, errors="coerce", utc=True, format="ISO8601").dt.tz_localize(None)
    # Year 9999 for "never" is common in databases; nanoseconds reach from 1677 to 2262.
    times = times.where((times > pd.Timestamp.min) & (times < pd.Timestamp.max)).astype("datetime64[ns]")
    bad = np.flatnonzero((times.isna() & values.notna()).to_numpy())
    if len(bad):
        raise BadData(
            f"load_data: {source}: column {values.name!r} holds values that are no times of 1678 to 2261",
            where=f"column {values.name!r}, {rows_text(bad)}",
            problem=f"such as {str(values.iloc[int(bad[0])])!r}",
            expected="ISO 8601, such as 2026-11-20T14:00:00Z; nothing where it is not known or never",
            next_step=MEND,
        )
    return times


_CONVERSIONS = {
    "number": _to_numbers,
    "integer": _to_integers,
    "string": _to_text,
    "boolean": _to_booleans,
    "datetime": _to_times,
}

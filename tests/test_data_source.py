"""Tables as they come: what is read, and what is refused with which words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from ridgeway import data_source
from ridgeway.artifacts import Column
from ridgeway.errors import BadData
from ridgeway.rules import rows
from ridgeway.rules.rows import dataset_digest

COLUMNS = (
    Column("age", "integer"),
    Column("bmi", "number"),
    Column("city", "string"),
    Column("smoker", "boolean"),
    Column("seen", "datetime"),
)
FRAME = pd.DataFrame(
    {
        "age": [59, 48, 72],
        "bmi": [32.1, -0.0, np.nan],
        "city": ["Köln", None, "007"],
        "smoker": [True, False, True],
        "seen": pd.to_datetime(["2026-01-01", "2026-01-02T10:00:00", "2026-01-03"], format="ISO8601"),
    }
)


def read(path: Path, types: dict[str, str] | None = None) -> pd.DataFrame:
    declared = types if types is not None else {column.name: column.type for column in COLUMNS}
    return data_source.conform(
        data_source.read_table(path, declared),  # type: ignore[arg-type]
        [Column(name, kind) for name, kind in declared.items()],  # type: ignore[arg-type]
        source=path.name,
    )


def refusal(path: Path, types: dict[str, str] | None = None) -> str:
    with pytest.raises(BadData) as caught:
        read(path, types or {})
    return str(caught.value)


def test_csv_parquet_and_a_folder_of_parquet_are_the_same_data(tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "a.csv", index=False)
    FRAME.to_parquet(tmp_path / "a.parquet")
    (tmp_path / "parts").mkdir()
    FRAME.iloc[:1].to_parquet(tmp_path / "parts" / "1.parquet")
    FRAME.iloc[1:].to_parquet(tmp_path / "parts" / "2.parquet")
    digests = {dataset_digest(read(tmp_path / name), COLUMNS) for name in ("a.csv", "a.parquet", "parts")}
    assert digests == {dataset_digest(FRAME, COLUMNS)}


def test_types_are_inferred_alike_from_both_formats(tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "a.csv", index=False)
    FRAME.to_parquet(tmp_path / "a.parquet")
    for name in ("a.csv", "a.parquet"):
        frame = data_source.read_table(tmp_path / name, {})
        assert data_source.infer_columns(frame, source=name, types={}) == COLUMNS


def test_whole_numbers_with_gaps_stay_whole_numbers(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,x\n,y\n3,z\n")
    frame = data_source.read_table(tmp_path / "a.csv", {})
    assert data_source.infer_columns(frame, source="a.csv", types={})[0] == Column("a", "integer")


def test_declared_texts_keep_their_zeros(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("code,y\n007,1\n010,2\n")
    assert read(tmp_path / "a.csv", {"code": "string"})["code"].tolist() == ["007", "010"]


def test_a_late_text_in_a_long_number_column_is_named_by_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_source, "BLOCK_BYTES", 10_000)
    lines = ["a,b", *(f"{index},0.5" for index in range(30_000))]
    lines[29_000] = "oops,0.5"
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    message = refusal(tmp_path / "a.csv", {"a": "number", "b": "number"})
    assert "column 'a', row 29000" in message
    assert "'oops'" in message


CASES = {
    "missing": (None, "there is no such file"),
    "empty": (b"", "the file is empty"),
    "header only": (b"a,b\n", "has no rows"),
    "ragged": (b"a,b\n1,2\n3\n4,5\n6\n", "row 2 has 1 values where the header has 2 (and 1 more rows like it)"),
    "doubled": (b"a,b,a\n1,2,3\n", "has a column twice"),
    "nameless": (b"a,,b\n1,2,3\n", "has a column without a name"),
    "latin": ("a,b\n1,x\n2,Köln\n".encode("latin-1"), "byte 0xf6 in line 3"),
    "latin header": ("ä,b\n1,x\n".encode("latin-1"), "byte 0xe4 in line 1"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_read_says_why(tmp_path: Path, case: str) -> None:
    content, expected = CASES[case]
    path = tmp_path / "a.csv"
    if content is not None:
        path.write_bytes(content)
    message = refusal(path)
    assert expected in message
    assert "a.csv" in message


@pytest.mark.parametrize(("sign", "spelled"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_another_delimiter_is_recognised(sign: str, spelled: str) -> None:
    frame = pd.DataFrame({f"age{sign}bmi": ["1"]})
    with pytest.raises(BadData, match=f"separated by {spelled}"):
        data_source.require_label(frame, "bmi", source="a.csv")


def test_a_parquet_file_cut_off_in_the_middle(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    FRAME.to_parquet(path)
    path.write_bytes(path.read_bytes()[:-200])
    assert "not a whole Parquet file" in refusal(path)


def test_one_broken_part_of_a_folder_is_named(tmp_path: Path) -> None:
    FRAME.to_parquet(tmp_path / "1.parquet")
    (tmp_path / "2.parquet").write_bytes(b"PAR1 nothing PAR1")
    assert "2.parquet" in refusal(tmp_path)


@pytest.mark.parametrize("text", ["inf", "-inf", "1e999"])
def test_infinity_is_refused_with_its_row(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_text(f"a,b\n1,2\n{text},3\n")
    message = refusal(tmp_path / "a.csv", {"a": "number"})
    assert "column 'a', row 2" in message


def test_text_in_a_number_column_is_found_without_a_suite_too(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a\n" + "1\n" * 30 + "1,5\n".replace(",", ";") + "2\n")
    frame = data_source.read_table(tmp_path / "a.csv", {})
    with pytest.raises(BadData, match=r"row 31") as caught:
        data_source.infer_columns(frame, source="a.csv", types={})
    assert "data.types.a" in str(caught.value)


def test_lists_in_a_column_are_refused(tmp_path: Path) -> None:
    pd.DataFrame({"a": [[1, 2], [3]]}).to_parquet(tmp_path / "a.parquet")
    assert "column 'a' is of type list" in refusal(tmp_path / "a.parquet")


def test_a_missing_label_value_is_named() -> None:
    with pytest.raises(BadData, match="missing in 1 of 2 rows") as caught:
        data_source.require_label(pd.DataFrame({"y": [1.0, np.nan]}), "y", source="a.csv")
    assert "row 2" in str(caught.value)


def test_many_rows_are_counted_and_not_all_listed() -> None:
    assert data_source.rows_text(range(15)) == "rows 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 5 more"


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfa,b\n1,2\n")
    assert list(data_source.read_table(tmp_path / "a.csv", {}).columns) == ["a", "b"]


GAPPY = {
    "boolean": [True, False, True, None],
    "integer": [1, 0, 7, None],
    "large integer": [2**60 + 1, 2**60 + 2, 2**60 + 3, None],
    "number": [1.5, -0.0, 2.0, None],
    "string": ["NA", "null", "007", None],
    "whole string": ["1001", "1002", "1003", None],
    "datetime": [*pd.to_datetime(["2026-01-01", "2026-01-02", "2026-01-03"]), None],
}


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize("case", GAPPY)
def test_one_missing_value_changes_no_other_row(tmp_path: Path, case: str, form: str) -> None:
    kind = case.rpartition(" ")[2]
    column = Column("a", kind)  # type: ignore[arg-type]

    def identities(values: list[object], name: str) -> list[int]:
        table = pa.table({"a": pa.array(values), "b": [0.5] * len(values)})
        path = tmp_path / f"{name}.{form}"
        if form == "csv":
            pa.csv.write_csv(table, path)
        else:
            pa.parquet.write_table(table, path)
        return rows.identities(read(path, {"a": kind, "b": "number"}), [column]).tolist()

    with_gap, without = identities(GAPPY[case], "gap"), identities(GAPPY[case][:-1], "whole")
    assert with_gap[:-1] == without
    assert len(set(with_gap)) == len(set(GAPPY[case]))


@pytest.mark.parametrize("case", GAPPY)
def test_a_gap_is_the_same_in_both_formats(tmp_path: Path, case: str) -> None:
    kind = case.rpartition(" ")[2]
    table = pa.table({"a": pa.array(GAPPY[case]), "b": [0.5] * 4})
    pa.csv.write_csv(table, tmp_path / "a.csv")
    pa.parquet.write_table(table, tmp_path / "a.parquet")
    declared = {"a": kind, "b": "number"}
    columns = [Column(name, type_) for name, type_ in declared.items()]  # type: ignore[arg-type]
    assert len({dataset_digest(read(tmp_path / name, declared), columns) for name in ("a.csv", "a.parquet")}) == 1


def test_texts_over_whole_numbers_in_parquet_stay_whole(tmp_path: Path) -> None:
    pd.DataFrame({"zip": [1001.0, None, 1003.0]}).to_parquet(tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet", {"zip": "string"})["zip"].tolist()[::2] == ["1001", "1003"]

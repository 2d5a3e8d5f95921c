"""A setting that names what is not there, or says what goes unheard, is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from ridgeway.actions import agreement
from ridgeway.errors import UsageError
from ridgeway.project import Project, open_project

SUITE = {"meta": {"ridgeway": {"columns": [{"name": "zip", "type": "number"}, {"name": "age", "type": "integer"}]}}}


def project(root: Path, types: str) -> Project:
    (root / "ridgeway.toml").write_text(f"[data]\ntypes = {types}\n", encoding="utf-8")
    return open_project(root)


@pytest.mark.parametrize("types", ["{}", '{ zip = "number" }', '{ age = "integer", zip = "number" }'])
def test_types_that_the_suite_declares_too(tmp_path: Path, types: str) -> None:
    agreement.refuse_differing_types(project(tmp_path, types), SUITE)


def test_a_type_that_the_suite_does_not_declare(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        agreement.refuse_differing_types(project(tmp_path, '{ zip = "string" }'), SUITE)
    assert str(caught.value) == (
        "data.types and the expectation suite disagree on 'zip'\n"
        '  where     data.types.zip = "string"   (from ridgeway.toml)\n'
        "  problem   data/suite.json declares it as number\n"
        "  expected  the type that the suite declares, by which its expectations were made and rows are compared\n"
        "  next      take the setting back; or make the suite anew with it: "
        "ridgeway profile FILE --rebase --reason TEXT"
    )


def test_a_type_for_a_column_that_is_not_declared(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"did you mean zip\?"):
        agreement.refuse_differing_types(project(tmp_path, '{ zpi = "string" }'), SUITE)
    with pytest.raises(UsageError, match="declares no such column"):
        agreement.refuse_differing_types(project(tmp_path, '{ weight = "number" }'), SUITE)


def test_a_misspelt_column_to_ignore() -> None:
    agreement.refuse_unknown_ignored([], {"patient"})
    with pytest.raises(UsageError, match=r"names 'patent', which is no column\n(.*\n)*.*did you mean patient\?"):
        agreement.refuse_unknown_ignored(["age", "patent"], {"patient", "age"})
    with pytest.raises(UsageError) as caught:
        agreement.refuse_unknown_ignored(["weight"], {"age"})
    assert "did you mean" not in str(caught.value)

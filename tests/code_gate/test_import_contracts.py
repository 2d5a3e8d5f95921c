"""import-linter, for real, on the smallest of projects."""

from __future__ import annotations

import pytest

from ridgeway.code_gate import Place, look
from ridgeway.errors import UsageError
from tests.code_gate.conftest import Writes

CONTRACTS = """
[tool.importlinter]
root_packages = ["flows", "steps"]

[[tool.importlinter.contracts]]
name = "Flows call steps, and nothing points back up, which takes more than eighty columns to say"
type = "layers"
layers = ["flows", "steps"]

[[tool.importlinter.contracts]]
name = "Steps do without json"
type = "forbidden"
source_modules = ["steps"]
forbidden_modules = ["flows.a"]
"""


@pytest.fixture(autouse=True)
def packages(write: Writes) -> None:
    write("pyproject.toml", CONTRACTS)
    for name in ("flows/__init__.py", "steps/__init__.py", "flows/a.py"):
        write(name, "")


def test_contracts_that_are_kept(place: Place, write: Writes) -> None:
    write("flows/b.py", "import steps.a\n")
    write("steps/a.py", "")
    report = look("contracts", place)
    assert (report.outcome, report.sentence) == ("passed", "2 contracts kept")


def test_each_import_that_breaks_one_is_a_finding_at_its_line(place: Place, write: Writes) -> None:
    write("steps/a.py", "import json\n\nimport flows.a\n")
    report = look("contracts", place)
    name = "Flows call steps, and nothing points back up, which takes more than eighty columns to say"
    assert [(one.place, one.rule, one.message) for one in report.findings] == [
        ("steps/a.py:3", "contract", f"imports flows.a: {name}"),
        ("steps/a.py:3", "contract", "imports flows.a: Steps do without json"),
    ]


def test_a_file_that_does_not_parse_is_named(place: Place, write: Writes) -> None:
    write("steps/a.py", "x = 1\ndef (:\n")
    (one,) = look("contracts", place).findings
    assert (one.place, one.rule) == ("steps/a.py:2", "syntax")


def test_a_broken_contract_without_an_import_is_told_whole(place: Place, write: Writes) -> None:
    whole = (
        'name = "All of it has a place"\ntype = "layers"\nlayers = ["a"]\ncontainers = ["flows"]\nexhaustive = true\n'
    )
    write("pyproject.toml", CONTRACTS.partition("[[tool")[0] + "[[tool.importlinter.contracts]]\n" + whole)
    write("flows/b.py", "")
    (one,) = look("contracts", place).findings
    assert (one.place, one.rule) == ("", "contract")
    assert one.message.startswith("All of it has a place: ")
    assert "flows.b" in one.message


def test_a_project_without_contracts_is_told_so(place: Place, write: Writes) -> None:
    write("pyproject.toml", "[project]\n")
    with pytest.raises(UsageError, match="contracts: the project has none"):
        look("contracts", place)

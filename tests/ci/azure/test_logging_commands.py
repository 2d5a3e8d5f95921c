"""Logging commands as scripts print them."""

from __future__ import annotations

import pytest

from ridgeway.ci.azure.logging_commands import change, command
from ridgeway.ci.azure.running import Change


@pytest.mark.parametrize("line", ["plain", "##[group]x", "##vso[task]", "# ##vso task.setvariable", ""])
def test_other_lines_are_none(line: str) -> None:
    assert command(line) is None


def test_names_and_properties_in_any_letter_case() -> None:
    found = command("##vso[Task.SetVariable Variable=Sauce;ISOUTPUT=True;isSecret=false]crushed; tomatoes]\n")
    assert found is not None
    assert change(found) == Change("Sauce", "crushed; tomatoes]", output=True)


def test_escapes() -> None:
    found = command("##vso[task.setvariable variable=a%3Bb%5D]100%AZP25%0D%0Aend")
    assert found is not None
    assert change(found) == Change("a;b]", "100%\r\nend")


def test_other_commands_set_nothing() -> None:
    for line in ("##vso[task.complete result=Failed;]done", "##vso[task.setvariable]x", "##vso[task.setvariable ;]x"):
        found = command(line)
        assert found is not None
        assert change(found) is None

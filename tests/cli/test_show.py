from __future__ import annotations

from pathlib import Path

import pytest

from ridgeway.artifacts import parse_handle
from tests.cli.conftest import Command


def test_help(ridgeway: Command) -> None:
    code, out, err = ridgeway("show", "--help")
    assert (code, err) == (0, "")
    assert "ridgeway show models:/diabetes@challenger" in out
    assert "--plan" not in out


@pytest.mark.parametrize("kind", ["models", "releases"])
def test_a_number_that_no_registry_counts_to(project: Path, kind: str, ridgeway: Command) -> None:
    handle = f"{kind}:/churn/99999999999999999999"
    assert ridgeway("show", handle) == (
        2,
        "",
        f"error: there is no {handle}\n  problem   a number of more than 9 digits\n  next      ridgeway list models\n",
    )
    assert parse_handle(f"{kind}:/churn/999999999").which == "999999999"


def test_what_is_not_here(project: Path, ridgeway: Command) -> None:
    for handle in ("data://churn@sha256:0123456789ab", "releases:/churn/1"):
        code, out, err = ridgeway("show", handle)
        assert (code, out) == (2, "")
        assert handle in err.splitlines()[0]


def test_what_is_no_handle(project: Path, ridgeway: Command) -> None:
    code, out, err = ridgeway("show", "models:/churn/0")
    assert (code, out) == (2, "")
    assert err.startswith("error: 'models:/churn/0' is not a handle\n")


@pytest.mark.parametrize("handle", ["models:/churn/1", "models:/churn@champion", "runs:/abcd"])
def test_looking_makes_no_registry(project: Path, handle: str, ridgeway: Command) -> None:
    code, out, err = ridgeway("show", handle)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert not (project / ".ridgeway" / "mlflow.db").exists()

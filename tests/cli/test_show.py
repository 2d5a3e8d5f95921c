from __future__ import annotations

import json
from pathlib import Path

import pytest

from ridgeway.artifacts import parse_handle
from tests.actions.conftest import Yard
from tests.cli.conftest import Command, deployed
from tests.cli.test_keys import Places


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


# ---- targets and releases --------------------------------------------------------------------------------------------


def test_a_target_where_nothing_runs(places: Places, ridgeway: Command) -> None:
    code, out, err = ridgeway("show", "qa")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "ABSENT  nothing runs on qa"


@pytest.mark.parametrize("columns", [60, 140])
def test_a_target_that_is_not_well(
    places: Places, columns: int, monkeypatch: pytest.MonkeyPatch, ridgeway: Command
) -> None:
    deployed(places["qa"], "qa")
    places["qa"].never_healthy["sha256:" + "1" * 64] = "ImagePullBackOff"
    monkeypatch.setenv("COLUMNS", str(columns))
    code, out, _ = ridgeway("show", "qa")
    assert (code, out.split()[0]) == (0, "UNHEALTHY")
    assert "ImagePullBackOff" in out
    assert max(map(len, out.splitlines())) <= columns
    assert "\x1b" not in out
    record = json.loads(ridgeway("show", "qa", "--json")[1])
    assert (record["state"], record["reason"], record["model"]) == ("unhealthy", "ImagePullBackOff", "models:/churn/7")
    assert places["qa"].key_pair is not None
    assert places["qa"].key_pair.primary not in out


def test_a_time_goes_with_a_target(places: Places, ridgeway: Command) -> None:
    code, out, err = ridgeway("show", "models:/churn/1", "--at", "2026-11-20")
    assert (code, out) == (2, "")
    assert err.startswith("error: --at needs a target, and models:/churn/1 is none\n")


@pytest.mark.parametrize("columns", [60, 140])
def test_a_release_that_waits(yard: Yard, columns: int, monkeypatch: pytest.MonkeyPatch, ridgeway: Command) -> None:
    yard.released()
    monkeypatch.setenv("COLUMNS", str(columns))
    code, out, _ = ridgeway("show", "releases:/diabetes/1")
    assert (code, out.startswith("WAITS FOR APPROVAL  ")) == (0, True)
    for text in ("ridgeway approve releases:/diabetes/1", "create place diabetes", "beats_mean", "probe of qa"):
        assert text in out, text
    assert max(map(len, out.splitlines())) <= columns
    assert "\x1b" not in out
    record = json.loads(ridgeway("show", "releases:/diabetes/1", "--json")[1])
    assert (record["state"], record["number"], record["steps"][0]["name"]) == ("waiting", 1, "build_image")
    assert "releases:/diabetes/1" in ridgeway("show", "qa")[1]


def test_what_served_at_a_time(yard: Yard, ridgeway: Command) -> None:
    yard.released()
    code, out, _ = ridgeway("show", "qa", "--at", "2999-01-01", "--json")
    assert (code, json.loads(out)["served"]["target"]) == (0, "qa")
    code, out, err = ridgeway("show", "production", "--at", "2999-01-01")
    assert (code, out) == (2, "")
    assert err.startswith("error: nothing served on production at 2999-01-01\n")
    assert ridgeway("show", "production", "--at", "yesterday")[0] == 2

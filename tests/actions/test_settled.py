"""A release that would change nothing is found without MLflow; whatever is not so goes the long way."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from ridgeway.actions import settled
from tests.actions.conftest import Yard

MODEL = "models:/diabetes/1"


@pytest.fixture
def released(yard: Yard) -> Yard:
    """A project whose only model is in production, without anyone having been asked."""
    yard.edit(
        "rollout = { bake_seconds = 0 }\n[approvers]", "approval = { count = 0 }\nrollout.bake_seconds = 0\n[approvers]"
    )
    assert yard.released()["outcome"] == "released"
    return yard


def test_what_it_finds_is_what_the_release_itself_finds(released: Yard) -> None:
    known = settled.find(released.project(), MODEL)
    assert known == released.releases().read(1)
    assert known == settled.find(released.project(), "models:/diabetes@champion")
    assert known == settled.find(released.project(), "models:/diabetes")
    quick, long = settled.summary(known), released.released()
    assert {**long, "run": ""} == quick


@pytest.mark.parametrize(
    "override",
    ["targets.production.replicas=2", 'release.stages=["production"]', 'image.packages=["own.whl"]'],
)
def test_another_wish_is_not_settled(override: str, released: Yard) -> None:
    overrides = [override]
    if override.startswith("image"):  # how images are made counts for containers
        overrides.append("targets.qa.kind=docker")
    assert settled.find(released.project(*overrides), MODEL) is None


def test_another_model_and_a_release_under_way_are_not_settled(released: Yard) -> None:
    assert settled.find(released.project(), "models:/diabetes/2") is None
    assert settled.find(released.project(), "models:/other/1") is None
    assert settled.find(released.project(), "models:/diabetes@nobody") is None
    record = released.releases().read(1)
    released.releases().start(dataclasses.replace(record, state="waiting"))
    assert settled.find(released.project(), MODEL) is None


def test_a_frozen_endpoint_is_not_settled(released: Yard) -> None:
    released.place().frozen = "a way back that failed"
    assert settled.find(released.project(), MODEL) is None


def test_a_record_that_cannot_be_read_goes_the_long_way(released: Yard) -> None:
    for file in (released.root / ".ridgeway" / "artifacts").rglob("release.json"):
        file.write_text("{", encoding="utf-8")
    assert settled.find(released.project(), MODEL) is None


def test_nothing_was_ever_released(yard: Yard) -> None:
    assert settled.find(yard.project(), MODEL) is None


def test_it_imports_neither_mlflow_nor_what_computes(released: Yard) -> None:
    code = """
import sys
from pathlib import Path
from ridgeway.actions import settled
from ridgeway.project import open_project
settled.find(open_project(Path.cwd()), "models:/diabetes/1")
heavy = ("mlflow", "pandas", "numpy", "sklearn", "prefect", "sqlalchemy")
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=released.root, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n", done.stderr

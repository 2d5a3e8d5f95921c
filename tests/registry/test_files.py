"""Addresses of a later server, and the folder behind them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ridgeway.registry.files import experiment_location, local_folder, served_folder

DATABASE = Path("/p/.ridgeway/mlflow.db")


@pytest.mark.parametrize(
    ("address", "folder"),
    [
        ("mlflow-artifacts:/diabetes/1/artifacts", Path("/p/.ridgeway/artifacts/diabetes/1/artifacts")),
        ("mlflow-artifacts:/0", Path("/p/.ridgeway/artifacts/0")),
        ("mlflow-artifacts:/../../etc", None),
        ("mlflow-artifacts://elsewhere:5001/diabetes", None),
        ("s3://bucket/diabetes", None),
        ("/p/mlruns/0", None),
        ("file:///p/mlruns/0", None),
    ],
)
def test_the_folder_behind_an_address(address: str, folder: Path | None) -> None:
    assert local_folder(DATABASE, address) == folder


def test_a_name_is_one_folder() -> None:
    assert experiment_location("a/b") == "mlflow-artifacts:/a%2Fb"
    assert served_folder(DATABASE) == Path("/p/.ridgeway/artifacts")

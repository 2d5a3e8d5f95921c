"""A folder for packages, servers on free ports, and one server that all tests of a file share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ridgeway_server.embedded import running
from ridgeway_server.settings import Settings
from tests.server.toys import Client, PackageMaker


@pytest.fixture
def packages(tmp_path: Path) -> PackageMaker:
    return PackageMaker(tmp_path / "models")


@pytest.fixture
def serve(packages: PackageMaker, tmp_path: Path) -> Iterator[Callable[..., Client]]:
    """Starts servers of the packages made so far with the given settings; they log to ``access.log``."""
    with ExitStack() as stack:

        def start(**settings: Any) -> Client:
            descriptor = os.open(tmp_path / "access.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            stack.callback(os.close, descriptor)
            given = {
                "port": 0,
                "drain_seconds": 0.0,
                "drain_limit_seconds": 2.0,
                "watch_seconds": 0.1,
                "access_log_sample": 1.0,
                **settings,
            }
            server = running(Settings(models=str(packages.root), **given), log_descriptor=descriptor)
            return Client(stack.enter_context(server))

        yield start


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """One server for all tests of a file that change nothing: toy (linear), sort, three, mixed and tree."""
    maker = PackageMaker(tmp_path_factory.mktemp("shared"))
    maker.linear()
    maker.logistic()
    maker.logistic("three", classes=(0, 1, 2))
    maker.mixed()
    maker.tree()
    settings = Settings(
        models=str(maker.root), port=0, default_model="toy", drain_seconds=0.0, drain_limit_seconds=1.0,
        access_log=False, max_body_mib=2.0, max_rows=5000, head_seconds=1.0, body_seconds=1.0, max_parse_mib=64,
    )  # fmt: skip
    with running(settings) as server:
        yield Client(server)

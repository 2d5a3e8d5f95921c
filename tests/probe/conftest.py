"""Endpoints to be asked: the real server with hand-made packages, and the questions that fit them."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ridgeway.artifacts import Column
from ridgeway.probe import Budget, Expected, Golden, ProbeRequest
from ridgeway_server.embedded import running
from ridgeway_server.settings import Settings
from tests.server.toys import PackageMaker

IMAGE = "sha256:" + "1" * 64
MODEL = "sha256:" + "a" * 64
KEYS = {"primary": "primary-key-of-the-toy", "secondary": "secondary-key-of-the-toy"}
PLANTED = 918273.645
"""In the golden rows; must turn up nowhere."""


def toy_golden(rows: int = 60) -> Golden:
    """What the toy of the server's tests answers: 0.5 age + 2 bmi − sex + 10."""
    cells = tuple((PLANTED + place, 20 + place / 7, place % 2) for place in range(rows))
    columns = (Column("age", "number"), Column("bmi", "number"), Column("sex", "integer"))
    return Golden(columns, cells, tuple((0.5 * age + 2 * bmi - sex + 10,) for age, bmi, sex in cells))


def question(address: str, **changes: Any) -> ProbeRequest:
    """What the toy is asked; without patience, for what is not there."""
    asked = ProbeRequest(
        "process://qa/toy", address, Expected("toy", "1", MODEL, "", f"folder/toy@{IMAGE}"), toy_golden(),
        patience_seconds=0.0, timeout_seconds=5.0,
    )  # fmt: skip
    return dataclasses.replace(asked, **changes)


@dataclass
class Endpoints:
    """Starts servers, each with the packages that ``packages`` has made so far."""

    packages: PackageMaker
    folder: Path
    stack: ExitStack
    log: Path

    def start(self, **settings: Any) -> str:
        """The address of a new server."""
        descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.stack.callback(os.close, descriptor)
        given = {"port": 0, "image": IMAGE, "drain_seconds": 0.0, "drain_limit_seconds": 1.0, "access_log_sample": 1.0}
        settings = {**given, **settings}
        if settings.pop("keys", False):
            for name, key in KEYS.items():
                (self.folder / name).write_text(key)
            settings["keys_dir"] = str(self.folder)
        server = running(Settings(models=str(self.packages.root), **settings), log_descriptor=descriptor)
        return self.stack.enter_context(server).address


def make_endpoints(folder: Path, stack: ExitStack) -> Endpoints:
    keys = folder / "keys"
    keys.mkdir()
    return Endpoints(PackageMaker(folder / "models"), keys, stack, folder / "access.log")


@pytest.fixture
def endpoints(tmp_path: Path) -> Iterator[Endpoints]:
    """Servers of the test's own."""
    with ExitStack() as stack:
        yield make_endpoints(tmp_path, stack)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoints]:
    """One server with keys for all tests of a file that change nothing; its address is ``toy.address``."""
    with ExitStack() as stack:
        made = make_endpoints(tmp_path_factory.mktemp("toy"), stack)
        made.packages.linear(lineage={"model": MODEL})
        yield made


@pytest.fixture(scope="module")
def address(toy: Endpoints) -> str:
    """Of the toy, which asks for keys."""
    return toy.start(keys=True)


@pytest.fixture
def closed_port() -> int:
    """A port that nobody listens on."""
    with contextlib.closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


Ask = Callable[..., ProbeRequest]
BUDGET = Budget(p50_ms=1000, p99_ms=5000, load_seconds=0.3)

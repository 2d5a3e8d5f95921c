"""Machines that share nothing but a tracking server: one retraining of a model at a time."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ridgeway.actions.one_at_a_time import LEASE_TAG, alone, check_free
from ridgeway.errors import Busy
from ridgeway.registry import Registry
from tests.registry.conftest import Server, open_registry


@pytest.fixture
def machines(served: tuple[Path, Server], tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Registry, Registry]:
    name = f"m{abs(hash(request.node.name)) % 10**6}"
    return open_registry(tmp_path / "a", served[1].uri, name), open_registry(tmp_path / "b", served[1].uri, name)


def over_for(registry: Registry, run_id: str, seconds: float) -> None:
    until = datetime.now(UTC) - timedelta(seconds=seconds)
    registry.tag_run(run_id, {LEASE_TAG: until.isoformat()})


def test_the_second_machine_is_refused_before_it_begins(machines: tuple[Registry, Registry]) -> None:
    first, second = machines
    run_id = first.start_run("retraining")
    with alone(first, "retraining", run_id):
        with pytest.raises(Busy, match="is already under way") as refused:
            check_free(second, "retraining")
        assert f"runs:/{run_id}" in refused.value.problem
        check_free(second, "release")
    first.end_run(run_id, "FINISHED")
    check_free(second, "retraining")


def test_of_two_that_begin_at_once_one_goes_on(machines: tuple[Registry, Registry]) -> None:
    ids = [registry.start_run("retraining") for registry in machines]
    both, done = threading.Barrier(2), []

    def begin(registry: Registry, run_id: str) -> None:
        both.wait()
        try:
            with alone(registry, "retraining", run_id):
                done.append(run_id)
                both.wait(20)  # until the other one has been refused
        except Busy:
            registry.end_run(run_id, "FAILED")
            both.wait(20)

    threads = [threading.Thread(target=begin, args=pair) for pair in zip(machines, ids, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(done) == 1


def test_a_machine_that_is_gone_holds_nobody_up_for_long(machines: tuple[Registry, Registry]) -> None:
    first, second = machines
    gone = first.start_run("retraining")
    over_for(first, gone, -60)
    with pytest.raises(Busy):
        check_free(second, "retraining")
    over_for(first, gone, 1)
    check_free(second, "retraining")
    run_id = second.start_run("retraining")
    with alone(second, "retraining", run_id):
        assert first.run(gone).status == "RUNNING"  # its clock may only be wrong
    over_for(first, gone, 4000)
    with alone(second, "retraining", run_id):
        assert first.run(gone).status == "KILLED"
    assert not [thread for thread in threading.enumerate() if thread.name == "lease"]


def test_over_a_file_of_this_machine_the_kernels_lock_is_enough(registry: Registry) -> None:
    run_id = registry.start_run("retraining")
    with alone(registry, "retraining", run_id):
        check_free(registry, "retraining")
        assert LEASE_TAG not in registry.run(run_id).tags

"""Versions that were registered lately, by whomever, as a tracking server and a file tell of them without MLflow."""

from __future__ import annotations

from pathlib import Path

import pytest

from ridgeway.errors import Unreachable
from ridgeway.registry.newest import newest
from ridgeway.rules.triggers import Mark, Registered, first_mark
from tests.registry.conftest import Server, open_registry


def test_a_server_tells_of_a_version_that_somebody_else_registered(served: tuple[Path, Server], tmp_path: Path) -> None:
    uri, name = served[1].uri, "notebook"
    client = open_registry(tmp_path, uri, name)._connection.client
    assert newest(uri, name, tmp_path, None) == ()
    client.create_registered_model(name)
    client.create_model_version(name, "s3://bucket/model")
    found = newest(uri, name, tmp_path, None)
    assert found is not None
    (version,) = found
    assert (version.number, version.is_ready) == (1, True)
    half = client.create_model_version(name, "s3://bucket/model", tags={"ridgeway.digest": "sha256:1"})
    mark = first_mark(found)
    assert newest(uri, name, tmp_path, mark) == (version, Registered(2, half.creation_timestamp, is_ready=False))
    client.set_registered_model_alias(name, "challenger", "2")
    waited_for = newest(uri, name, tmp_path, Mark(2, half.creation_timestamp, (2,)))
    assert waited_for is not None
    assert Registered(2, half.creation_timestamp) in waited_for


def test_a_server_that_does_not_answer_is_not_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(Unreachable):
        newest("http://127.0.0.1:1", "notebook", tmp_path, None)
    assert newest("sqlite:///none.db", "notebook", tmp_path, None) == ()
    (tmp_path / "broken.db").write_bytes(b"not a database")
    assert newest("sqlite:///broken.db", "notebook", tmp_path, None) is None

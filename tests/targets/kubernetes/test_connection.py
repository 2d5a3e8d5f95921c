"""Which cluster is meant, without one."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ridgeway.errors import UsageError
from ridgeway.targets.kubernetes.connection import Cluster


def kubeconfig(folder: Path, name: str, contexts: dict[str, str]) -> str:
    """A kubeconfig whose first context is the current one: context → address of the cluster."""
    found = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": next(iter(contexts)),
        "contexts": [{"name": one, "context": {"cluster": one, "user": "me"}} for one in contexts],
        "clusters": [{"name": one, "cluster": {"server": address}} for one, address in contexts.items()],
        "users": [{"name": "me", "user": {"token": "t"}}],
    }
    path = folder / name
    path.write_text(yaml.safe_dump(found), encoding="utf-8")
    return str(path)


def test_the_environment_counts_as_it_is_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = kubeconfig(tmp_path, "first", {"a": "https://a:1"})
    second = kubeconfig(tmp_path, "second", {"b": "https://b:2", "c": "https://c:3"})
    for text, context, host in (
        (first, "", "https://a:1"),
        (second, "", "https://b:2"),
        (second, "c", "https://c:3"),
        (f"{first}:{second}", "c", "https://c:3"),
    ):
        monkeypatch.setenv("KUBECONFIG", text)
        assert Cluster(context).host == host


def test_a_context_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", kubeconfig(tmp_path, "config", {"a": "https://a:1"}))
    with pytest.raises(UsageError, match="context 'b' of the kubeconfig"):
        _ = Cluster("b").host
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(UsageError, match="no way to the cluster"):
        _ = Cluster().host

"""The compiled package of a model: stored with its run by whoever was first, and the same bytes for everyone after."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ridgeway.actions import serve
from ridgeway.errors import ModelError, NotFound, UsageError
from ridgeway.project import Project, open_project
from ridgeway.registry import Registry
from ridgeway_server.packages import manifest_digest, read_package
from tests.actions.conftest import FEW_COLUMNS, Workshop

MODEL = "models:/diabetes/1"


def machine(workshop: Workshop, name: str) -> Project:
    """Another machine: the project's files without its rows, on the same registry."""
    root = workshop.root.parent / name
    shutil.copytree(workshop.root, root, ignore=shutil.ignore_patterns(".ridgeway", "diabetes.csv"))
    return open_project(root, overrides=[f'registry.uri="sqlite:///{workshop.root}/.ridgeway/mlflow.db"'])


def own(workshop: Workshop) -> Project:
    return open_project(workshop.root, overrides=[FEW_COLUMNS])


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def forbidden(*_: Any, **__: Any) -> Any:
    raise AssertionError("must not be called")


def test_every_machine_takes_the_bytes_that_the_first_has_stored(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = serve.package(own(workshop), MODEL)
    assert (first.name, first.version, first.kind) == ("diabetes", "1", "linear")
    assert first.digest == read_package(first.folder).manifest["digest"]
    assert len(first.example) == 3
    run = workshop.registry.run(serve.subject(workshop.registry, MODEL).run_id)
    assert run.tags["ridgeway.package.1"] == run.parameters["package.1"] == first.digest
    monkeypatch.setattr(serve, "_compile", forbidden)
    other = machine(workshop, "agent")
    second = serve.package(other, MODEL)
    assert second.folder.is_relative_to(other.root)
    assert content(second.folder) == content(first.folder)
    assert (second.digest, second.example, second.kind) == (first.digest, first.example, first.kind)
    # From here on nothing but the handle is looked up.
    monkeypatch.setattr(Registry, "run", forbidden)
    monkeypatch.setattr(Registry, "read_file", forbidden)
    assert serve.package(other, MODEL) == second
    assert [path.name for path in second.folder.parent.iterdir() if path.name.startswith(".")] == []


def test_a_candidate_has_a_package_too(workshop: Workshop) -> None:
    run_id = serve.subject(workshop.registry, MODEL).run_id
    package = serve.package(own(workshop), f"runs:/{run_id}/model")
    assert (package.name, package.version) == ("diabetes", run_id[:12])
    assert package.digest != serve.package(own(workshop), MODEL).digest


def test_what_is_no_model(workshop: Workshop) -> None:
    with pytest.raises(NotFound, match="there is no models:/diabetes/9"):
        serve.package(own(workshop), "models:/diabetes/9")
    with pytest.raises(UsageError, match="cannot be served"):
        serve.package(own(workshop), "releases:/diabetes/1")
    empty = workshop.registry.start_run("retraining")
    with pytest.raises(NotFound, match="holds no candidate"):
        serve.package(own(workshop), f"runs:/{empty}")


def stored(workshop: Workshop) -> Path:
    run_id = serve.subject(workshop.registry, MODEL).run_id
    (folder,) = workshop.registry.read_file(run_id, "package/1").iterdir()
    return folder / "files"


def bend(file: Path) -> None:
    text = bytearray(file.read_bytes())
    text[-1] ^= 1
    file.write_bytes(bytes(text))


def reseal(folder: Path) -> None:
    """Another package, sound in itself."""
    manifest = json.loads((folder / "model.json").read_bytes())
    manifest["lineage"]["note"] = "from elsewhere"
    manifest["digest"] = manifest_digest(manifest)
    (folder / "model.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("alter", "problem"),
    [
        (lambda folder: bend(folder / "weights.npy"), "weights.npy was altered"),
        (lambda folder: bend(folder / "model.json"), "model.json is not JSON"),
        (lambda folder: (folder / "offset.npy").unlink(), "offset.npy cannot be read"),
        (reseal, "was stored"),
    ],
    ids=["array", "manifest", "missing", "another"],
)
def test_an_altered_stored_package_is_refused(workshop: Workshop, alter: Callable[[Path], None], problem: str) -> None:
    serve.package(own(workshop), MODEL)
    alter(stored(workshop))
    other = machine(workshop, "agent")
    with pytest.raises(ModelError) as caught:
        serve.package(other, MODEL)
    message = str(caught.value)
    assert "the model package was altered after it was made" in message
    assert problem in message
    assert "package/1/" in message
    assert not list((other.state / "packages").rglob("model.json"))


def test_an_altered_package_of_this_machine_is_refused(workshop: Workshop) -> None:
    package = serve.package(own(workshop), MODEL)
    manifest = package.folder / "model.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"diabetes"', b'"diabolic"'))
    with pytest.raises(ModelError, match=r"altered(.|\n)*rm -r "):
        serve.package(own(workshop), MODEL)


def test_two_machines_at_once_end_with_one_package(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    both_compiled, compile_ = threading.Barrier(2), serve._compile

    def compile_differently(project: Project, registry: Registry, wanted: serve.Subject, draft: Path) -> str:
        digest = compile_(own(workshop), registry, wanted, draft)
        if project.root.name == "other":
            reseal(draft)
            digest = read_package(draft).manifest["digest"]
        both_compiled.wait(60)
        return digest

    monkeypatch.setattr(serve, "_compile", compile_differently)
    machines = [machine(workshop, name) for name in ("one", "other")]
    found: list[serve.Package] = []
    threads = [threading.Thread(target=lambda at=at: found.append(serve.package(at, MODEL))) for at in machines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert found[0].digest == found[1].digest
    assert content(found[0].folder) == content(found[1].folder)
    run = workshop.registry.run(serve.subject(workshop.registry, MODEL).run_id)
    assert run.tags["ridgeway.package.1"] == found[0].digest
    # Whoever comes later with another package takes that one too.
    monkeypatch.setattr(serve, "_compile", forbidden)
    assert serve.package(machine(workshop, "later"), MODEL).digest == found[0].digest


def test_a_process_that_was_killed_while_storing_leaves_nothing_that_counts(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_params = Registry.log_params

    def killed(self: Registry, run_id: str, parameters: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Registry, "log_params", killed)
    with pytest.raises(KeyboardInterrupt):
        serve.package(own(workshop), MODEL)
    assert not list((workshop.root / ".ridgeway/packages").rglob("*"))[1:]
    monkeypatch.setattr(Registry, "log_params", log_params)
    monkeypatch.setattr(Registry, "tag_run", killed)
    with pytest.raises(KeyboardInterrupt):
        serve.package(own(workshop), MODEL)
    monkeypatch.undo()
    package = serve.package(own(workshop), MODEL)
    assert serve.package(machine(workshop, "agent"), MODEL).digest == package.digest

"""A state in a file and back: what is in it, what is refused, and that nothing is half done."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import sqlite3
import stat
import tarfile
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ridgeway.actions import backup
from ridgeway.errors import BadData, Busy, NotFound, RidgewayError, UsageError
from ridgeway.project import Project, open_project
from ridgeway.run_log import RunLog, exclusive
from tests.actions.conftest import Workshop
from tests.story.conftest import tree


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project with a bit of everything that a state holds."""
    root = tmp_path / "churn"
    root.mkdir()
    (root / "ridgeway.toml").write_text("[project]\nname = 'churn'\n", encoding="utf-8")
    state = root / ".ridgeway"
    with_content = {
        "artifacts/churn/1/model.skops": "model",
        "runs/" + "ab" * 16 + "/run.log": "one line\n",
        "targets/production/wanted.json": "{}",
        "targets/production/keys/primary": "key-one",
        "targets/production/state.json": "a process of this machine",
        "targets/production/log": "what it said",
        "secrets/servers-password": "quiet-river",
        "triggers.json": "{}",
        "locks/retraining-churn.lock": "{}",
        "services/services.json": "{}",
        "published/0123/flows/build.py": "",
        "downloads/x": "",
        "prefect/server.json": "{}",
    }
    for name, text in with_content.items():
        (state / name).parent.mkdir(parents=True, exist_ok=True)
        (state / name).write_text(text, encoding="utf-8")
    (state / "targets/production/keys/primary").chmod(0o600)
    for name in ("mlflow.db", "prefect/prefect.db"):
        with sqlite3.connect(state / name) as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("CREATE TABLE rows (number INTEGER)")
        database.close()
    return open_project(root)


@pytest.fixture
def clone(project: Project, tmp_path: Path) -> Project:
    """The same project elsewhere, without a state."""
    root = tmp_path / "elsewhere" / "churn"
    shutil.copytree(project.root, root, ignore=shutil.ignore_patterns(".ridgeway"))
    return open_project(root)


@pytest.fixture
def archive(project: Project, tmp_path: Path) -> Path:
    """A backup of it."""
    backup.make(project, tmp_path / "b.tar.gz")
    return tmp_path / "b.tar.gz"


def kept(project: Project) -> set[str]:
    """What would be in a backup of it."""
    return {path for path, _ in backup.contents(project)}


def test_what_is_in_it_and_what_is_not(project: Project, archive: Path) -> None:
    assert kept(project) == {
        "mlflow.db",
        "prefect/prefect.db",
        "artifacts/churn/1/model.skops",
        "runs/" + "ab" * 16 + "/run.log",
        "targets/production/wanted.json",
        "targets/production/keys/primary",
        "secrets/servers-password",
        "triggers.json",
    }
    assert [path for path, _ in backup.contents(project)][:2] == ["mlflow.db", "prefect/prefect.db"], "databases first"
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    with tarfile.open(archive) as opened:
        assert {name.removeprefix("state/") for name in opened.getnames()} == {*kept(project), "manifest.json"}


def test_keys_may_be_left_out(project: Project, tmp_path: Path) -> None:
    made = backup.make(project, tmp_path / "b.tar.gz", keys=False)
    assert not [entry.path for entry in made.files if "keys" in entry.path or "secrets" in entry.path]
    assert not made.has_keys
    content = gzip.decompress((tmp_path / "b.tar.gz").read_bytes())
    assert b"key-one" not in content
    assert b"quiet-river" not in content


def test_back_again(project: Project, clone: Project, archive: Path) -> None:
    manifest = backup.restore(clone, archive)
    assert kept(clone) == kept(project)
    own = {name: digest for name, digest in tree(project.state).items() if name in kept(project) and ".db" not in name}
    assert {name: digest for name, digest in tree(clone.state).items() if name in own} == own
    assert stat.S_IMODE((clone.state / "targets/production/keys/primary").stat().st_mode) == 0o600
    assert (clone.state / ".gitignore").read_text(encoding="utf-8") == "*\n"
    assert manifest == backup.check(project, archive)
    assert sorted(path.name for path in clone.root.iterdir() if path.name.startswith(".")) == [".ridgeway"]


def test_a_database_that_is_written_to_meanwhile_is_copied_whole(
    project: Project, clone: Project, tmp_path: Path
) -> None:
    """Two rows go in together, many times a second: a copy that was torn would hold an odd number."""
    stop, written = threading.Event(), 0

    def write() -> None:
        nonlocal written
        connection = sqlite3.connect(project.state / "mlflow.db", timeout=30)
        while not stop.is_set():
            with connection:
                connection.executemany("INSERT INTO rows VALUES (?)", [(written,), (written,)])
            written += 1
        connection.close()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for number in range(3):
            backup.make(project, tmp_path / f"{number}.tar.gz")
    finally:
        stop.set()
        thread.join()
    assert written > 10
    counts = []
    for number in range(3):
        backup.restore(clone, tmp_path / f"{number}.tar.gz", force=True)
        database = sqlite3.connect(clone.state / "mlflow.db")
        counts.append(database.execute("SELECT count(*) FROM rows").fetchone()[0])
        database.close()
    assert [count % 2 for count in counts] == [0, 0, 0]
    assert counts == sorted(counts)


def test_a_state_that_is_not_empty_is_kept(project: Project, clone: Project, archive: Path) -> None:
    backup.restore(clone, archive)
    (clone.state / "mine.txt").write_text("mine", encoding="utf-8")
    before = tree(clone.root)
    with pytest.raises(UsageError, match="there is a state here already"):
        backup.restore(clone, archive)
    assert tree(clone.root) == before
    backup.restore(clone, archive, force=True)
    (aside,) = clone.root.glob(".ridgeway.before-*")
    assert (aside / "mine.txt").read_text(encoding="utf-8") == "mine"
    assert not (clone.state / "mine.txt").exists()


def test_locks_alone_are_no_state(clone: Project, archive: Path) -> None:
    (clone.state / "locks").mkdir(parents=True)
    (clone.state / ".gitignore").write_text("*\n", encoding="utf-8")
    backup.restore(clone, archive)


def test_runs_that_were_under_way_do_not_go_on(project: Project, clone: Project, tmp_path: Path) -> None:
    run = RunLog(project.root).start("retraining", run_id="cd" * 16)
    other = replace(run.record.process, host="the-old-machine")
    run.note(process=other)
    backup.make(project, tmp_path / "b.tar.gz")
    run.end()
    backup.restore(clone, tmp_path / "b.tar.gz")
    (record,) = [one for one in RunLog(clone.root).records() if one.id == "cd" * 16]
    assert record.state == "crashed"


def test_while_something_runs_here_nothing_is_restored(clone: Project, archive: Path) -> None:
    with RunLog(clone.root).start("retraining"), pytest.raises(Busy, match="while something runs"):
        backup.restore(clone, archive, force=True)


def test_one_backup_at_a_time(project: Project, tmp_path: Path) -> None:
    with exclusive(project.root, backup.LOCK), pytest.raises(Busy):
        backup.make(project, tmp_path / "b.tar.gz")


# ---- what is no backup -----------------------------------------------------------------------------------------------


def rewritten(archive: Path, change: Any, *, drop: str = "", extra: str = "") -> Path:
    """The archive with another manifest, and perhaps without a file, or with one more."""
    target = archive.with_name("changed.tar.gz")
    with tarfile.open(archive) as source, tarfile.open(target, "w:gz") as made:
        for member in source:
            stream = source.extractfile(member)
            assert stream is not None
            content = stream.read()
            if member.name == f"state/{drop}":
                continue
            if member.name == "manifest.json":
                record = json.loads(content)
                change(record)
                content = json.dumps(record).encode()
                if extra:
                    info = tarfile.TarInfo(extra)
                    info.size = 1
                    made.addfile(info, io.BytesIO(b"x"))
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
    return target


def nothing(_: dict[str, Any]) -> None:
    """Leaves the manifest as it is."""


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"change": lambda record: record.update(schema=2)}, "of a later version"),
        ({"change": lambda record: record.update(ridgeway="99.0")}, "of a later version"),
        ({"change": lambda record: record["programs"].update(mlflow="99.0")}, "of a later version"),
        ({"change": lambda record: record.update(project="other")}, "this is a backup of other"),
        ({"change": lambda record: record.pop("project")}, "cannot be read"),
        ({"change": lambda record: record["files"][0].update(sha256="0" * 64)}, "has other bytes"),
        ({"drop": "triggers.json"}, "triggers.json is missing"),
        ({"extra": "state/more.txt"}, "more.txt, which was never part of it"),
        ({"extra": "state/../../escaped.txt"}, "escaped.txt"),
        ({"extra": "/etc/escaped.txt"}, "escaped.txt"),
    ],
)
def test_an_archive_that_is_not_as_it_was_written_changes_nothing(
    clone: Project, archive: Path, changes: dict[str, Any], problem: str
) -> None:
    changed = rewritten(archive, changes.pop("change", nothing), **changes)
    before = tree(clone.root.parent)
    with pytest.raises(RidgewayError) as caught:
        backup.restore(clone, changed)
    assert problem in str(caught.value)
    assert tree(clone.root.parent) == before
    assert sorted(path.name for path in clone.root.iterdir()) == ["ridgeway.toml"]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.99])
def test_an_archive_that_was_cut_short(clone: Project, archive: Path, share: float) -> None:
    content = archive.read_bytes()
    archive.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(BadData, match="no whole backup"):
        backup.restore(clone, archive)
    assert sorted(path.name for path in clone.root.iterdir()) == ["ridgeway.toml"]


def test_a_bit_that_has_turned(clone: Project, archive: Path) -> None:
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 0x10
    archive.write_bytes(bytes(content))
    with pytest.raises(BadData, match="no whole backup"):
        backup.restore(clone, archive)


def test_a_link_in_an_archive_is_refused(clone: Project, archive: Path, tmp_path: Path) -> None:
    made = tmp_path / "link.tar.gz"
    with tarfile.open(made, "w:gz") as opened:
        info = tarfile.TarInfo("state/passwd")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        opened.addfile(info)
    with pytest.raises(BadData, match="is no file"):
        backup.restore(clone, made)


def test_what_cannot_be_a_backups_file(project: Project, clone: Project, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be the file"):
        backup.make(project, tmp_path)
    with pytest.raises(UsageError, match="cannot be the file"):
        backup.make(project, tmp_path / "no-folder" / "b.tar.gz")
    with pytest.raises(UsageError, match="inside of what is backed up"):
        backup.make(project, project.state / "b.tar.gz")
    with pytest.raises(UsageError, match="there is no file"):
        backup.restore(clone, tmp_path / "none.tar.gz")
    with pytest.raises(NotFound, match="nothing to back up yet"):
        backup.make(clone, tmp_path / "b.tar.gz")


def test_a_damaged_database_is_no_backup(project: Project, tmp_path: Path) -> None:
    path = project.state / "mlflow.db"
    content = bytearray(path.read_bytes())
    content[100:] = os.urandom(len(content) - 100)
    path.write_bytes(bytes(content))
    with pytest.raises(BadData, match="cannot back up a database"):
        backup.make(project, tmp_path / "b.tar.gz")
    assert list(tmp_path.glob("*b.tar.gz*")) == [], "nor a part of one"


def test_what_lies_elsewhere_is_named(project: Project) -> None:
    assert backup.elsewhere(project) == ()
    there = open_project(project.root, overrides=['registry.uri="https://mlflow.example"'])
    assert backup.elsewhere(there)[0].startswith("models and runs: on the tracking server")
    outside = open_project(project.root, overrides=['registry.uri="sqlite:////srv/mlflow.db"'])
    assert "sqlite3 /srv/mlflow.db '.backup FILE'" in backup.elsewhere(outside)[0]
    team = open_project(project.root, overrides=['servers.database="postgresql://ridgeway@db.example/team"'])
    assert any("pg_dump" in place for place in backup.elsewhere(team))


# ---- with real models ------------------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(workshop: Workshop, tmp_path: Path) -> Workshop:
    """The workshop's project in another folder, without a state."""
    root = tmp_path / "elsewhere" / "diabetes"
    shutil.copytree(workshop.root, root, ignore=shutil.ignore_patterns(".ridgeway"))
    return Workshop(root)


def test_models_and_verdicts_are_the_same_elsewhere_and_the_next_retraining_finds_nothing_new(
    workshop: Workshop, elsewhere: Workshop, tmp_path: Path
) -> None:
    from tests.actions.conftest import FEW_COLUMNS

    backup.make(open_project(workshop.root), tmp_path / "b.tar.gz")
    backup.restore(open_project(elsewhere.root), tmp_path / "b.tar.gz")
    here, there = workshop.registry, elsewhere.registry
    assert there.versions() == here.versions() != []
    verdicts = [registry.read_json(registry.versions()[0].run_id, "verdict.json") for registry in (here, there)]
    assert verdicts[0] == verdicts[1]
    again = elsewhere.retrained(FEW_COLUMNS)
    assert again.unchanged
    assert again.version is not None
    assert again.version.handle == "models:/diabetes/1"

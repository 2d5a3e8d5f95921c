"""A user's project: its folder, where things are kept in it, which commit and environment it is, and its own code.

All local state lives under ``.ridgeway/``, which is ignored by git and may be deleted at any time at the price of the
local registry.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ridgeway.credentials import sign_in
from ridgeway.errors import ModelError, StorageError, UsageError
from ridgeway.places import home_of, living, state_of
from ridgeway.settings import Loaded, Settings, load

MARKER = "ridgeway.toml"
SOURCE_NOTE = ".ridgeway-source.json"
"""In an image, which holds the project's files without their history: the commit that they are from."""
LEAST_FREE_MIB = 20
"""Copy of the rows, model, report and logs of a small project take about a tenth of this."""


@dataclass(frozen=True)
class Project:
    """A project's root folder and its settings."""

    root: Path
    loaded: Loaded

    @property
    def settings(self) -> Settings:
        """The checked settings."""
        return self.loaded.settings

    @property
    def name(self) -> str:
        """The model's name in the registry."""
        return self.settings.project.name

    @property
    def state(self) -> Path:
        """``.ridgeway``: everything that this machine remembers of the project, links resolved."""
        return state_of(self.root)

    @property
    def home(self) -> Path:
        """The project's working folder: ``root``, unless that is the clone of a published commit."""
        return home_of(self.root)

    @property
    def suite(self) -> Path:
        """The expectation suite's file."""
        return self.root / self.settings.data.suite

    @property
    def source(self) -> Path:
        """The data's file or folder: the commit's where it holds them, else home's, where data may grow."""
        found = living(self.root, self.settings.data.source)
        is_empty = found.is_dir() and next(found.glob("**/*.parquet"), None) is None
        return self.home / self.settings.data.source if is_empty else found

    def snapshot(self, digest: str) -> Path:
        """Where the rows with this Dataset digest are kept as Parquet, if they still are."""
        return self.state / "data" / f"{digest.replace(':', '-')}.parquet"


@dataclass(frozen=True)
class Commit:
    """Which source a run was made from."""

    id: str
    """40 hex digits; empty outside a git repository."""
    clean: bool
    """Whether all files were as in the commit; False outside a git repository."""


def find_root(start: Path) -> Path:
    """The nearest folder at or above ``start`` that holds ridgeway.toml.

    Raises:
        UsageError: There is none.
    """
    for folder in (start, *start.parents):
        if (folder / MARKER).is_file():
            return folder
    raise UsageError(
        f"{start} is not inside a project",
        problem=f"no {MARKER} here or in any folder above",
        next_step="ridgeway new my-project     then     cd my-project",
    )


def open_project(start: Path, *, overrides: Sequence[str] = ()) -> Project:
    """The project around ``start``, its settings loaded and checked; this process signs in to its servers.

    Raises:
        UsageError: No project here, or a setting is wrong.
    """
    root = find_root(start.resolve())
    project = Project(root, load(root, overrides=overrides))
    sign_in(project.settings, project.state)
    return project


def prepare_state(project: Project) -> None:
    """Makes ``.ridgeway/`` with a .gitignore of its own, on a disk that has room for a run.

    Raises:
        StorageError: The folder cannot be written, or its disk is nearly full.
    """
    try:
        project.state.mkdir(exist_ok=True)
        ignore = project.state / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n", encoding="utf-8")
    except OSError as error:
        raise StorageError(
            "cannot keep local state",
            where=str(project.state),
            problem=error.strerror or str(error),
            expected="a folder that can be written",
            next_step="make room, or give yourself the right to write there",
        ) from error
    free_mib = shutil.disk_usage(project.state).free / 2**20
    if free_mib < LEAST_FREE_MIB:
        raise StorageError(
            "the disk is nearly full",
            where=str(project.state),
            problem=f"{free_mib:.1f} MiB are free",
            expected=f"at least {LEAST_FREE_MIB} MiB: a run that stops half-way for want of them helps nobody",
            next_step="make room, then run the same command again",
        )


def read_suite(project: Project) -> dict[str, Any]:
    """The expectation suite as JSON.

    Raises:
        UsageError: There is none, or it is not JSON.
    """
    path = project.suite
    try:
        suite = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(
            "no expectation suite",
            where=f"data.suite = {project.settings.data.suite}",
            problem="there is no such file",
            next_step=f"ridgeway profile {project.settings.data.source}",
        ) from None
    except (OSError, ValueError) as error:
        raise _no_suite(path, str(error)) from None
    if not isinstance(suite, dict) or not isinstance(suite.get("meta", {}), dict):
        raise _no_suite(path, "it is JSON, but no suite")
    return suite


def _no_suite(path: Path, problem: str) -> UsageError:
    return UsageError(
        "cannot read the expectation suite",
        where=str(path),
        problem=problem,
        expected="the JSON that `ridgeway profile` wrote",
        next_step="take it from version control; or move it away and make a first one: ridgeway profile FILE",
    )


def commit(root: Path) -> Commit:
    """The git commit of the project, or an empty one where there is no git; in an image, the one it was made from."""
    head = _git(root, "rev-parse", "HEAD")
    return Commit(head, not _git(root, "status", "--porcelain")) if head else _noted_commit(root)


def _noted_commit(root: Path) -> Commit:
    try:
        note = json.loads((root / SOURCE_NOTE).read_text(encoding="utf-8"))
        return Commit(str(note["commit"]), clean=bool(note["clean"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Commit("", clean=False)


def is_in_tree(root: Path, file: Path) -> bool:
    """Whether a file is part of the project's source: below its root, and under version control where there is any."""
    if not file.resolve().is_relative_to(root.resolve()):
        return False
    inside = _git(root, "rev-parse", "--is-inside-work-tree") == "true"
    return not inside or bool(_git(root, "ls-files", "--", str(file.resolve())))


HOOK_VARIABLES = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_DIR",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_QUARANTINE_PATH",
    "GIT_WORK_TREE",
)
"""What git starts a hook with: it would make git look at the hook's repository, whichever folder it is given."""


def git_environment() -> dict[str, str]:
    """The environment for a call of git that is about the folder it is given, also from within a hook."""
    return {name: value for name, value in os.environ.items() if name not in HOOK_VARIABLES}


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - git with our own arguments
            ["git", "-C", str(root), *arguments],  # noqa: S607
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            env=git_environment(),
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


# ---- what a run depends on -------------------------------------------------------------------------------------------


def environment_packages() -> list[str]:
    """``name-version`` of every installed distribution, sorted; with a digest where that does not tell its code.

    The digest is that of the sources for an editable installation, and that of the installed files for one from a file
    or an address: such a wheel may be built anew under the same version. All else is read from folder names alone:
    asking each distribution for its metadata takes ten times as long.
    """
    # In an image they lie in a folder of their own, which PYTHONPATH names.
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    folders = {Path(path) for path in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *named) if path}
    entries = {entry for folder in folders if folder.is_dir() for entry in folder.glob("*.dist-info")}
    return sorted(entry.name.removesuffix(".dist-info") + _build_mark(entry) for entry in entries)


def environment_digest() -> str:
    """``sha256:…`` over interpreter, platform and installed distributions: equal environments train equal models."""
    facts = [platform.python_version(), sys.platform, platform.machine(), *environment_packages()]
    return f"sha256:{hashlib.sha256(json.dumps(facts).encode()).hexdigest()}"


def sources_digest(folder: Path) -> str:
    """Sixteen hex digits over the names and contents of all Python files in the folder."""
    return _files_digest(folder, folder.rglob("*.py"))


def folder_digest(folder: Path) -> str:
    """Sixteen hex digits over the names and contents of all files in the folder, bytecode left out."""
    return _files_digest(folder, folder.rglob("*"))


def steps_digest(root: Path) -> str:
    """Sixteen hex digits over the project's own code: every file in ``steps/``, and what the root holds to import.

    Python finds modules in the project's root while a step is loaded, so ``features.py`` and a package beside
    ``steps/`` are as much part of a model as ``steps/make_model.py``.
    """
    packages = [
        file
        for init in root.glob("*/__init__.py")
        if init.parent.name not in ("flows", "tests")
        for file in init.parent.rglob("*")
    ]
    return _files_digest(root, [*(root / "steps").rglob("*"), *root.glob("*.py"), *packages])


def _files_digest(root: Path, files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in sorted(set(files)):
        if "__pycache__" not in file.relative_to(root).parts and file.is_file():
            content = file.read_bytes()
            digest.update(f"{file.relative_to(root)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def _build_mark(dist_info: Path) -> str:
    """``+`` and sixteen hex digits for a distribution whose version does not tell its code; else nothing."""
    facts = _origin(dist_info)
    url = str(facts.get("url", ""))
    if facts.get("dir_info", {}).get("editable") and url.startswith("file://"):
        root = Path(url2pathname(urlsplit(url).path))
        return f"+{sources_digest(root / 'src' if (root / 'src').is_dir() else root)}"
    # Whoever builds Ridgeway keeps its version for many builds, and from a folder of wheels no origin is noted.
    if facts or dist_info.name.startswith("ridgeway-"):
        return f"+{_installed_digest(dist_info / 'RECORD')}"
    return ""


def _origin(dist_info: Path) -> dict[str, Any]:
    """Where a distribution was installed from, if not from an index (PEP 610)."""
    try:
        facts = json.loads((dist_info / "direct_url.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _installed_digest(record: Path) -> str:
    """Sixteen hex digits over the list of installed files with their hashes, without what installing adds to it.

    Scripts (``../``) hold the environment's path and ``*.dist-info`` the installer's notes: without them the same wheel
    gives the same digest everywhere.
    """
    lines = record.read_text(encoding="utf-8").splitlines() if record.is_file() else []
    kept = [line for line in lines if not line.startswith("../") and ".dist-info/" not in line and ".pyc," not in line]
    return hashlib.sha256("\n".join(sorted(kept)).encode()).hexdigest()[:16]


def file_digest(source: Path) -> str:
    """``sha256:…`` over the bytes of a file, or over names and bytes of a folder's Parquet files.

    Not the data's identity (that is by content), only a quick sign that nothing at all has changed.
    """
    digest = hashlib.sha256()
    for file in sorted(source.glob("**/*.parquet")) if source.is_dir() else [source]:
        digest.update(f"{file.relative_to(source) if source.is_dir() else ''}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return f"sha256:{digest.hexdigest()}"


# ---- the user's code -------------------------------------------------------------------------------------------------


def load_step(root: Path, name: str) -> Callable[..., Any]:
    """The function ``name`` from the project's ``steps/name.py``.

    Raises:
        ModelError: The file is missing, does not import, or has no such function.
    """
    path = root / "steps" / f"{name}.py"
    module = _import_file(path, f"steps.{name}", root)
    function = getattr(module, name, None)
    if not callable(function):
        raise ModelError(
            f"{name}: steps/{name}.py has no function {name}",
            where=str(path),
            expected=f"def {name}(…)",
            next_step=f"mend steps/{name}.py",
        )
    loaded: Callable[..., Any] = function
    return loaded


def _import_file(path: Path, name: str, root: Path) -> ModuleType:
    if not path.is_file():
        raise ModelError(
            f"cannot load {path.name}",
            where=str(path),
            problem="there is no such file",
            expected="one file for each step, as `ridgeway new` made them",
            next_step="restore it",
        )
    already = sys.modules.get(name)
    if already is not None and getattr(already, "__file__", None) == str(path):
        return already
    specification = importlib.util.spec_from_file_location(name, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    with _first_on_path(root):
        try:
            specification.loader.exec_module(module)
        except Exception as error:
            raise ModelError(
                f"cannot load {path.relative_to(root)}",
                where=_place(error, path),
                problem=f"{type(error).__name__}: {error}",
                expected="a file that Python can import",
                next_step=f"mend {path.relative_to(root)}",
            ) from error
    return module


def _place(error: BaseException, path: Path) -> str:
    """The innermost line of the user's own file in the error's traceback."""
    lines = [frame.tb_lineno for frame in _frames(error) if frame.tb_frame.f_code.co_filename == str(path)]
    return f"{path}:{lines[-1]}" if lines else str(path)


def step_line(error: BaseException) -> str:
    """The innermost line of ``steps/`` that an error came through, ``steps/load_data.py:7``; empty if none."""
    places = [(Path(frame.tb_frame.f_code.co_filename), frame.tb_lineno) for frame in _frames(error)]
    lines = [f"steps/{path.name}:{line}" for path, line in places if path.parent.name == "steps"]
    return lines[-1] if lines else ""


def _frames(error: BaseException) -> Iterator[Any]:
    frame = error.__traceback__
    while frame is not None:
        yield frame
        frame = frame.tb_next


class _first_on_path:  # noqa: N801 - reads as a statement
    """The project's root is first on ``sys.path`` meanwhile, so that its ``steps`` win over an installed package."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)

    def __enter__(self) -> None:
        sys.path.insert(0, self.root)

    def __exit__(self, *_: object) -> None:
        if self.root in sys.path:
            sys.path.remove(self.root)


def digest_of(facts: Mapping[str, Any]) -> str:
    """``sha256:…`` over a JSON-like mapping, independent of the order of keys."""
    return f"sha256:{hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()}"


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file so that a crash leaves either the old content or the new, never half of it.

    Raises:
        StorageError: The disk is full or the place cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise StorageError(
            f"cannot write {path}",
            problem=error.strerror or str(error),
            expected="space, and the right to write",
            next_step="make room, or give yourself the right to write there; then run the same command again",
        ) from error

"""Copies a project out: what `ridgeway new` writes, first as a plan, then as files.

An installed wheel carries the files under ``ridgeway/_scaffold/``; a working copy has them where they live in the
repository. Both have the same layout, so that nothing below knows which of the two it reads.

    project files = flows/ steps/ data/ env/ ridgeway.toml, and over them templates/project/
    own data      = the same without data/, with the model of templates/own_data/TASK/ and the user's file
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from ridgeway.errors import StorageError, UsageError

Task = Literal["regression", "classification"]

COPIED = ("flows", "steps", "data", "env", "ridgeway.toml")
"""What a project takes from the repository as it is."""
CLUSTER = "templates/kubernetes"
"""Taken as it is too: what operations apply once to a namespace."""
HOOKS = "templates/git-hooks"
"""And programs for git, which may be run."""
TEMPLATES = "templates/project"
"""What a project has in its place, or besides."""
OWN_DATA = "templates/own_data"
"""What a project around the user's own data has instead of the example's, by task."""
SETTINGS = "ridgeway.toml"
CI: Mapping[str, tuple[tuple[str, str], ...]] = {
    "azure": (("templates/azure-pipelines/", "templates/azure-pipelines/"),),
    "github": (
        ("templates/github-actions/actions/", ".github/actions/"),
        ("templates/github-actions/", ".github/workflows/"),
    ),
    "gitlab": (("templates/gitlab-ci/gitlab-ci.yml", ".gitlab-ci.yml"), ("templates/gitlab-ci/", ".gitlab/ci/")),
    "jenkins": (("templates/jenkins/", "jenkins/"),),
}
"""CI system → where its templates are here, and where it wants them in a project; the first that fits counts."""
RENAMED = {"gitignore": ".gitignore"}
"""A file that would take effect in the repository itself sleeps there under another name."""
LEFT_OUT = {"__pycache__", ".DS_Store", ".ruff_cache", ".mypy_cache", ".pytest_cache"}


@dataclass(frozen=True, slots=True)
class OwnData:
    """The user's own data file (or folder of files), its label and what the label is."""

    name: str
    """Name of the file or folder below ``data/``."""
    files: tuple[tuple[str, Path], ...]
    """Where each file goes below ``data/``, and where it is now."""
    label: str
    task: Task
    ignore: tuple[str, ...] = ()
    """Columns that are no features."""
    types: Mapping[str, str] = field(default_factory=dict)
    """Declared types, where those inferred from the data are wrong."""


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file of the new project: its path, ``/`` between the parts, and either its content or the file to copy."""

    path: str
    content: bytes = b""
    source: Path | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a plan: paths that were made, and paths that already were as planned."""

    made: tuple[str, ...]
    kept: tuple[str, ...]


# ---- decide ----------------------------------------------------------------------------------------------------------


def plan(
    template: Mapping[str, bytes], *, name: str, version: str, own_data: OwnData | None = None, model: str = ""
) -> tuple[PlannedFile, ...]:
    """Every file of a new project, sorted by path. Pure: reads and writes nothing.

    Args:
        template: Path in the repository → content, from :func:`read_template`.
        name: The project's name, and its model's where the data is the user's own; see :func:`project_name`.
        version: Of ridgeway, which the project pins.
        own_data: The user's data in place of the example's; the suite is left to `ridgeway profile`.
        model: The model's name in the registry, where it is neither the project's nor the example's.

    Example:
        >>> template = {"steps/train_model.py": b"", "templates/project/gitignore": b".venv/"}
        >>> [file.path for file in plan(template, name="churn", version="1.0")]
        ['.gitignore', 'steps/train_model.py']
    """
    chosen = {
        path: content
        for path, content in template.items()
        if PurePosixPath(path).parts[0] in COPIED or path.startswith((f"{CLUSTER}/", f"{HOOKS}/"))
    }
    if own_data:
        chosen = {path: content for path, content in chosen.items() if not path.startswith("data/")}
        chosen |= _below(template, f"{OWN_DATA}/{own_data.task}") | _below(template, f"{OWN_DATA}/any")
    chosen |= _below(template, TEMPLATES)
    marks = {"NAME": name, "VERSION": version, "LABEL": own_data.label if own_data else ""}
    values = _settings(model or name, own_data)
    if model:
        values |= {"project.name": model, "image.repository": f"127.0.0.1:5000/{model}"}
    filled = {path: _filled(path, content, marks, values) for path, content in chosen.items()}
    copies = [PlannedFile(f"data/{path}", source=source) for path, source in (own_data.files if own_data else ())]
    return tuple(sorted([*(PlannedFile(*item) for item in filled.items()), *copies], key=lambda file: file.path))


def ci_files(template: Mapping[str, bytes], system: str) -> tuple[PlannedFile, ...]:
    """The files of a CI system, where that system looks for them in a project; sorted by path.

    Args:
        template: Path in the repository → content, from :func:`read_template`.
        system: A key of :data:`CI`.

    Example:
        >>> [file.path for file in ci_files({"templates/github-actions/build.yml": b""}, "github")]
        ['.github/workflows/build.yml']
    """
    made = []
    for path, content in template.items():
        for here, there in CI[system]:
            if path.startswith(here):
                made.append(PlannedFile(f"{there}{path.removeprefix(here)}", content))
                break
    return tuple(sorted(made, key=lambda file: file.path))


def started_by_ci(planned: Iterable[PlannedFile]) -> tuple[PlannedFile, ...]:
    """The plan of a new project whose releases a CI system starts, and nobody else."""
    values = {"release.started_by": "ci"}
    return tuple(
        PlannedFile(file.path, with_values(file.content.decode(), values).encode()) if file.path == SETTINGS else file
        for file in planned
    )


def is_project(directory: Path, planned: Iterable[PlannedFile]) -> bool:
    """Whether a project of somebody's own is there, rather than nothing or what a killed command left of the plan."""
    file = directory / SETTINGS
    return file.is_file() and not any(each.path == SETTINGS and each.content == file.read_bytes() for each in planned)


def project_name(directory: str) -> str:
    """A model's name made from a folder's: lower case, starting with a letter, ending with a letter or digit.

    Example:
        >>> project_name("My Churn!"), project_name("2026"), project_name("…")
        ('my-churn', 'model-2026', 'model')
    """
    plain = re.sub(r"[^a-z0-9_]+", "-", directory.lower()).strip("-_")
    if not plain:
        return "model"
    return (plain if plain[0].isalpha() else f"model-{plain}")[:63].rstrip("-_")


def with_values(text: str, values: Mapping[str, Any]) -> str:
    r"""A TOML text with some settings replaced, comments and order kept.

    Args:
        text: TOML with one ``key = value`` in a line.
        values: ``"section.key"`` → new value: text, number, boolean, or a list or table of such.

    Raises:
        KeyError: A setting is not in the text.

    Example:
        >>> print(with_values('[data]\nlabel = "y"  # to predict', {"data.label": "churned"}))
        [data]
        label = "churned"  # to predict
    """
    missing = dict(values)
    section = ""
    lines = []
    for line in text.splitlines():
        if header := re.match(r"\[([\w.]+)\]", line):
            section = header[1]
        key = f"{section}.{line.partition('=')[0].strip()}"
        lines.append(_with_value(line, missing.pop(key)) if key in missing else line)
    if missing:
        raise KeyError(next(iter(missing)))
    return "\n".join(lines) + ("\n" if text.endswith("\n") else "")


def _settings(name: str, own_data: OwnData | None) -> dict[str, Any]:
    if own_data is None:
        return {}
    # The example's floor, slices and penalty mean nothing to another data set.
    return {
        "project.name": name,
        "image.repository": f"127.0.0.1:5000/{name}",
        "data.source": f"data/{own_data.name}",
        "data.label": own_data.label,
        "training.task": own_data.task,
        "training.parameters": {"learning_rate": 0.1, "max_iter": 100},
        "rules.loss": "squared_error" if own_data.task == "regression" else "log_loss",
        "rules.floors": {},
        "rules.slices": {},
        **({"data.ignore": list(own_data.ignore)} if own_data.ignore else {}),
        **({"data.types": dict(own_data.types)} if own_data.types else {}),
    }


def _below(template: Mapping[str, bytes], folder: str) -> dict[str, bytes]:
    """The template's files in the folder, by their paths in the project."""
    found = {}
    for path, content in template.items():
        if path.startswith(f"{folder}/"):
            inner = path.removeprefix(f"{folder}/")
            found[RENAMED.get(inner, inner)] = content
    return found


def _filled(path: str, content: bytes, marks: Mapping[str, str], values: Mapping[str, Any]) -> bytes:
    if path == "ridgeway.toml":
        return with_values(content.decode(), values).encode()
    if path == "env/conda.yml":
        return content.replace(b"--editable ..", f"ridgeway=={marks['VERSION']}".encode()).replace(
            b"name: ridgeway", f"name: {marks['NAME']}".encode()
        )
    for mark, value in marks.items():
        content = content.replace(f"@{mark}@".encode(), value.encode())
    return content


def _with_value(line: str, value: Any) -> str:
    match = re.match(r"""(?P<key>[^=]+=\s*)(?P<value>(?:"[^"]*"|[^#"])*?)(?P<gap>\s*)(?P<comment>\#.*)?$""", line)
    assert match is not None
    written = _toml(value)
    # Comments of neighbouring lines stand in one column; there must be room for two blanks before them.
    gap = max(2, len(match["value"]) + len(match["gap"]) - len(written)) if match["comment"] else 0
    return f"{match['key']}{written}{' ' * gap}{match['comment'] or ''}"


def _toml(value: Any) -> str:
    """A value as TOML in one line; the strings of JSON are strings of TOML."""
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_toml_key(key)} = {_toml(item)}" for key, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    return json.dumps(value, ensure_ascii=False)


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)


# ---- do --------------------------------------------------------------------------------------------------------------


def template_root() -> Path:
    """The folder that holds the scaffold: inside the installed wheel, or the repository of a working copy.

    Raises:
        StorageError: Neither is there: the installation is damaged.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "_scaffold", package.parents[1]):
        if (folder / TEMPLATES).is_dir():
            return folder
    raise StorageError(
        "ridgeway new: the files of a new project are missing",
        where=str(package / "_scaffold"),
        problem="this installation of ridgeway is damaged",
        next_step="install it again",
    )


def is_working_copy() -> bool:
    """Whether this ridgeway runs from its repository, so that no package index need have its version."""
    return template_root() != Path(__file__).resolve().parent / "_scaffold"


def read_template(root: Path) -> dict[str, bytes]:
    """All files of the scaffold below ``root``: path with ``/`` between the parts → content.

    Raises:
        StorageError: A file cannot be read.
    """
    try:
        return {file.relative_to(root).as_posix(): file.read_bytes() for file in _files(root)}
    except OSError as error:
        raise StorageError(
            "ridgeway new: cannot read the files of a new project", where=str(root), problem=str(error)
        ) from error


def find_own_data(source: Path, *, label: str, task: Task) -> OwnData:
    """The user's data as a project will hold it: one file, or a folder with its Parquet files.

    Raises:
        UsageError: There is no such file or folder, or the folder holds no Parquet.
    """
    files = [source] if source.is_file() else sorted(source.rglob("*.parquet"))
    if not files:
        raise UsageError(
            f"ridgeway new: cannot take {source}",
            problem="the folder holds no .parquet file" if source.is_dir() else "there is no such file",
            expected="a .csv file, a .parquet file, or a folder of .parquet files",
        )
    top = source.resolve().parent
    placed = tuple((file.resolve().relative_to(top).as_posix(), file.resolve()) for file in files)
    return OwnData(source.resolve().name, placed, label, task)


def write(planned: Iterable[PlannedFile], directory: Path) -> Written:
    """Makes the planned files below ``directory`` and changes none that is there.

    A file that already is as planned is left alone, so that the same command after a crash finishes the work; one that
    differs stops everything before the first write.

    Raises:
        UsageError: A planned file is there with other content, or something that is no folder is in the way.
        StorageError: A file cannot be written.
    """
    files = tuple(planned)
    if directory.exists() and not directory.is_dir():
        raise UsageError(f"ridgeway new: {directory} is a file", expected="a new or an empty folder")
    there = [file for file in files if _exists(directory / file.path)]
    differing = [file.path for file in there if not _is_as_planned(file, directory)]
    if differing:
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise UsageError(
            f"ridgeway new: {directory} already holds files that a new project would overwrite",
            where=", ".join(differing[:3]) + more,
            expected="a new or an empty folder, or one without these files",
            next_step="name another folder, or move these files away",
        )
    kept = {file.path for file in there}
    made = [file for file in files if file.path not in kept]
    for file in made:
        _write_file(file, directory / file.path)
    return Written(tuple(file.path for file in made), tuple(sorted(kept)))


def _files(root: Path) -> Iterable[Path]:
    ci = {"/".join(here.split("/")[:2]) for places in CI.values() for here, _ in places}
    for top in (*COPIED, CLUSTER, HOOKS, TEMPLATES, OWN_DATA, *sorted(ci)):
        start = root / top
        for file in [start] if start.is_file() else sorted(start.rglob("*")):
            if file.is_file() and not LEFT_OUT.intersection(file.parts):
                yield file


def _exists(path: Path) -> bool:
    return path.exists() or path.is_symlink() or any(parent.is_file() for parent in path.parents)


def _is_as_planned(file: PlannedFile, directory: Path) -> bool:
    path = directory / file.path
    if not path.is_file():
        return False
    if file.source is None:
        return path.read_bytes() == file.content
    return path.samefile(file.source) or (
        path.stat().st_size == file.source.stat().st_size and _same_bytes(path, file.source)
    )


def _same_bytes(one: Path, other: Path) -> bool:
    import filecmp

    return filecmp.cmp(one, other, shallow=False)


def _write_file(file: PlannedFile, path: Path) -> None:
    """Written beside its place and renamed: a crash leaves the whole file or none."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if file.source is None:
            partial.write_bytes(file.content)
        else:
            shutil.copyfile(file.source, partial)
        if file.path.startswith(f"{HOOKS}/"):
            partial.chmod(0o755)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StorageError(
            f"ridgeway new: cannot write {path}",
            problem=error.strerror or str(error),
            expected="space, and the right to write",
        ) from error

"""What the options of ``ridgeway ci run`` say, as the circumstances of a run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import yaml

from ridgeway.ci.azure import Inputs
from ridgeway.ci.execution.folders import writing
from ridgeway.errors import UsageError


def pairs(texts: Iterable[str], option: str) -> dict[str, str]:
    """``name=value`` texts by name.

    Raises:
        UsageError: One has no name or no value.

    Example:
        >>> pairs(["a=1", "b=x=y"], "-p")
        {'a': '1', 'b': 'x=y'}
    """
    made = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"{option} {text} says no value", expected=f"{option} NAME=VALUE")
        made[name.strip()] = value
    return made


def groups(texts: Iterable[str]) -> tuple[dict[str, dict[str, str]], set[str]]:
    """Members of variable groups from their files, and the names of those that are marked as secret."""
    made, secrets = {}, set()
    for name, file in pairs(texts, "--group").items():
        members, hidden = _members(Path(file))
        made[name] = members
        secrets |= hidden
    return made, secrets


def _members(file: Path) -> tuple[dict[str, str], set[str]]:
    try:
        text = file.read_text(encoding="utf-8")
        read = _parsed(file, text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UsageError(
            "cannot read a variable group",
            where=str(file),
            problem=" ".join(str(getattr(error, "strerror", None) or error).split()),
            expected="lines NAME=VALUE, a mapping in YAML or JSON, or what `az pipelines variable-group show` prints",
        ) from None
    members: dict[str, str] = {}
    secrets = set()
    for name, value in read.items():
        if isinstance(value, Mapping):
            members[name] = _text(value.get("value"))
            secrets |= {name} if str(value.get("isSecret")).lower() == "true" else set()
        else:
            members[name] = _text(value)
    return members, secrets


def _parsed(file: Path, text: str) -> dict[str, Any]:
    if file.suffix in {".yml", ".yaml", ".json"}:
        # Texts stay as they are written: 1.10 is a version more often than a number.
        made = json.loads(text) if file.suffix == ".json" else yaml.load(text, yaml.BaseLoader)  # noqa: S506 - texts only
        if not isinstance(made, dict):
            raise ValueError("it is no mapping")
        inner = made.get("variables")
        return {str(name): value for name, value in (inner if isinstance(inner, dict) else made).items()}
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return pairs(lines, str(file))


def _text(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def secret_values(names: Iterable[str], environ: Mapping[str, str], known: Iterable[str]) -> dict[str, str]:
    """Values of secrets, from the environment: by their name, or as scripts would call them.

    Args:
        names: What ``--secret`` names.
        environ: The environment.
        known: Names that have a value already, from ``--variable`` or a group.

    Raises:
        UsageError: One is nowhere.
    """
    has = {name.lower() for name in known}
    made = {}
    for name in names:
        shell = name.upper().replace(".", "_").replace("-", "_").replace(" ", "_")
        value = environ.get(name, environ.get(shell))
        if value is not None:
            made[name] = value
        elif name.lower() not in has:
            raise UsageError(
                f"the secret {name} has no value",
                problem=f"the environment has neither {name} nor {shell}",
                next_step=f"export {shell}=…     then again; a value on the command line would be seen by others",
            )
    return made


def inputs(options: Mapping[str, Any], environ: Mapping[str, str], facts: Mapping[str, Any]) -> Inputs:
    """The circumstances of a run.

    Args:
        options: Those of the command, by name.
        environ: Where the values of secrets come from.
        facts: What is known of repository and pipeline: fields of ``Inputs``.

    Raises:
        UsageError: An option is wrong.
    """
    variables = pairs(options["variables"], "--variable")
    members, hidden = groups(options["groups"])
    known = [*variables, *(name for group in members.values() for name in group)]
    secrets = secret_values(options["secrets"], environ, known)
    return Inputs(
        parameters=pairs(options["parameters"], "-p"),
        variables=variables | secrets,
        groups=members,
        secrets=frozenset({*options["secrets"], *hidden}),
        branch=options["branch"] or facts["branch"] or "main",
        target_branch=options["target"] or "",
        reason=options["reason"],
        pull_request=1 if options["reason"] == "pr" else 0,
        **{"started": datetime.now(UTC), **{name: value for name, value in facts.items() if name != "branch"}},
    )


KEPT: Final = ("parameters", "variables", "secrets", "groups", "secure_files", "branch", "target", "reason", "stages")
"""Options that a run which waits is carried on with."""
_FILE: Final = "given.json"


def remember(folder: Path, options: Mapping[str, Any], circumstances: Inputs, files: Mapping[str, str]) -> None:
    """Notes in a run's folder what it was started with; values of secrets are none of it.

    Args:
        folder: The run's.
        options: Those of the command, by name.
        circumstances: What came of them.
        files: The texts of the pipeline's files.
    """
    secrets = {name.lower() for name in options["secrets"]}
    made = {name: options[name] for name in KEPT}
    made["variables"] = [one for one in options["variables"] if one.partition("=")[0].strip().lower() not in secrets]
    for name, option in (("groups", "--group"), ("secure_files", "--secure-file")):
        made[name] = [f"{key}={Path(path).resolve()}" for key, path in pairs(options[name], option).items()]
    noted = {
        "file": options["file"],
        "commit": circumstances.commit,
        "exact": options["exact"],
        "started": circumstances.started.isoformat(),
        "digest": _digest(files),
        "options": {**made, "branch": circumstances.branch},
    }
    with writing("cannot note what the run was started with", folder):
        (folder / _FILE).write_text(json.dumps(noted, indent=2), encoding="utf-8")


def remembered(folder: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a command that carries a run on: those that it was started with, and its commit.

    Raises:
        UsageError: Others are given beside them, or the run was of another file.
    """
    beside = [name for name in (*KEPT, "commit") if options[name] and options[name] != "manual"]
    if beside:
        words = ", ".join(f"--{name.removesuffix('s').replace('_', '-')}" for name in beside)
        raise UsageError(f"--continue takes what the run was started with; leave out {words}")
    noted = json.loads((folder / _FILE).read_text(encoding="utf-8"))
    if noted["file"] != options["file"]:
        raise UsageError(f"run {folder.name} is of {noted['file']}", where=options["file"])
    started = datetime.fromisoformat(noted["started"])
    kept = {**noted["options"], **{name: noted[name] for name in ("commit", "exact", "digest")}}
    return {**options, **kept, "started": started}


def same_files(options: Mapping[str, Any], files: Mapping[str, str]) -> None:
    """Checks that a run is carried on with the files that it began with.

    Raises:
        UsageError: One of them has changed.
    """
    if options.get("digest", _digest(files)) != _digest(files):
        raise UsageError(
            f"run {options['continued']} cannot be carried on",
            problem=f"{options['file']} or one of its templates has changed since it began",
            next_step="the same command without --continue, which begins anew",
        )


def _digest(files: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(sorted(files.items())).encode()).hexdigest()

"""What stands here for tasks of Azure Pipelines, and for all others a note that they were not executed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable
from collections.abc import Mapping as Map
from contextlib import suppress
from pathlib import Path
from typing import Final

from ridgeway.ci.azure import Change
from ridgeway.ci.azure.values import Members
from ridgeway.ci.execution.caches import HIT, INEXACT, MISS, NoSuchFile, Wanted, key_of
from ridgeway.ci.execution.folders import writing
from ridgeway.ci.execution.shelf import found
from ridgeway.ci.execution.steps import StepFailed, StepRun, download, publish, shell
from ridgeway.ci.execution.telling import NOT_EXECUTED

_VENV: Final = """
import importlib.util, pathlib, shutil, sys, sysconfig, venv
place = pathlib.Path(sys.argv[1])
paths = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
base = pathlib.Path(sysconfig.get_path("purelib", vars={"base": sys.base_prefix}))
here, there = importlib.util.find_spec("pip"), (base / "pip").is_dir()
venv.EnvBuilder(with_pip=not (here or there), symlinks=True).create(place)
inside = pathlib.Path(sysconfig.get_path("purelib", "venv", {"base": str(place)}))
if there and not here:  # environments of some tools have no pip; a copy takes a tenth of the time of an installation
    for part in [base / "pip", *base.glob("pip-*.dist-info")]:
        shutil.copytree(part, inside / part.name)
lines = [f"import site; site.addsitedir({path!r})" for path in paths]
(inside / "ridgeway_ci.pth").write_text("".join(f"{line}\\n" for line in lines))
"""


def carry_out_task(step: StepRun) -> int | None:
    """Does what stands for a task; an exit code where it is a script's.

    Raises:
        StepFailed: The task would fail.
    """
    name = step.text(step.step.value)
    found = LOCAL.get(name.lower().partition(".")[0])
    if found is None:
        step.note(f"{NOT_EXECUTED}: task {name}")
        return None
    return found(step, step.inputs())


def knows(task: str) -> bool:
    """Whether something stands here for a task.

    Example:
        >>> knows("PublishTestResults@2"), knows("Docker@2")
        (True, False)
    """
    return task.lower().partition(".")[0] in LOCAL


def _input(inputs: Members, *names: str, default: str = "") -> str:
    found = next((inputs.find(name) for name in names if inputs.find(name)), None)
    return str(found) if found else default


def _yes(inputs: Members, name: str) -> bool:
    return _input(inputs, name).strip().lower() == "true"


def _script(step: StepRun, inputs: Members) -> int | None:
    folder, strict = _input(inputs, "workingDirectory"), _yes(inputs, "failOnStderr")
    path = _input(inputs, "filePath")
    if path and _input(inputs, "targetType", default="filePath").lower() != "inline":
        words = [str(step.folder(path)), *_input(inputs, "arguments").split()]
        return step.spawn(("bash", "--noprofile", "--norc", *words), folder, strict=strict)
    return shell(step, _input(inputs, "script"), folder, strict=strict)


def _python_version(step: StepRun, inputs: Members) -> None:
    """An environment of the job over an interpreter, so that nothing is installed into that one.

    It is the one that Ridgeway runs in, with what is installed there, where its version is the one that is wanted: a
    job that begins with an installation ends it quickly. Else it is the machine's own of that version, and where there
    is none, or none that can make environments, the first has to stand for it, which the step's end tells.
    """
    wanted = _input(inputs, "versionSpec", default="3.x").strip()
    place = step.job.workspace.tools / "python"
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    if wanted not in {"3", "3.x", own, f"{own}.x"}:
        other = _interpreter(step, wanted)
        if other is not None and not _environment(other, place):
            step.job.ahead.append(str(place / "bin"))
            step.note(f"Python {wanted} of this machine, {other}, in an environment of the job")
            return
        step.note(f"{NOT_EXECUTED}: Python {wanted} is not here, so {own} stands for it")
    python = step.job.session.machine.python
    if complaint := _environment(python, place):
        raise StepFailed(f"cannot make an environment for Python: {complaint}")
    step.job.ahead += [str(python.parent), str(place / "bin")]
    step.note(f"Python {own}, in an environment of the job over the one that Ridgeway runs in")


def _interpreter(step: StepRun, wanted: str) -> Path | None:
    """The machine's Python of a version such as 3.12; none for ranges, which a name does not tell."""
    version = wanted.removesuffix(".x")
    parts = version.split(".")
    if len(parts) != 2 or not all(part.isdecimal() for part in parts):
        return None
    found = shutil.which(f"python{version}", path=step.environment().get("PATH"))
    return Path(found) if found else None


def _environment(python: Path, place: Path) -> str:
    """Makes an environment over an interpreter; why that could not be done, or nothing."""
    shutil.rmtree(place, ignore_errors=True)
    try:
        done = subprocess.run(  # noqa: S603 - Python with a script of ours
            [str(python), "-c", _VENV, str(place)], capture_output=True, text=True, check=False, timeout=120
        )
    except (OSError, subprocess.TimeoutExpired) as error:  # a name on PATH proves nothing
        return str(error)
    return (done.stderr.strip()[-200:] or f"exit code {done.returncode}") if done.returncode else ""


def _cache(step: StepRun, inputs: Members) -> None:
    """A folder as an earlier job on this machine has left it; kept under its key when this one has gone well."""
    path, text, sources = _input(inputs, "path"), _input(inputs, "key"), step.folder("")
    if not path or not text:
        raise StepFailed("a cache needs a key and a path")
    try:
        key = key_of(text, sources)
        others = [key_of(line, sources) for line in _input(inputs, "restoreKeys").splitlines() if line.strip()]
    except NoSuchFile as error:
        raise StepFailed(str(error)) from None
    told = step.job.caches.restore(key, others, step.folder(path))
    if told != HIT:
        step.job.to_keep.append(Wanted(key, step.folder(path)))
    words = {HIT: "as it was kept for this key", INEXACT: "as it was kept for another key", MISS: "nothing is kept yet"}
    step.note(f"cache: {words[told]}")
    variable = _input(inputs, "cacheHitVar")
    if variable:
        with step.job.session.lock:
            step.job.running.variables[variable] = told


def _key_vault(step: StepRun, inputs: Members) -> None:
    """The secrets of a vault are those of this run: from the environment or a group's file, never from the vault."""
    vault = _input(inputs, "KeyVaultName", default="the vault")
    names = [name.strip() for name in _input(inputs, "SecretsFilter", default="*").split(",") if name.strip()]
    with step.job.session.lock:
        known = {name.lower() for name in step.job.running.secrets}
        missing = [name for name in names if name != "*" and name.lower() not in known]
    if missing:
        options = " ".join(f"--secret {name}" for name in missing)
        raise StepFailed(f"secrets of {vault} are not known here: {', '.join(missing)}; give them by {options}")
    step.note(f"secrets of {vault} are those given by --secret: {', '.join(names)}")


def _secure_file(step: StepRun, inputs: Members) -> None:
    """A secure file is one of this machine that was named for it; its copy goes with the job."""
    name = _input(inputs, "secureFile")
    source = step.job.session.machine.secure_files.get(name)
    if source is None:
        raise StepFailed(f"the secure file {name} is not known here; give it by --secure-file {name}=PATH")
    if not source.is_file():
        raise StepFailed(f"there is no file {source} for the secure file {name}")
    place = step.job.workspace.temporary / source.name
    with writing(f"cannot copy the secure file {name}", place):
        shutil.copyfile(source, place)
        place.chmod(0o600)
    with step.job.session.lock:
        step.job.session.run.set_variable(
            step.job.running, step.hook, step.step, Change("secureFilePath", str(place), output=True)
        )
    step.note(f"the secure file {name} is {source}")


def _publish_artifact(step: StepRun, inputs: Members) -> None:
    path = _input(inputs, "targetPath", "path", "PathtoPublish")
    path = path or step.job.running.variables["Build.ArtifactStagingDirectory"]
    name = _input(inputs, "artifact", "artifactName", default=f"{step.job.path.replace('/', '.')}.{step.step.label}")
    publish(step, path, name)


def _download_artifact(step: StepRun, inputs: Members) -> None:
    if _input(inputs, "buildType", "source", default="current").lower() != "current":
        step.note(f"{NOT_EXECUTED}: download of artifacts of another run")
        return
    patterns = tuple(_input(inputs, "itemPattern", "patterns").split("\n")) if inputs.find("itemPattern") else ()
    download(step, _input(inputs, "artifact", "artifactName"), _input(inputs, "targetPath", "path"), patterns)


def _test_results(step: StepRun, inputs: Members) -> None:
    form = _input(inputs, "testResultsFormat", "testRunner", default="JUnit")
    if form.lower() != "junit":
        step.note(f"{NOT_EXECUTED}: test results as {form}")
        return
    folder = step.folder(_input(inputs, "searchFolder"))
    files = _found(folder, _input(inputs, "testResultsFiles", default="**/TEST-*.xml"))
    if not files:
        if _yes(inputs, "failTaskOnMissingResultsFile"):
            raise StepFailed("no file with test results")
        step.note("warning: no file with test results")
        return
    total, failed, skipped = _counts(step, files)
    title = _input(inputs, "testRunTitle", default="tests")
    step.note(f"{title}: {total} tests, {failed} failed, {skipped} skipped")
    if failed and _yes(inputs, "failTaskOnFailedTests"):
        raise StepFailed("there are failed tests, and failTaskOnFailedTests is set")


def _counts(step: StepRun, files: Iterable[Path]) -> tuple[int, int, int]:
    total = failed = skipped = 0
    for file in files:
        step.job.session.keep(file, "tests", f"{step.job.path.replace('/', '.')}.{step.step.label}.{file.name}")
        cases = [*_parsed(file).iter("testcase")]
        total += len(cases)
        failed += sum(any(part.tag in {"failure", "error"} for part in case) for case in cases)
        skipped += sum(case.find("skipped") is not None for case in cases)
    return total, failed, skipped


def _coverage(step: StepRun, inputs: Members) -> None:
    patterns = _input(inputs, "summaryFileLocation")
    files = _found(step.folder(""), patterns) if patterns else []
    if not files:
        if _yes(inputs, "failIfCoverageEmpty"):
            raise StepFailed("no file with coverage")
        step.note("warning: no file with coverage")
        return
    for file in files:
        step.job.session.keep(file, "coverage", f"{step.job.path.replace('/', '.')}.{step.step.label}.{file.name}")
        rate = _parsed(file).get("line-rate", "")
        with suppress(ValueError):
            step.note(f"coverage: {float(rate):.1%} of the lines")


def _parsed(file: Path) -> ET.Element:
    try:
        return ET.parse(file).getroot()  # noqa: S314 - expat of today limits the growth of entities
    except ET.ParseError as error:
        raise StepFailed(f"{file.name} is no XML: {error}") from None


def _found(folder: Path, patterns: str) -> list[Path]:
    """Files by patterns, one on each line; absolute ones too."""
    wanted = [line.strip() for line in patterns.splitlines() if line.strip()]
    plain = [Path(line) for line in wanted if Path(line).is_absolute() and Path(line).is_file()]
    prefix = f"{folder}/"
    relative = [line.removeprefix(prefix) for line in wanted]
    return [*dict.fromkeys([*plain, *found(folder, relative)])]


def _copy_files(step: StepRun, inputs: Members) -> None:
    folder = step.folder(_input(inputs, "SourceFolder"))
    target = step.folder(_input(inputs, "TargetFolder"))
    files = _found(folder, _input(inputs, "Contents", default="**"))
    with writing("cannot copy files", target):
        for file in files:
            place = target / (file.name if _yes(inputs, "flattenFolders") else file.relative_to(folder))
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, place)
    step.stream.say(f"{len(files)} files to {target}")


LOCAL: Final[Map[str, Callable[[StepRun, Members], int | None]]] = {
    "azurekeyvault@1": _key_vault,
    "azurekeyvault@2": _key_vault,
    "bash@3": _script,
    "cache@2": _cache,
    "cmdline@2": _script,
    "copyfiles@2": _copy_files,
    "downloadsecurefile@1": _secure_file,
    "downloadpipelineartifact@2": _download_artifact,
    "publishbuildartifacts@1": _publish_artifact,
    "publishcodecoverageresults@1": _coverage,
    "publishcodecoverageresults@2": _coverage,
    "publishpipelineartifact@1": _publish_artifact,
    "publishtestresults@2": _test_results,
    "usepythonversion@0": _python_version,
}
"""Tasks, in lower case, with what stands for them here."""

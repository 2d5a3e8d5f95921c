"""All that is looked at in a project's CI files, as findings."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

import yaml

from ridgeway.artifacts import Finding
from ridgeway.ci.checking import azure_files, github_files, gitlab_files, jenkins_files, programs
from ridgeway.ci.checking.calls import calls
from ridgeway.ci.checking.graph import Node, differences
from ridgeway.ci.checking.places import SYSTEMS, CiFile
from ridgeway.errors import RidgewayError

Judge = Callable[[tuple[str, ...]], str]
"""What is wrong with a call of ``ridgeway``, in words; empty for a good one."""
_SHOWN: Final = 5


def look(files: Sequence[CiFile], wrong_with: Judge, path: str) -> Iterator[Finding]:
    """What there is to say of a project's CI files.

    Args:
        files: The files.
        wrong_with: Judges the words behind ``ridgeway``.
        path: Where programs that check are looked for.
    """
    graphs: dict[str, frozenset[Node]] = {}
    for system in SYSTEMS:
        own = [file for file in files if file.system == system]
        if not own:
            continue
        try:
            graphs[SYSTEMS[system]], scripts = yield from _READERS[system](own)
        except (RidgewayError, yaml.YAMLError, RecursionError) as error:
            yield Finding(f"{SYSTEMS[system]} files", "fail", _said(error), "mend the file")
            continue
        yield _called(SYSTEMS[system], scripts, wrong_with)
        yield from _asked(system, own, path)
    yield from _compared(graphs)


def _said(error: BaseException) -> str:
    if isinstance(error, RidgewayError):
        return "\n".join(filter(None, [f"{error.where}: {error.summary}", error.problem, error.expected]))
    return " ".join(str(error).split())


Reading = Generator[Finding, None, tuple[frozenset[Node], dict[str, list[str]]]]
"""Findings on the way; at the end what the files do, and their scripts by file."""


def _azure(own: Sequence[CiFile]) -> Reading:
    files = {file.path: file.text for file in own}
    nodes: set[Node] = set()
    scripts: dict[str, list[str]] = {}
    used: set[str] = set()
    for root in azure_files.roots(own):
        made = [*azure_files.plans(root, files)]
        used |= {name for one in made for name in one.pipeline.files}
        nodes |= {node for one in made for node in azure_files.graph(one)}
        jobs = [job for one in made for stage in one.pipeline.stages for job in stage.jobs]
        scripts[root.path] = list(dict.fromkeys(text for job in jobs for text in azure_files.scripts(job)))
        told = azure_files.warnings(made)
        reasons = ", ".join(reason for reason, _ in azure_files.CIRCUMSTANCES)
        if told:
            yield Finding(root.path, "warn", "\n".join(told[:_SHOWN]), "define it, or hand it over for each run")
        else:
            yield Finding(root.path, "pass", f"plans for {reasons}")
    unused = sorted(files.keys() - used)
    if unused:
        yield Finding("Azure Pipelines templates", "warn", f"no pipeline uses {', '.join(unused)}", "remove them")
    return frozenset(nodes), scripts


def _github(own: Sequence[CiFile]) -> Reading:
    files = {file.path: file for file in own}
    nodes: set[Node] = set()
    for file in own:
        if not github_files.is_action(file):
            nodes |= github_files.graph(file, files)
    yield Finding("GitHub Actions files", "pass", f"{len(own)} files are YAML")
    return frozenset(nodes), {file.path: [*github_files.scripts(file)] for file in own}


def _gitlab(own: Sequence[CiFile]) -> Reading:
    files = {file.path: file for file in own}
    nodes: set[Node] = set()
    for file in gitlab_files.roots(own):
        nodes |= gitlab_files.graph(file, files)
    yield Finding("GitLab CI files", "pass", f"{len(own)} files are YAML")
    return frozenset(nodes), {file.path: [*gitlab_files.scripts(file)] for file in own}


def _jenkins(own: Sequence[CiFile]) -> Reading:
    files = {file.path: file for file in own}
    nodes: set[Node] = set()
    for file in own:
        nodes |= jenkins_files.graph(file, files)
    yield Finding("Jenkins files", "pass", f"{len(own)} declarative pipelines, blocks in order")
    return frozenset(nodes), {file.path: [*jenkins_files.scripts(file)] for file in own}


_READERS: Final[Mapping[str, Callable[[Sequence[CiFile]], Reading]]] = {
    "azure": _azure,
    "github": _github,
    "gitlab": _gitlab,
    "jenkins": _jenkins,
}


def _called(system: str, scripts: Mapping[str, Iterable[str]], wrong_with: Judge) -> Finding:
    count, wrong = 0, []
    for file, texts in scripts.items():
        for words in (words for text in texts for words in calls(text)):
            count += 1
            problem = wrong_with(words)
            if problem:
                wrong.append(f"{file}: ridgeway {' '.join(words)}: {problem}")
    if wrong:
        return Finding(f"{system} commands", "fail", "\n".join(wrong), "ridgeway --help")
    return Finding(f"{system} commands", "pass", f"{count} calls of ridgeway, all of commands that exist")


def _asked(system: str, own: Sequence[CiFile], path: str) -> Iterator[Finding]:
    files = own
    if system == "azure":
        files = [replace(file, text=azure_files.without_insertions(file.text)) for file in azure_files.roots(own)]
    yield from programs.ask(system, files, path)
    if system == "gitlab":
        yield _listed(own, path)


def _listed(own: Sequence[CiFile], path: str) -> Finding:
    """GitLab's files as gitlab-ci-local reads them: at the places that they have in a project."""
    check, program = "GitLab CI by gitlab-ci-local", programs.LISTS
    found = shutil.which(program.name, path=path)
    missing = programs.not_checked(check, program, found)
    if missing is not None:
        return missing
    with programs.laid_out(own) as (folder, _):
        code, said = programs.run([str(found), *program.arguments], folder)
    if code:
        return Finding(check, "fail", said, "mend what it says")
    return Finding(check, "pass", "it reads the files")


def _compared(graphs: Mapping[str, frozenset[Node]]) -> Iterator[Finding]:
    if len(graphs) < 2:
        return
    names = ", ".join(graphs)
    told = [*differences(graphs)]
    if told:
        yield Finding("the same in all", "fail", "\n".join(told), "make them do the same")
        return
    commands = len({node for graph in graphs.values() for node in graph})
    yield Finding("the same in all", "pass", f"{names}: the same {commands} commands in the same order, under the same "
                                             "conditions")  # fmt: skip

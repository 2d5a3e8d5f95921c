"""Jenkins pipelines: what they do, with the jobs that they start."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from ridgeway.ci.checking.calls import calls
from ridgeway.ci.checking.graph import Node, Part, nodes, started
from ridgeway.ci.checking.groovy import Block, Token, pipeline, unquoted
from ridgeway.ci.checking.places import CiFile

_JOB: Final = re.compile(r"([A-Za-z_]+)['\"}\s]*$")


def scripts(file: CiFile) -> Iterator[str]:
    """All shell scripts of a file.

    Raises:
        PipelineError: It is not valid.
    """
    return _scripts(pipeline(file.path, file.text).tokens)


def _scripts(found: tuple[Token, ...]) -> Iterator[str]:
    for place, token in enumerate(found):
        if token.kind == "word" and token.text == "sh":
            text = next((one for one in found[place + 1 : place + 6] if one.kind == "text"), None)
            if text is not None:
                yield unquoted(text.text)


def graph(file: CiFile, files: Mapping[str, CiFile]) -> frozenset[Node]:
    """What a pipeline does, with those that it starts.

    Args:
        file: The Jenkinsfile.
        files: All of them by path.

    Raises:
        PipelineError: It is not valid.
    """
    return frozenset(nodes(_parts(file, files, ())))


def _parts(file: CiFile, files: Mapping[str, CiFile], inside: tuple[str, ...]) -> dict[str, Part]:
    made: dict[str, Part] = {}
    before: tuple[str, ...] = ()
    for stages in pipeline(file.path, file.text).find("stages"):
        for stage in stages.find("stage"):
            name = stage.argument
            own = replace(_part(stage), after=before)
            other = _started(stage, file, files)
            made[name] = own
            if other is not None and other.path not in inside:
                made |= started(name, own, _parts(other, files, (*inside, file.path)))
            made |= _afterwards(stage, name)
            before = (name,)
    return made


def _part(stage: Block) -> Part:
    whens = [_text(when.tokens) for when in stage.find("when")]
    steps = [token for body in stage.find("steps", "parallel", "stages") for token in body.tokens]
    asks = any(token.text == "input" and token.kind == "word" for token in steps) or any(stage.find("input"))
    found = tuple(words for text in _scripts(tuple(steps)) for words in calls(text))
    return Part(commands=found, condition=" ".join(whens), asks=asks)


def _afterwards(stage: Block, name: str) -> dict[str, Part]:
    """What a stage does at its end, each outcome a part of its own."""
    made = {}
    for post in stage.find("post"):
        for outcome in post.inner or []:
            found = tuple(words for text in _scripts(outcome.tokens) for words in calls(text))
            if found:
                condition = f"{outcome.name} {{ {_text(outcome.tokens)}"
                made[f"{name}/{outcome.name}"] = Part(commands=found, after=(name,), condition=condition)
    return made


def _started(stage: Block, file: CiFile, files: Mapping[str, CiFile]) -> CiFile | None:
    """The pipeline that ``build job:`` starts: the file beside this one whose name the job has."""
    words = [token for body in stage.find("steps") for token in body.tokens if token.kind != "line"]
    for place, token in enumerate(words):
        if token.text == "build" and place + 3 < len(words) and words[place + 1].text in {"job", "("}:
            text = next((one.text for one in words[place + 1 :] if one.kind == "text"), "")
            found = _JOB.search(text)
            path = posixpath.join(posixpath.dirname(file.path), f"{found[1] if found else ''}.Jenkinsfile")
            return files.get(path)
    return None


def _text(found: tuple[Token, ...]) -> str:
    return " ".join(token.text for token in found if token.kind != "line")

"""Declarative pipelines of Jenkins: brackets, texts and comments of Groovy, and the order of the blocks. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from ridgeway.ci.azure.problems import Place, did_you_mean, refuse

_TOKEN: Final = re.compile(
    r"(?P<comment>//[^\n]*|/\*.*?\*/|\A#![^\n]*)"
    r"|(?P<text>'''(?:\\.|[^\\])*?'''|\"\"\"(?:\\.|[^\\])*?\"\"\"|'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\")"
    r"|(?P<word>[A-Za-z_$][\w$]*)|(?P<line>\n)|(?P<space>[^\S\n]+)|(?P<other>.)",
    re.DOTALL,
)
_PAIRS: Final = {")": "(", "]": "[", "}": "{"}
PIPELINE: Final = ("agent", "tools", "libraries", "environment", "options", "triggers", "parameters", "stages", "post")
STAGE: Final = ("agent", "tools", "environment", "options", "input", "when", "failFast", "steps", "stages", "parallel",
                "matrix", "post")  # fmt: skip
BODIES: Final = ("steps", "stages", "parallel", "matrix")
POST: Final = ("always", "changed", "fixed", "regression", "aborted", "failure", "success", "unstable", "unsuccessful",
               "cleanup")  # fmt: skip
_LAST: Final = ("stages", "post")


@dataclass(frozen=True)
class Token:
    """A word, a text with its quotes, or a character.

    Attributes:
        kind: ``word``, ``text``, ``line`` or ``other``.
        text: As it is written.
        place: Where it stands.
    """

    kind: str
    text: str
    place: Place


@dataclass
class Block:
    """A statement, with the block behind it where it has one.

    Attributes:
        name: Its first word.
        head: What stands before the block.
        place: Where it stands.
        inner: Statements of the block; nothing for a statement without one.
        tokens: All of the block.
    """

    name: str
    head: tuple[Token, ...]
    place: Place
    inner: list[Block] | None = None
    tokens: tuple[Token, ...] = ()

    def find(self, *names: str) -> Iterator[Block]:
        """The statements of these names in the block, one level deep."""
        return (one for one in self.inner or [] if one.name in names)

    @property
    def argument(self) -> str:
        """The first text of the head, without its quotes: a stage's name."""
        return next((unquoted(token.text) for token in self.head if token.kind == "text"), "")


@dataclass
class _Open:
    block: Block
    bracket: Token | None = None
    statement: list[Token] = field(default_factory=list)


def tokens(file: str, text: str) -> list[Token]:
    """The tokens of a file; brackets are balanced.

    Raises:
        PipelineError: A text or comment has no end, or a bracket has no partner.
    """
    made, opened, line, begin = [], [], 1, 0
    for match in _TOKEN.finditer(text):
        place = Place(file, line, match.start() - begin + 1)
        kind, found = str(match.lastgroup), match[0]
        line += found.count("\n")
        begin = match.start() + found.rfind("\n") + 1 if "\n" in found else begin
        if kind in {"comment", "space"}:
            continue
        if found in "'\"" or (found == "/" and text.startswith("/*", match.start())):
            raise refuse(place, "a text or comment has no end", problem=text[match.start() :].partition("\n")[0][:60])
        token = Token(kind, found, place)
        if found in "([{":
            opened.append(token)
        elif found in _PAIRS and (not opened or opened.pop().text != _PAIRS[found]):
            raise refuse(place, f"{found} closes nothing", expected=f"{_PAIRS[found]} before it")
        made.append(token)
    if opened:
        raise refuse(opened[-1].place, f"{opened[-1].text} is never closed")
    return made


def blocks(file: str, text: str) -> list[Block]:
    """The statements of a file.

    Raises:
        PipelineError: Brackets are not balanced, or a text has no end.
    """
    return _statements(tokens(file, text))


def _statements(found: list[Token]) -> list[Block]:
    made: list[Block] = []
    head: list[Token] = []
    position = 0
    while position < len(found):
        token = found[position]
        if token.text == "{" or (token.text in "([" and token.kind == "other"):
            end = _end(found, position)
            if token.text == "{" and head:
                inside = found[position + 1 : end]
                made.append(Block(head[0].text, tuple(head), head[0].place, _statements(inside), tuple(inside)))
                head = []
            else:
                head += found[position : end + 1]
            position = end + 1
            continue
        if token.kind == "line" or token.text == ";":
            if head:
                made.append(Block(head[0].text, tuple(head), head[0].place))
            head = []
        else:
            head.append(token)
        position += 1
    if head:
        made.append(Block(head[0].text, tuple(head), head[0].place))
    return made


def _end(found: list[Token], position: int) -> int:
    depth = 0
    for place in range(position, len(found)):
        if found[place].kind == "other":
            depth += found[place].text in "([{"
            depth -= found[place].text in ")]}"
        if depth == 0:
            return place
    return len(found) - 1


def unquoted(text: str) -> str:
    """A text without its quotes.

    Example:
        >>> unquoted("'sh env/install.sh'")
        'sh env/install.sh'
    """
    size = 3 if text[:3] in {"'''", '"""'} else 1
    return re.sub(r"\\(.)", r"\1", text[size:-size])


def pipeline(file: str, text: str) -> Block:
    """The declarative pipeline of a file, its blocks known and in order.

    Raises:
        PipelineError: It is none, or a block is unknown, missing, twice there or out of order.
    """
    found = blocks(file, text)
    made = next((one for one in found if one.name == "pipeline" and one.inner is not None), None)
    if made is None:
        place = found[0].place if found else Place(file, 1, 1)
        raise refuse(place, "no declarative pipeline", problem="scripted pipelines are not read here",
                     expected="pipeline { agent … stages { … } }")  # fmt: skip
    _check(made, PIPELINE, "pipeline")
    inner = [one.name for one in made.inner or []]
    for needed in ("agent", "stages"):
        if needed not in inner:
            raise refuse(made.place, f"the pipeline has no {needed}")
    if inner[0] != "agent":
        raise refuse((made.inner or [made])[0].place, "agent comes first", problem=f"{inner[0]} comes before it")
    _check_order(made)
    for stages in made.find("stages"):
        _check_stages(stages)
    for post in made.find("post"):
        _check(post, POST, "post")
    return made


def _check(block: Block, known: tuple[str, ...], what: str) -> None:
    seen: set[str] = set()
    for one in block.inner or []:
        if one.name not in known:
            raise refuse(one.place, f"{what} has no {one.name}", expected=did_you_mean(one.name, known))
        if one.name in seen:
            raise refuse(one.place, f"{one.name} is there twice")
        seen.add(one.name)


def _check_order(block: Block) -> None:
    inner = block.inner or []
    last = [one for one in inner if one.name in _LAST]
    if [one.name for one in last] != [name for name in _LAST if any(one.name == name for one in last)]:
        raise refuse(last[-1].place, "post comes after stages", problem="it comes before")
    late = next((one for one in inner[inner.index(last[0]) :] if one.name not in _LAST), None) if last else None
    if late is not None:
        raise refuse(late.place, f"{late.name} comes before stages", problem="it comes after")


def _check_stages(stages: Block) -> None:
    if not stages.inner:
        raise refuse(stages.place, f"{stages.name} has no stage")
    for stage in stages.inner:
        if stage.name != "stage":
            raise refuse(stage.place, f"{stages.name} has no {stage.name}", expected="stage('…') { … }")
        _check(stage, STAGE, "a stage")
        bodies = [one for one in stage.inner or [] if one.name in BODIES]
        if len(bodies) != 1:
            problem = " and ".join(one.name for one in bodies) or "there is none"
            raise refuse(stage.place, f"a stage needs one of {', '.join(BODIES)}", problem=problem)
        if bodies[0].name in {"stages", "parallel"}:
            _check_stages(bodies[0])
        for post in stage.find("post"):
            _check(post, POST, "post")
            if (stage.inner or [])[-1] is not post:
                raise refuse(post.place, "post comes last in a stage", problem="something comes after it")

"""YAML text as nodes that know where they stand: scalars stay text, as Azure Pipelines reads them.

The events come from libyaml, through PyYAML; docs/decisions/0100-positions-from-parser-events.md says why. What Azure
Pipelines does not read (anchors, tags, sets, keys that are no scalars) is refused, so nothing can grow by reference.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from functools import cached_property
from typing import Any, Final

import yaml

from ridgeway.ci.azure.problems import PipelineError, Place, refuse, unsupported

MAX_DEPTH: Final = 100
"""Levels of nesting in one file; a pipeline has about 12."""
MAX_CHARACTERS: Final = 10_000_000
"""Azure Pipelines stops at 10 megabytes too."""

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # without libyaml slower, and otherwise the same


_BREAK: Final = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
"""What libyaml counts as the end of a line."""


class Source:
    """One file's text.

    Args:
        name: Its path, as messages show it: relative to the repository, with slashes.
        text: Its content.
    """

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *(match.end() for match in _BREAK.finditer(self.text))]

    def line(self, number: int) -> str:
        """A line without its end, or nothing where the file has fewer."""
        if number > len(self._starts):
            return ""
        return _BREAK.split(self.text[self._starts[number - 1] :], maxsplit=1)[0]

    def place(self, index: int) -> Place:
        """The place of a character."""
        line = bisect_right(self._starts, index)
        return Place(self.name, line, index - self._starts[line - 1] + 1)


class Node:
    """A piece of YAML: where it begins and, for messages, in which text.

    Attributes:
        source: The file.
        start: Index of its first character.
        line: Line, from 1.
        column: Column, from 1.
    """

    __slots__ = ("column", "line", "source", "start")

    def __init__(self, source: Source, start: int, line: int, column: int) -> None:
        self.source = source
        self.start = start
        self.line = line
        self.column = column

    @property
    def place(self) -> Place:
        """Where it stands."""
        return Place(self.source.name, self.line, self.column)


class Scalar(Node):
    """A text.

    Attributes:
        text: Its value, with quotes and folding undone.
        end: Index after its last character.
        style: ``'`` or ``"``, ``|`` or ``>``, or nothing for a plain one.
        closed: Whether it came out of an expression, so that ``${{`` in it is only text.
    """

    __slots__ = ("closed", "end", "style", "text")

    def __init__(self, at: Node, text: str, *, end: int = 0, style: str = "", closed: bool = False) -> None:
        super().__init__(at.source, at.start, at.line, at.column)
        self.text = text
        self.end = end
        self.style = style
        self.closed = closed

    def with_text(self, text: str) -> Scalar:
        """The same place with the text that its expressions came to."""
        return Scalar(self, text, end=self.end, style=self.style, closed=True)

    def place_of(self, offset: int) -> Place:
        """The place of one character of ``text``: exact for one-line scalars and for expressions in braces."""
        raw = self.source.text[self.start : self.end]
        if self.style in {"", "'", '"'} and "\n" not in raw:
            return Place(self.source.name, self.line, self.column + (1 if self.style else 0) + offset)
        before = self.text[: offset + 1].count("${{")
        opening = self.text.rfind("${{", 0, offset + 1)
        if before and opening >= 0:
            index = -1
            for _ in range(before):
                index = raw.find("${{", index + 1)
            return self.source.place(self.start + index + offset - opening) if index >= 0 else self.place
        if self.style == "|":
            return self._place_in_block(raw, offset)
        return self.place

    def _place_in_block(self, raw: str, offset: int) -> Place:
        lines = self.text[:offset].split("\n")
        body = raw.split("\n")[1:]
        if len(lines) > len(body):
            return self.place
        text = self.text.split("\n")[len(lines) - 1]
        indent = body[len(lines) - 1].find(text) if text else 0
        return Place(self.source.name, self.line + len(lines), max(indent, 0) + len(lines[-1]) + 1)


class Sequence(Node):
    """A list of nodes."""

    __slots__ = ("items",)

    def __init__(self, at: Node, items: list[Node]) -> None:
        super().__init__(at.source, at.start, at.line, at.column)
        self.items = items


class Mapping(Node):
    """Keys with nodes, in the order of the file."""

    __slots__ = ("entries",)

    def __init__(self, at: Node, entries: list[tuple[Scalar, Node]]) -> None:
        super().__init__(at.source, at.start, at.line, at.column)
        self.entries = entries

    def get(self, key: str) -> Node | None:
        """The value of a key, letter case aside, or nothing."""
        folded = key.lower()
        return next((value for name, value in self.entries if name.text.lower() == folded), None)


def read(text: str, name: str) -> Node | None:
    r"""The one document in a text, or nothing if it is empty.

    Args:
        text: YAML.
        name: The file's path, for messages.

    Raises:
        PipelineError: It is no YAML, is too large or too deep, or has a key twice.
        Unsupported: It has anchors, tags, complex keys or several documents.

    Example:
        >>> node = read("steps:\n- script: make\n", "ci.yml")
        >>> isinstance(node, Mapping) and node.entries[0][0].text
        'steps'
    """
    source = Source(name, text)
    if len(text) > MAX_CHARACTERS:
        raise refuse(Place(name, 1, 1), f"{name} is too large", problem=f"{len(text):,} characters")
    try:
        return _Builder(source).build()
    except yaml.MarkedYAMLError as error:
        raise _not_yaml(source, error) from None
    except yaml.reader.ReaderError as error:
        place = source.place(min(error.position, len(text)))
        raise refuse(place, "not a YAML file", problem=f"a character that YAML forbids: {error.character!r}") from None
    except UnicodeEncodeError as error:
        place = source.place(error.start)
        raise refuse(place, "not a YAML file", problem="half of a character, which is no Unicode text") from None


def _not_yaml(source: Source, error: yaml.MarkedYAMLError) -> PipelineError:
    mark = error.problem_mark or error.context_mark
    place = Place(source.name, mark.line + 1, mark.column + 1) if mark else Place(source.name, 1, 1)
    line = source.line(place.line)
    tab = "\t" in line[: max(place.column, len(line) - len(line.lstrip()))]
    problem = "a tab character" if tab else ", ".join(part for part in (error.context, error.problem) if part)
    return refuse(
        place,
        "not a YAML file",
        problem=f"{problem}\n{line}\n{' ' * (place.column - 1)}^",
        expected="spaces: YAML does not indent with tabs" if tab else "",
    )


class _Builder:
    """Turns parser events into nodes, without recursion: a file that nests without end must not end us."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.root: Node | None = None
        self.stack: list[Sequence | Mapping] = []
        self.keys: list[Scalar | None] = []  # for each open mapping: the key that waits for its value
        self.seen: list[dict[str, Scalar]] = []
        self.documents = 0

    def build(self) -> Node | None:
        # A loader owns its buffers: without dispose, libyaml's stay until the collector comes.
        loader = _Loader(self.source.text)
        try:
            while loader.check_event():
                self._take(loader.get_event())
        finally:
            loader.dispose()
        return self.root

    def _take(self, event: Any) -> None:
        kind = type(event)
        if kind is yaml.ScalarEvent:
            self._check(event)
            at = self._at(event)
            style = event.style or ""
            self._add(Scalar(at, event.value, end=event.end_mark.index, style="" if style == "plain" else style))
        elif kind is yaml.SequenceStartEvent:
            self._check(event)
            self._open(Sequence(self._at(event), []))
        elif kind is yaml.MappingStartEvent:
            self._check(event)
            self._open(Mapping(self._at(event), []))
        elif kind in {yaml.SequenceEndEvent, yaml.MappingEndEvent}:
            if isinstance(self.stack.pop(), Mapping):
                self.keys.pop()
                self.seen.pop()
        elif kind is yaml.AliasEvent:
            raise unsupported(
                self._at(event).place, "a YAML alias (*)", instead="templates, or ${{ each }}", known=False
            )
        elif kind is yaml.DocumentStartEvent:
            self.documents += 1
            if self.documents > 1:
                raise refuse(self._at(event).place, "more than one YAML document in a file", problem="---")

    def _at(self, event: Any) -> Node:
        mark = event.start_mark
        return Node(self.source, mark.index, mark.line + 1, mark.column + 1)

    def _check(self, event: Any) -> None:
        if event.anchor is not None:
            instead = "templates, or ${{ each }}"
            raise unsupported(self._at(event).place, "a YAML anchor (&)", instead=instead, known=False)
        if event.tag is not None:
            raise unsupported(self._at(event).place, f"a YAML tag ({event.tag})", instead="plain values", known=False)

    def _open(self, node: Sequence | Mapping) -> None:
        self._add(node)
        if len(self.stack) >= MAX_DEPTH:
            raise refuse(node.place, "nested too deeply", problem=f"more than {MAX_DEPTH} levels")
        self.stack.append(node)
        if isinstance(node, Mapping):
            self.keys.append(None)
            self.seen.append({})

    def _add(self, node: Node) -> None:
        if not self.stack:
            self.root = node
            return
        parent = self.stack[-1]
        if isinstance(parent, Sequence):
            parent.items.append(node)
        elif self.keys[-1] is None:
            self.keys[-1] = self._key(node)
        else:
            parent.entries.append((self.keys[-1], node))
            self.keys[-1] = None

    def _key(self, node: Node) -> Scalar:
        if not isinstance(node, Scalar):
            raise unsupported(node.place, "a complex key", instead="a text as the key", known=False)
        if node.text == "<<" and not node.style:
            raise unsupported(node.place, "a YAML merge key (<<)", instead="templates, or ${{ insert }}", known=False)
        if "${{" in node.text:
            return node  # the same condition may well stand twice
        first = self.seen[-1].setdefault(node.text, node)
        if first is not node:
            raise refuse(node.place, f"{node.text} stands here twice", problem=f"it is already at {first.place}")
        return node

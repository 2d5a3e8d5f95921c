"""Fields of mappings with their types: what a key may be called, and what may stand behind it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from collections.abc import Mapping as Map
from typing import Final

from ridgeway.ci.azure.document import Mapping, Node, Scalar, Sequence
from ridgeway.ci.azure.problems import did_you_mean, refuse, unsupported
from ridgeway.ci.azure.templates import Entry, Frame, Session, closed, entries, items, resolved

Fields = dict[str, Entry]

_TRUE: Final = frozenset({"true", "yes", "on", "y"})
_FALSE: Final = frozenset({"false", "no", "off", "n"})
_LATER: Final = re.compile(r"\$\(|\$\[")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def fields(found: Iterable[Entry], what: str, known: Collection[str], foreign: Map[str, str] | None = None) -> Fields:
    """The entries of a mapping by key.

    Args:
        found: The entries.
        what: What the mapping is, for messages: "a job".
        known: Keys that it may have.
        foreign: Keys that Azure Pipelines knows and this runner does not, with the feature's name.

    Raises:
        PipelineError: A key is unknown; the message says which one may have been meant.
        Unsupported: A key belongs to a feature outside the grammar.
    """
    made: Fields = {}
    for entry in found:
        key = entry.key.text
        if key not in known:
            if foreign and key in foreign:
                raise unsupported(entry.key.place, foreign[key])
            raise refuse(entry.key.place, f"{what} has no {key}", expected=did_you_mean(key, known))
        made[key] = entry
    return made


def scalar(entry: Entry, what: str = "") -> Scalar:
    """The evaluated text behind a key, with its place.

    Raises:
        PipelineError: There is a list or mapping.
    """
    node = resolved(entry.value, entry.frame) if isinstance(entry.value, Scalar) else entry.value
    if not isinstance(node, Scalar):
        found = "a list" if isinstance(node, Sequence) else "a mapping"
        raise refuse(node.place, f"{what or entry.key.text} must be a text", problem=f"there is {found}")
    return node


def text(made: Fields, key: str, default: str = "") -> str:
    """The evaluated text behind a key, or the default where the key is not there."""
    return scalar(made[key]).text if key in made else default


def boolean(made: Fields, key: str, default: bool = False) -> bool:
    """True or false behind a key, in any of the words that YAML has for them.

    Raises:
        PipelineError: It is neither.
    """
    value = flexible_boolean(made, key, default)
    if isinstance(value, str):
        entry = made[key]
        raise refuse(entry.value.place, f"{key} must be true or false", problem=value, expected="true or false")
    return value


def flexible_boolean(made: Fields, key: str, default: bool = False) -> bool | str:
    """The same, or the text where a macro or runtime expression decides."""
    if key not in made:
        return default
    node = scalar(made[key])
    word = node.text.strip().lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    if _LATER.search(node.text):
        return node.text
    raise refuse(node.place, f"{key} must be true or false", problem=node.text[:60], expected="true or false")


def number(made: Fields, key: str, default: float) -> float | str:
    """A number from 0 up, or the text where a macro or runtime expression decides.

    Raises:
        PipelineError: It is neither.
    """
    if key not in made:
        return default
    node = scalar(made[key])
    if re.fullmatch(r"\d{1,9}(\.\d{1,6})?", node.text.strip()):
        value = float(node.text)
        return int(value) if value.is_integer() else value
    if _LATER.search(node.text):
        return node.text
    raise refuse(node.place, f"{key} must be a number", problem=node.text[:60], expected="a number from 0 up")


def texts(entry: Entry) -> list[Scalar]:
    """A text or a list of texts behind a key.

    Raises:
        PipelineError: There is a mapping, or something else than texts in the list.
    """
    node = resolved(entry.value, entry.frame) if isinstance(entry.value, Scalar) else entry.value
    if isinstance(node, Scalar):
        return [node] if node.text.strip() else []
    if isinstance(node, Mapping):
        raise refuse(node.place, f"{entry.key.text} must be a text or a list", problem="there is a mapping")
    made = []
    for item, frame in items(node, entry.frame):
        made.append(scalar(Entry(entry.key, item, frame), f"an item of {entry.key.text}"))
    return made


def pairs(entry: Entry) -> list[tuple[str, Scalar]]:
    """Names and texts behind a key."""
    return [(inner.key.text, scalar(inner)) for inner in entries(entry.value, entry.frame)]


def identifier(node: Scalar, what: str) -> str:
    """A name of letters, digits and underscores that does not begin with a digit.

    Raises:
        PipelineError: It is none.
    """
    if not _NAME.fullmatch(node.text):
        expected = "letters, digits and underscores, no digit first"
        raise refuse(node.place, f"{what} cannot be called {node.text[:60]!r}", expected=expected)
    return node.text


def literal(entry: Entry) -> Node:
    """What stands behind a key where expressions are not evaluated, such as in triggers.

    Raises:
        PipelineError: There is one all the same.
    """
    plain = Frame(Session({}), {"parameters": {}, "variables": {}}, ())
    found = first_expression(entry.value)
    if found is not None:
        place = found.place_of(found.text.index("${{"))
        problem = f"an expression in {entry.key.text}"
        raise refuse(place, "expressions are not expanded here", problem=problem, expected="a literal")
    return closed(entry.value, plain)


def first_expression(node: Node) -> Scalar | None:
    """The first text with ``${{`` in it, or nothing."""
    if isinstance(node, Scalar):
        return node if "${{" in node.text and not node.closed else None
    parts: list[Node] = node.items if isinstance(node, Sequence) else []
    if isinstance(node, Mapping):
        parts = [part for pair in node.entries for part in pair]
    return next((found for part in parts if (found := first_expression(part))), None)

"""Template expansion: ``${{ }}`` in keys and values, ``if``, ``elseif``, ``else``, ``each``, ``insert``, and templates.

Nothing is expanded as a whole. A reader asks for the items of a list or the entries of a mapping, gets them flattened
with the frame that their own expressions see, and goes on from there: each piece is touched once and keeps its place.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from collections.abc import Mapping as Map
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from ridgeway.ci.azure.document import MAX_DEPTH, Mapping, Node, Scalar, Sequence, read
from ridgeway.ci.azure.evaluation import Scope, evaluate
from ridgeway.ci.azure.inputs import is_predefined
from ridgeway.ci.azure.parameters import ANY, Parameter, bind, declared
from ridgeway.ci.azure.problems import PipelineError, Place, Warned, did_you_mean, refuse, unsupported
from ridgeway.ci.azure.syntax import ExpressionError
from ridgeway.ci.azure.values import Members, kind, pairs, to_boolean, to_text, unwrap
from ridgeway.ci.azure.values import items as elements

MAX_FILES: Final = 100
MAX_LEVELS: Final = 20
MAX_NODES: Final = 250_000
"""Files, nesting of templates and size after expansion: the limits of the page "Template expressions"; the last one
stands for its 10 megabytes."""


@dataclass
class Session:
    """One expansion: the files it may read, what it has read, and what it warns of.

    Attributes:
        files: Texts by path from the repository's root, with slashes.
        documents: What was read so far.
        warnings: In the order they were met, each once.
        nodes: How many pieces were made.
    """

    files: Map[str, str]
    documents: dict[str, Node | None] = field(default_factory=dict)
    warnings: dict[Warned, None] = field(default_factory=dict)
    nodes: int = 0

    def warn(self, place: Place, text: str) -> None:
        """Keeps a warning."""
        self.warnings.setdefault(Warned(place, text))

    def spend(self, at: Node) -> None:
        """Counts a piece.

        Raises:
            PipelineError: There are too many: an expansion without end.
        """
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise refuse(at.place, "the pipeline grows too large", problem=f"more than {MAX_NODES:,} pieces of YAML")

    def load(self, path: str, at: Place) -> Node | None:
        """The document of a file.

        Raises:
            PipelineError: There is no such file, or too many were read.
        """
        if path not in self.documents:
            if len(self.documents) > MAX_FILES:
                raise refuse(at, "too many files", problem=f"more than {MAX_FILES} files belong to this pipeline")
            try:
                text = self.files[path]
            except KeyError:
                hint = did_you_mean(path, sorted(self.files)) if len(path) < 300 else ""
                raise refuse(at, f"there is no file {path}", problem=f"{path} is not there", expected=hint) from None
            self.documents[path] = read(text, path)
        return self.documents[path]


@dataclass(frozen=True, slots=True)
class Frame:
    """What expressions see at some place.

    Attributes:
        session: The expansion.
        names: ``parameters``, ``variables`` and the variables of loops.
        chain: The files being included, the pipeline first.
    """

    session: Session
    names: Map[str, Any]
    chain: tuple[str, ...]

    def with_name(self, name: str, value: Any) -> Frame:
        """The same with one more name."""
        return Frame(self.session, {**self.names, name: value}, self.chain)


class Entry(NamedTuple):
    """A key with its value and the frame that the value's expressions see."""

    key: Scalar
    value: Node
    frame: Frame


class Flat(Mapping):
    """A mapping whose directives are done; its values may have frames of their own."""

    __slots__ = ("flat",)

    def __init__(self, at: Node, flat: list[Entry]) -> None:
        super().__init__(at, [(entry.key, entry.value) for entry in flat])
        self.flat = flat


class Directive(NamedTuple):
    """A key that is a directive: its word, its expression and where that begins in the key's text."""

    word: str
    name: str
    expression: str
    offset: int


_EXPRESSION: Final = re.compile(r"\$\{\{((?:'(?:[^']|'')*'|[^'}]|\}(?!\}))*)\}\}")
_DIRECTIVE: Final = re.compile(
    r"\s*\$\{\{\s*(?:(?P<plain>else|insert)\s*\}\}|(?P<word>if|elseif)(?=[\s(])|each\s+(?P<name>[A-Za-z_]\w*)\s+in(?=[\s(]))"
)


def failed(scalar: Scalar, offset: int, error: ExpressionError) -> PipelineError:
    """An expression's error as one at a place of a file."""
    place = scalar.place_of(offset + error.offset)
    return refuse(place, "an expression is wrong", problem=error.drawing(), expected=error.expected)


def _scope(scalar: Scalar, offset: int, frame: Frame) -> Scope:
    def missed(context: str, name: str) -> None:
        if context.lower() == "variables" and is_predefined(name):
            text = f"variables['{name}'] is not known here, and is taken as empty; --variable '{name}=…' tells it"
        elif context.lower() == "variables":
            text = f"variables['{name}'] is not known when templates are expanded, and becomes an empty text"
        elif context.lower() == "parameters":
            text = f"there is no parameter {name}, so this is empty"
        else:
            return
        frame.session.warn(scalar.place_of(offset), text)

    return Scope(frame.names, "a template expression", missed=missed)


def _evaluated(scalar: Scalar, text: str, offset: int, frame: Frame) -> Any:
    try:
        return evaluate(text, _scope(scalar, offset, frame))
    except ExpressionError as error:
        raise failed(scalar, offset, error) from None


def whole(scalar: Scalar) -> re.Match[str] | None:
    """The expression of a scalar that is nothing but one expression."""
    if scalar.closed or "${{" not in scalar.text:
        return None
    stripped = scalar.text.strip()
    match = _EXPRESSION.match(scalar.text, scalar.text.index(stripped[0]) if stripped else 0)
    return match if match and not scalar.text[match.end() :].strip() else None


def resolved(scalar: Scalar, frame: Frame) -> Node:
    """A scalar with its expressions evaluated: a list or mapping where the whole scalar is one.

    Raises:
        PipelineError: An expression is wrong; the message draws the place.
    """
    if scalar.closed or "${{" not in scalar.text:
        return scalar
    match = whole(scalar)
    if match:
        return as_node(_evaluated(scalar, match[1], match.start(1), frame), scalar)
    parts, end = [], 0
    for match in _EXPRESSION.finditer(scalar.text):
        parts.append(scalar.text[end : match.start()])
        value = _evaluated(scalar, match[1], match.start(1), frame)
        if kind(value) in {"Array", "Object"}:
            begin = len(match[1]) - len(match[1].lstrip())
            error = ExpressionError(f"{kind(value)} within a text", match[1], begin, "a value, or the expression alone")
            raise failed(scalar, match.start(1), error)
        parts.append(to_text(value))
        end = match.end()
    if "${{" in scalar.text[end:]:
        place = scalar.place_of(scalar.text.index("${{", end))
        raise refuse(place, "an expression is not closed", problem=scalar.text[end:][:80], expected="}}")
    return scalar.with_text("".join([*parts, scalar.text[end:]]))


def as_node(value: Any, at: Scalar) -> Node:
    """A value as YAML that stands in a scalar's place."""
    if isinstance(value, Mapping | Sequence):
        return value
    if isinstance(value, list):
        return Sequence(at, [as_node(item, at) for item in value])
    if isinstance(value, Members):
        return Mapping(at, [(at.with_text(name), as_node(item, at)) for name, item in value.items()])
    return at.with_text(to_text(value))


def _directive(key: Scalar) -> Directive | None:
    if key.closed or "${{" not in key.text:
        return None
    match = _DIRECTIVE.match(key.text)
    if match is None:
        return None
    if match["plain"]:
        return Directive(match["plain"], "", "", 0)
    end = key.text.rfind("}}")
    if end < match.end() or key.text[end + 2 :].strip():
        raise refuse(key.place, "a directive is not closed", problem=key.text, expected="}} at its end")
    text = key.text[match.end() : end]
    return Directive(match["word"] or "each", match["name"] or "", text, match.end())


class _Chain:
    """Which of the branches of an ``if`` is taken, among neighbours of one list or mapping."""

    def __init__(self) -> None:
        self.open = False  # whether an elseif or else may follow
        self.taken = False

    def wants(self, key: Scalar, directive: Directive, frame: Frame) -> bool:
        if directive.word != "if" and not self.open:
            raise refuse(key.place, f"{directive.word} without an if before it", problem=key.text)
        if directive.word == "if":
            self.open, self.taken = True, False
        if self.taken:
            return False
        if directive.word != "else":
            value = _evaluated(key, directive.expression, directive.offset, frame)
            self.taken = to_boolean(value)
            return self.taken
        self.open, self.taken = False, True
        return True

    def pause(self) -> None:
        self.open = False


def _rounds(key: Scalar, directive: Directive, frame: Frame) -> Iterator[Frame]:
    """One frame for each element that an ``each`` visits."""
    value = unwrap(_evaluated(key, directive.expression, directive.offset, frame))
    if value is None:
        frame.session.warn(key.place, f"{directive.expression.strip()} is empty, so this loop makes nothing")
        return
    if kind(value) == "Array":
        visited = elements(value)
    elif kind(value) == "Object":
        visited = [Members({"key": name, "value": item}) for name, item in pairs(value)]
    else:
        problem = f"{directive.expression.strip()} is a {kind(value)}"
        raise refuse(key.place, "each goes through lists and mappings", problem=problem, expected="a list or mapping")
    for element in visited:
        frame.session.spend(key)
        yield frame.with_name(directive.name, element)


def items(node: Node, frame: Frame) -> Iterator[tuple[Node, Frame]]:
    """The items of a list, flattened: directives done, lists that expressions made spread out.

    Raises:
        PipelineError: It is no list, or an expression or directive is wrong.
    """
    if isinstance(node, Scalar):
        node = resolved(node, frame)
    if isinstance(node, Scalar) and not node.text:
        return
    if not isinstance(node, Sequence):
        found = "a mapping" if isinstance(node, Mapping) else f"the text {node.text[:40]!r}"  # type: ignore[attr-defined]
        raise refuse(node.place, "a list is needed here", problem=found, expected="- items")
    chain = _Chain()
    for item in node.items:
        frame.session.spend(item)
        lone = _lone(item)
        if lone is not None:
            yield from _spread(*lone, frame, chain)
            continue
        chain.pause()
        yield from _item(item, frame)


def _lone(item: Node) -> tuple[Scalar, Node, Directive] | None:
    """The directive of ``- ${{ if … }}:`` with a list below it."""
    if not isinstance(item, Mapping) or isinstance(item, Flat) or len(item.entries) != 1:
        return None
    key, value = item.entries[0]
    directive = _directive(key)
    if directive is None or directive.word == "insert":
        return None
    if isinstance(value, Mapping) and directive.word == "each":
        return None  # the rounds fill one mapping
    return key, value, directive


def _spread(
    key: Scalar, value: Node, directive: Directive, frame: Frame, chain: _Chain
) -> Iterator[tuple[Node, Frame]]:
    if directive.word == "each":
        chain.pause()
        for inner in _rounds(key, directive, frame):
            yield from items(value, inner)
    elif chain.wants(key, directive, frame):
        yield from [(value, frame)] if isinstance(value, Mapping) else items(value, frame)


def _item(item: Node, frame: Frame) -> Iterator[tuple[Node, Frame]]:
    if isinstance(item, Scalar):
        match = whole(item)
        if match:
            value = _evaluated(item, match[1], match.start(1), frame)
            if value is None:
                return
            made = as_node(value, item)
            yield from items(made, frame) if isinstance(made, Sequence) else [(made, frame)]
            return
    elif isinstance(item, Mapping) and item.entries and _directive(item.entries[0][0]):
        flat = entries(item, frame)
        if flat:
            yield Flat(item, flat), frame
        return
    yield item, frame


def entries(node: Node, frame: Frame) -> list[Entry]:
    """The entries of a mapping, flattened: directives done, keys evaluated, values as they stand.

    Raises:
        PipelineError: It is no mapping, a key comes twice, or an expression or directive is wrong.
    """
    if isinstance(node, Flat):
        return node.flat
    if isinstance(node, Scalar):
        node = resolved(node, frame)
    if isinstance(node, Scalar) and not node.text:
        return []
    if not isinstance(node, Mapping):
        found = "a list" if isinstance(node, Sequence) else f"the text {node.text[:40]!r}"  # type: ignore[attr-defined]
        raise refuse(node.place, "a mapping is needed here", problem=found, expected="key: value")
    if isinstance(node, Flat):
        return node.flat
    if not any("${{" in key.text and not key.closed for key, _ in node.entries):
        return [Entry(key, value, frame) for key, value in node.entries]
    return _unique(list(_flattened(node, frame)))


def _unique(found: list[Entry]) -> list[Entry]:
    seen: dict[str, Scalar] = {}
    for entry in found:
        first = seen.setdefault(entry.key.text, entry.key)
        if first is not entry.key:
            problem = f"it is already at {first.place}"
            raise refuse(entry.key.place, f"{entry.key.text} stands here twice", problem=problem)
    return found


def _flattened(node: Mapping, frame: Frame) -> Iterator[Entry]:
    chain = _Chain()
    for key, value in node.entries:
        frame.session.spend(key)
        directive = _directive(key)
        if directive is None:
            chain.pause()
            name = resolved(key, frame)
            if not isinstance(name, Scalar):
                raise refuse(key.place, "a key must be a text", problem=key.text)
            yield Entry(name, value, frame)
        elif directive.word == "each":
            chain.pause()
            for inner in _rounds(key, directive, frame):
                yield from entries(value, inner)
        elif directive.word == "insert" or chain.wants(key, directive, frame):
            if directive.word == "insert":
                chain.pause()
            yield from entries(value, frame)


def closed(node: Node, frame: Frame, depth: int = 0) -> Node:
    """A node with all its expressions evaluated, ready to be handed to a template as a value."""
    if depth > MAX_DEPTH:
        raise refuse(node.place, "nested too deeply", problem=f"more than {MAX_DEPTH} levels")
    frame.session.spend(node)
    if isinstance(node, Scalar):
        return resolved(node, frame)
    if isinstance(node, Sequence):
        return Sequence(node, [closed(item, inner, depth + 1) for item, inner in items(node, frame)])
    made = [
        (entry.key.with_text(entry.key.text), closed(entry.value, entry.frame, depth + 1))
        for entry in entries(node, frame)
    ]
    return Mapping(node, made)


def listed(node: Node, frame: Frame, section: str) -> Iterator[tuple[Flat, Frame]]:
    """The mappings of ``stages``, ``jobs``, ``steps`` or ``variables``, those of templates in their places.

    Args:
        node: The list.
        frame: What its expressions see.
        section: The list's name; a template must have the same one.

    Raises:
        PipelineError: Something in it, or in a template, is wrong; templates include each other in a circle.
    """
    for item, inner in items(node, frame):
        if isinstance(item, Scalar):
            problem = f"the text {item.text[:60]!r}"
            raise refuse(item.place, f"an item of {section} must be a mapping", problem=problem)
        flat = item if isinstance(item, Flat) else Flat(item, entries(item, inner))
        if flat.flat and flat.flat[0].key.text == "template":
            yield from _included(flat, inner, section)
        else:
            yield flat, inner


def _included(reference: Flat, frame: Frame, section: str) -> Iterator[tuple[Flat, Frame]]:
    path, root, inner = _entered(reference, frame)
    body = _body(reference, root, inner, path, section)
    if section == "variables" and isinstance(body, Mapping):
        yield from _named(body, inner)
    else:
        yield from listed(body, inner, section)


def extended(extends: Entry) -> tuple[Mapping, list[Entry]]:
    """The template that a pipeline extends, and its entries with the frame that its expressions see.

    Raises:
        PipelineError: The reference is wrong, or the template's file or parameters are.
    """
    reference = Flat(extends.value, entries(extends.value, extends.frame))
    _, root, inner = _entered(reference, extends.frame)
    return root, entries(root, inner)


def _entered(reference: Flat, frame: Frame) -> tuple[str, Mapping, Frame]:
    """The file that a reference names, its content, and the frame in which that is read."""
    found = {entry.key.text: entry for entry in reference.flat}
    for entry in reference.flat:
        if entry.key.text not in {"template", "parameters"}:
            hint = did_you_mean(entry.key.text, ["template", "parameters"])
            raise refuse(entry.key.place, f"a template reference has no {entry.key.text}", expected=hint)
    if "template" not in found:
        raise refuse(reference.place, "template is missing", expected="template: path/to/file.yml")
    path = _path(found["template"])
    if path in frame.chain:
        circle = " → ".join([*frame.chain[frame.chain.index(path) :], path])
        raise refuse(reference.place, "templates include each other in a circle", problem=circle)
    if len(frame.chain) > MAX_LEVELS:
        raise refuse(reference.place, "templates nest too deeply", problem=f"more than {MAX_LEVELS} levels")
    root = frame.session.load(path, reference.place)
    if not isinstance(root, Mapping):
        raise refuse(reference.place, f"{path} is no template", problem="it is empty, or no mapping")
    values = given_values(found.get("parameters"))
    bound = bind(_parameters(root, values, frame.session), values, at=reference.place, owner=path)
    names = {"parameters": bound, "variables": frame.names["variables"]}
    return path, root, Frame(frame.session, names, (*frame.chain, path))


def _named(body: Mapping, frame: Frame) -> Iterator[tuple[Flat, Frame]]:
    """The variables of a mapping as items with name and value."""
    for entry in entries(body, frame):
        name = Entry(entry.key.with_text("name"), entry.key, entry.frame)
        yield Flat(entry.key, [name, Entry(entry.key.with_text("value"), entry.value, entry.frame)]), frame


def _path(entry: Entry) -> str:
    node = resolved(entry.value, entry.frame) if isinstance(entry.value, Scalar) else entry.value
    if not isinstance(node, Scalar) or not node.text.strip():
        raise refuse(node.place, "template needs a path", expected="template: path/to/file.yml")
    path, _, repository = node.text.strip().replace("\\", "/").partition("@")
    if repository not in {"", "self"}:
        raise unsupported(
            node.place, f"a template of another repository (@{repository})", instead="templates of this one"
        )
    folder = "" if path.startswith("/") or repository else posixpath.dirname(entry.key.source.name)
    found = posixpath.normpath(posixpath.join(folder, path.lstrip("/")))
    if found.startswith(".."):
        raise refuse(node.place, "a template is outside of the repository", problem=found)
    return found


def _parameters(root: Mapping, given: Map[str, Node], session: Session) -> dict[str, Parameter]:
    """The parameters of a template; without a list of them, which is newer, others may be handed over too."""
    node = root.get("parameters")
    known = declared(node)
    folded = {name.lower() for name in known}
    for name, value in given.items() if not isinstance(node, Sequence) else ():
        if name.lower() not in folded:
            if folded:
                session.warn(value.place, f"{root.source.name} does not declare {name}, and has it all the same")
            known[name] = Parameter(name, ANY, None, (), "", value.place)
    return known


def _body(reference: Flat, root: Mapping, inner: Frame, path: str, section: str) -> Node:
    """What a template has in the section."""
    body = None
    for entry in entries(root, inner):
        if entry.key.text == section:
            body = entry.value
        elif entry.key.text != "parameters":
            hint = f"it is used where {section} are expected"
            raise refuse(entry.key.place, f"{path} has {entry.key.text}", problem=hint, expected=f"{section}:")
    if body is None:
        raise refuse(reference.place, f"{path} has no {section}", problem=f"it is used where {section} are expected")
    return body


def given_values(given: Entry | None) -> dict[str, Node]:
    """What a reference hands to a template, by name, evaluated where it is written."""
    if given is None:
        return {}
    return {entry.key.text: closed(entry.value, entry.frame) for entry in entries(given.value, given.frame)}

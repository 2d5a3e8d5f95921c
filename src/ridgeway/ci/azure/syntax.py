"""Expressions as trees: literals, names, functions, dereferences, filtered arrays.

The grammar is the one of the page "Expressions"; lark parses it. The same text is parsed once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken, VisitError

from ridgeway.ci.azure.values import to_number, to_version

MAX_DEPTH: Final = 50
MAX_CHARACTERS: Final = 21_000
"""As long as Azure Pipelines takes them."""

_GRAMMAR: Final = r"""
?start: value
?value: NUMBER -> number | VERSION -> version | STRING -> string | BOOLEAN -> boolean | reference
?reference: NAME -> name
    | NAME "(" [value ("," value)*] ")" -> call
    | reference "." (NAME | BOOLEAN) -> member
    | reference "[" value "]" -> index
    | reference "." "*" -> every
    | reference "[" "*" "]" -> every
VERSION.3: /\d+(\.\d+){2,3}(?![\w.])/
NUMBER.2: /[-+]?(\d+(\.\d*)?|\.\d+)(?![\w.])/
BOOLEAN.2: /(?i:true|false)(?!\w)/
NAME: /[A-Za-z_][A-Za-z0-9_]*/
STRING: /'([^']|'')*'/
%ignore /\s+/
"""


class ExpressionError(ValueError):
    """What is wrong with an expression, and where in its text.

    Args:
        problem: What was found.
        text: The expression.
        offset: The character it is about.
        expected: What would have been right.
    """

    def __init__(self, problem: str, text: str, offset: int, expected: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.text = text
        self.offset = offset
        self.expected = expected

    def drawing(self) -> str:
        """The line of the expression with a caret under the place.

        Example:
            >>> print(ExpressionError("no such function", "and(eqq(1, 2))", 4).drawing())
            and(eqq(1, 2))
                ^ no such function
        """
        before = self.text[: self.offset]
        number = before.count("\n")
        line = self.text.split("\n")[number]
        column = len(before) - (before.rfind("\n") + 1)
        return f"{line}\n{' ' * column}^ {self.problem}"


@dataclass(frozen=True, slots=True)
class Expression:
    """A node of the tree.

    Attributes:
        start: Where it begins in the text.
        depth: Levels below and including it.
    """

    start: int
    depth: int


@dataclass(frozen=True, slots=True)
class Literal(Expression):
    """A boolean, number or version."""

    value: Any


@dataclass(frozen=True, slots=True)
class Text(Expression):
    """A string. Its characters are read from the expression's text, so that expressions of one shape share a tree."""

    end: int

    def value(self, text: str) -> str:
        """The string, with doubled quotes undone."""
        return text[self.start + 1 : self.end - 1].replace("''", "'")


@dataclass(frozen=True, slots=True)
class Name(Expression):
    """A context such as ``variables``, or the variable of a loop."""

    name: str


@dataclass(frozen=True, slots=True)
class Call(Expression):
    """A function with its arguments."""

    function: str
    arguments: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Index(Expression):
    """``target.name`` and ``target['name']``; without a key: ``target.*``, all of its elements."""

    target: Expression
    key: Expression | None


def _deepest(*parts: Expression) -> int:
    depth = 1 + max((part.depth for part in parts), default=0)
    if depth > MAX_DEPTH:
        raise ValueError(f"it nests deeper than {MAX_DEPTH} levels")
    return depth


@v_args(inline=True)
class _Tree(Transformer[Token, Expression]):
    """Makes our nodes while lark parses."""

    def number(self, token: Token) -> Expression:
        return Literal(token.start_pos or 0, 1, to_number(str(token)))

    def version(self, token: Token) -> Expression:
        return Literal(token.start_pos or 0, 1, to_version(str(token)))

    def string(self, token: Token) -> Expression:
        return Text(token.start_pos or 0, 1, token.end_pos or 0)

    def boolean(self, token: Token) -> Expression:
        return Literal(token.start_pos or 0, 1, token.lower() == "true")

    def name(self, token: Token) -> Expression:
        return Name(token.start_pos or 0, 1, str(token))

    def call(self, token: Token, *arguments: Expression | None) -> Expression:
        given = tuple(argument for argument in arguments if argument is not None)
        return Call(token.start_pos or 0, _deepest(*given), str(token), given)

    def member(self, target: Expression, token: Token) -> Expression:
        key = Literal(token.start_pos or 0, 1, str(token))
        return Index(target.start, _deepest(target), target, key)

    def index(self, target: Expression, key: Expression) -> Expression:
        return Index(target.start, _deepest(target, key), target, key)

    def every(self, target: Expression) -> Expression:
        return Index(target.start, _deepest(target), target, None)


@lru_cache(1)
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", transformer=_Tree(), maybe_placeholders=False)


_STRING: Final = re.compile(r"'(?:[^']|'')*'")


def parse(text: str) -> Expression:
    """The tree of an expression.

    Raises:
        ExpressionError: It does not follow the grammar, is too long or too deep.

    Example:
        >>> parse("eq(variables.a, 'x')").function
        'eq'
    """
    if len(text) > MAX_CHARACTERS:
        raise ExpressionError(f"it has more than {MAX_CHARACTERS:,} characters", text, 0)
    if not text.strip():
        raise ExpressionError("there is no expression", text, len(text), "an expression")
    try:
        return _shaped(_STRING.sub(lambda match: "'" + "x" * (len(match[0]) - 2) + "'", text))
    except UnexpectedInput as error:
        raise _explained(text, error) from None
    except VisitError as error:
        raise ExpressionError(str(error.orig_exc), text, 0) from None
    except ValueError as error:
        raise ExpressionError(str(error), text, 0) from None


@lru_cache(16_384)
def _shaped(shape: str) -> Expression:
    """The tree of all expressions that differ in their strings alone: parsing is most of the work on a large file."""
    return _parser().parse(shape)  # type: ignore[return-value]


_HINTS: Final = (
    ('"', "single quotes: 'text'"),
    ("$(", "a macro is not expanded in an expression: variables['name']"),
    ("$[", "the expression without $[ ]"),
    ("==", "eq(a, b): there are functions instead of operators"),
    ("!=", "ne(a, b): there are functions instead of operators"),
    ("&&", "and(a, b): there are functions instead of operators"),
    ("||", "or(a, b): there are functions instead of operators"),
    ("!", "not(a): there are functions instead of operators"),
    (">", "gt(a, b) or ge(a, b): there are functions instead of operators"),
    ("<", "lt(a, b) or le(a, b): there are functions instead of operators"),
    ("-", "a name with a dash in brackets: parameters['my-name']"),
    ("'", "a closing quote; a quote within a text is written twice: 'it''s'"),
)
_WORDS: Final = {
    "LPAR": "(",
    "RPAR": ")",
    "LSQB": "[",
    "RSQB": "]",
    "COMMA": ",",
    "DOT": ".",
    "STAR": "*",
    "NAME": "a name",
    "STRING": "'text'",
    "NUMBER": "a number",
    "VERSION": "a version",
    "BOOLEAN": "true or false",
    "$END": "the end",
}


def _explained(text: str, error: UnexpectedInput) -> ExpressionError:
    if isinstance(error, UnexpectedCharacters):
        offset, known = error.pos_in_stream or 0, error.allowed or set()
    elif isinstance(error, UnexpectedToken) and error.token.type != "$END":
        offset, known = error.token.start_pos or 0, error.expected
    else:
        offset, known = len(text.rstrip()), getattr(error, "expected", set())
    found = text[offset:]
    hint = next((hint for start, hint in _HINTS if found.startswith(start)), "")
    words = " or ".join(sorted(_WORDS.get(word, word) for word in known))
    if not found.strip():
        return ExpressionError("it ends too early", text, offset, words)
    return ExpressionError(f"not understood: {found.split()[0][:20]}", text, offset, hint or words)

"""What an expression comes to, as far as it is known: at compile time, when planning, and at run time.

What only the run will know is a ``Later``: functions of it are ``Later`` too, except where the known part decides, as a
False in ``and`` does.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping as Map
from dataclasses import dataclass, field
from typing import Any

from ridgeway.ci.azure.document import Mapping, Sequence
from ridgeway.ci.azure.problems import did_you_mean
from ridgeway.ci.azure.syntax import Call, Expression, ExpressionError, Index, Literal, Name, Text, parse
from ridgeway.ci.azure.values import (
    Later,
    Members,
    Unconvertible,
    items,
    kind,
    pairs,
    shown,
    to_boolean,
    to_number,
    unwrap,
)

Status = Callable[[str, tuple[str, ...]], Any]
"""Answers ``succeeded``, ``failed`` and so on, with the names given to them: a boolean, or a ``Later``."""
Counter = Callable[[str, int], Any]
"""The next number of a counter, by prefix and seed; a ``Later`` while planning."""
LONGEST = 10_000_000
"""Characters that one function may make."""


@dataclass(frozen=True)
class Scope:
    """What an expression can see.

    Attributes:
        names: Contexts and loop variables, with values.
        where: What the expression is for, as messages say it: "a job's condition".
        status: Answers the status functions, where there are any.
        counter: Counts, where counting is allowed.
        missed: Called with a context and a name that is not in it.
    """

    names: Map[str, Any]
    where: str = "an expression"
    status: Status | None = None
    counter: Counter | None = None
    missed: Callable[[str, str], None] | None = field(default=None, compare=False)

    def find(self, name: str) -> Any:
        """The value of a name, letter case aside.

        Raises:
            KeyError: There is none.
        """
        if name in self.names:
            return self.names[name]
        folded = name.lower()
        for known, value in self.names.items():
            if known.lower() == folded:
                return value
        raise KeyError(name)


@dataclass(frozen=True)
class Evaluation:
    """One expression being evaluated; the functions see its scope and can blame a place.

    Attributes:
        text: The expression.
        scope: What it can see.
    """

    text: str
    scope: Scope

    def value(self, tree: Expression) -> Any:
        """The value of a tree.

        Raises:
            ExpressionError: A name or function that is not there, or a value that does not fit.
        """
        if isinstance(tree, Text):
            return tree.value(self.text)
        if isinstance(tree, Literal):
            return tree.value
        if isinstance(tree, Name):
            return self._named(tree)
        if isinstance(tree, Index):
            return self._indexed(tree)
        assert isinstance(tree, Call)
        return self._called(tree)

    def truth(self, tree: Expression) -> bool | Later:
        """The value of a tree as a boolean."""
        value = self.value(tree)
        return value if isinstance(value, Later) else to_boolean(value)

    def blame(self, tree: Expression, problem: str, expected: str = "") -> ExpressionError:
        """An error at a part of the expression."""
        return ExpressionError(problem, self.text, tree.start, expected)

    def _named(self, tree: Name) -> Any:
        try:
            return self.scope.find(tree.name)
        except KeyError:
            hint = did_you_mean(tree.name, self.scope.names)
            raise self.blame(tree, f"there is no {tree.name} in {self.scope.where}", hint) from None

    def _called(self, tree: Call) -> Any:
        from ridgeway.ci.azure.functions import call  # they evaluate their arguments with us

        try:
            return call(self, tree)
        except Unconvertible as error:
            raise self.blame(tree, str(error)) from None

    def _indexed(self, tree: Index) -> Any:
        target = self.value(tree.target)
        if tree.key is None:
            return _all(target)
        key = self.value(tree.key)
        if isinstance(target, _Filtered):
            return _Filtered(found for item in target if (found := self._member(tree, item, key)) is not None)
        return self._member(tree, target, key)

    def _member(self, tree: Index, target: Any, key: Any) -> Any:
        assert tree.key is not None
        if isinstance(target, Later) or isinstance(key, Later):
            return Later(f"{shown(target)}{_written(key)}")
        target = unwrap(target)
        if target is None or kind(target) not in {"Array", "Object"}:
            return None  # a miss in a miss is a miss
        if kind(target) == "Array":
            return self._element(tree.key, target, key)
        value = _looked_up(target, key if isinstance(key, str) else shown(key).strip("'"))
        if value is None and self.scope.missed and isinstance(tree.target, Name):
            self.scope.missed(tree.target.name, str(key))
        return value

    def _element(self, at: Expression, target: Any, key: Any) -> Any:
        try:
            number = to_number(key)
        except Unconvertible:
            raise self.blame(at, f"an array has no {shown(key)}", "a number, counted from 0") from None
        elements = items(target)
        if number != int(number):
            raise self.blame(at, f"{shown(number)} is no place in an array", "a whole number")
        return elements[int(number)] if 0 <= number < len(elements) else None


class _Filtered(list[Any]):
    """An array made by ``*``: a dereference goes into each of its elements."""


def _looked_up(target: Any, name: str) -> Any:
    if isinstance(target, Mapping):
        return unwrap(target.get(name))
    assert isinstance(target, Members)
    return target.find(name)


def _all(target: Any) -> Any:
    if isinstance(target, Later):
        return Later(f"{target.what}.*")
    target = unwrap(target)
    if isinstance(target, _Filtered):
        return _Filtered(inner for item in target for inner in _all(item))
    if isinstance(target, list | Sequence):
        return _Filtered(items(target))
    if isinstance(target, Mapping | Members):
        return _Filtered(value for _, value in pairs(target))
    return _Filtered()


def _written(key: Any) -> str:
    if isinstance(key, str) and key.isidentifier() and key.isascii():
        return f".{key}"
    return f"[{shown(key)}]"


def evaluate(text: str, scope: Scope) -> Any:
    """The value of an expression.

    Args:
        text: The expression, without braces.
        scope: What it can see.

    Returns:
        A value, or a ``Later`` where only the run can tell.

    Raises:
        ExpressionError: It is wrong; it says where.

    Example:
        >>> evaluate("eq(variables.a, 'X')", Scope({"variables": Members({"a": "x"})}))
        True
    """
    return Evaluation(text, scope).value(parse(text))


def truth(text: str, scope: Scope) -> bool | Later:
    """The value of an expression as a boolean, as conditions take it."""
    return Evaluation(text, scope).truth(parse(text))


def expanded(text: str, scope: Scope) -> str:
    """An expression with the values in the place of the names: the reason for what it came to.

    Example:
        >>> expanded("eq(variables.a, 'x')", Scope({"variables": Members({"a": "y"})}))
        "eq('y', 'x')"
    """
    return _written_out(Evaluation(text, scope), parse(text))


STATUS_FUNCTIONS = ("succeeded", "failed", "succeededOrFailed", "always", "canceled")


def _written_out(evaluation: Evaluation, tree: Expression) -> str:
    if isinstance(tree, Call) and tree.function.lower() not in {name.lower() for name in STATUS_FUNCTIONS}:
        return f"{tree.function}({', '.join(_written_out(evaluation, part) for part in tree.arguments)})"
    value = evaluation.value(tree)
    return shown(value)

"""The functions of expressions, each as its heading on the page "Expressions" says it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from ridgeway.ci.azure.evaluation import LONGEST, STATUS_FUNCTIONS, Evaluation
from ridgeway.ci.azure.problems import did_you_mean
from ridgeway.ci.azure.syntax import Call
from ridgeway.ci.azure.values import (
    Later,
    Unconvertible,
    compare,
    equal,
    fold,
    items,
    kind,
    pairs,
    shown,
    to_boolean,
    to_number,
    to_text,
    unwrap,
)

MANY: Final = 255


@dataclass(frozen=True)
class Function:
    """A function: how many arguments it takes, and what it does.

    Attributes:
        least: Fewest arguments.
        most: Most arguments.
        strict: Gets the values of all arguments; a ``Later`` among them makes the result one.
        lazy: Gets the evaluation and the call, and evaluates what it needs.
    """

    least: int
    most: int
    strict: Callable[..., Any] | None = None
    lazy: Callable[[Evaluation, Call], Any] | None = None


def call(evaluation: Evaluation, tree: Call) -> Any:
    """The result of a function.

    Raises:
        ExpressionError: There is no such function here, or it got too few or too many arguments.
        Unconvertible: An argument does not fit.
    """
    name = tree.function.lower()
    if name in _STATUS:
        return _status(evaluation, tree, _STATUS[name])
    function = _FOLDED.get(name)
    if function is None:
        known = [*FUNCTIONS, *(STATUS_FUNCTIONS if evaluation.scope.status else ())]
        raise evaluation.blame(tree, f"there is no function {tree.function}", did_you_mean(tree.function, known))
    if not function.least <= len(tree.arguments) <= function.most:
        most = "more" if function.most == MANY else str(function.most)
        wanted = str(function.least) if function.least == function.most else f"{function.least} to {most}"
        problem = f"{tree.function} got {len(tree.arguments)} arguments"
        raise evaluation.blame(tree, problem, f"{wanted} arguments")
    if function.lazy:
        return function.lazy(evaluation, tree)
    values = [unwrap(evaluation.value(argument)) for argument in tree.arguments]
    assert function.strict is not None
    later = _joined(values)
    return later or function.strict(*values)


_STATUS: Final = {name.lower(): name for name in STATUS_FUNCTIONS}


def _status(evaluation: Evaluation, tree: Call, name: str) -> Any:
    if evaluation.scope.status is None:
        problem = f"{name}() is not available in {evaluation.scope.where}"
        raise evaluation.blame(tree, problem, "the status functions belong into conditions")
    if tree.arguments and name in {"always", "canceled"}:
        raise evaluation.blame(tree, f"{name} got {len(tree.arguments)} arguments", "0 arguments")
    names = []
    for argument in tree.arguments:
        value = evaluation.value(argument)
        if not isinstance(value, str):
            raise evaluation.blame(argument, f"{shown(value)} is no name", "the name of a dependency, in quotes")
        names.append(value)
    try:
        return evaluation.scope.status(name, tuple(names))
    except LookupError as error:
        raise evaluation.blame(tree, str(error.args[0])) from None


def _joined(values: Iterable[Any]) -> Later | None:
    """One ``Later`` for those among the values; an array may hold some."""
    found = [value for value in values if isinstance(value, Later)]
    return Later(" and ".join(dict.fromkeys(value.what for value in found))) if found else None


def _decided(evaluation: Evaluation, tree: Call, deciding: bool) -> Any:
    later = []
    for argument in tree.arguments:
        value = evaluation.truth(argument)
        if isinstance(value, Later):
            later.append(value)
        elif value is deciding:
            return deciding
    return _joined(later) or not deciding


def _and(evaluation: Evaluation, tree: Call) -> Any:
    return _decided(evaluation, tree, deciding=False)


def _or(evaluation: Evaluation, tree: Call) -> Any:
    return _decided(evaluation, tree, deciding=True)


def _coalesce(evaluation: Evaluation, tree: Call) -> Any:
    for argument in tree.arguments:
        value = unwrap(evaluation.value(argument))
        if value is not None and not (isinstance(value, str) and not value):
            return value
    return None


def _iif(evaluation: Evaluation, tree: Call) -> Any:
    condition = evaluation.truth(tree.arguments[0])
    if isinstance(condition, Later):
        return condition
    return evaluation.value(tree.arguments[1 if condition else 2])


def _any_equal(evaluation: Evaluation, tree: Call) -> Any:
    left, later = evaluation.value(tree.arguments[0]), []
    for argument in tree.arguments[1:]:
        value = evaluation.value(argument)
        if isinstance(left, Later) or isinstance(value, Later):
            later += [part for part in (left, value) if isinstance(part, Later)]
        elif equal(left, value):
            return True
    return _joined(later) or False


def _none_equal(evaluation: Evaluation, tree: Call) -> Any:
    found = _any_equal(evaluation, tree)
    return found if isinstance(found, Later) else not found


def _counter(evaluation: Evaluation, tree: Call) -> Any:
    if evaluation.scope.counter is None:
        problem = f"counter() is not available in {evaluation.scope.where}"
        raise evaluation.blame(tree, problem, "a variable with $[counter(...)]")
    values = [evaluation.value(argument) for argument in tree.arguments]
    later = _joined(values)
    if later:
        return later
    seed = to_number(values[1]) if len(values) > 1 else to_number("0")
    return evaluation.scope.counter(to_text(values[0]), int(seed))


def _contains_value(collection: Any, wanted: Any) -> Any:
    if kind(collection) not in {"Array", "Object"}:
        return False
    values = items(collection) if kind(collection) == "Array" else [value for _, value in pairs(collection)]
    known = [value for value in values if not isinstance(value, Later)]
    if any(equal(wanted, value) for value in known):
        return True
    return _joined(values) or False


def _join(separator: Any, collection: Any) -> Any:
    if kind(collection) != "Array":
        return to_text(collection) if kind(collection) != "Object" else ""
    values = items(collection)
    texts = ["" if kind(value) in {"Array", "Object"} else to_text(value) for value in values]
    return _limited(to_text(separator).join(texts))


def _length(value: Any) -> Any:
    if kind(value) == "Array":
        return to_number(str(len(items(value))))
    return to_number(str(len(to_text(value))))


def _split(text: Any, delimiters: Any) -> Any:
    characters = to_text(delimiters)
    if len(characters) > 1:
        problem = f"split with several delimiting characters ({shown(characters)}) is not in the runner's grammar"
        raise Unconvertible(problem)
    if not characters:
        raise Unconvertible("split got no delimiting character")
    return list(to_text(text).split(characters))


def _replace(text: Any, old: Any, new: Any) -> Any:
    if not to_text(old):
        raise Unconvertible("replace got nothing to look for")
    return _limited(to_text(text).replace(to_text(old), to_text(new)))


def _limited(text: str) -> str:
    if len(text) > LONGEST:
        raise Unconvertible(f"the text has more than {LONGEST:,} characters")
    return text


_PART: Final = re.compile(r"\{\{|\}\}|\{(\d{1,3})(?::([^{}]+))?\}|[{}]")


def _format(pattern: Any, *values: Any) -> Any:
    def part(match: re.Match[str]) -> str:
        if match[0] in {"{{", "}}"}:
            return match[0][0]
        if match[1] is None:
            raise Unconvertible(f"the format has a lone {match[0]}; a brace is written twice")
        if int(match[1]) >= len(values):
            raise Unconvertible(f"the format asks for {match[0]}, but {len(values)} values follow")
        return _formatted(values[int(match[1])], match[2])

    return _limited(_PART.sub(part, to_text(pattern)))


def _formatted(value: Any, specifier: str | None) -> str:
    if specifier is None:
        return to_text(value)
    if not isinstance(value, datetime):
        raise Unconvertible(f"the format :{specifier} is for dates, and {shown(value)} is none")
    return _DATE_PARTS.sub(lambda match: _date_part(value, match[0]), specifier)


_DATE_PARTS: Final = re.compile(r"yyyy|yy|MM|M|dd|d|HH|H|mm|m|ss|s|f{1,4}|K|[A-Za-z]+")


def _date_part(moment: datetime, part: str) -> str:
    if part.strip("f") == "":
        return f"{moment.microsecond:06d}"[: len(part)]
    codes = {"yyyy": "%Y", "yy": "%y", "MM": "%m", "dd": "%d", "HH": "%H", "mm": "%M", "ss": "%S"}
    if part in codes:
        return moment.strftime(codes[part]).zfill(len(part))
    numbers = {"M": moment.month, "d": moment.day, "H": moment.hour, "m": moment.minute, "s": moment.second}
    if part in numbers:
        return str(numbers[part])
    if part == "K":
        text = moment.strftime("%z")
        return "" if not text else "Z" if text == "+0000" else f"{text[:3]}:{text[3:]}"
    raise Unconvertible(f"the date format {part} is not in the runner's grammar")


def as_json(value: Any) -> Any:
    """A value as json.dumps takes it; scalars of YAML are strings, as Azure Pipelines keeps them."""
    value = unwrap(value)
    if kind(value) == "Array":
        return [as_json(item) for item in items(value)]
    if kind(value) == "Object":
        return {name: as_json(item) for name, item in pairs(value)}
    if kind(value) == "Number":
        return int(value) if value == int(value) else float(value)
    return value if isinstance(value, bool | str) or value is None else to_text(value)


def _to_json(value: Any) -> Any:
    return _limited(json.dumps(as_json(value), indent=2, ensure_ascii=False))


def _text_pair(test: Callable[[str, str], bool]) -> Callable[[Any, Any], bool]:
    return lambda left, right: test(fold(to_text(left)), fold(to_text(right)))


FUNCTIONS: Final[dict[str, Function]] = {
    "and": Function(2, MANY, lazy=_and),
    "or": Function(2, MANY, lazy=_or),
    "not": Function(1, 1, lambda value: not to_boolean(value)),
    "xor": Function(2, 2, lambda left, right: to_boolean(left) != to_boolean(right)),
    "eq": Function(2, 2, equal),
    "ne": Function(2, 2, lambda left, right: not equal(left, right)),
    "gt": Function(2, 2, lambda left, right: compare(left, right) > 0),
    "ge": Function(2, 2, lambda left, right: compare(left, right) >= 0),
    "lt": Function(2, 2, lambda left, right: compare(left, right) < 0),
    "le": Function(2, 2, lambda left, right: compare(left, right) <= 0),
    "in": Function(1, MANY, lazy=_any_equal),
    "notIn": Function(1, MANY, lazy=_none_equal),
    "contains": Function(2, 2, _text_pair(lambda left, right: right in left)),
    "containsValue": Function(2, 2, _contains_value),
    "startsWith": Function(2, 2, _text_pair(str.startswith)),
    "endsWith": Function(2, 2, _text_pair(str.endswith)),
    "format": Function(1, MANY, _format),
    "join": Function(2, 2, _join),
    "split": Function(2, 2, _split),
    "replace": Function(3, 3, _replace),
    "lower": Function(1, 1, lambda value: to_text(value).lower()),
    "upper": Function(1, 1, lambda value: to_text(value).upper()),
    "trim": Function(1, 1, lambda value: to_text(value).strip()),
    "length": Function(1, 1, _length),
    "coalesce": Function(2, MANY, lazy=_coalesce),
    "iif": Function(3, 3, lazy=_iif),
    "convertToJson": Function(1, 1, _to_json),
    "counter": Function(1, 2, lazy=_counter),
}
"""All functions but the status functions, by the name that the documentation gives them."""
_FOLDED: Final = {name.lower(): function for name, function in FUNCTIONS.items()}

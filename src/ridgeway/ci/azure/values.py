"""The values of expressions and how one type becomes another: the table "Type casting" of the expressions page.

Nothing is ``None``; booleans, numbers (``Decimal``) and strings are Python's; a version is a ``Version``, the start
time of a run a ``datetime``. Arrays are lists or YAML sequences, objects are ``Members`` or YAML mappings. ``Later``
stands for what only the run will know.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any, Final

from ridgeway.ci.azure.document import Mapping, Node, Scalar, Sequence

INT32_MAX: Final = 2_147_483_647
DECIMAL_MAX: Final = Decimal(2**96 - 1)
"""The largest number of .NET's decimal type."""
_DIGITS: Final = Context(prec=60)


class Unconvertible(ValueError):
    """A value that cannot be converted to the type that is needed."""


class Version(tuple[int, ...]):
    """A version of two to four numbers; compares like .NET's, where 1.2 is below 1.2.0.

    Example:
        >>> Version((1, 2)) < Version((1, 2, 0)), str(Version((1, 2, 3)))
        (True, '1.2.3')
    """

    __slots__ = ()

    def __str__(self) -> str:
        return ".".join(map(str, self))


@dataclass(frozen=True)
class Later:
    """Something that is known at run time only.

    Attributes:
        what: How it is written, such as ``dependencies.A.outputs['s.v']``.
    """

    what: str


class Members(dict[str, Any]):
    """An object whose names are looked up letter case aside, and keep the case they were given.

    Example:
        >>> Members({"Build.Reason": "Manual"}).find("build.reason")
        'Manual'
    """

    def __init__(self, values: Any = ()) -> None:
        super().__init__()
        self._folded: dict[str, str] = {}
        for name, value in dict(values).items():
            self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        known = self._folded.setdefault(name.lower(), name)
        super().__setitem__(known, value)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._folded

    def find(self, name: str) -> Any:
        """The value of a name, or nothing."""
        known = self._folded.get(name.lower())
        return None if known is None else self[known]

    def copy(self) -> Members:
        """Another object with the same members."""
        return Members(self)


def unwrap(value: Any) -> Any:
    """A YAML scalar as its text; all other values as they are."""
    return value.text if isinstance(value, Scalar) else value


def kind(value: Any) -> str:
    """The type's name, as the documentation has it.

    Example:
        >>> [kind(value) for value in (None, True, Decimal(1), "a", Version((1, 2)), [], Members())]
        ['Null', 'Boolean', 'Number', 'String', 'Version', 'Array', 'Object']
    """
    if value is None:
        return "Null"
    for types, name in _KINDS:
        if isinstance(value, types):
            return name
    raise TypeError(type(value).__name__)


_KINDS: Final[tuple[tuple[Any, str], ...]] = (
    (bool, "Boolean"),
    (Decimal, "Number"),
    ((str, Scalar), "String"),
    (Version, "Version"),
    (datetime, "DateTime"),
    ((list, Sequence), "Array"),
    ((Members, Mapping), "Object"),
)


def items(value: Any) -> list[Any]:
    """The elements of an array."""
    return value if isinstance(value, list) else [unwrap(item) for item in value.items]


def pairs(value: Any) -> Iterator[tuple[str, Any]]:
    """Names and values of an object."""
    if isinstance(value, Members):
        yield from value.items()
    else:
        yield from ((key.text, unwrap(item)) for key, item in value.entries)


def to_boolean(value: Any) -> bool:
    """Null, 0 and the empty string are False, all else is True: the string ``'false'`` too.

    Example:
        >>> [to_boolean(value) for value in (None, Decimal(0), "", "false", Decimal(2))]
        [False, False, False, True, True]
    """
    value = unwrap(value)
    return bool(value) if isinstance(value, bool | Decimal | str) else value is not None


# .NET: a sign, digits with commas anywhere after the first, a decimal point, white space around.
_NUMBER: Final = re.compile(r"\s*([+-]?)(?:(\d[\d,]*)(\.\d*)?|(\.\d+))\s*")


def to_number(value: Any) -> Decimal:
    """A number, or ``Unconvertible``.

    Example:
        >>> [str(to_number(value)) for value in (None, True, "", " -1,000.50 ")]
        ['0', '1', '0', '-1000.50']
    """
    value = unwrap(value)
    if isinstance(value, Decimal):
        return value
    if value is None or isinstance(value, bool):
        return Decimal(int(bool(value)))
    if isinstance(value, str):
        if not value:
            return Decimal(0)
        match = _NUMBER.fullmatch(value)
        if match:
            sign, whole, rest, bare = match.groups()
            number = Decimal(sign + (whole or "0").replace(",", "") + (rest or bare or "").rstrip(".")[:40])
            if abs(number) <= DECIMAL_MAX:
                return number
    raise Unconvertible(f"{shown(value)} ({kind(value)}) is not convertible to Number")


def to_text(value: Any) -> str:
    """A string, or ``Unconvertible`` for arrays and objects.

    Example:
        >>> [to_text(value) for value in (None, True, Decimal("1000.50"), Version((1, 2, 3)))]
        ['', 'True', '1000.5', '1.2.3']
    """
    value = unwrap(value)
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "True" if value else "False"
    if isinstance(value, Decimal):
        return _number_text(value)
    if isinstance(value, Version):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    raise Unconvertible(f"{shown(value)} is not convertible to String")


def _number_text(value: Decimal) -> str:
    # At most seven decimals, none of them a trailing zero, no exponent.
    text = f"{value.quantize(Decimal('1E-7'), ROUND_HALF_UP, _DIGITS) if value.as_tuple().exponent else value:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in {"-0", ""} else text


_VERSION: Final = re.compile(r"\s*(\d{1,10})\s*\.\s*(\d{1,10})(?:\s*\.\s*(\d{1,10}))?(?:\s*\.\s*(\d{1,10}))?\s*")


def to_version(value: Any) -> Version:
    """A version, or ``Unconvertible``: numbers need decimals other than zero, strings two to four parts.

    Example:
        >>> str(to_version("1.2.3")), str(to_version(Decimal("1.5")))
        ('1.2.3', '1.5')
    """
    value = unwrap(value)
    if isinstance(value, Version):
        return value
    text = _number_text(value) if isinstance(value, Decimal) and value > 0 and value % 1 else value
    match = _VERSION.fullmatch(text) if isinstance(text, str) else None
    parts = tuple(int(part) for part in match.groups() if part) if match else ()
    if not parts or max(parts) > INT32_MAX:
        raise Unconvertible(f"{shown(value)} ({kind(value)}) is not convertible to Version")
    return Version(parts)


def like(left: Any, right: Any) -> Any:
    """The right value as the type of the left one, or ``Unconvertible``."""
    wanted = kind(left)
    if wanted == kind(right):
        return unwrap(right)
    if wanted == "Null":
        if unwrap(right) == "" and isinstance(unwrap(right), str):
            return None
        raise Unconvertible(f"{shown(right)} is not convertible to Null")
    convert = {"Boolean": to_boolean, "Number": to_number, "String": to_text, "Version": to_version}.get(wanted)
    if convert is None:
        raise Unconvertible(f"{shown(right)} is not convertible to {wanted}")
    return convert(right)


def fold(text: str) -> str:
    """A string for comparison by ordinal, letter case aside: character by character, as .NET does it.

    Example:
        >>> fold("straße") == fold("STRASSE"), fold("É") == fold("é")
        (False, True)
    """
    if text.isascii():
        return text.upper()
    return "".join(upper if len(upper := character.upper()) == 1 else character for character in text)


def equal(left: Any, right: Any) -> bool:
    """Whether two values are equal, the right one converted to the left one's type; False where that fails.

    Example:
        >>> equal(True, "false"), equal("5", Decimal(5)), equal(Decimal(5), "five")
        (True, True, False)
    """
    try:
        right = like(left, right)
    except Unconvertible:
        return False
    left = unwrap(left)
    if isinstance(left, str):
        return fold(left) == fold(right)
    if isinstance(left, Node | list | Members):
        return left is right
    return bool(left == right)


def compare(left: Any, right: Any) -> int:
    """-1, 0 or 1: the right value is converted to the left one's type.

    Raises:
        Unconvertible: That fails.

    Example:
        >>> compare(False, True), compare("b", "A"), compare(Decimal(2), "2")
        (-1, 1, 0)
    """
    left = unwrap(left)
    if left is None:
        left = Decimal(0)
    right = like(left, right)
    if isinstance(left, str):
        left, right = fold(left), fold(right)
    if isinstance(left, Node | list | Members):
        raise Unconvertible(f"{shown(left)} cannot be compared")
    return int(left > right) - int(left < right)


def shown(value: Any) -> str:
    """A value as messages show it: strings in quotes, long ones cut.

    Example:
        >>> shown("a"), shown(Decimal("1.0")), shown(None), shown([1, 2])
        ("'a'", '1', 'Null', 'Array')
    """
    value = unwrap(value)
    if isinstance(value, Later):
        return value.what
    if isinstance(value, str):
        text = value if len(value) <= 80 else value[:77] + "..."
        return "'" + text.replace("'", "''") + "'"
    if value is None or kind(value) in {"Array", "Object"}:
        return kind(value)
    return to_text(value)

"""Which conditions on rows may be evaluated: those that compare and combine columns, and call nothing."""

from __future__ import annotations

import ast
import re

from ridgeway.errors import UsageError

_ALLOWED = (
    # One node class for each construct; what is not listed is refused.
    (ast.Expression, ast.Name, ast.Load, ast.List, ast.Tuple, ast.BoolOp, ast.And, ast.Or),
    (ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn),
    (ast.UnaryOp, ast.Not, ast.Invert, ast.USub, ast.UAdd, ast.BinOp, ast.BitAnd, ast.BitOr),
    (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod),
)
_NODES = tuple(node for group in _ALLOWED for node in group)
_QUOTED = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|`[^`\n]+`""")
_NAMES: dict[type[ast.AST], str] = {
    ast.Call: "a call",
    ast.Attribute: "an attribute",
    ast.Subscript: "a subscript",
    ast.Lambda: "a function",
    ast.JoinedStr: "a formatted text",
    ast.MatMult: "a variable (@)",
    ast.Pow: "a power",
}


def check_condition(text: str, *, where: str = "a condition") -> None:
    """Nothing, if ``text`` only compares and combines columns, numbers and texts.

    Allowed are names (in backticks where they are no Python names), numbers, texts, true and false, lists, comparisons
    with ``in`` among them, ``and or not & | ~`` and ``+ - * / // %``. A condition stands in a settings file: whoever
    may write there must not thereby run code, nor name a file or an address that pandas would open.

    Args:
        text: The condition as it is handed to ``pandas.DataFrame.eval``.
        where: Which setting it is, for the message.

    Raises:
        UsageError: It is no expression, or holds anything else; names the place by its character, counted from 1.

    Example:
        >>> check_condition("age >= 60 and `blood group` in ['A', 'B']")
        >>> check_condition("age.map(print) > 0", where="rules.slices.old")
        Traceback (most recent call last):
        ridgeway.errors.UsageError: a condition may not hold a call
          where     rules.slices.old = "age.map(print) > 0", at character 1
          expected  columns, numbers and texts with == != < <= > >= in, and or not & | ~, + - * / // % and brackets
          next      such as age >= 60
    """
    # A name of the same length, so that places stay what they are.
    plain = _QUOTED.sub(lambda found: "_" * len(found[0]) if found[0].startswith("`") else found[0], text)
    try:
        tree = ast.parse(plain.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _refusal(text, where, "is no expression", getattr(error, "offset", None) or 1) from None
    indent = len(plain) - len(plain.lstrip())
    place = indent + 1
    for node in ast.walk(tree):
        place = indent + node.col_offset + 1 if isinstance(node, ast.expr) else place
        if isinstance(node, ast.Constant):
            if not isinstance(node.value, int | float | str):
                raise _refusal(text, where, f"may not hold {node.value!r}", place)
        elif not isinstance(node, _NODES):
            raise _refusal(text, where, f"may not hold {_NAMES.get(type(node), type(node).__name__)}", place)


def _refusal(text: str, where: str, problem: str, place: int) -> UsageError:
    return UsageError(
        f"a condition {problem}",
        where=f'{where} = "{text}", at character {place}',
        expected="columns, numbers and texts with == != < <= > >= in, and or not & | ~, + - * / // % and brackets",
        next_step="such as age >= 60",
    )

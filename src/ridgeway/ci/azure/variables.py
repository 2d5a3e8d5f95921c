"""Variables of a job: which definition wins, what macros become, what a script finds in its environment."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Mapping as Map
from typing import Any, Final

from ridgeway.ci.azure.inputs import Inputs, is_predefined, late
from ridgeway.ci.azure.pipeline import Variable
from ridgeway.ci.azure.values import Later, Members, to_text

MACRO: Final = re.compile(r"\$\(([A-Za-z_][\w.\- ]*?)\)")
MAX_NESTING: Final = 20
"""How far a variable's macros may lead on to others."""


class View(Members):
    """The variables that an expression or macro sees, by name.

    Args:
        values: Names with texts, or ``Later`` for those that only the run will know.
        groups: Groups whose members are not known here, so any name may be theirs.
        live: Whether this is the run itself: then what is not there is missing, and not ``Later``.
        missed: Called with a name that is nowhere.
        settable: Whether a step has run, whose scripts and tasks may have set any name, also from files not seen here.
    """

    def __init__(
        self,
        values: Any = (),
        *,
        groups: tuple[str, ...] = (),
        live: bool = False,
        missed: Callable[[str], None] | None = None,
        settable: bool = False,
    ) -> None:
        super().__init__(values)
        self.settable = settable
        self.groups = groups
        self.live = live
        self.missed = missed

    def find(self, name: str) -> Any:
        """The value of a variable, ``Later``, or nothing."""
        if name in self:
            return super().find(name)
        if self.live:
            return None
        if is_predefined(name):
            return Later(f"variables['{name}']")
        if self.groups:
            return Later(f"variables['{name}'], perhaps of group {' or '.join(self.groups)}")
        if self.settable:
            return Later(f"variables['{name}'], perhaps set by a step before")
        if self.missed:
            self.missed(name)
        return None

    def copy(self) -> View:
        """Another view with the same values, which can be changed alone."""
        return View(self, groups=self.groups, live=self.live, missed=self.missed, settable=self.settable)


Evaluate = Callable[[Variable, View], Any]
"""The value of a variable that is a runtime expression, given the variables before it."""


def start(inputs: Inputs, *, live: bool = False) -> View:
    """What is there before the file's own variables: those of the system, then those kept with the pipeline."""
    view = View(late(inputs), live=live)
    for name, value in inputs.variables.items():
        view[name] = value
    return view


def layered(view: View, variables: Iterable[Variable], groups: Map[str, Map[str, str]], evaluate: Evaluate) -> View:
    """A view with one scope's variables on top: later ones win over earlier ones, inner scopes over outer ones.

    Args:
        view: What the outer scopes have.
        variables: The scope's own, in their order.
        groups: Members of groups, as far as they are known.
        evaluate: Evaluates runtime expressions.
    """
    made = view.copy()
    for variable in variables:
        if variable.group:
            members = groups.get(variable.name)
            if members is None:
                made.groups = tuple(dict.fromkeys([*made.groups, variable.name]))
            for name, value in (members or {}).items():
                made[name] = value
        elif variable.expression is None:
            made[variable.name] = variable.value
        else:
            value = evaluate(variable, made)
            made[variable.name] = value if isinstance(value, Later) else to_text(value)
    return made


def expand(text: str, view: Map[str, Any]) -> str:
    """A text with its macros replaced; those of unknown variables stay as they are.

    Example:
        >>> expand("$(a) $(nope) $(date +%s)", Members({"a": "$(b)!", "b": "x"}))
        'x! $(nope) $(date +%s)'
    """
    return _expanded(text, view, ())


def _expanded(text: str, view: Map[str, Any], inside: tuple[str, ...]) -> str:
    def value(match: re.Match[str]) -> str:
        name = match[1]
        found = Members.find(view, name) if isinstance(view, Members) else view.get(name)
        if not isinstance(found, str) or name.lower() in inside or len(inside) >= MAX_NESTING:
            return match[0]
        return _expanded(found, view, (*inside, name.lower())) if "$(" in found else found

    return MACRO.sub(value, text) if "$(" in text else text


def macros(text: str) -> Iterator[tuple[str, int]]:
    """The names in a text's macros, with their offsets."""
    for match in MACRO.finditer(text) if "$(" in text else ():
        yield match[1], match.start()


def environment(view: Map[str, Any], secrets: Iterable[str] = ()) -> dict[str, str]:
    """What scripts find in their environment: all variables but secret ones, upper case, dots as underscores.

    Example:
        >>> environment({"Build.Reason": "Manual", "key": "s3cret"}, secrets=["KEY"])
        {'BUILD_REASON': 'Manual'}
    """
    hidden = {name.lower() for name in secrets}
    made = {}
    for name, value in view.items():
        if name.lower() not in hidden and isinstance(value, str):
            made[name.upper().replace(".", "_").replace(" ", "_")] = expand(value, view)
    return made


SETS: Final = re.compile(r"##vso\[task\.setvariable\b([^\]]*)\]", re.IGNORECASE)
_NAME: Final = re.compile(r"variable=([^;\]]+)", re.IGNORECASE)


def set_by(text: str) -> Iterator[str]:
    """The variables that a script seems to set by logging commands.

    Example:
        >>> list(set_by('echo "##vso[task.setvariable variable=a;isOutput=true]1"'))
        ['a']
    """
    for match in SETS.finditer(text):
        name = _NAME.search(match[1])
        if name:
            yield name[1].strip()

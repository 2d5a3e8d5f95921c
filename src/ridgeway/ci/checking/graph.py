"""What a system's files do, in a form that can be compared: which command, after which, under which condition. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from ridgeway.ci.checking.calls import PLACEHOLDER

OUTCOMES: Final = frozenset(
    {
        "accept",
        "reject",
        "hold",
        "unchanged",
        "waiting",
        "approved",
        "refused",
        "released",
        "rolled_back",
        "6",
        "7",
        "8",
    }
)
"""Values of ``outcome`` and ``exit_code`` that conditions ask for."""
_MAIN: Final = re.compile(r"\bmain\b|CI_DEFAULT_BRANCH")
_WORD: Final = re.compile(r"[A-Za-z_]+|\b\d+\b")
ASKED: Final = "production"
"""The environment whose approval is a person's."""


@dataclass(frozen=True, order=True)
class Node:
    """A command in a pipeline.

    Attributes:
        command: Its words, values of variables as ``$``.
        after: Commands that come before it in the same pipeline; none for the first.
        status: ``success``, ``failure`` or ``always``: what those before must have come to.
        outcomes: Outcomes and exit codes that its condition asks for; ``main`` for the branch.
        asks: Whether a person is asked first.
    """

    command: str
    after: tuple[str, ...] = ()
    status: str = "success"
    outcomes: tuple[str, ...] = ()
    asks: bool = False

    def __str__(self) -> str:
        after = f" after {' and '.join(f'`{one}`' for one in self.after)}" if self.after else ""
        outcomes = f" where {' or '.join(self.outcomes)}" if self.outcomes else ""
        status = (
            "" if self.status == "success" else f" on {self.status}" if self.status == "failure" else " in any case"
        )
        return f"`{self.command}`{after}{status}{outcomes}{', asked of a person' if self.asks else ''}"


@dataclass(frozen=True)
class Part:
    """A job or stage of a system, before those without commands are left out.

    Attributes:
        commands: Its calls.
        after: Names of the parts before it.
        condition: All text that decides whether it runs.
        environment: What it deploys to.
        asks: Whether the system's own means ask a person.
    """

    commands: tuple[tuple[str, ...], ...]
    after: tuple[str, ...] = ()
    condition: str = ""
    environment: str = ""
    asks: bool = False


def started(name: str, own: Part, inner: Mapping[str, Part]) -> dict[str, Part]:
    """The parts of a pipeline that another's part starts, as parts of that one: its first ones come where it comes.

    Args:
        name: Of the part that starts it.
        own: That part.
        inner: The started pipeline's.
    """
    made = {}
    for key, part in inner.items():
        first = not part.after
        after = own.after if first else tuple(f"{name}/{one}" for one in part.after)
        condition = f"{own.condition} {part.condition}" if first else part.condition
        made[f"{name}/{key}"] = replace(part, after=after, condition=condition)
    return made


def said(words: Iterable[str]) -> str:
    """A call as graphs compare it: values as ``$``, ``--ci`` aside.

    Example:
        >>> said(("run", "release", "$MODEL", "--until", "qa", "--ci"))
        'run release $ --until qa'
    """
    return " ".join("$" if word.startswith("$") or word == PLACEHOLDER else word for word in words if word != "--ci")


STARTED: Final = "run retraining"
"""How this one is started, by a build too, is the business of each system."""


def nodes(parts: Mapping[str, Part]) -> Iterator[Node]:
    """The commands of one pipeline. What a part before has asked for already is not asked for again.

    Args:
        parts: By name; what ``after`` names that is not there is left out.
    """
    for part in parts.values():
        before = [*_before(part, parts, frozenset())]
        after = tuple(sorted({said(other.commands[-1]) for other in before if other.commands}))
        asked = {word for other in _ancestors(part, parts) for word in outcomes(other.condition)}
        wanted = tuple(word for word in outcomes(part.condition) if word not in asked and (after or word != "main"))
        asks = part.asks or part.environment == ASKED or any(one.asks for one in before if not one.commands)
        for number, words in enumerate(part.commands):
            command = said(words)
            if number or command == STARTED:
                yield Node(command, (said(part.commands[number - 1]),) if number else ())
            else:
                yield Node(command, after, status(part.condition), wanted, asks)


def _ancestors(part: Part, parts: Mapping[str, Part]) -> Iterator[Part]:
    seen: set[str] = set()
    names = [*part.after]
    while names:
        name = names.pop()
        if name in parts and name not in seen:
            seen.add(name)
            names += parts[name].after
            # What is asked for by a part without commands gates the next one together with it.
            if parts[name].commands:
                yield parts[name]


def _before(part: Part, parts: Mapping[str, Part], seen: frozenset[str]) -> Iterator[Part]:
    """The parts before, and through those that have no commands the ones before them."""
    for name in part.after:
        other = parts.get(name)
        if other is None or name in seen:
            continue
        yield other
        if not other.commands:
            yield from _before(other, parts, seen | {name})


def status(condition: str) -> str:
    """What a condition asks of what was before.

    Example:
        >>> status("and(failed(), eq(1, 1))"), status("${{ always() }}"), status("")
        ('failure', 'always', 'success')
    """
    if re.search(r"\bfailed\(\)|\bfailure\(\)|on_failure|\bfailure\s*\{", condition):
        return "failure"
    return "always" if re.search(r"\balways\b|succeededOrFailed", condition) else "success"


def outcomes(condition: str) -> tuple[str, ...]:
    """The outcomes that a condition asks for.

    Example:
        >>> outcomes("in(dependencies.QA.outputs['qa.outcome'], 'waiting', 'approved')"), outcomes("branch 'main'")
        (('approved', 'waiting'), ('main',))
    """
    found = set(_WORD.findall(condition)) & OUTCOMES
    return tuple(sorted(found | ({"main"} if _MAIN.search(condition) else set())))


def differences(graphs: Mapping[str, frozenset[Node]]) -> Iterator[str]:
    """In words, what one system does and another does not; nothing where all do the same.

    Example:
        >>> one, other = Node("run build"), Node("run build", asks=True)
        >>> list(differences({"GitHub": frozenset({one}), "GitLab": frozenset({one})}))
        []
        >>> list(differences({"GitHub": frozenset({one}), "GitLab": frozenset({other})}))[0]
        'GitHub alone: `run build`; GitLab alone: `run build`, asked of a person'
    """
    everywhere = frozenset.intersection(*graphs.values()) if graphs else frozenset()
    strange = sorted({node for graph in graphs.values() for node in graph - everywhere})
    for command in dict.fromkeys(node.command for node in strange):
        told: list[str] = []
        for node in (one for one in strange if one.command == command):
            have = [name for name, graph in graphs.items() if node in graph]
            told.append(f"{' and '.join(have)}{' alone' if len(have) == 1 else ''}: {node}")
        missing = [name for name, graph in graphs.items() if all(one.command != command for one in graph)]
        yield "; ".join([*told, *([f"not at all: {' and '.join(missing)}"] if missing else [])])

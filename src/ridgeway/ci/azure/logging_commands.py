"""What a script tells the agent: lines such as ``##vso[task.setvariable variable=a;isOutput=true]value``. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping as Map
from dataclasses import dataclass
from typing import Final

from ridgeway.ci.azure.running import Change
from ridgeway.ci.azure.values import Members

_LINE: Final = re.compile(
    r"##vso\[\s*(?P<area>[A-Za-z]+)\.(?P<event>[A-Za-z]+)(?:\s+(?P<properties>[^\]]*))?\](?P<value>.*)", re.DOTALL
)
_ESCAPES: Final = (("%3B", ";"), ("%0D", "\r"), ("%0A", "\n"), ("%5D", "]"), ("%AZP25", "%"))


@dataclass(frozen=True)
class Command:
    """A logging command.

    Attributes:
        name: Area and event, in lower case: ``task.setvariable``.
        properties: By name, letter case aside.
        value: What follows the bracket.
    """

    name: str
    properties: Map[str, str]
    value: str


def command(line: str) -> Command | None:
    r"""The logging command of a line, or nothing. It may stand behind other text, as in the output of a program.

    Example:
        >>> found = command("##vso[task.setvariable variable=a;isOutput=true]one%0Atwo")
        >>> found.name, dict(found.properties), found.value
        ('task.setvariable', {'variable': 'a', 'isOutput': 'true'}, 'one\ntwo')
    """
    match = _LINE.search(line)
    if match is None:
        return None
    properties = Members()
    for part in (match["properties"] or "").split(";"):
        name, equals, value = part.partition("=")
        if equals and name.strip():
            properties[name.strip()] = _unescaped(value)
    return Command(f"{match['area']}.{match['event']}".lower(), properties, _unescaped(match["value"].rstrip("\r\n")))


def _unescaped(text: str) -> str:
    for escape, character in _ESCAPES:
        text = text.replace(escape, character)
    return text


def change(found: Command) -> Change | None:
    """The variable that a ``task.setvariable`` sets, or nothing for other commands and for one without a name.

    Example:
        >>> change(command("##vso[task.setvariable variable=key;isSecret=true]s"))
        Change(name='key', value='s', output=False, secret=True)
    """
    if found.name != "task.setvariable" or not isinstance(found.properties, Members):
        return None
    name = found.properties.find("variable")
    if not name:
        return None
    return Change(name, found.value, output=_yes(found, "isOutput"), secret=_yes(found, "isSecret"))


def _yes(found: Command, name: str) -> bool:
    assert isinstance(found.properties, Members)
    return str(found.properties.find(name)).lower() == "true"

"""Typed parameters of pipelines and templates: their declaration, and the values given for them."""

from __future__ import annotations

from collections.abc import Mapping as Map
from dataclasses import dataclass
from typing import Any, Final

from ridgeway.ci.azure.document import Mapping, Node, Scalar, Sequence
from ridgeway.ci.azure.problems import Place, did_you_mean, refuse, unsupported
from ridgeway.ci.azure.values import Members, Unconvertible, shown, to_number, to_text

SCALARS: Final = ("string", "number", "boolean")
LISTS: Final = ("stepList", "jobList", "deploymentList", "stageList")
MAPPINGS: Final = ("step", "job", "deployment", "stage")
TYPES: Final = (*SCALARS, "object", *MAPPINGS, *LISTS)
ANY: Final = "any"
"""The type of parameters that are declared the old way, as ``name: default``."""
_FOREIGN: Final = frozenset({"stringList", "environment", "filePath", "pool", "secureFile", "serviceConnection",
                             "container", "containerList", "legacyObject"})  # fmt: skip
_FIELDS: Final = ("name", "type", "default", "values", "displayName")


@dataclass(frozen=True)
class Parameter:
    """A declared parameter.

    Attributes:
        name: Its name.
        type: One of ``TYPES``, or ``any``.
        default: Its default, or nothing: then it must be given.
        values: The values it may have; empty for all.
        display: Its name for people.
        place: Where it is declared.
    """

    name: str
    type: str
    default: Node | None
    values: tuple[str, ...]
    display: str
    place: Place


def declared(node: Node | None) -> dict[str, Parameter]:
    """The parameters of a ``parameters`` section, by name.

    Raises:
        PipelineError: A declaration is wrong: an unknown field or type, no name, a name that comes twice.
    """
    if node is None or (isinstance(node, Scalar) and not node.text):
        return {}
    if isinstance(node, Mapping):
        return {key.text: Parameter(key.text, ANY, value, (), "", key.place) for key, value in node.entries}
    if not isinstance(node, Sequence):
        raise refuse(node.place, "parameters must be a list", expected="- name: …")
    found: dict[str, Parameter] = {}
    for item in node.items:
        parameter = _declared(item)
        twin = next((known for known in found.values() if known.name.lower() == parameter.name.lower()), None)
        if twin:
            problem = f"it is already declared at {twin.place}"
            raise refuse(parameter.place, f"the parameter {parameter.name} is declared twice", problem=problem)
        found[parameter.name] = parameter
    return found


def _declared(item: Node) -> Parameter:
    if not isinstance(item, Mapping):
        raise refuse(item.place, "a parameter must be a mapping", expected="- name: …")
    fields = {}
    for key, value in item.entries:
        if key.text not in _FIELDS:
            raise refuse(key.place, f"a parameter has no {key.text}", expected=did_you_mean(key.text, _FIELDS))
        fields[key.text] = value
    name = _word(item, fields.get("name"), "name")
    type_ = "string" if fields.get("type") is None else _word(item, fields["type"], "type")
    kind = next((known for known in TYPES if known.lower() == type_.lower()), None)
    if kind is None:
        place = fields["type"].place
        if type_ in _FOREIGN:
            raise unsupported(place, f"the parameter type {type_}", instead="one of " + ", ".join(TYPES))
        raise refuse(place, f"there is no parameter type {type_}", expected=did_you_mean(type_, TYPES))
    display = fields.get("displayName")
    made = Parameter(
        name, kind, fields.get("default"), _values(fields.get("values")), getattr(display, "text", ""), item.place
    )
    _check_default(made)
    return made


def _check_default(parameter: Parameter) -> None:
    if parameter.default is None:
        return
    found = _expression(parameter.default)
    if found:
        raise refuse(found.place, "a default must be a literal", problem=found.text[:80], expected="a value")
    typed(parameter, parameter.default, at=parameter.default.place)


def _expression(node: Node) -> Scalar | None:
    if isinstance(node, Scalar):
        return node if "${{" in node.text else None
    parts = (
        node.items if isinstance(node, Sequence) else [part for pair in getattr(node, "entries", ()) for part in pair]
    )
    return next((found for part in parts if (found := _expression(part))), None)


def _word(item: Mapping, node: Node | None, field: str) -> str:
    if not isinstance(node, Scalar) or not node.text:
        place = (node or item).place
        raise refuse(place, f"a parameter needs a {field}", problem=f"{field} is missing or empty")
    return node.text


def _values(node: Node | None) -> tuple[str, ...]:
    if node is None:
        return ()
    if not isinstance(node, Sequence) or not all(isinstance(item, Scalar) for item in node.items):
        raise refuse(node.place, "values must be a list of texts")
    return tuple(item.text for item in node.items if isinstance(item, Scalar))


def bind(parameters: Map[str, Parameter], given: Map[str, Node], *, at: Place, owner: str) -> Members:
    """The value of each parameter: what is given, else its default.

    Args:
        parameters: The declarations.
        given: Values by name, evaluated.
        at: Where they are given.
        owner: The file whose parameters these are, for messages.

    Raises:
        PipelineError: One is missing or unknown, has the wrong type, or is none of the allowed values.
    """
    known = {name.lower(): parameter for name, parameter in parameters.items()}
    values: dict[str, Any] = {}
    for name, node in given.items():
        parameter = known.get(name.lower())
        if parameter is None:
            hint = did_you_mean(name, parameters) or "none: it has no parameters"
            raise refuse(node.place, f"{owner} has no parameter {name}", expected=hint)
        values[parameter.name] = typed(parameter, node, at=node.place)
    for parameter in parameters.values():
        if parameter.name in values:
            continue
        if parameter.default is None:
            problem = f"it is declared at {parameter.place} without a default"
            expected = f"a {parameter.type}"
            raise refuse(at, f"{owner} needs the parameter {parameter.name}", problem=problem, expected=expected)
        values[parameter.name] = typed(parameter, parameter.default, at=parameter.default.place)
    return Members(values)


def typed(parameter: Parameter, node: Node, *, at: Place) -> Any:
    """A value as the parameter's type.

    Raises:
        PipelineError: It does not fit; for booleans and numbers the message shows the value.
    """
    value = _converted(parameter, node, at)
    if parameter.values and to_text(value) not in parameter.values:
        listed = ", ".join(parameter.values)
        problem = f"{shown(value)} is none of them"
        raise refuse(at, f"{parameter.name} must be one of its values", problem=problem, expected=listed)
    return value


def _converted(parameter: Parameter, node: Node, at: Place) -> Any:
    if parameter.type in {"object", ANY}:
        return node.text if isinstance(node, Scalar) else node
    if parameter.type in LISTS + MAPPINGS:
        wanted = Sequence if parameter.type in LISTS else Mapping
        if isinstance(node, wanted):
            return node
        if isinstance(node, Scalar) and not node.text and parameter.type in LISTS:
            return Sequence(node, [])
        raise _wrong(parameter, node, at, "a list" if wanted is Sequence else "a mapping")
    if not isinstance(node, Scalar):
        raise _wrong(parameter, node, at, f"a {parameter.type}")
    if parameter.type == "string":
        return node.text
    if parameter.type == "boolean":
        if node.text.lower() not in {"true", "false"}:
            raise _wrong(parameter, node, at, "true or false")
        return node.text.lower() == "true"
    try:
        return to_number(node.text or "none")
    except Unconvertible:
        raise _wrong(parameter, node, at, "a number") from None


def _wrong(parameter: Parameter, node: Node, at: Place, expected: str) -> Exception:
    found = shown(node.text) if isinstance(node, Scalar) else "a list" if isinstance(node, Sequence) else "a mapping"
    summary = f"the parameter {parameter.name} has the wrong type"
    return refuse(at, summary, problem=f"{found} is not a {parameter.type}", expected=expected)

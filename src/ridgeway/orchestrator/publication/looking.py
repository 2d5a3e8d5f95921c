"""A process of its own that imports a project's flows and tells of them, so that nothing of them stays in any other.

``python -m ridgeway.orchestrator.publication.looking ROOT``, with what is to be checked as JSON on standard input. It
writes one JSON object to what was its standard output; whatever the flows print goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ridgeway.errors import RidgewayError, UsageError
from ridgeway.orchestrator.publication.pull import enter


def main(root: Path, question: dict[str, Any], answer: int) -> int:
    """Writes ``{"flows": […]}`` or ``{"error": {…}}`` to the descriptor ``answer``; the exit code."""
    try:
        content: dict[str, Any] = {"flows": list(_looked(root, question["schedules"], answer))}
    except RidgewayError as error:
        rows = {name: getattr(error, name) for name in ("summary", "where", "problem", "expected", "next_step")}
        content = {"error": rows}
    _write(answer, content)
    return 0


def _write(answer: int, content: dict[str, Any]) -> None:
    os.write(answer, json.dumps(content).encode() + b"\n")


def _looked(root: Path, schedules: Sequence[dict[str, Any]], answer: int) -> Iterator[dict[str, Any]]:
    os.chdir(root)
    enter(root)
    files = sorted((root / "flows").glob("[!_]*.py"))
    if not files:
        raise UsageError(
            "there is nothing to publish", where=str(root / "flows"), expected="at least one file with a flow"
        )
    found = []
    for file in files:
        _write(answer, {"importing": str(file.relative_to(root))})  # for whoever waits, if it never comes back
        found.append((file, _import(root, file)))
    _refuse_twice(root, found)
    flows = {file.stem: _only_flow(root, file, module) for file, module in found}
    for schedule in schedules:
        _check(schedule, flows)
    for stem, flow in flows.items():
        yield _told(stem, flow)


def _import(root: Path, file: Path) -> Any:
    from ridgeway.orchestrator.execution import import_file

    return import_file(root, file)


def _flows_of(module: Any) -> dict[str, Any]:
    """The flows that are made in this module: attribute → flow. Those that it imports are another's."""
    from prefect import Flow

    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, Flow) and value.fn.__module__ == module.__name__
    }


def _refuse_twice(root: Path, found: Sequence[tuple[Path, Any]]) -> None:
    seen: dict[str, str] = {}
    for file, module in found:
        place = str(file.relative_to(root))
        for flow in _flows_of(module).values():
            if seen.setdefault(flow.name, place) != place:
                raise UsageError(
                    f"two flows are called {flow.name!r}",
                    where=f"{seen[flow.name]} and {place}",
                    problem="a server knows a flow by its name alone",
                    expected="each flow in a file of its own name",
                    next_step=f"give one of them another name: @flow(name={file.stem!r}) above def {file.stem}",
                )


def _only_flow(root: Path, file: Path, module: Any) -> Any:
    """The flow that bears the file's name."""
    flows, stem = _flows_of(module), file.stem
    flow = flows.get(stem)
    place = f"{file.relative_to(root)}"
    if flow is None:
        raise UsageError(
            f"{place} has no flow {stem!r}",
            where=str(file),
            problem=f"its flows: {', '.join(flows)}" if flows else "it has no flow at all",
            expected=f"@flow above def {stem}(…); a file that is no flow's begins with _ or lies elsewhere",
            next_step=f"mend {place}",
        )
    if flow.name not in (stem, stem.replace("_", "-")):
        raise UsageError(
            f"the flow of {place} is called {flow.name!r}",
            where=f"{file}:{flow.fn.__code__.co_firstlineno}",
            expected=f"the file's name, by which it is run, scheduled and triggered: @flow(name={stem!r})",
            next_step=f"mend {place}",
        )
    return flow


def _told(stem: str, flow: Any) -> dict[str, Any]:
    import inspect

    return {
        "flow": flow.name,
        "entrypoint": f"flows/{stem}.py:{stem}",
        "description": inspect.getdoc(flow.fn) or "",
        # Prefect lets pass what the schema does not name, and the run fails where nobody looks.
        "parameter_schema": {**flow.parameters.model_dump(exclude_unset=True), "additionalProperties": False},
    }


def _check(schedule: dict[str, Any], flows: dict[str, Any]) -> None:
    """Nothing, if Prefect itself takes the schedule, and the flow its arguments."""
    from prefect.client.schemas.schedules import CronSchedule
    from prefect.utilities.schema_tools.validation import ValidationError, validate

    path = f"schedules.{schedule['name']}"
    flow = flows.get(schedule["flow"])
    if flow is None:
        raise UsageError(
            f"setting {path} names a flow that is not there",
            where=f"{path}.flow = {schedule['flow']!r}",
            expected=f"one of {', '.join(flows)}",
            next_step=f"ridgeway settings {path}.flow",
        )
    try:
        CronSchedule(cron=schedule["cron"], timezone=schedule["timezone"])
    except ValueError as error:
        raise UsageError(
            f"setting {path}.cron is nothing that Prefect understands",
            where=f"{path}.cron = {schedule['cron']!r}",
            problem=str(error),
            next_step=f"ridgeway settings {path}.cron",
        ) from error
    schema = {**flow.parameters.model_dump(exclude_unset=True), "additionalProperties": False}
    try:
        validate(schedule["parameters"], schema, raise_on_error=True)
    except ValidationError as error:
        raise UsageError(
            f"setting {path}.parameters does not fit the flow {flow.name}",
            where=f"{path}.parameters = {schedule['parameters']!r}",
            problem=str(error),
            expected="its arguments by name",
            next_step=f"ridgeway settings {path}.parameters",
        ) from error


if __name__ == "__main__":
    # Flows may print what they like: the answer has a descriptor of its own.
    _answer = os.dup(1)
    os.dup2(2, 1)
    sys.exit(main(Path(sys.argv[1]), json.load(sys.stdin), _answer))

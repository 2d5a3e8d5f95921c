"""``ridgeway up``: everything that a project needs on this machine, until Ctrl-C or ``ridgeway down``."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ridgeway.cli import console, options

if TYPE_CHECKING:
    from ridgeway.services.plan import Plan
    from ridgeway.services.state import UpState

COLUMNS = ("service", "state", "address", "log")
COLOURS = {"ready": "green", "done": "green", "failed": "red", "restarting": "yellow"}


@click.command(
    name="up",
    short_help="Prefect and MLflow servers, worker and watcher, on this machine.",
    epilog="\b\nExample\n  ridgeway up --detach\n  ridgeway run retraining --detach\n  ridgeway down",
)
@click.option("--detach", is_flag=True, help="Return when all is ready; `ridgeway down` stops it.")
@click.option("--host", metavar="ADDRESS", help="In place of servers.host: where the servers listen.")
@options.plan
@options.common
def command(*, detach: bool, host: str | None, plan: bool, as_json: bool, overrides: Sequence[str]) -> int:
    """What runs this project without anyone typing: servers for runs and models, schedules, triggers, and a worker.

    It shows what runs, where, and with which log, until Ctrl-C; with --detach it stays. What is started again when it
    dies is said so. Started again later, it goes on where it was. The flows of HEAD are published if none are yet.
    """
    from ridgeway.project import open_project, prepare_state
    from ridgeway.services import locks
    from ridgeway.services.plan import make_plan
    from ridgeway.services.state import running

    chosen = [f'servers.host="{host}"'] if host else []
    project = open_project(Path.cwd(), overrides=[*overrides, *chosen])
    root = project.home
    there = running(root)
    if there is not None and not plan:
        console.say("it is up already; `ridgeway down` stops it")
        _show(there, root, as_json=as_json)
        return 0
    if not plan:
        prepare_state(project)
    opened = locks.prepare(project.settings, root, only_plan=plan, say=console.say)
    made = make_plan(root, project.settings, os.environ, locks=opened)
    if plan:
        _say_plan(made, is_up=there is not None, as_json=as_json)
        return 0
    if detach:
        return _start_and_leave(made, as_json=as_json)
    return _start_and_stay(made, as_json=as_json)


def _say_plan(plan: Plan, *, is_up: bool, as_json: bool) -> None:
    lines = [f"{one.name:<10} {one.what}{f', at {one.address}' if one.address else ''}" for one in plan.services]
    rows = [{"service": one.name, "what": one.what, "address": one.address} for one in plan.services]
    record = {"schema": 1, "is_up": is_up, "plan": rows}
    text = "it is up already: nothing would be started" if is_up else "\n".join(lines)
    console.result(text, record, as_json=as_json)


def _start_and_leave(plan: Plan, *, as_json: bool) -> int:
    from ridgeway.services import launch

    launch.start(plan)
    try:
        state = _follow_start(plan.root, as_json=as_json)
    except BaseException:  # also Ctrl-C: half of it is of no use to anybody
        launch.stop(plan.root)
        raise
    if not (as_json or console.colour()):
        _show(state, plan.root, as_json=False)
    elif as_json:
        _show(state, plan.root, as_json=True)
    console.say("it stays until `ridgeway down`")
    return 0


def _start_and_stay(plan: Plan, *, as_json: bool) -> int:
    from ridgeway.services import launch

    # However this process ends, the other end of the pipe is closed then, and everything ends.
    guardian, held = os.pipe()
    try:
        launch.start(plan, guardian=guardian)
        os.close(guardian)
        try:
            state = _follow_start(plan.root, as_json=as_json, stay=True)
            if not sys.stdout.isatty():
                _show(state, plan.root, as_json=as_json)
            _follow(plan.root)
        except KeyboardInterrupt:
            console.say("stopping; a second Ctrl-C does not make it quicker")
        finally:
            with _no_interrupts():
                launch.stop(plan.root)
    finally:
        os.close(held)
    console.say("stopped; `ridgeway up` goes on where it was")
    return 0


@contextlib.contextmanager
def _no_interrupts() -> Iterator[None]:
    import signal

    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _follow_start(root: Path, *, as_json: bool, stay: bool = False) -> UpState:
    """The state in which all is ready; each change on the way there is shown."""
    from ridgeway.services import launch

    began, state = time.monotonic(), None
    known: dict[str, tuple[str, str]] = {}
    with _live(enabled=sys.stdout.isatty() and not as_json and not stay) as update:
        for state in launch.wait_ready(root):
            update(state)
            if not sys.stdout.isatty():
                _say_changes(state, known)
    assert state is not None
    console.say(f"ready after {time.monotonic() - began:.0f} s")
    return state


def _follow(root: Path) -> None:
    """Shows what changes, until somebody ends it."""
    from ridgeway.services.state import running

    known = {one.name: (one.condition, one.note) for one in (running(root) or _nothing()).services}
    with _live(enabled=sys.stdout.isatty()) as update:
        while (state := running(root)) is not None:
            update(state)
            if not sys.stdout.isatty():
                _say_changes(state, known)
            time.sleep(0.5)


def _nothing() -> Any:
    from ridgeway.run_log import Process
    from ridgeway.services.state import UpState

    return UpState(Process(0, "", ""), "")


def _say_changes(state: UpState, known: dict[str, tuple[str, str]]) -> None:
    for one in state.services:
        if known.get(one.name) != (one.condition, one.note) and one.condition != "waiting":
            known[one.name] = (one.condition, one.note)
            text = f"  {one.name:<10} {one.condition:<10} {one.note or one.address}"
            console.say(text.rstrip())


@contextlib.contextmanager
def _live(*, enabled: bool) -> Iterator[Any]:
    """What shows a state in place of the one before, on a terminal; nothing elsewhere."""
    if not enabled:
        yield lambda _: None
        return
    from rich.console import Console
    from rich.live import Live

    terminal = Console(no_color=not console.colour())
    with Live(console=terminal, auto_refresh=False) as live:
        yield lambda state: live.update(_table(state), refresh=True)


def _table(state: UpState) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in COLUMNS:
        table.add_column(name, no_wrap=name != "log", overflow="fold")
    for one in state.services:
        colour = COLOURS.get(one.condition, "")
        condition = f"[{colour}]{one.condition}[/]" if colour else one.condition
        table.add_row(one.name, condition, one.address, one.note or _shown(one.log))
    return table


def _show(state: UpState, root: Path, *, as_json: bool) -> None:
    rows = [
        {"service": one.name, "state": one.condition, "address": one.address, "log": _shown(one.log), "note": one.note}
        for one in state.services
    ]
    from ridgeway.cli.list import table

    shown = [{key: row[key] for key in (*COLUMNS, "note") if any(one[key] for one in rows)} for row in rows]
    record = {"schema": 1, "root": str(root), "services": rows}
    console.result(table(shown, console.width()), record, as_json=as_json)


def _shown(path: str) -> str:
    """A path as a person standing here would write it."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path

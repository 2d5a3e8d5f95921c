"""What starts flows without anyone typing: new data, a registered model; and what becomes of scheduled and dead runs.

``run(root, stop)`` looks around every ``triggers.poll_seconds`` until the event ``stop`` is set; it is made for a
thread of its own or a process of its own. ``main(root)`` is the same as a process: SIGTERM ends it, and it tells that
it is ready as services do (``services.state.ready_file(root, "watcher")``). It must run beside the Prefect server, and
begin before a worker takes runs: what was missed during an outage is cancelled in its first look. A worker that wants
to be sure asks ``schedules.settle`` itself before it takes a scheduled run.

Light on purpose: standard library, settings, REST and SQLite; it imports neither Prefect nor MLflow nor pandas. Two
never watch at once, and being killed anywhere neither loses a change nor starts a run twice.
"""

from __future__ import annotations

from ridgeway.services.watcher.loop import LOCK, Watcher, main, run

__all__ = ["LOCK", "Watcher", "main", "run"]

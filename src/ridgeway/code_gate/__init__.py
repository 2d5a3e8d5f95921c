"""The door to the tools that look at code: ruff, mypy, import-linter, pytest with its coverage plugin.

Each tool is a program of its own, started with this interpreter in the folder that is looked at; what it writes is read
into findings with file, line and rule. Names are loaded when first asked for.

    report = look("ruff", Place(folder, output, cache, timeout_seconds=600))
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ridgeway.code_gate.programs import Ended as Ended
    from ridgeway.code_gate.programs import Place as Place
    from ridgeway.code_gate.programs import crash as crash
    from ridgeway.code_gate.programs import run_python as run_python
    from ridgeway.code_gate.programs import too_late as too_late
    from ridgeway.code_gate.unit_tests import Selection as Selection

_HOMES = {
    "Ended": "programs",
    "Place": "programs",
    "Selection": "unit_tests",
    "crash": "programs",
    "run_python": "programs",
    "too_late": "programs",
}
_GATES = {"ruff": "style", "types": "type_check", "contracts": "import_contracts", "tests": "unit_tests"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def look(gate: str, place: Place, **options: Any) -> Any:
    """What the gate ``ruff``, ``types``, ``contracts`` or ``tests`` finds: a ``GateReport``.

    Args:
        gate: Its name.
        place: What is looked at, and where the tool may write.
        options: Of the gate; only ``tests`` has some: ``chosen``, a ``Selection``.

    Raises:
        UsageError: The tool is not installed, or nothing says what it shall look at.
        TimeIsUp: It was ended because it took too long.
        Permanent: It ended in the middle; the message holds what it said.
        KeyboardInterrupt: ``place.stop`` was set.
    """
    return importlib.import_module(f"{__name__}.{_GATES[gate]}").look(place, **options)

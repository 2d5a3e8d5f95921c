"""``strategy: matrix``: copies of a job, each with variables of its own."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from ridgeway.ci.azure.document import Scalar
from ridgeway.ci.azure.fields import fields, number, pairs
from ridgeway.ci.azure.pipeline import Job, Pool, Variable
from ridgeway.ci.azure.problems import refuse, unsupported
from ridgeway.ci.azure.templates import Entry, entries, resolved
from ridgeway.ci.azure.values import Members
from ridgeway.ci.azure.variables import expand

_FOREIGN: Final = {"parallel": "a strategy with parallel"}
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}")
"""What the documentation allows."""
_SEEN: Final = re.compile(r"[\w .,+()-]{1,100}", re.ASCII)
"""What runs all the same in pipelines of others."""


def copies(strategy: Entry, job: Job) -> tuple[Job, ...]:
    """The copies of a job, one for each entry of its matrix, in the order of the file.

    Args:
        strategy: ``strategy:`` of the job.
        job: The job without it.

    Raises:
        PipelineError: It is no matrix of names with variables.
        Unsupported: The run makes the matrix, or the strategy is another one.
    """
    found = fields(entries(strategy.value, strategy.frame), "a job's strategy", ("matrix", "maxParallel"), _FOREIGN)
    if "matrix" not in found:
        raise refuse(
            strategy.value.place, "a job's strategy needs matrix", expected="matrix: {name: {variable: value}}"
        )
    limit = number(found, "maxParallel", 0)
    if isinstance(limit, str):
        raise unsupported(found["maxParallel"].value.place, "a maxParallel that the run computes")
    made = tuple(_copy(leg, job, int(limit)) for leg in _legs(found["matrix"]))
    if not made:
        raise unsupported(found["matrix"].key.place, "a matrix without entries", instead="at least one entry")
    return made


def _legs(matrix: Entry) -> list[Entry]:
    node = resolved(matrix.value, matrix.frame) if isinstance(matrix.value, Scalar) else matrix.value
    if isinstance(node, Scalar) and node.text.strip().startswith(("$[", "$(")):
        raise unsupported(node.place, "a matrix that the run computes", instead="a matrix in the file")
    return entries(node, matrix.frame)


def _copy(leg: Entry, job: Job, limit: int) -> Job:
    name = leg.key.text
    values = pairs(leg)
    for variable, value in values:
        _check_variable(variable, value, job)
    _check_name(leg)
    matrix = tuple(
        Variable(variable, value.text, f"matrix {name}", value.place, scalar=value) for variable, value in values
    )
    known = Members({variable: value.text for variable, value in values})
    return replace(
        job,
        name=f"{job.name}.{name}",
        display=f"{expand(job.display or job.name, known)} {name}",
        pool=_pool(job.pool, known),
        leg=name,
        matrix=matrix,
        max_parallel=limit,
    )


def _check_variable(name: str, value: Scalar, job: Job) -> None:
    """Refuses what the documentation leaves open: whether what is evaluated once for all copies sees their variables.

    Where the job defines the variable too, the matrix wins: public pipelines keep defaults in the job.
    """
    if "$[" in value.text:
        raise unsupported(value.place, "a runtime expression in a matrix", instead="a variable of the job")
    used = re.compile(rf"\bvariables\s*(\.\s*|\[\s*'){re.escape(name)}\b", re.IGNORECASE)
    written = [job.condition.scalar] if job.condition else []
    written += [variable.scalar for variable in job.variables if variable.expression and variable.scalar]
    for scalar in written:
        if used.search(scalar.text):
            raise unsupported(scalar.place, f"a variable of the matrix in its job's condition or variables ({name})")


def _check_name(leg: Entry) -> None:
    rule = "letters, digits and underscores, a letter first"
    if not _SEEN.fullmatch(leg.key.text):
        raise refuse(leg.key.place, f"a copy cannot be called {leg.key.text[:60]!r}", expected=rule)
    if not _NAME.fullmatch(leg.key.text):
        leg.frame.session.warn(leg.key.place, f"the documentation allows no {leg.key.text} in a matrix, only {rule}")


def _pool(pool: Pool | None, known: Members) -> Pool | None:
    """A pool whose image the matrix names."""
    if pool is None:
        return None
    demands = tuple(expand(demand, known) for demand in pool.demands)
    return Pool(expand(pool.name, known), expand(pool.vm_image, known), demands)

"""How a new image takes the place of the old one: beside it, one by one, or not at all; and how much memory it needs.

The free capacity of a place comes in as numbers; the way comes out with its arithmetic as sentences. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ridgeway.errors import Permanent

Strategy = Literal["first", "surge", "in_place"]


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine of a pool, counted in replicas of what is to run there."""

    name: str
    free: int
    """New replicas that fit beside all that runs there."""
    old: int = 0
    """Replicas of the endpoint that run there now."""
    per_old: int = 1
    """Old replicas that must go before one more new one fits; 0: none ever does."""
    if_all_gone: int = 0
    """New replicas that fit once all old ones there are gone."""


@dataclass(frozen=True, slots=True)
class Pool:
    """What an endpoint may run on. Not known where rights lack."""

    instance_type: str
    machines: tuple[Machine, ...] | None
    detail: str = ""
    """The arithmetic, such as ``gpu-1: 8 nvidia.com/gpu, 6 in use``."""
    quota_free: int | None = None
    """Replicas that a quota still lets in; None: no quota counts, or it is not known."""
    quota_detail: str = ""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a roll-out shall reach."""

    running: int
    """Replicas of the endpoint that serve now, of whatever image, and those that run just this already."""
    replicas: int
    kept: int = 0
    """Of those, the ones that run just this: on the way back of a roll-out that failed, often all."""
    when_full: Literal["in_place", "refuse"] = "in_place"
    stop_seconds: float = 40
    """The most that a replica takes to go."""
    start_seconds: float = 60
    """The most that a replica may take to be ready before the roll-out counts as failed."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a roll-out goes."""

    strategy: Strategy
    max_surge: int
    """Replicas beyond the wanted number for a while."""
    max_unavailable: int
    """Replicas below the wanted number for a while."""
    gap_seconds: float = 0.0
    """The most time without a ready replica."""
    sentences: tuple[str, ...] = ()
    """The arithmetic."""


def choose_way(wish: Wish, pool: Pool) -> Way:
    """How the roll-out goes: ``first``, ``surge`` where there is room beside the old replicas, else ``in_place``.

    In place a replica goes before its successor comes; as many at a time as must go so that one successor fits
    wherever they happen to go (one, where old and new need the same). A gap arises only where none is left meanwhile.

    Raises:
        Permanent: It does not fit even then, or it fits only in place and ``when_full`` is ``refuse``.

    Example:
        >>> gpu = Pool("gpu-small", (Machine("gpu-1", free=0, old=8, if_all_gone=8),))
        >>> choose_way(Wish(running=8, replicas=8), gpu).strategy
        'in_place'
        >>> choose_way(Wish(running=1, replicas=1), gpu).gap_seconds
        100
    """
    if pool.machines is None and wish.kept < wish.replicas:
        return _unknown(wish, pool)
    free, needed = _free(pool), wish.replicas - wish.running
    arithmetic = f"{pool.instance_type}: {_plural(free, 'more replica')} would fit ({_detail(pool)})"
    if wish.running == 0:
        if free < wish.replicas:
            raise _refusal(wish, pool, f"{_plural(wish.replicas, 'replica')} wanted, room for {free}")
        return Way("first", 1, 0, sentences=(arithmetic,))
    if wish.kept >= wish.replicas:
        return Way("surge", 1, 0, sentences=(f"{_plural(wish.kept, 'replica')} of it run already: no more are needed",))
    if free > max(needed, 0):
        surge = min(free - max(needed, 0), _beside(wish.replicas))
        return Way("surge", surge, 0, sentences=(f"{arithmetic}: new replicas start beside the old ones",))
    return _in_place(wish, pool, arithmetic)


def _beside(replicas: int) -> int:
    """How many may start at once: starting costs processor time that the serving replicas need too."""
    return max(2, math.ceil(replicas / 4))


def _unknown(wish: Wish, pool: Pool) -> Way:
    sentence = f"{pool.instance_type}: free capacity is not known ({pool.detail or 'no right to read nodes'})"
    if wish.running == 0:
        return Way("first", 1, 0, sentences=(sentence,))
    if pool.quota_free is not None and pool.quota_free < 1 + max(0, wish.replicas - wish.running):
        return _in_place(wish, pool, f"{sentence}; the quota lets in {pool.quota_free} more ({pool.quota_detail})")
    return Way("surge", 1, 0, sentences=(f"{sentence}: one new replica at a time starts beside the old ones",))


def _in_place(wish: Wish, pool: Pool, arithmetic: str) -> Way:
    least = min(wish.replicas, wish.running)
    at_once = _must_go(pool.machines, least) if pool.machines is not None else 1
    if at_once is None or (pool.machines is not None and _all_gone(pool) < wish.replicas):
        fits = _all_gone(pool)
        raise _refusal(
            wish, pool, f"{wish.replicas} wanted; {fits} would fit even without the {_plural(wish.running, 'old one')}"
        )
    if wish.when_full == "refuse":
        raise _refusal(wish, pool, f"no room beside the {_plural(wish.running, 'old replica')}, and when_full = refuse")
    gap = 0.0 if at_once < least else wish.stop_seconds + wish.start_seconds
    how = "one by one" if at_once == 1 else f"{at_once} at a time"
    sentences = [f"{arithmetic}: replicas are replaced in place, {how}"]
    if gap:
        sentences.append(
            f"nothing answers for at most {gap:.0f} s: {wish.stop_seconds:.0f} s for the old replica to finish and "
            f"{wish.start_seconds:.0f} s for the new one to start; after that the previous image is put back"
        )
    elif least > 1:
        sentences.append(f"meanwhile {least - at_once} of {least} replicas answer")
    return Way("in_place", 0, at_once, gap, tuple(sentences))


def _must_go(machines: Sequence[Machine], running: int) -> int | None:
    """The fewest old replicas whose going surely lets a new one in, whichever of them go; None if none would."""
    if any(machine.free > 0 for machine in machines):
        return 1
    places = [machine for machine in machines if machine.old]
    if not any(machine.per_old for machine in places):
        return None
    # The worst choice takes from each machine one fewer than lets a new one in there, and all where none ever fits.
    wasted = sum(min(machine.old, machine.per_old - 1) if machine.per_old else machine.old for machine in places)
    return min(wasted + 1, running)


def _free(pool: Pool) -> int:
    free = sum(machine.free for machine in pool.machines or ())
    return free if pool.quota_free is None else min(free, pool.quota_free)


def _all_gone(pool: Pool) -> int:
    machines = pool.machines or ()
    fits = sum(machine.if_all_gone if machine.old else machine.free for machine in machines)
    if pool.quota_free is None:
        return fits
    return min(fits, pool.quota_free + sum(machine.old for machine in machines))


def _refusal(wish: Wish, pool: Pool, problem: str) -> Permanent:
    return Permanent(
        "plan: the roll-out does not fit",
        where=f"instance type {pool.instance_type}, {wish.running} replicas running",
        problem=f"{problem} ({_detail(pool)})",
        expected="room for the wanted replicas",
        next_step="fewer replicas, a smaller instance type, more nodes"
        + (", or when_full = in_place" if wish.when_full == "refuse" else ""),
    )


def _detail(pool: Pool) -> str:
    return "; ".join(part for part in (pool.detail, pool.quota_detail) if part) or "no machine takes it"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


@dataclass(frozen=True, slots=True)
class MemoryProposal:
    """How much memory a replica should be given."""

    mib: int
    sentence: str
    """The arithmetic, and what was measured and is given now."""
    enough: bool
    """Whether what it is given holds the proposal."""


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """What memory is known about a server and its model, in MiB."""

    server_mib: float
    """Of a server that holds no model."""
    model_mib: float
    """Measured, of the loaded model."""
    body_mib: float
    """Budget of all request bodies in flight."""
    measured_mib: float | None = None
    """Of the largest replica that runs now; None where none does."""


def propose_memory(use: MemoryUse, given_mib: int) -> MemoryProposal:
    """Server + 150 % of the model + the body budget, rounded up to 64 MiB, beside what it is given and uses now.

    Half a model more than measured: a new version is loaded while the old one still answers, and predictions need
    room of the model's size at times.

    Example:
        >>> propose_memory(MemoryUse(60, 40, 100, measured_mib=84), given_mib=512).sentence
        'memory: 256 MiB proposed (server 60 + 150 % of model 40 + bodies 100 = 220), 512 MiB given, 84 MiB in use'
    """
    exact = use.server_mib + 1.5 * use.model_mib + use.body_mib
    proposed = max(64, math.ceil(exact / 64) * 64)
    parts = (
        f"server {use.server_mib:.0f} + 150 % of model {use.model_mib:.0f} + bodies {use.body_mib:.0f} = {exact:.0f}"
    )
    used = "" if use.measured_mib is None else f", {use.measured_mib:.0f} MiB in use"
    sentence = f"memory: {proposed} MiB proposed ({parts}), {given_mib} MiB given{used}"
    return MemoryProposal(proposed, sentence, given_mib >= proposed)

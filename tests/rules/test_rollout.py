"""How a roll-out goes, decided from free capacity; every arithmetic compared as a whole."""

from __future__ import annotations

from itertools import product

import pytest

from ridgeway.errors import Permanent
from ridgeway.rules.rollout import Machine, MemoryUse, Pool, Way, Wish, choose_way, propose_memory

DETAIL = "gpu-1: 8 nvidia.com/gpu, 8 in use"


def pool(*machines: Machine, quota: int | None = None) -> Pool:
    return Pool("gpu-small", machines, DETAIL, quota, "" if quota is None else "quota q: 2 of 3 pods in use")


def test_the_first_needs_room_for_all() -> None:
    way = choose_way(Wish(0, 2), pool(Machine("gpu-1", 2)))
    assert way == Way("first", 1, 0, 0.0, (f"gpu-small: 2 more replicas would fit ({DETAIL})",))
    with pytest.raises(Permanent) as refused:
        choose_way(Wish(0, 3), pool(Machine("gpu-1", 2)))
    assert str(refused.value) == (
        "plan: the roll-out does not fit\n"
        "  where     instance type gpu-small, 0 replicas running\n"
        f"  problem   3 replicas wanted, room for 2 ({DETAIL})\n"
        "  expected  room for the wanted replicas\n"
        "  next      fewer replicas, a smaller instance type, more nodes"
    )


def test_room_beside_the_old_ones_is_used() -> None:
    way = choose_way(Wish(2, 2), pool(Machine("gpu-1", 1, old=2, if_all_gone=3)))
    sentence = f"gpu-small: 1 more replica would fit ({DETAIL}): new replicas start beside the old ones"
    assert way == Way("surge", 1, 0, 0.0, (sentence,))
    assert choose_way(Wish(20, 20), pool(Machine("a", 90, old=20, if_all_gone=110))).max_surge == 5
    assert choose_way(Wish(1, 1), pool(Machine("a", 9, old=1, if_all_gone=10))).max_surge == 2


def test_growth_takes_its_room_first() -> None:
    assert choose_way(Wish(2, 4), pool(Machine("a", 3, old=2, if_all_gone=5))).max_surge == 1
    assert choose_way(Wish(2, 4), pool(Machine("a", 2, old=2, if_all_gone=4))).strategy == "in_place"
    with pytest.raises(Permanent, match="4 wanted; 3 would fit even without the 2 old ones"):
        choose_way(Wish(2, 4), pool(Machine("a", 1, old=2, if_all_gone=3)))


def test_a_full_pool_is_replaced_in_place_one_by_one() -> None:
    way = choose_way(Wish(8, 8), pool(Machine("gpu-1", 0, old=8, if_all_gone=8)))
    assert way == Way(
        "in_place",
        0,
        1,
        0.0,
        (
            f"gpu-small: 0 more replicas would fit ({DETAIL}): replicas are replaced in place, one by one",
            "meanwhile 7 of 8 replicas answer",
        ),
    )


def test_the_gap_of_an_only_replica_is_announced() -> None:
    way = choose_way(Wish(1, 1, stop_seconds=20, start_seconds=30), pool(Machine("gpu-1", 0, old=1, if_all_gone=1)))
    assert (way.strategy, way.max_surge, way.max_unavailable, way.gap_seconds) == ("in_place", 0, 1, 50)
    assert way.sentences[1] == (
        "nothing answers for at most 50 s: 20 s for the old replica to finish and 30 s for the new one to start; after "
        "that the previous image is put back"
    )


def test_a_larger_instance_needs_several_to_go() -> None:
    """New replicas take the room of three old ones: with two machines any five must go before one surely fits."""
    machines = (Machine("a", 0, old=4, per_old=3, if_all_gone=1), Machine("b", 0, old=4, per_old=3, if_all_gone=1))
    way = choose_way(Wish(8, 2), pool(*machines))
    assert way.max_unavailable == 2, "both of the two wanted: fewer would leave one of the old, and no room surely"
    assert way.gap_seconds > 0


def test_refusals() -> None:
    full = pool(Machine("gpu-1", 0, old=2, if_all_gone=2))
    with pytest.raises(Permanent, match="no room beside the 2 old replicas, and when_full = refuse") as refused:
        choose_way(Wish(2, 2, when_full="refuse"), full)
    assert "when_full = in_place" in refused.value.next_step
    with pytest.raises(Permanent, match="1 wanted; 0 would fit even without the 1 old one"):
        choose_way(Wish(1, 1), pool(Machine("gpu-1", 0, old=1, per_old=0, if_all_gone=0)))
    with pytest.raises(Permanent, match="no node has the labels pool=tpu"):
        choose_way(Wish(0, 1), Pool("tpu", (), "no node has the labels pool=tpu"))


def test_a_quota_counts_as_room_does() -> None:
    roomy = (Machine("a", 9, old=2, if_all_gone=11),)
    assert choose_way(Wish(2, 2), pool(*roomy, quota=1)).max_surge == 1
    assert choose_way(Wish(2, 2), pool(*roomy, quota=0)).strategy == "in_place"
    with pytest.raises(Permanent, match=r"1 replica wanted, room for 0 .*quota q: 2 of 3 pods in use"):
        choose_way(Wish(0, 1), pool(*roomy, quota=0))


def test_the_way_back_needs_no_room_for_what_still_runs() -> None:
    full = pool(Machine("gpu-1", 0, old=2, if_all_gone=2))
    way = choose_way(Wish(2, 2, kept=2, when_full="refuse"), full)
    assert way == Way("surge", 1, 0, 0.0, ("2 replicas of it run already: no more are needed",))


def test_unknown_capacity_is_said_and_left_to_the_scheduler() -> None:
    unknown = Pool("gpu-small", None, "no right to read nodes")
    sentence = "gpu-small: free capacity is not known (no right to read nodes)"
    assert choose_way(Wish(0, 2), unknown) == Way("first", 1, 0, 0.0, (sentence,))
    assert choose_way(Wish(2, 2), unknown).strategy == "surge"
    tight = Pool("gpu-small", None, "no right to read nodes", 0, "quota q: 3 of 3 pods in use")
    way = choose_way(Wish(2, 2), tight)
    assert way.strategy == "in_place"
    assert "the quota lets in 0 more" in way.sentences[0]


def test_no_way_ever_deadlocks() -> None:
    """Played through: whatever goes, a successor fits, until all are new. Every small pool, every choice of victims."""
    for old, free, wanted in product(range(1, 6), range(3), range(1, 6)):
        try:
            way = choose_way(Wish(old, wanted), pool(Machine("a", free, old=old, if_all_gone=old + free)))
        except Permanent:
            assert old + free < wanted
            continue
        assert played(old, free, wanted, way) == wanted


def played(old: int, free: int, wanted: int, way: Way) -> int:
    """New replicas at the end, by the rules of a Deployment's controller on a machine of old + free places."""
    new, places = 0, old + free
    for _ in range(100):
        gone = max(0, min(old, old + new - (wanted - way.max_unavailable)))
        old -= gone
        new += max(0, min(wanted + way.max_surge - old - new, wanted - new, places - old - new))
    return new if old == 0 else -1


def test_memory() -> None:
    proposal = propose_memory(MemoryUse(35, 200, 100), 256)
    assert (proposal.mib, proposal.enough) == (448, False)
    assert proposal.sentence == (
        "memory: 448 MiB proposed (server 35 + 150 % of model 200 + bodies 100 = 435), 256 MiB given"
    )
    assert propose_memory(MemoryUse(35, 1, 0, measured_mib=38.2), 64).enough

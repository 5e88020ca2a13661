"""The memory store: exact times on Trio's clock, wake-ups on release, and one Trio run after another."""

from datetime import UTC, datetime

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from conductor_jobs import StaleTerm
from conductor_jobs.lease import Holder, LeaseGrant, Node, NodeSeen
from conductor_jobs.runner_records import Claim
from conductor_jobs.stores.memory import MemoryLeaseStore

ALPHA, BETA = Holder("alpha", "1"), Holder("beta", "1")
NOON = datetime(2026, 3, 28, 12, tzinfo=UTC)


@pytest.fixture
def store() -> MemoryLeaseStore:
    return MemoryLeaseStore(wall_clock=lambda: 1000.0)


async def test_a_lease_lasts_for_its_ttl_to_the_instant(store: MemoryLeaseStore, autojump_clock: MockClock) -> None:
    await store.acquire("jobs", ALPHA, 30.0)
    await trio.sleep(29.5)
    assert await store.acquire("jobs", BETA, 10.0) == LeaseGrant("alpha", 1, False, "acquire", 970.5, 1000.5, 0.5)
    await trio.sleep(0.5)
    assert await store.acquire("jobs", BETA, 10.0) == LeaseGrant("beta", 2, True, "acquire", 1000.0, 1010.0, 10.0)


async def test_a_renewal_counts_from_when_it_arrives(store: MemoryLeaseStore, autojump_clock: MockClock) -> None:
    await store.acquire("jobs", ALPHA, 30.0)
    await trio.sleep(20)
    assert (await store.acquire("jobs", ALPHA, 30.0, term=1)).expires_in == 30.0
    await trio.sleep(29)
    assert (await store.acquire("jobs", BETA, 30.0)).expires_in == 1.0


@pytest.mark.parametrize("call", ["acquire", "renew", "release", "heartbeat", "claim", "pause", "cursor"])
async def test_a_cancelled_call_has_changed_nothing(store: MemoryLeaseStore, call: str) -> None:
    await store.acquire("jobs", ALPHA, 1000.0)
    before = await store.acquire("jobs", BETA, 1000.0)
    with trio.CancelScope() as scope:
        scope.cancel()
        match call:
            case "acquire":
                await store.acquire("jobs", ALPHA, 9000.0)
            case "renew":
                await store.acquire("jobs", ALPHA, 9000.0, term=1)
            case "release":
                await store.release("jobs", ALPHA)
            case "heartbeat":
                await store.heartbeat("jobs", Node("alpha"), "1", "leader", "f")
            case "claim":
                await store.claim("jobs", [Claim("report", NOON, 1)])
            case "pause":
                await store.set_paused("jobs", "report", True)
            case _:
                await store.save_cursor("jobs", "report", 1, "message:7")
    assert scope.cancelled_caught
    after = await store.acquire("jobs", BETA, 1000.0)
    assert (after.holder_id, after.term) == ("alpha", 1)
    assert 0 < after.expires_in <= before.expires_in
    assert (await store.acquire("jobs", ALPHA, 1000.0, term=1)).is_leader
    assert list(await store.nodes("jobs")) == []
    assert list(await store.claims("jobs")) == []
    assert set(await store.paused("jobs")) == set()
    assert await store.load_cursor("jobs", "report") is None


async def test_a_standby_that_watches_is_woken_by_the_release(
    store: MemoryLeaseStore, autojump_clock: MockClock
) -> None:
    await store.acquire("jobs", ALPHA, 30.0)
    woken_at: list[float] = []

    async def watch() -> None:
        await store.wait_released("jobs", 1)
        woken_at.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        nursery.start_soon(watch)
        await trio.sleep(7)
        await store.acquire("jobs", ALPHA, 30.0, term=1)
        await store.release("jobs", BETA)
        await store.acquire("reports", BETA, 30.0)
        await store.release("reports", BETA)
        await trio.sleep(1)
        assert woken_at == []
        await store.release("jobs", ALPHA)
    assert woken_at == [8.0, 8.0]


@pytest.mark.parametrize("successor", [None, BETA])
async def test_a_release_that_is_past_is_told_at_once(
    store: MemoryLeaseStore, autojump_clock: MockClock, successor: Holder | None
) -> None:
    await store.acquire("jobs", ALPHA, 30.0)
    await store.release("jobs", ALPHA)
    if successor is not None:
        await store.acquire("jobs", successor, 30.0)
    await store.wait_released("jobs", 1)
    assert trio.current_time() == 0.0


async def test_an_expiry_is_no_release_but_the_next_term_ends_the_watch(
    store: MemoryLeaseStore, autojump_clock: MockClock
) -> None:
    await store.acquire("jobs", ALPHA, 30.0)
    with trio.move_on_after(50) as too_long:
        await store.wait_released("jobs", 1)
    assert too_long.cancelled_caught
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.wait_released, "jobs", 1)
        await wait_all_tasks_blocked()
        await store.acquire("jobs", BETA, 30.0)
    assert trio.current_time() == 50.0


async def test_a_watch_of_a_lease_that_nobody_held_yet_waits_for_its_first_term(
    store: MemoryLeaseStore, autojump_clock: MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.wait_released, "jobs", 0)
        await trio.sleep(5)
        assert len(nursery.child_tasks) == 1
        await store.acquire("jobs", ALPHA, 30.0)


async def test_the_beginning_of_a_term_or_of_a_later_one_is_told_at_once(
    store: MemoryLeaseStore, autojump_clock: MockClock
) -> None:
    begun_at: dict[int, float] = {}

    async def watch(term: int) -> None:
        await store.wait_begun("jobs", term)
        begun_at[term] = trio.current_time()

    async with trio.open_nursery() as nursery:
        for term in (0, 1, 2, 3):
            nursery.start_soon(watch, term)
        await trio.sleep(5)
        await store.acquire("reports", ALPHA, 30.0)
        assert begun_at == {}
        await store.acquire("jobs", ALPHA, 30.0)
        await trio.sleep(5)
        await store.acquire("jobs", ALPHA, 30.0, term=1)
        await store.release("jobs", ALPHA)
        await trio.sleep(5)
        assert begun_at == {0: 5.0, 1: 5.0}
        await store.acquire("jobs", BETA, 30.0)
        await watch(1)
        nursery.start_soon(store.acquire, "jobs", BETA, 30.0)
    assert begun_at == {0: 5.0, 1: 15.0, 2: 15.0, 3: 15.0}


async def test_heartbeats_are_stamped_by_the_stores_wall_clock(store: MemoryLeaseStore) -> None:
    node = Node("alpha", "host-a")
    await store.heartbeat("jobs", node, "1", "leader", "f")
    assert await store.nodes("jobs") == [NodeSeen(node, "1", "leader", 1000.0, 1000.0, "f")]


async def test_a_node_is_seen_since_the_first_heartbeat_of_its_incarnation() -> None:
    moments = iter([1000.0, 1005.0, 1010.0, 1015.0, 990.0])
    store, node = MemoryLeaseStore(wall_clock=lambda: next(moments)), Node("alpha", "host-a")
    since = {}
    for incarnation in ("1", "1", "2", "2", "2"):
        await store.heartbeat("jobs", node, incarnation, "leader", "f")
        (seen,) = await store.nodes("jobs")
        since[seen.last_seen_at] = seen.first_seen_at
    assert since == {1000.0: 1000.0, 1005.0: 1000.0, 1010.0: 1010.0, 1015.0: 1010.0, 990.0: 990.0}


async def test_of_several_claims_those_that_supersede_are_kept_and_told(store: MemoryLeaseStore) -> None:
    await store.acquire("jobs", ALPHA, 30.0)
    ended = Claim("ended", NOON, 1, "completed")
    assert await store.claim("jobs", [ended, Claim("open", NOON, 1)]) == [ended, Claim("open", NOON, 1)]
    again, end, new = Claim("ended", NOON, 1, "failed"), Claim("open", NOON, 1, "failed"), Claim("a", NOON, 1)
    assert await store.claim("jobs", [end, again, new]) == [end, new]
    assert await store.claims("jobs") == [new, ended, end]
    assert await store.claims("reports") == []


@pytest.mark.parametrize(
    ("term", "state"),
    [(0, "its term is 2"), (1, "its term is 2"), (3, "its term is 2"), (2, None)],
    ids=["term 0", "an older term", "a later term", "the present term"],
)
async def test_claims_and_cursors_are_kept_only_under_the_present_term(
    store: MemoryLeaseStore, term: int, state: str | None
) -> None:
    await store.acquire("jobs", ALPHA, 30.0)
    await store.acquire("jobs", ALPHA, 30.0)
    if state is None:
        await store.claim("jobs", [Claim("report", NOON, term)])
        await store.save_cursor("jobs", "report", term, "")
    else:
        await _refused(store, term, state)
    assert await store.claims("jobs") == ([Claim("report", NOON, term)] if state is None else [])
    assert await store.load_cursor("jobs", "report") == ("" if state is None else None)


async def test_claims_and_cursors_end_with_the_release_and_not_with_the_expiry(
    store: MemoryLeaseStore, autojump_clock: MockClock
) -> None:
    await _refused(store, 1, "nobody has held it yet")
    await store.acquire("jobs", ALPHA, 30.0)
    await trio.sleep(31)
    await store.claim("jobs", [Claim("report", NOON, 1)])
    await store.save_cursor("jobs", "report", 1, "message:7")
    await store.release("jobs", ALPHA)
    await _refused(store, 1, "that term has been released")
    assert await store.claims("jobs") == [Claim("report", NOON, 1)]
    assert await store.load_cursor("jobs", "report") == "message:7"


async def _refused(store: MemoryLeaseStore, term: int, state: str) -> None:
    for write in (
        store.claim("jobs", [Claim("report", NOON, term)]),
        store.save_cursor("jobs", "report", term, "late"),
    ):
        with pytest.raises(StaleTerm) as caught:
            await write
        assert str(caught.value) == f"a write under term {term} of lease 'jobs' was refused: {state}"


async def test_no_claims_are_compared_with_nothing(store: MemoryLeaseStore) -> None:
    assert await store.claim("jobs", []) == []


async def test_who_is_paused_is_remembered_for_each_lease(store: MemoryLeaseStore) -> None:
    for runner, paused in (("a", True), ("a", True), ("b", True), ("b", False), ("c", False)):
        await store.set_paused("jobs", runner, paused)
    await store.set_paused("reports", "c", True)
    assert (await store.paused("jobs"), await store.paused("reports")) == ({"a"}, {"c"})


async def test_it_is_a_context_manager_that_closes_nothing(store: MemoryLeaseStore) -> None:
    async with store as entered:
        assert entered is store
        await store.acquire("jobs", ALPHA, 30.0)
    assert (await store.acquire("jobs", BETA, 30.0)).holder_id == "alpha"


def test_a_lease_that_outlives_its_trio_run_gets_its_whole_ttl_again_in_the_next() -> None:
    store = MemoryLeaseStore()

    async def take_late() -> None:
        await trio.sleep(1000)
        await store.acquire("jobs", ALPHA, 30.0)

    async def look() -> list[tuple[bool, int, float]]:
        await trio.sleep(200)
        grants = [await store.acquire("jobs", BETA, 30.0)]
        await trio.sleep(29)
        grants.append(await store.acquire("jobs", BETA, 30.0))
        await trio.sleep(1)
        grants.append(await store.acquire("jobs", BETA, 30.0))
        return [(grant.is_leader, grant.term, grant.expires_in) for grant in grants]

    trio.run(take_late, clock=MockClock(autojump_threshold=0))
    seen = trio.run(look, clock=MockClock(autojump_threshold=0))
    assert seen == [(False, 1, 30.0), (False, 1, 1.0), (True, 2, 30.0)]


def test_an_incarnation_stays_barred_in_the_next_trio_run() -> None:
    store = MemoryLeaseStore()
    trio.run(store.acquire, "jobs", ALPHA, 30.0)
    trio.run(store.release, "jobs", ALPHA)
    assert not trio.run(store.acquire, "jobs", ALPHA, 30.0).is_leader
    assert trio.run(store.acquire, "jobs", BETA, 30.0).term == 2

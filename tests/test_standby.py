"""What the others are told of a node, who counts as part of its work, and when it asks (I4, I9; seed 3.2)."""

import random

import pytest
import trio
from trio.testing import MockClock

from conductor_jobs import Conductor, Holder, Node, Term
from conductor_jobs.stores.memory import MemoryLeaseStore

from .support import RENEW_INTERVAL, TTL, NodeStore, WatchingNodeStore, make_conductor, make_jobs, noop


async def test_heartbeats_say_standby_before_a_term_and_after_it_and_leader_in_it(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    memory = MemoryLeaseStore()
    store = WatchingNodeStore(memory)
    await memory.acquire("conductor", Holder("other", "1"), 12)
    conductor, _ = make_conductor(make_jobs(noop), store, autostart=False)
    start = trio.current_time()
    await nursery.start(conductor.run)
    term = await conductor.wait_leader()
    await trio.sleep_until(start + 4 * RENEW_INTERVAL + 1)
    await memory.release("conductor", term.holder)
    await memory.acquire("conductor", Holder("other", "2"), 10 * TTL)
    await trio.sleep_until(start + 7 * RENEW_INTERVAL + 1)
    await conductor.stop()
    states = [call.removeprefix("heartbeat ") for _, call in store.calls if call.startswith("heartbeat")]
    assert states[:3] == ["standby"] * 3
    assert states[3:5] == ["leader"] * 2
    assert states[6:] == ["standby"] * 2 + ["stopped"]


async def test_a_task_that_work_started_outside_of_itself_may_wait_for_the_stop(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def work(term: Term) -> None:
        # It inherits the context of the work, but the work does not wait for it.
        nursery.start_soon(stop)
        await trio.sleep(1)

    async def stop() -> None:
        await conductor.stop()
        stopped.append(trio.current_time())

    stopped: list[float] = []
    conductor, _ = make_conductor(make_jobs(), autostart=False)
    await nursery.start(conductor.run)
    start = trio.current_time()
    async with trio.open_nursery() as callers:
        callers.start_soon(conductor.run_as_leader, work)
    await trio.testing.wait_all_tasks_blocked()
    assert stopped == [start + 1]


async def test_a_campaign_that_fails_after_a_term_of_ours_names_who_has_the_lease_now(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    memory = MemoryLeaseStore()
    store = NodeStore(memory)
    conductor, journal = make_conductor(make_jobs(noop), store, autostart=False)
    await nursery.start(conductor.run)
    await memory.release("conductor", (await conductor.wait_leader()).holder)
    await memory.acquire("conductor", Holder("other", "1"), 10 * TTL)
    await conductor.wait_standby()
    await trio.sleep(5)
    store.error = ConnectionError("refused")
    await trio.sleep(5)
    assert journal.one("acquire_failed").details == {"lease_name": "conductor", "holder_id": "other", "term": 2}
    await conductor.stop()


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
async def test_standbys_that_are_told_of_a_release_ask_a_little_apart(
    autojump_clock: MockClock, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: low + share * (high - low))
    memory = MemoryLeaseStore()
    other = Holder("other", "1")
    await memory.acquire("conductor", other, 10 * TTL)
    store = WatchingNodeStore(memory)
    conductor, _ = make_conductor(make_jobs(noop), store, autostart=False)
    await nursery.start(conductor.run)
    await trio.sleep(12.3)
    await memory.release("conductor", other)
    released_at = trio.current_time()
    await conductor.wait_leader()
    assert trio.current_time() - released_at == pytest.approx(0.02 * share)
    await conductor.stop()


OTHER, THIRD = Holder("other", "1"), Holder("third", "1")


async def start_standby(nursery: trio.Nursery, store: NodeStore, node_id: str = "mini-main") -> Conductor:
    conductor, _ = make_conductor(make_jobs(noop), store, autostart=False, node_id=node_id)
    await nursery.start(conductor.run)
    return conductor


async def next_campaign(store: NodeStore) -> float:
    asked = store.count("campaign")
    while store.count("campaign") == asked:
        await trio.sleep(0.001)
    return [at for at, call in store.calls if call == "campaign"][-1]


@pytest.mark.parametrize("released", [True, False])
@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
async def test_who_is_told_that_the_next_term_has_begun_looks_at_it_in_the_next_renew_interval(
    autojump_clock: MockClock, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch, share: float, released: bool
) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: low + share * (high - low))
    memory = MemoryLeaseStore()
    await memory.acquire("conductor", OTHER, 12.3)
    store = WatchingNodeStore(memory)
    await start_standby(nursery, store)
    await trio.sleep(12.3)
    if released:
        await memory.release("conductor", OTHER)
    await memory.acquire("conductor", THIRD, TTL)
    begun_at = trio.current_time()
    assert await next_campaign(store) == pytest.approx(begun_at + share * RENEW_INTERVAL)
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("share", [0.1, 1.0])
async def test_a_term_that_was_not_looked_at_yet_is_watched_all_the_same(
    autojump_clock: MockClock, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: low + share * (high - low))
    memory = MemoryLeaseStore()
    await memory.acquire("conductor", OTHER, TTL)
    conductor = await start_standby(nursery, WatchingNodeStore(memory))
    await trio.sleep(7)
    await memory.release("conductor", OTHER)
    await memory.acquire("conductor", THIRD, TTL)
    await trio.sleep(0.3)
    await memory.release("conductor", THIRD)
    released_at = trio.current_time()
    assert (await conductor.wait_leader()).number == 3
    assert trio.current_time() - released_at == pytest.approx(0.02 * share)
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("share", [0.1, 1.0])
async def test_who_is_told_of_a_second_term_before_it_has_looked_at_the_first_looks_soon(
    autojump_clock: MockClock, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: low + share * (high - low))
    memory = MemoryLeaseStore()
    await memory.acquire("conductor", OTHER, TTL)
    store = WatchingNodeStore(memory)
    await start_standby(nursery, store)
    await trio.sleep(7)
    for leaves, takes in ((OTHER, THIRD), (THIRD, Holder("fourth", "1"))):
        await trio.sleep(0.3)
        await memory.release("conductor", leaves)
        await memory.acquire("conductor", takes, TTL)
    begun_at = trio.current_time()
    assert await next_campaign(store) == pytest.approx(begun_at + share * 0.1)
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("released", [True, False])
async def test_of_fifty_standbys_one_campaigns_and_spares_the_others(
    autojump_clock: MockClock, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch, released: bool
) -> None:
    # No jitter is so short that a look at the new term falls into the time in which campaigns are counted.
    chance = random.Random(5)
    monkeypatch.setattr(random, "uniform", lambda low, high: low + chance.uniform(0.03, 1) * (high - low))
    memory = MemoryLeaseStore()
    await memory.acquire("conductor", OTHER, 1000.0 if released else 12.3)
    stores = [WatchingNodeStore(memory) for _ in range(50)]
    standbys = [await start_standby(nursery, store, f"node-{number}") for number, store in enumerate(stores)]
    await trio.sleep(12.3)
    if released:
        await memory.release("conductor", OTHER)
    free_at = trio.current_time()
    while not any(standby.leadership.value for standby in standbys):
        await trio.sleep(0.001)
    await trio.sleep(0.03)
    asked = [at for store in stores for at, call in store.calls if call == "campaign" and at > free_at]
    assert len(asked) == 1
    assert asked[0] - free_at <= (0.02 if released else 0.1)
    nursery.cancel_scope.cancel()


async def test_a_store_that_tells_of_terms_that_never_begin_delays_a_handover_by_a_renew_interval_at_most(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    class Liar(WatchingNodeStore):
        async def wait_begun(self, lease_name: str, term: int) -> None:
            """Say so of every term."""

    memory = MemoryLeaseStore()
    await memory.acquire("conductor", OTHER, 1000)
    conductor = await start_standby(nursery, Liar(memory))
    await trio.sleep(12.3)
    await memory.release("conductor", OTHER)
    released_at = trio.current_time()
    await conductor.wait_leader()
    assert trio.current_time() - released_at <= RENEW_INTERVAL
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("share", [0.1, 1.0])
async def test_standbys_whose_watches_break_at_one_moment_look_apart(
    autojump_clock: MockClock, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    class Broken(WatchingNodeStore):
        async def wait_released(self, lease_name: str, term: int) -> None:
            await trio.sleep(2)
            raise ConnectionError("the server went away")

    monkeypatch.setattr(random, "uniform", lambda low, high: low + share * (high - low))
    memory = MemoryLeaseStore()
    await memory.acquire("conductor", OTHER, TTL)
    store = Broken(memory)
    await start_standby(nursery, store)
    broken_at = trio.current_time() + 2
    assert await next_campaign(store) == pytest.approx(broken_at + 0.65 + 0.2 * share)
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("kind", [NodeStore, WatchingNodeStore])
@pytest.mark.parametrize("luck", range(10))
async def test_when_a_lease_expires_the_primary_wins_though_standbys_look_too(
    kind: type[NodeStore], luck: int, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    random.seed(luck)
    memory = MemoryLeaseStore()
    await memory.acquire("conductor", Holder("dead", "1"), TTL)
    conductors = {}
    for node in (Node("standby-1", role="standby"), Node("primary"), Node("standby-2", role="standby")):
        conductors[node.node_id], _ = make_conductor(make_jobs(noop), kind(memory), node=node)
    for conductor in conductors.values():
        await nursery.start(conductor.run)
        await trio.sleep(random.uniform(0, RENEW_INTERVAL))
    with trio.fail_after(TTL + 1):
        term = await conductors["primary"].wait_leader()
    assert (term.number, term.holder.node_id) == (2, "primary")
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("kind", [NodeStore, WatchingNodeStore])
async def test_without_a_primary_a_standby_leads_within_a_second_of_the_expiry(
    kind: type[NodeStore], autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    memory = MemoryLeaseStore()
    start = trio.current_time()
    await memory.acquire("conductor", Holder("dead", "1"), TTL)
    conductor, _ = make_conductor(make_jobs(noop), kind(memory), node=Node("standby", role="standby"))
    await nursery.start(conductor.run)
    await conductor.wait_leader()
    assert start + TTL + 0.5 <= trio.current_time() <= start + TTL + 1
    nursery.cancel_scope.cancel()

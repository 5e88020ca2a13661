"""What the others are told of a node, and who counts as part of its work (I4; seed 3.2)."""

import random

import pytest
import trio
from trio.testing import MockClock

from conductor_jobs import Holder, Term
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

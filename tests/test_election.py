"""Winning, holding and losing the lease, on virtual time: I1, I3, I5, I6, I9, I11."""

import itertools

import pytest
import trio
from trio.testing import MockClock

from conductor_jobs import Conductor, Holder, LeaseTiming, Node
from conductor_jobs.errors import Unusable
from conductor_jobs.stores.memory import MemoryLeaseStore

from .support import (
    MARGIN,
    RENEW_INTERVAL,
    STORE_TIMEOUT,
    TTL,
    ListJournal,
    NodeStore,
    SuspendableClock,
    WatchingNodeStore,
    clings_for,
    make_conductor,
    make_jobs,
    noop,
)

OTHER = Holder("other", "1")


async def start_leader(nursery: trio.Nursery, store: NodeStore) -> tuple[Conductor, ListJournal]:
    conductor, journal = make_conductor(make_jobs(noop), store, autostart=False)
    await nursery.start(conductor.run)
    await conductor.wait_leader()
    return conductor, journal


async def test_a_term_lasts_from_before_the_question_not_from_the_answer(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    store = NodeStore(MemoryLeaseStore())
    store.delay_after = 4.0
    asked_at = trio.current_time()
    conductor, _ = await start_leader(nursery, store)
    assert trio.current_time() == asked_at + 4
    term = await conductor.wait_leader()
    assert term.lease_remaining() == pytest.approx(TTL - MARGIN - 4)
    store.hang()
    await conductor.wait_standby()
    assert trio.current_time() == pytest.approx(asked_at + TTL - MARGIN)
    nursery.cancel_scope.cancel()


async def test_every_confirmed_renewal_moves_the_deadline(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    store = NodeStore(MemoryLeaseStore())
    conductor, _ = await start_leader(nursery, store)
    term = await conductor.wait_leader()
    start = trio.current_time()
    await trio.sleep(10 * RENEW_INTERVAL + 0.5)
    assert (await conductor.wait_leader()) is term
    assert [at - start for at, call in store.calls if call == "renew"] == pytest.approx(
        [RENEW_INTERVAL * n for n in range(1, 11)]
    )
    assert term.lease_remaining() == pytest.approx(TTL - MARGIN - 0.5)
    nursery.cancel_scope.cancel()


async def test_renewals_whose_answers_are_lost_extend_nothing(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    store = NodeStore(MemoryLeaseStore())
    conductor, journal = await start_leader(nursery, store)
    start = trio.current_time()
    store.lose_answers()
    await conductor.wait_standby()
    assert trio.current_time() == pytest.approx(start + TTL - MARGIN)
    failures = journal.all("renew_failed")
    assert len(failures) == conductor.status().consecutive_renew_failures == 4
    assert failures[0].error == f"the lease store gave no answer within {STORE_TIMEOUT:g} s"
    ended = journal.one("leader_ended")
    assert (ended.runner, ended.result) == ("timed-jobs.lease", "lease_expired")
    assert ended.details == {"lease_name": "conductor", "holder_id": "mini-main", "term": 1}
    nursery.cancel_scope.cancel()


async def test_an_answer_that_comes_after_the_deadline_revives_nothing(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    clock = SuspendableClock()
    store = NodeStore(MemoryLeaseStore())
    conductor, journal = make_conductor(make_jobs(noop), store, autostart=False, boot_clock=clock)
    await nursery.start(conductor.run)
    store.delay_after = 1.0
    await trio.sleep(RENEW_INTERVAL + 0.5)
    clock.suspended = TTL
    await conductor.wait_standby()
    assert journal.one("leader_ended").result == "lease_expired"
    assert journal.all("renew_failed") == []
    nursery.cancel_scope.cancel()


async def test_after_a_lost_lease_the_node_campaigns_again_and_gets_a_higher_term(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    store = NodeStore(MemoryLeaseStore())
    conductor, journal = await start_leader(nursery, store)
    store.error = ConnectionError("refused")
    await conductor.wait_standby()
    assert conductor.status().degraded
    assert conductor.status().problem == "ConnectionError: refused"
    await trio.sleep(3600)
    store.heal()
    healed_at = trio.current_time()
    term = await conductor.wait_leader()
    assert term.number == 2
    assert trio.current_time() - healed_at <= RENEW_INTERVAL
    assert not conductor.status().degraded
    assert conductor.status().problem is None
    # Knocking for an hour at a dead store is one line, and does not hammer it.
    assert journal.all("acquire_failed") == []
    assert 3600 / RENEW_INTERVAL <= store.count("campaign") <= 2 * 3600 / RENEW_INTERVAL + 10
    nursery.cancel_scope.cancel()


async def test_a_refused_renewal_ends_the_term_at_once(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    memory = MemoryLeaseStore()
    conductor, journal = await start_leader(nursery, NodeStore(memory))
    started = journal.one("leader_started")
    assert started.details == {"lease_name": "conductor", "holder_id": "mini-main", "term": 1}
    # Somebody takes the lease behind our back, as after the loss of a store's memory.
    await memory.release("conductor", (await conductor.wait_leader()).holder)
    await memory.acquire("conductor", OTHER, TTL)
    start = trio.current_time()
    await conductor.wait_standby()
    assert trio.current_time() - start <= RENEW_INTERVAL
    assert journal.one("leader_ended").result == "lease_superseded"
    assert (conductor.status().holder_id, conductor.status().term) == ("other", 2)
    nursery.cancel_scope.cancel()


async def test_a_failed_renewal_is_tried_again_at_once(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    store = NodeStore(MemoryLeaseStore())
    conductor, journal = await start_leader(nursery, store)
    start = trio.current_time()
    store.error = ConnectionError("reset")
    await trio.sleep(RENEW_INTERVAL + 0.01)
    assert [at - start for at, call in store.calls if call == "renew"] == pytest.approx([5, 5])
    store.heal()
    await trio.sleep(1)
    assert conductor.status().consecutive_renew_failures == 0
    assert [entry.error for entry in journal.all("renew_failed")] == ["ConnectionError: reset"] * 2
    nursery.cancel_scope.cancel()


async def test_suspend_ends_the_term_though_trios_clock_stood_still(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    clock = SuspendableClock()
    conductor, journal = make_conductor(make_jobs(noop), autostart=False, boot_clock=clock)
    await nursery.start(conductor.run)
    term = await conductor.wait_leader()
    clock.suspended = 60.0
    assert term.over == "lease_expired"
    assert (await conductor.run_as_leader(noop)) == "skipped_not_leader"
    assert (await conductor.run_tick()).decision == "skipped_not_leader"
    await conductor.wait_standby()
    assert journal.all("leader_ended")[0].result == "lease_expired"
    nursery.cancel_scope.cancel()


async def test_an_unreachable_store_makes_a_degraded_standby_that_keeps_trying(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    store = NodeStore(MemoryLeaseStore())
    store.hang()
    conductor, journal = make_conductor(make_jobs(noop), store, autostart=False)
    start = trio.current_time()
    await nursery.start(conductor.run)
    assert trio.current_time() == start + STORE_TIMEOUT
    await conductor.wait_standby()
    await trio.sleep(2 * STORE_TIMEOUT)
    status = conductor.status()
    assert (status.leadership, status.degraded, status.holder_id) == ("standby", True, None)
    assert status.problem == "the lease store gave no answer within 5 s"
    assert len(journal.all("acquire_failed")) == 1
    store.heal()
    await conductor.wait_leader()
    nursery.cancel_scope.cancel()


async def test_what_can_never_work_rises_from_run_before_the_first_answer_only(autojump_clock: MockClock) -> None:
    store = NodeStore(MemoryLeaseStore())
    store.error = Unusable("database 'x' is no SQLite database")
    conductor, _ = make_conductor(make_jobs(noop), store)
    with pytest.raises(Unusable, match="no SQLite database"):
        await conductor.run()
    assert not conductor.started

    store.heal()
    async with trio.open_nursery() as nursery:
        await nursery.start(conductor.run)
        store.error = Unusable("file is not a database")
        await trio.sleep(1000)
        assert conductor.status().degraded
        store.heal()
        assert (await conductor.wait_leader()).number == 2
        conductor.request_stop()


@pytest.mark.parametrize(("watching", "slowest"), [(False, 1.0), (True, 0.1)])
async def test_after_a_clean_handover_the_standby_leads(
    autojump_clock: MockClock, nursery: trio.Nursery, watching: bool, slowest: float
) -> None:
    memory = MemoryLeaseStore()
    view = WatchingNodeStore if watching else NodeStore
    first, _ = await start_leader(nursery, view(memory))
    # A lower priority does not wait after a release, only after an expiry.
    second, _ = make_conductor(make_jobs(noop), view(memory), autostart=False, node=Node("second", "h", "standby"))
    await nursery.start(second.run)
    await trio.sleep(12.3)
    await first.stop()
    released_at = trio.current_time()
    assert (await second.wait_leader()).number == 2
    assert trio.current_time() - released_at <= slowest
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("role", ["primary", "standby"])
@pytest.mark.parametrize("watching", [False, True])
async def test_after_a_crash_the_standby_leads_within_ttl_and_a_second(
    autojump_clock: MockClock, nursery: trio.Nursery, watching: bool, role: str
) -> None:
    memory = MemoryLeaseStore()
    view = WatchingNodeStore if watching else NodeStore
    await memory.acquire("conductor", OTHER, TTL)
    crashed_at = trio.current_time()
    node = Node("second", "h", "primary" if role == "primary" else "standby")
    second, _ = make_conductor(make_jobs(noop), view(memory), autostart=False, node=node)
    await nursery.start(second.run)
    assert (await second.wait_leader()).number == 2
    took = trio.current_time() - crashed_at - TTL
    assert 0 <= took <= 1 if role == "primary" else 0.5 <= took <= 1
    nursery.cancel_scope.cancel()


async def test_a_polling_standby_looks_every_three_quarters_of_a_second(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    memory = MemoryLeaseStore()
    await memory.acquire("conductor", OTHER, 1000)
    store = NodeStore(memory)
    conductor, _ = make_conductor(make_jobs(noop), store, autostart=False)
    await nursery.start(conductor.run)
    await trio.sleep(60)
    moments = [at for at, call in store.calls if call == "campaign"]
    gaps = [after - before for before, after in itertools.pairwise(moments)]
    assert len(gaps) >= 70
    assert all(0.65 <= gap <= 0.85 for gap in gaps)
    nursery.cancel_scope.cancel()


async def test_a_broken_watch_is_replaced_by_polling(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    class Deaf(WatchingNodeStore):
        async def wait_released(self, lease_name: str, term: int) -> None:
            raise ConnectionError("the watch is broken")

    memory = MemoryLeaseStore()
    first, _ = await start_leader(nursery, WatchingNodeStore(memory))
    second, _ = make_conductor(make_jobs(noop), Deaf(memory), autostart=False, node_id="second")
    await nursery.start(second.run)
    await trio.sleep(20)
    await first.stop()
    released_at = trio.current_time()
    await second.wait_leader()
    assert trio.current_time() - released_at <= 1
    nursery.cancel_scope.cancel()


async def test_no_campaign_begins_while_work_of_a_lost_term_is_left(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    clings = clings_for(100)
    store = NodeStore(MemoryLeaseStore())
    conductor, journal = make_conductor(make_jobs(clings), store, autostart=False)
    await nursery.start(conductor.run)
    start = trio.current_time()
    nursery.start_soon(conductor.run_tick)
    await trio.sleep(1)
    store.error = ConnectionError("gone")
    await trio.sleep(TTL)
    store.heal()
    before = store.count("campaign")
    await trio.sleep(start + TTL - MARGIN + 99 - trio.current_time())
    assert store.count("campaign") == before
    await conductor.wait_leader()
    assert trio.current_time() >= start + TTL - MARGIN + 100
    overrun = journal.one("term_overrun")
    assert overrun.details["overrun_ms"] == pytest.approx((100 - MARGIN) * 1000)
    nursery.cancel_scope.cancel()


async def test_heartbeats_tell_of_the_node_and_never_cost_the_lease(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    class MuteStore(WatchingNodeStore):
        mute = False

        async def _before(self, call: str) -> None:
            await super()._before(call)
            if self.mute and call.startswith("heartbeat"):
                await trio.sleep_forever()

    memory = MemoryLeaseStore()
    store = MuteStore(memory)
    conductor, journal = await start_leader(nursery, store)
    await trio.sleep(RENEW_INTERVAL + 1)
    (seen,) = await memory.nodes("conductor")
    assert (seen.node.node_id, seen.node.host, seen.node.role, seen.state) == ("mini-main", "mini", "primary", "leader")
    store.mute = True
    await trio.sleep(1000)
    assert (await conductor.wait_leader()).number == 1
    assert len(journal.all("heartbeat_failed")) == 1
    store.mute = False
    await conductor.stop()
    assert [call for _, call in store.calls][-2:] == ["release", "heartbeat stopped"]
    (seen,) = await memory.nodes("conductor")
    assert seen.state == "stopped"


def test_unsafe_timing_is_refused_before_anything_starts() -> None:
    with pytest.raises(ValueError, match=r"20 \+ 2 \* 5 \+ 3 >= 30"):
        LeaseTiming(ttl=30, renew_interval=20)

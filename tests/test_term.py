"""Leader's work under a moving deadline: it goes on as long as renewals are confirmed, and no longer (I1, I2)."""

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from conductor_jobs import Holder, LeaseGrant, LeaseLost, Term, TickContext
from conductor_jobs.clocks import Clocks
from conductor_jobs.stores.memory import MemoryLeaseStore
from conductor_jobs.term import TermScope

from .support import (
    MARGIN,
    RENEW_INTERVAL,
    STORE_TIMEOUT,
    TTL,
    NodeStore,
    SuspendableClock,
    clings_for,
    make_conductor,
    make_jobs,
    noop,
)


class DeafToCancellation(NodeStore):
    """A store whose driver holds on to a call that was given up."""

    held_up = 0.0

    async def _before(self, call: str) -> None:
        await super()._before(call)
        with trio.CancelScope(shield=True):
            await trio.sleep(self.held_up)


async def test_work_that_lasts_longer_than_the_lease_goes_on_while_that_is_renewed(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def sleeps(ctx: TickContext) -> None:
        await trio.sleep(10 * TTL)

    conductor, journal = make_conductor(make_jobs(sleeps), autostart=False)
    await nursery.start(conductor.run)
    start = trio.current_time()
    assert (await conductor.run_tick()).decision == "scheduled"
    assert trio.current_time() == start + 10 * TTL
    assert journal.all("leader_ended") == []
    await conductor.stop()


async def test_a_renewal_counts_from_before_the_question_not_from_the_answer(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    store = NodeStore(MemoryLeaseStore())
    conductor, _ = make_conductor(make_jobs(noop), store, autostart=False)
    start = trio.current_time()
    await nursery.start(conductor.run)
    term = await conductor.wait_leader()
    store.delay_after = 4.0
    await trio.sleep(RENEW_INTERVAL + 4.5)
    assert term.lease_remaining() == pytest.approx(TTL - MARGIN - 4.5)
    store.hang()
    await conductor.wait_standby()
    assert trio.current_time() == pytest.approx(start + RENEW_INTERVAL + TTL - MARGIN)
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("renewals", [0, 3])
async def test_work_ends_at_the_deadline_though_the_lease_task_is_stuck_in_its_store(
    autojump_clock: MockClock, nursery: trio.Nursery, renewals: int
) -> None:
    async def sleeps(ctx: TickContext) -> None:
        await trio.sleep_forever()

    store = DeafToCancellation(MemoryLeaseStore())
    conductor, journal = make_conductor(make_jobs(noop), store, autostart=False)
    start = trio.current_time()
    await nursery.start(conductor.run)
    await trio.sleep(renewals * RENEW_INTERVAL + 1)
    conductor.jobs.register_runner("sleeps", sleeps)
    store.held_up = 10 * TTL
    assert (await conductor.run_tick()).decision == "interrupted"
    assert trio.current_time() == pytest.approx(start + renewals * RENEW_INTERVAL + TTL - MARGIN)
    assert journal.one("runner_cancelled").result == "lease_expired"
    nursery.cancel_scope.cancel()


async def test_after_a_suspend_a_renewal_is_awaited_no_longer_than_the_lease_lasts(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    clock = SuspendableClock()
    store = NodeStore(MemoryLeaseStore())
    conductor, journal = make_conductor(make_jobs(noop), store, autostart=False, boot_clock=clock)
    start = trio.current_time()
    await nursery.start(conductor.run)
    store.hang()
    left = 2.0
    assert left < STORE_TIMEOUT
    clock.suspended = TTL - MARGIN - RENEW_INTERVAL - left
    await conductor.wait_standby()
    assert trio.current_time() == pytest.approx(start + RENEW_INTERVAL + left)
    assert journal.one("leader_ended").result == "lease_expired"
    nursery.cancel_scope.cancel()


async def test_a_renewal_that_is_answered_with_another_term_ends_ours(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    class Campaigner(NodeStore):
        """A store that takes every renewal for a campaign."""

        async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> LeaseGrant:
            return await super().acquire(lease_name, holder, ttl)

    conductor, journal = make_conductor(make_jobs(noop), Campaigner(MemoryLeaseStore()), autostart=False)
    start = trio.current_time()
    await nursery.start(conductor.run)
    term = await conductor.wait_leader()
    with trio.fail_after(TTL):
        await conductor.wait_standby()
    assert trio.current_time() == pytest.approx(start + RENEW_INTERVAL)
    assert (term.number, term.over) == (1, "lease_superseded")
    assert journal.one("leader_ended").result == "lease_superseded"
    assert (await conductor.wait_leader()).number == 3
    nursery.cancel_scope.cancel()


async def test_an_answer_after_a_suspend_does_not_revive_a_term_that_has_lapsed(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    clock = SuspendableClock()
    store = NodeStore(MemoryLeaseStore())
    conductor, journal = make_conductor(make_jobs(noop), store, autostart=False, boot_clock=clock)
    start = trio.current_time()
    await nursery.start(conductor.run)
    term = await conductor.wait_leader()
    store.delay_after = 1.0
    await trio.sleep(RENEW_INTERVAL + 0.5)
    # The lease lapses now; counted from the question under way it would last for some seconds more.
    clock.suspended = TTL - MARGIN - RENEW_INTERVAL + 0.5
    assert term.over == "lease_expired"
    await conductor.wait_standby()
    assert trio.current_time() == pytest.approx(start + RENEW_INTERVAL + 1)
    assert (term.over, term.lease_remaining()) == ("lease_expired", 0)
    assert journal.all("renew_failed") == []
    nursery.cancel_scope.cancel()


async def test_a_lease_task_that_wakes_after_the_deadline_does_not_even_ask(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    clock = SuspendableClock()
    store = NodeStore(MemoryLeaseStore())
    conductor, journal = make_conductor(make_jobs(noop), store, autostart=False, boot_clock=clock)
    await nursery.start(conductor.run)
    clock.suspended = TTL
    await conductor.wait_standby()
    assert store.count("renew") == 0
    assert journal.all("renew_failed") == []
    nursery.cancel_scope.cancel()


async def test_of_several_reasons_for_which_a_term_ends_the_first_one_stands(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    clings = clings_for(100)
    store = NodeStore(MemoryLeaseStore())
    conductor, journal = make_conductor(make_jobs(clings), store, autostart=False, drain_timeout=10)
    start = trio.current_time()
    await nursery.start(conductor.run)
    nursery.start_soon(conductor.run_tick)
    await trio.sleep(1)
    store.error = ConnectionError("cut off")
    await trio.sleep(TTL)
    await conductor.stop()
    assert trio.current_time() == pytest.approx(start + TTL - MARGIN + 100)
    assert {journal.one(stage).result for stage in ("runner_cancelled", "tick_interrupted", "leader_ended")} == {
        "lease_expired"
    }


async def test_slow_answers_do_not_make_renewals_rarer(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    store = NodeStore(MemoryLeaseStore())
    conductor, _ = make_conductor(make_jobs(noop), store, autostart=False)
    start = trio.current_time()
    await nursery.start(conductor.run)
    store.delay_after = 2.0
    await trio.sleep(4.5 * RENEW_INTERVAL)
    renewals = [at - start for at, call in store.calls if call == "renew"]
    assert renewals == pytest.approx([RENEW_INTERVAL * n for n in range(1, 5)])
    nursery.cancel_scope.cancel()


async def test_nothing_remains_of_a_lease_that_another_has_though_its_deadline_lies_ahead(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    memory = MemoryLeaseStore()
    conductor, _ = make_conductor(make_jobs(noop), memory, autostart=False)
    await nursery.start(conductor.run)
    term = await conductor.wait_leader()
    await memory.release("conductor", term.holder)
    await memory.acquire("conductor", Holder("other", "1"), TTL)
    await conductor.wait_standby()
    assert (term.over, term.lease_remaining()) == ("lease_superseded", 0)
    with pytest.raises(LeaseLost, match="lease_superseded"):
        term.check_lease()
    nursery.cancel_scope.cancel()


async def test_work_that_begins_when_its_term_has_ended_is_cancelled_at_its_first_checkpoint(
    autojump_clock: MockClock,
) -> None:
    clocks = Clocks(autojump_clock, lambda: 0.0)
    deadline = clocks.now().after(TTL)
    scope = TermScope(Term(7, "conductor", Holder("mini-main", "1"), clocks, deadline), MARGIN, clocks)
    scope.end("lease_superseded")
    with scope.work() as work:
        await trio.sleep_forever()
    assert work.cancelled_caught
    assert trio.current_time() == 0
    assert scope.is_idle


async def test_whoever_waits_for_the_end_of_the_work_waits_for_the_last_of_it_each_time(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    clocks = Clocks(trio.lowlevel.current_clock(), lambda: 0.0)
    deadline = clocks.now().after(1000.0)
    scope = TermScope(Term(7, "conductor", Holder("mini-main", "1"), clocks, deadline), MARGIN, clocks)
    waited: list[float] = []

    async def works(seconds: float) -> None:
        with scope.work():
            await trio.sleep(seconds)

    async def waits() -> None:
        await scope.wait_idle()
        waited.append(trio.current_time() - start)

    for _ in range(2):
        start = trio.current_time()
        async with trio.open_nursery() as workers:
            workers.start_soon(works, 1.0)
            workers.start_soon(works, 3.0)
            await wait_all_tasks_blocked()
            workers.start_soon(waits)
            await wait_all_tasks_blocked()
            workers.start_soon(waits)
    assert waited == [3.0] * 4


async def test_a_term_that_was_ended_keeps_its_reason_when_its_deadline_has_passed(mock_clock: MockClock) -> None:
    clocks = Clocks(mock_clock, lambda: 0.0)
    term = Term(7, "conductor", Holder("mini-main", "1"), clocks, clocks.now().after(TTL))
    TermScope(term, MARGIN, clocks).end("drain_timeout")
    mock_clock.jump(TTL)
    assert term.over == "drain_timeout"

"""Work beside the ticks: `run_as_leader`, `run_while_leader`, waiting for leadership, the status."""

import pytest
import trio
from trio.testing import MockClock

from conductor_jobs import Holder, LeaseLost, Term
from conductor_jobs.stores.memory import MemoryLeaseStore

from .support import MARGIN, TTL, NodeStore, WatchingNodeStore, make_conductor, make_jobs, noop

OTHER = Holder("other", "1")


async def test_work_runs_in_the_callers_task_under_the_term(nursery: trio.Nursery) -> None:
    conductor, _ = make_conductor(make_jobs(), autostart=False)
    await nursery.start(conductor.run)
    seen: list[object] = []

    async def work(term: Term) -> None:
        seen.extend([term.number, trio.lowlevel.current_task()])
        term.check_lease()

    assert await conductor.run_as_leader(work) == "scheduled"
    assert seen == [1, trio.lowlevel.current_task()]
    await conductor.stop()


async def test_work_of_a_standby_is_skipped(nursery: trio.Nursery) -> None:
    memory = MemoryLeaseStore()
    await memory.acquire("conductor", OTHER, 1000)
    conductor, _ = make_conductor(make_jobs(), memory, autostart=False)
    await nursery.start(conductor.run)
    assert await conductor.run_as_leader(noop) == "skipped_not_leader"
    await conductor.stop()
    with pytest.raises(RuntimeError, match="not running"):
        await conductor.run_as_leader(noop)


async def test_works_own_exceptions_come_out_unwrapped(nursery: trio.Nursery) -> None:
    async def fails(term: Term) -> None:
        raise ZeroDivisionError

    conductor, _ = make_conductor(make_jobs(), autostart=False)
    await nursery.start(conductor.run)
    with pytest.raises(ZeroDivisionError):
        await conductor.run_as_leader(fails)
    await conductor.stop()


async def test_work_that_the_term_ended_raises_lease_lost(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    async def sleeps(term: Term) -> None:
        terms.append(term)
        await trio.sleep_forever()

    terms: list[Term] = []
    store = NodeStore(MemoryLeaseStore())
    conductor, _ = make_conductor(make_jobs(), store, autostart=False)
    start = trio.current_time()
    await nursery.start(conductor.run)
    store.hang()
    with pytest.raises(LeaseLost, match="lease_expired"):
        await conductor.run_as_leader(sleeps)
    assert trio.current_time() == pytest.approx(start + TTL - MARGIN)
    assert terms[0].lease_remaining() == 0
    with pytest.raises(LeaseLost):
        terms[0].check_lease()
    nursery.cancel_scope.cancel()


async def test_a_stop_drains_work_and_cuts_it_after_the_drain_timeout(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    outcomes: list[tuple[float, str]] = []

    async def work_for(seconds: float) -> None:
        try:
            outcome: str = await conductor.run_as_leader(lambda term: trio.sleep(seconds))
        except LeaseLost as error:
            outcome = str(error)
        outcomes.append((trio.current_time() - requested_at, outcome))

    conductor, _ = make_conductor(make_jobs(), autostart=False, drain_timeout=20)
    await nursery.start(conductor.run)
    nursery.start_soon(work_for, 10)
    nursery.start_soon(work_for, 1000)
    await trio.testing.wait_all_tasks_blocked()
    requested_at = trio.current_time()
    conductor.request_stop()
    assert await conductor.run_as_leader(noop) == "skipped_not_leader"
    await conductor.stop()
    assert outcomes == [(10, "scheduled"), (20, "term 1 ended with the work in flight: drain_timeout")]


async def test_a_leader_only_service_runs_in_every_term_until_the_stop(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    ran: list[tuple[int, str]] = []

    async def serve(term: Term) -> None:
        ran.append((term.number, "began"))
        try:
            await trio.sleep_forever()
        finally:
            ran.append((term.number, "ended"))

    store = WatchingNodeStore(MemoryLeaseStore())
    conductor, _ = make_conductor(make_jobs(), store, autostart=False)
    await nursery.start(conductor.run)
    async with trio.open_nursery() as services:
        services.start_soon(conductor.run_while_leader, serve)
        await trio.sleep(1)
        store.hang()
        await conductor.wait_standby()
        store.heal()
        await conductor.wait_leader()
        await trio.sleep(1)
        requested_at = trio.current_time()
        conductor.request_stop()
    assert trio.current_time() == requested_at
    assert ran == [(1, "began"), (1, "ended"), (2, "began"), (2, "ended")]


async def test_a_service_that_returns_is_called_again_in_the_next_term_only(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    terms: list[int] = []

    async def serve(term: Term) -> None:
        terms.append(term.number)

    store = WatchingNodeStore(MemoryLeaseStore())
    conductor, _ = make_conductor(make_jobs(), store, autostart=False)
    await nursery.start(conductor.run)
    nursery.start_soon(conductor.run_while_leader, serve)
    await trio.sleep(10)
    assert terms == [1]
    store.hang()
    await conductor.wait_standby()
    store.heal()
    await conductor.wait_leader()
    await trio.sleep(10)
    assert terms == [1, 2]
    await conductor.stop()


async def test_leadership_can_be_waited_for_and_read(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    memory = MemoryLeaseStore()
    await memory.acquire("conductor", OTHER, 10)
    conductor, _ = make_conductor(make_jobs(noop), memory, autostart=False)
    assert not conductor.started
    await nursery.start(conductor.run)
    await conductor.wait_standby()
    assert conductor.leadership.value is None
    status = conductor.status()
    assert (status.leadership, status.holder_id, status.term, status.lease_remaining) == ("standby", "other", 1, None)
    term = await conductor.leadership.wait_value(lambda term: term is not None)
    assert term is conductor.leadership.value
    status = conductor.status()
    assert (status.leadership, status.holder_id, status.term) == ("leader", "mini-main", 2)
    assert status.lease_remaining == pytest.approx(TTL - MARGIN)
    assert (status.started, status.stopping, status.runners) == (True, False, ("noop",))
    tick = await conductor.run_tick()
    assert conductor.status().last_tick == tick
    await conductor.stop()
    status = conductor.status()
    assert (status.leadership, status.started, status.last_tick) == ("standby", False, tick)


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("jobs", 5, "jobs must be a TimedJobs, not 5"),
        ("store", object, "store must have acquire and release"),
        ("store", "redis://:hunter2@h", r"store must have acquire and release; what open_store\(url\) returns has\.$"),
        ("lease_name", " ", "lease_name must be a non-empty text that UTF-8 can hold, without NUL, not ' '"),
        ("journal", 5, "journal must have add and flush, not 5"),
        ("on_overrun", "kill", "on_overrun must be 'report' or 'exit', not 'kill'"),
        ("journal_sync", "always", "journal_sync must be None or 'tick', not 'always'"),
        ("autostart", "no", "autostart must be True or False, not 'no'"),
        ("log_dir", "", "log_dir must be the path of a folder, not ''"),
        ("drain_timeout", -1, "drain_timeout must be a non-negative number of seconds, not -1"),
        ("drain_timeout", float("nan"), "drain_timeout must be a non-negative number of seconds, not nan"),
        ("renew_failure_threshold", 0, "renew_failure_threshold must be a positive integer, not 0"),
    ],
)
def test_a_bad_argument_is_named_with_its_value_and_rule(argument: str, value: object, message: str) -> None:
    from conductor_jobs import Conductor

    arguments: dict[str, object] = {"jobs": make_jobs(), "store": MemoryLeaseStore(), argument: value}
    with pytest.raises((ValueError, TypeError), match=message):
        Conductor(**arguments)  # type: ignore[arg-type] # on purpose

"""Stopping: the drain, its timeout, cancellation from outside, and the order in which things end (I7, I8, I14)."""

import threading
from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock

from conductor_jobs import ConductorStopped, Holder, Term, TickContext
from conductor_jobs.stores.memory import MemoryLeaseStore

from .support import (
    RENEW_INTERVAL,
    STORE_TIMEOUT,
    NodeStore,
    WatchingNodeStore,
    clings_for,
    make_conductor,
    make_jobs,
    noop,
)


def sleeps(seconds: float) -> Callable[[TickContext], object]:
    async def sleeper(ctx: TickContext) -> None:
        await trio.sleep(seconds)

    return sleeper


async def test_a_stop_drains_the_tick_in_flight_renewing_and_then_releases(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    store = WatchingNodeStore(MemoryLeaseStore())
    conductor, journal = make_conductor(make_jobs(sleeps(18), noop), store, autostart=False)
    await nursery.start(conductor.run)
    nursery.start_soon(conductor.run_tick)
    await trio.sleep(1)
    requested_at = trio.current_time()
    conductor.request_stop()
    conductor.request_stop()
    tick = await conductor.run_tick()
    assert tick.decision == "skipped_stopping"
    assert conductor.status().stopping
    await conductor.stop()
    assert trio.current_time() == requested_at + 17
    assert sum(1 for at, call in store.calls if call == "renew" and at > requested_at) == 3
    assert [call for _, call in store.calls][-2:] == ["release", "heartbeat stopped"]
    assert journal.stages()[-5:] == ["runner_completed", "tick_completed", "leader_ended", "lease_released", "stopped"]
    assert [entry.result for entry in journal.entries[-4:]] == ["scheduled", "released", "released", "stopped"]
    assert journal.stages().count("stopped") == 1


async def test_a_drain_that_takes_too_long_is_cut(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    conductor, journal = make_conductor(make_jobs(sleeps(1000), noop), autostart=False, drain_timeout=20)
    await nursery.start(conductor.run)
    decisions: list[str] = []

    async def ask() -> None:
        decisions.append((await conductor.run_tick()).decision)

    nursery.start_soon(ask)
    await trio.sleep(1)
    requested_at = trio.current_time()
    await conductor.stop()
    assert trio.current_time() == requested_at + 20
    assert decisions == ["interrupted"]
    cancelled, skipped, interrupted = (
        journal.one(stage) for stage in ("runner_cancelled", "runner_skipped", "tick_interrupted")
    )
    assert (cancelled.runner, cancelled.result, cancelled.duration_ms) == ("sleeper", "drain_timeout", 21_000)
    assert (skipped.runner, skipped.result) == ("noop", "drain_timeout")
    assert interrupted.result == "drain_timeout"
    assert journal.one("leader_ended").result == "released"


async def test_the_lease_is_renewed_until_cleanup_has_ended_past_the_drain_timeout(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    clings = clings_for(100)
    store = NodeStore(MemoryLeaseStore())
    conductor, _ = make_conductor(make_jobs(clings), store, autostart=False, drain_timeout=10)
    await nursery.start(conductor.run)
    nursery.start_soon(conductor.run_tick)
    await trio.sleep(1)
    requested_at = trio.current_time()
    await conductor.stop()
    ended_at = trio.current_time()
    assert ended_at == requested_at + 110
    renewals = [at for at, call in store.calls if call == "renew" and at > requested_at]
    assert len(renewals) == 22
    assert [call for at, call in store.calls if at > renewals[-1]] == ["release"]


async def test_a_cancellation_from_outside_drains_and_then_goes_on(autojump_clock: MockClock) -> None:
    memory = MemoryLeaseStore()
    conductor, journal = make_conductor(make_jobs(sleeps(10)), memory, autostart=False)
    cancelled_at = 0.0
    with trio.CancelScope() as outside:
        async with trio.open_nursery() as nursery:
            await nursery.start(conductor.run)
            nursery.start_soon(conductor.run_tick)
            await trio.sleep(1)
            cancelled_at = trio.current_time()
            outside.cancel()
    assert outside.cancelled_caught
    assert trio.current_time() == cancelled_at + 9
    assert journal.stages()[-5:] == ["runner_completed", "tick_completed", "leader_ended", "lease_released", "stopped"]
    assert (await memory.acquire("conductor", another(), 30)).is_leader


def another() -> Holder:
    return Holder("another", "1")


async def test_a_standby_that_is_stopped_does_not_come_to_lead(autojump_clock: MockClock) -> None:
    memory = MemoryLeaseStore()
    first, _ = make_conductor(make_jobs(noop), WatchingNodeStore(memory), autostart=False)
    second, journal = make_conductor(make_jobs(noop), WatchingNodeStore(memory), autostart=False, node_id="second")
    async with trio.open_nursery() as nursery:
        await nursery.start(first.run)
        await nursery.start(second.run)
        await trio.sleep(3.21)
        first.request_stop()
        second.request_stop()
    assert journal.stages() == ["started", "stopping", "stopped"]


@pytest.mark.parametrize("leading", [True, False])
async def test_a_hung_store_cannot_hang_a_stop(autojump_clock: MockClock, leading: bool) -> None:
    store = WatchingNodeStore(MemoryLeaseStore())
    conductor, journal = make_conductor(make_jobs(noop), store, autostart=False)
    if not leading:
        store.hang()
    async with trio.open_nursery() as nursery:
        await nursery.start(conductor.run)
        store.hang()
        await trio.sleep(1)
        requested_at = trio.current_time()
        conductor.request_stop()
    assert trio.current_time() == requested_at + 2 * STORE_TIMEOUT
    assert journal.one("release_failed").error == "the lease store gave no answer within 5 s"
    assert journal.stages()[-1] == "stopped"


async def test_a_stop_before_the_stores_first_answer_is_prompt(autojump_clock: MockClock) -> None:
    store = NodeStore(MemoryLeaseStore())
    store.delay_before = 4.0
    conductor, journal = make_conductor(make_jobs(noop), store, autostart=False)
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(conductor.run)
        await trio.sleep(1)
        conductor.request_stop()
        store.heal()
    assert trio.current_time() == start + 1
    assert journal.stages() == ["started", "stopping", "stopped"]


async def test_a_late_campaign_of_a_stopped_conductor_takes_nothing(autojump_clock: MockClock) -> None:
    memory = MemoryLeaseStore()
    conductor, _ = make_conductor(make_jobs(noop), memory, autostart=False)
    async with trio.open_nursery() as nursery:
        await nursery.start(conductor.run)
        holder = (await conductor.wait_leader()).holder
        conductor.request_stop()
    assert not (await memory.acquire("conductor", holder, 30)).is_leader
    assert not (await memory.acquire("conductor", holder, 30, term=1)).is_leader


async def test_a_cancelled_caller_stops_waiting_and_the_tick_goes_on(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    conductor, journal = make_conductor(make_jobs(sleeps(10)), autostart=False)
    await nursery.start(conductor.run)
    with trio.move_on_after(1) as patience:
        await conductor.run_tick()
    assert patience.cancelled_caught
    await trio.sleep(10)
    assert journal.one("tick_completed").result == "scheduled"
    await conductor.stop()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_an_interrupt_cancels_the_work_releases_and_goes_on(
    autojump_clock: MockClock, error: type[BaseException]
) -> None:
    async def interrupted(ctx: TickContext) -> None:
        raise error

    memory = MemoryLeaseStore()
    conductor, journal = make_conductor(make_jobs(interrupted, noop, interval=10), memory)
    start = trio.current_time()
    with pytest.raises(error):
        await conductor.run()
    assert trio.current_time() == start + 10
    assert journal.stages()[-6:] == [
        "runner_cancelled",
        "runner_skipped",
        "tick_interrupted",
        "leader_ended",
        "lease_released",
        "stopped",
    ]
    assert not conductor.started


async def test_an_interrupt_in_a_tick_waits_for_work_of_others_before_the_release(autojump_clock: MockClock) -> None:
    async def interrupted(ctx: TickContext) -> None:
        raise SystemExit

    clings = clings_for(60)
    store = NodeStore(MemoryLeaseStore())
    conductor, _ = make_conductor(make_jobs(interrupted), store, autostart=False)
    start = trio.current_time()
    with pytest.raises(BaseExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            await nursery.start(conductor.run)
            nursery.start_soon(conductor.run_as_leader, clings)
            await trio.sleep(1)
            await conductor.run_tick()
    assert caught.group_contains(SystemExit)
    assert trio.current_time() == start + 61
    assert store.calls[-1] == (start + 61, "release")
    assert store.count("renew") == 61 // RENEW_INTERVAL


async def test_request_stop_in_a_runner_lets_its_tick_end(autojump_clock: MockClock) -> None:
    async def stops(ctx: TickContext) -> None:
        conductor.request_stop()
        await trio.sleep(1)

    conductor, journal = make_conductor(make_jobs(stops, noop, interval=10))
    await conductor.run()
    assert [entry.runner for entry in journal.all("runner_completed")] == ["stops", "noop"]


async def test_stop_in_leaders_work_is_an_error_instead_of_a_deadlock(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def stops(ctx: TickContext) -> None:
        async with trio.open_nursery() as children:
            children.start_soon(conductor.stop)

    def stops_from_thread(ctx: TickContext) -> None:
        trio.from_thread.run(conductor.stop)

    async def stops_as_leader(term: Term) -> None:
        await conductor.stop()

    conductor, journal = make_conductor(make_jobs(stops, stops_from_thread), autostart=False)
    await nursery.start(conductor.run)
    await conductor.run_tick()
    errors = [entry.error or "" for entry in journal.all("runner_failed")]
    assert len(errors) == 2
    assert all("use request_stop()" in error for error in errors)
    with pytest.raises(RuntimeError, match="use request_stop"):
        await conductor.run_as_leader(stops_as_leader)
    await conductor.stop()


async def test_request_stop_works_from_any_thread(nursery: trio.Nursery) -> None:
    conductor, journal = make_conductor(make_jobs(noop), autostart=False)
    await nursery.start(conductor.run)
    thread = threading.Thread(target=conductor.request_stop)
    thread.start()
    with pytest.raises(ConductorStopped):
        while True:
            await conductor.wait_leader()
            await trio.lowlevel.checkpoint()
    thread.join()
    assert journal.stages()[-1] == "stopped"


async def test_a_conductor_runs_again_after_it_returned_as_another_incarnation(autojump_clock: MockClock) -> None:
    conductor, journal = make_conductor(make_jobs(noop), autostart=False)
    for number in (1, 2):
        async with trio.open_nursery() as nursery:
            await nursery.start(conductor.run)
            assert (await conductor.wait_leader()).number == number
            with pytest.raises(RuntimeError, match="running already"):
                await conductor.run()
            conductor.request_stop()
        with pytest.raises(ConductorStopped):
            await conductor.wait_leader()
        with pytest.raises(ConductorStopped):
            await conductor.wait_standby()
    first, second = (entry.details["incarnation"] for entry in journal.all("started"))
    assert first != second


async def test_two_conductors_of_a_process_need_two_lease_names(nursery: trio.Nursery) -> None:
    memory = MemoryLeaseStore()
    conductors = [
        make_conductor(make_jobs(noop), memory, lease_name=name, autostart=False)[0] for name in ("a", "a", "b")
    ]
    await nursery.start(conductors[0].run)
    with pytest.raises(ValueError, match="lease_name 'a' is taken"):
        await conductors[1].run()
    await nursery.start(conductors[2].run)
    await conductors[0].stop()
    await nursery.start(conductors[1].run)
    for conductor in conductors[1:]:
        await conductor.stop()


async def test_a_stop_at_the_very_end_of_a_run_waits_until_the_conductor_may_run_again(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    conductor, _ = make_conductor(make_jobs())
    for _ in range(50):
        await nursery.start(conductor.run)
        await conductor.wait_leader()
        conductor.request_stop()
        while conductor.started:
            await trio.lowlevel.checkpoint()
        await conductor.stop()

"""Ticks under a term: what ends them early, what their runners may do wrong: I2, I12, I13, I15."""

import time
from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock

from conductor_jobs import Holder, RunnerResult, TickContext, TimedJobs
from conductor_jobs.stores.memory import MemoryLeaseStore

from .support import MARGIN, RENEW_INTERVAL, TTL, NodeStore, make_conductor, make_jobs, noop

OTHER = Holder("other", "1")


async def test_the_end_of_the_lease_interrupts_the_tick_at_the_deadline(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    acts: list[float] = []

    async def acts_on(ctx: TickContext) -> None:
        while True:
            await trio.sleep(0.01)
            acts.append(trio.current_time())

    store = NodeStore(MemoryLeaseStore())
    conductor, journal = make_conductor(make_jobs(acts_on, noop), store, autostart=False)
    start = trio.current_time()
    await nursery.start(conductor.run)
    store.error = ConnectionError("cut off")
    tick = await conductor.run_tick()
    assert trio.current_time() == pytest.approx(start + TTL - MARGIN)
    assert acts[-1] <= start + TTL - MARGIN
    assert (tick.decision, tick.runner_count) == ("interrupted", 2)
    stages = journal.stages()
    assert stages[stages.index("runner_cancelled") :][:3] == ["runner_cancelled", "runner_skipped", "tick_interrupted"]
    assert {journal.one(stage).result for stage in ("runner_cancelled", "runner_skipped", "tick_interrupted")} == {
        "lease_expired"
    }
    nursery.cancel_scope.cancel()


async def test_a_superseded_term_interrupts_the_tick_when_the_renewal_is_refused(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def sleeper(ctx: TickContext) -> None:
        await trio.sleep_forever()

    memory = MemoryLeaseStore()
    conductor, journal = make_conductor(make_jobs(sleeper), memory, autostart=False)
    await nursery.start(conductor.run)
    await memory.release("conductor", (await conductor.wait_leader()).holder)
    await memory.acquire("conductor", OTHER, TTL)
    start = trio.current_time()
    assert (await conductor.run_tick()).decision == "interrupted"
    assert trio.current_time() <= start + RENEW_INTERVAL
    assert journal.one("tick_interrupted").result == "lease_superseded"
    nursery.cancel_scope.cancel()


async def test_no_runner_starts_after_the_deadline_though_the_loop_never_turned(
    mock_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def blocks(ctx: TickContext) -> None:
        mock_clock.jump(TTL)

    conductor, journal = make_conductor(make_jobs(blocks, noop), autostart=False)
    await nursery.start(conductor.run)
    assert (await conductor.run_tick()).decision == "interrupted"
    assert [entry.runner for entry in journal.all("runner_started")] == ["blocks"]
    assert journal.one("runner_skipped").result == "lease_expired"
    nursery.cancel_scope.cancel()


async def test_what_cleanup_raises_once_the_term_is_over_is_part_of_the_cancellation(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def fails_in_cleanup(ctx: TickContext) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise OSError("socket already closed")

    store = NodeStore(MemoryLeaseStore())
    conductor, journal = make_conductor(make_jobs(fails_in_cleanup), store, autostart=False)
    await nursery.start(conductor.run)
    store.hang()
    tick = await conductor.run_tick()
    assert (tick.decision, tick.failed_runner_count) == ("interrupted", 0)
    assert journal.one("runner_cancelled").error == "socket already closed"
    assert "runner_failed" not in journal.stages()
    nursery.cancel_scope.cancel()


async def raises_group(ctx: TickContext) -> None:
    raise ExceptionGroup("two mails", [ValueError("no address"), OSError("no route")])


async def raises_in_nursery(ctx: TickContext) -> None:
    async with trio.open_nursery() as children:
        children.start_soon(trio.sleep_forever)
        raise KeyError("customer")


async def returns_nonsense(ctx: TickContext) -> int:
    return 5


async def returns_bad_result(ctx: TickContext) -> RunnerResult:
    return RunnerResult(result=5)  # type: ignore[arg-type] # on purpose


async def returns_coroutine(ctx: TickContext) -> object:
    return noop(ctx)


def returns_coroutine_in_thread(ctx: TickContext) -> object:
    return noop(ctx)


async def raises_mute(ctx: TickContext) -> None:
    class MuteError(Exception):
        pass

    raise MuteError


async def raises_unspeakable(ctx: TickContext) -> None:
    class UnspeakableError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    raise UnspeakableError


async def logs_wrongly(ctx: TickContext) -> None:
    ctx.log("x", details=["a"])  # type: ignore[arg-type] # on purpose


@pytest.mark.parametrize(
    ("run", "error"),
    [
        (raises_group, "two mails: no address; no route"),
        (raises_in_nursery, "Exceptions from Trio nursery: 'customer'"),
        (returns_nonsense, "returned 5, but a runner returns a RunnerResult or None"),
        (
            returns_bad_result,
            "returned RunnerResult(result=5, details=None), but result must be a text, details a mapping or None",
        ),
        (returns_coroutine, "returned a coroutine that nobody awaits: declare the runner `async def`"),
        (
            returns_coroutine_in_thread,
            "returned a coroutine that nobody awaits: declare the runner `async def`",
        ),
        (raises_mute, "MuteError"),
        (raises_unspeakable, "UnspeakableError"),
        (logs_wrongly, "ctx.log: details must be Mapping or None, not ['a']."),
    ],
)
async def test_a_runners_fault_is_its_failure_alone(
    nursery: trio.Nursery, run: Callable[[TickContext], object], error: str
) -> None:
    conductor, journal = make_conductor(make_jobs(run, noop), autostart=False)
    await nursery.start(conductor.run)
    tick = await conductor.run_tick()
    await conductor.stop()
    assert (tick.decision, tick.failed_runner_count) == ("scheduled", 1)
    assert journal.one("runner_failed").error == error
    assert journal.one("runner_completed").runner == "noop"


async def test_of_a_mixed_group_the_failure_is_journaled_and_the_interrupt_goes_on() -> None:
    async def mixed(ctx: TickContext) -> None:
        raise BaseExceptionGroup("both", [ValueError("bad"), KeyboardInterrupt()])

    conductor, journal = make_conductor(make_jobs(mixed), autostart=False)
    with pytest.raises(BaseExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            await nursery.start(conductor.run)
            await conductor.run_tick()
    assert caught.group_contains(KeyboardInterrupt)
    assert not caught.group_contains(ValueError)
    assert journal.one("runner_failed").error == "both: bad"
    assert journal.stages()[-1] == "stopped"


async def test_a_runner_over_its_timeout_has_failed_and_the_next_one_runs(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    jobs = TimedJobs()

    @jobs.runner("slow", timeout=2.5)
    async def slow(ctx: TickContext) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise OSError("in cleanup")

    @jobs.runner("in time", timeout=2.5)
    async def in_time(ctx: TickContext) -> None:
        await trio.sleep(2)

    conductor, journal = make_conductor(jobs, autostart=False)
    await nursery.start(conductor.run)
    tick = await conductor.run_tick()
    await conductor.stop()
    failed = journal.one("runner_failed")
    assert (failed.runner, failed.error, failed.duration_ms) == ("slow", "timed out after 2.5 s", 2500)
    assert journal.one("runner_completed").runner == "in time"
    assert tick.failed_runner_count == 1


@pytest.mark.parametrize("seconds", [2, 3])
async def test_a_timeout_is_judged_of_a_runner_that_never_yielded(
    mock_clock: MockClock, nursery: trio.Nursery, seconds: float
) -> None:
    jobs = TimedJobs()

    @jobs.runner("blocks", timeout=2)
    async def blocks(ctx: TickContext) -> None:
        mock_clock.jump(seconds)

    conductor, journal = make_conductor(jobs, autostart=False)
    await nursery.start(conductor.run)
    await conductor.run_tick()
    await conductor.stop()
    assert journal.one("runner_failed").error == "timed out after 2 s"


async def test_plain_functions_run_in_a_thread_where_the_context_works(nursery: trio.Nursery) -> None:
    def plain(ctx: TickContext) -> RunnerResult:
        with pytest.raises(RuntimeError):
            trio.lowlevel.current_task()
        ctx.check_lease()
        ctx.log("in_thread", details={"remaining": ctx.lease_remaining() > 0})
        return RunnerResult(details={"rows": 1})

    conductor, journal = make_conductor(make_jobs(plain), autostart=False)
    await nursery.start(conductor.run)
    await conductor.run_tick()
    await conductor.stop()
    assert journal.one("in_thread").details == {"remaining": True}
    assert journal.one("runner_completed").details == {"rows": 1}


async def test_a_thread_of_a_lost_term_is_told_and_waited_for(nursery: trio.Nursery) -> None:
    async def lose_lease() -> None:
        await memory.release("conductor", (await conductor.wait_leader()).holder)
        await memory.acquire("conductor", OTHER, 1000)
        clock_ahead.append(1000.0)

    def plain(ctx: TickContext) -> None:
        trio.from_thread.run(lose_lease)
        while True:
            ctx.check_lease()
            time.sleep(0.001)

    clock_ahead = [0.0]
    memory = MemoryLeaseStore()
    conductor, journal = make_conductor(
        make_jobs(plain, noop), memory, autostart=False, boot_clock=lambda: time.monotonic() + clock_ahead[-1]
    )
    await nursery.start(conductor.run)
    assert (await conductor.run_tick()).decision == "interrupted"
    cancelled = journal.one("runner_cancelled")
    assert (cancelled.result, cancelled.error) == (
        "lease_expired",
        "term 1 of lease 'conductor' is over: lease_expired",
    )
    nursery.cancel_scope.cancel()


async def test_a_tick_takes_the_runners_that_are_registered_when_it_begins(nursery: trio.Nursery) -> None:
    async def registers(ctx: TickContext) -> None:
        if jobs.runner_names == ("registers",):
            jobs.register_runner("late", noop)

    jobs = make_jobs(registers)
    conductor, _ = make_conductor(jobs, autostart=False)
    await nursery.start(conductor.run)
    assert [(await conductor.run_tick()).runner_count for _ in range(2)] == [1, 2]
    await conductor.stop()


async def test_an_error_outside_of_the_runners_is_the_ticks_failure(nursery: trio.Nursery) -> None:
    def boot_clock() -> float:
        if broken:
            raise OSError("no clock")
        return trio.current_time()

    broken: list[bool] = []

    async def breaks(ctx: TickContext) -> None:
        broken.append(True)

    conductor, journal = make_conductor(make_jobs(breaks, noop), autostart=False, boot_clock=boot_clock)
    await nursery.start(conductor.run)
    tick = await conductor.run_tick()
    assert (tick.decision, tick.runner_count) == ("failed", 2)
    failed = journal.one("tick_failed")
    assert (failed.result, failed.error) == ("failed", "no clock")
    assert failed.details == {"runner_count": 2, "trigger": "manual"}
    broken.clear()
    await conductor.stop()


async def test_missed_instants_of_the_grid_are_counted_not_replayed(
    mock_clock: MockClock, nursery: trio.Nursery
) -> None:
    ran: list[float] = []

    async def notes(ctx: TickContext) -> None:
        ran.append(trio.current_time())

    conductor, journal = make_conductor(make_jobs(notes, interval=2))
    start = trio.current_time()
    await nursery.start(conductor.run)
    for jump in (2.0, 7.0, 1.0):
        mock_clock.jump(jump)
        await trio.testing.wait_all_tasks_blocked()
    assert ran == [start + 2, start + 9, start + 10]
    assert [entry.details for entry in journal.all("interval_missed")] == [{"missed_tick_count": 2}]
    assert conductor.status().missed_interval_count == 2
    await conductor.stop()


async def test_runners_that_never_wait_do_not_starve_the_loop(nursery: trio.Nursery) -> None:
    turns: list[int] = []

    async def watches_the_loop() -> None:
        while True:
            turns.append(1)
            await trio.lowlevel.checkpoint()

    async def computes(ctx: TickContext) -> None:
        end = time.perf_counter() + 0.002
        while time.perf_counter() < end:
            pass

    jobs = TimedJobs()
    for number in range(20):
        jobs.register_runner(str(number), computes)
    conductor, _ = make_conductor(jobs, autostart=False)
    await nursery.start(conductor.run)
    async with trio.open_nursery() as watched:
        watched.start_soon(watches_the_loop)
        await trio.lowlevel.checkpoint()
        before = len(turns)
        await conductor.run_tick()
        assert len(turns) - before >= 20
        watched.cancel_scope.cancel()
    await conductor.stop()

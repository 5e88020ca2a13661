"""What holds at the moment in which a runner starts: a live term, and its start in the journal (I2, I11, I17)."""

import threading

import trio
from trio.testing import MockClock

from conductor_jobs import TickContext

from .support import MARGIN, TTL, make_conductor, make_jobs, noop


async def test_no_runner_starts_after_a_suspend_that_trios_clock_did_not_see(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    suspended = 0.0

    async def is_suspended(ctx: TickContext) -> None:
        nonlocal suspended
        suspended = TTL

    conductor, journal = make_conductor(make_jobs(is_suspended, noop), autostart=False, boot_clock=lambda: suspended)
    await nursery.start(conductor.run)
    tick = await conductor.run_tick()
    assert (tick.decision, tick.runner_count) == ("interrupted", 2)
    assert [entry.runner for entry in journal.all("runner_started")] == ["is_suspended"]
    skipped = journal.one("runner_skipped")
    assert (skipped.runner, skipped.result) == ("noop", "lease_expired")
    nursery.cancel_scope.cancel()


async def test_no_runner_starts_a_moment_after_the_deadline_before_the_loop_has_turned(
    mock_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def ends_in_the_last_moment(ctx: TickContext) -> None:
        mock_clock.jump(TTL - MARGIN - 0.0004)

    async def ends_too_late(ctx: TickContext) -> None:
        mock_clock.jump(0.0008)

    conductor, journal = make_conductor(make_jobs(ends_in_the_last_moment, ends_too_late, noop), autostart=False)
    await nursery.start(conductor.run)
    assert (await conductor.run_tick()).decision == "interrupted"
    assert [entry.runner for entry in journal.all("runner_started")] == ["ends_in_the_last_moment", "ends_too_late"]
    assert journal.one("runner_skipped").runner == "noop"
    nursery.cancel_scope.cancel()


async def test_the_start_of_a_runner_is_written_before_its_code_runs(nursery: trio.Nursery) -> None:
    written: list[list[str]] = []

    async def looks(ctx: TickContext) -> None:
        written.append([entry.stage for entry in journal.entries if entry.batch_id == ctx.batch_id])

    def looks_in_thread(ctx: TickContext) -> None:
        written.append([entry.stage for entry in journal.entries if entry.batch_id == ctx.batch_id])

    conductor, journal = make_conductor(make_jobs(looks, looks_in_thread), autostart=False)
    await nursery.start(conductor.run)
    await conductor.run_tick()
    await conductor.stop()
    assert written == [
        ["tick_started", "runner_started"],
        ["tick_started", "runner_started", "runner_completed", "runner_started"],
    ]


async def test_threads_of_the_application_do_not_keep_a_plain_runner_from_its_own(nursery: trio.Nursery) -> None:
    def plain(ctx: TickContext) -> None:
        pass

    async def occupy_thread() -> None:
        await trio.to_thread.run_sync(done.wait)

    done = threading.Event()
    limiter = trio.to_thread.current_default_thread_limiter()
    for _ in range(int(limiter.total_tokens)):
        nursery.start_soon(occupy_thread)
    conductor, _ = make_conductor(make_jobs(plain), autostart=False)
    await nursery.start(conductor.run)
    assert limiter.available_tokens == 0
    with trio.move_on_after(5) as patience:
        await conductor.run_tick()
    done.set()
    assert not patience.cancelled_caught
    await conductor.stop()

"""What holds at the moment in which a runner starts: a live term, and its start in the journal (I2, I11, I17)."""

import threading
from pathlib import Path

import trio
from trio.testing import MockClock

from conductor_jobs import Conductor, JournalEntry, TickContext, read_journal
from conductor_jobs.calls import call_in_thread
from conductor_jobs.runners import Runner
from conductor_jobs.stores.memory import MemoryLeaseStore
from conductor_jobs.testing import tick_context

from .support import MARGIN, TTL, ListJournal, make_conductor, make_jobs, noop


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


async def test_no_runner_starts_under_a_lease_that_ran_out_while_its_start_was_written(
    mock_clock: MockClock, nursery: trio.Nursery
) -> None:
    ran: list[str] = []

    class SlowDisk(ListJournal):
        def add(self, entry: JournalEntry) -> None:
            super().add(entry)
            if (entry.runner, entry.stage) == ("comes_too_late", "runner_started"):
                mock_clock.jump(TTL - MARGIN)

    async def comes_too_late(ctx: TickContext) -> None:
        ran.append(ctx.runner)

    journal = SlowDisk()
    jobs = make_jobs(noop, comes_too_late)
    jobs.register_runner("another", comes_too_late)
    conductor = Conductor(jobs, store=MemoryLeaseStore(), journal=journal, autostart=False, boot_clock=lambda: 0.0)
    await nursery.start(conductor.run)
    tick = await conductor.run_tick()
    assert (tick.decision, tick.failed_runner_count, ran) == ("interrupted", 0, [])
    cancelled = journal.one("runner_cancelled")
    assert (cancelled.runner, cancelled.result) == ("comes_too_late", "lease_expired")
    assert journal.one("runner_skipped").runner == "another"
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


async def test_the_start_of_a_runner_is_in_the_file_before_its_code_runs(
    autojump_clock: MockClock, nursery: trio.Nursery, tmp_path: Path
) -> None:
    found: list[list[str]] = []

    async def looks(ctx: TickContext) -> None:
        found.append([entry.stage for entry in read_journal(tmp_path) if entry.batch_id == ctx.batch_id])

    jobs = make_jobs(looks)
    jobs.register_runner("looks again", looks)
    conductor = Conductor(jobs, store=MemoryLeaseStore(), log_dir=tmp_path, autostart=False)
    await nursery.start(conductor.run)
    await conductor.run_tick()
    assert found == [
        ["tick_started", "runner_started"],
        ["tick_started", "runner_started", "runner_completed", "runner_started"],
    ]
    nursery.cancel_scope.cancel()


async def test_the_thread_of_a_runner_is_known_only_while_it_is_at_work() -> None:
    noted: list[int | None] = []
    threads: list[int] = []

    def plain(ctx: TickContext) -> None:
        threads.append(threading.get_ident())

    runner = Runner("plain", plain, None, None, in_thread=True)
    await call_in_thread(runner, tick_context(), trio.CapacityLimiter(1), noted.append)
    assert noted == [*threads, None]


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
    with trio.move_on_after(60) as patience:
        await conductor.run_tick()
    done.set()
    assert not patience.cancelled_caught
    await conductor.stop()

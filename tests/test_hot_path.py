"""The hot path says the same as the plain one, yields as often, and ends each runner in its own time."""

import threading
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from conductor_jobs import Conductor, JournalEntry, RunnerResult, TickContext, TimedJobs, read_journal
from conductor_jobs.execution import YIELD_AFTER
from conductor_jobs.failures import sole_exception
from conductor_jobs.journal_files import JournalFiles
from conductor_jobs.recorder import Recorder
from conductor_jobs.stores.memory import MemoryLeaseStore
from conductor_jobs.testing import MemoryJournal, MockWallClock
from conductor_jobs.tick_entries import entries_of_tick

from .support import TTL, ListJournal, clings_for, make_conductor, make_jobs, noop


class Text(str):
    __slots__ = ()


def what_runners_do() -> TimedJobs:
    jobs = TimedJobs(interval=3600.0)

    async def waits(ctx: TickContext) -> RunnerResult:
        await trio.sleep(0.25)
        details: dict[Any, object] = {"cursor": 'a "quoted" \ud800 name', "ts": "taken", 7: None}
        return RunnerResult("waited", details)

    async def logs(ctx: TickContext) -> None:
        ctx.log("scan", result="ok", details={"n": 1})

    async def fails(ctx: TickContext) -> None:
        raise RuntimeError("no")

    async def of_another_type(ctx: TickContext) -> RunnerResult:
        return RunnerResult(Text("fine"), {"deep": {"a": [1, {2}]}})

    async def with_no_details(ctx: TickContext) -> RunnerResult:
        return RunnerResult("ok", {})

    for number, run in enumerate([waits, logs, fails, of_another_type, waits, with_no_details]):
        jobs.register_runner(f'runner {number} "{run.__name__}" \U0001f600', run)
    return jobs


async def journal_of_ticks(folder: Path, *journals: ListJournal) -> list[tuple[object, ...]]:
    async with trio.open_nursery() as nursery:
        for number, journal in enumerate([None, *journals]):
            conductor = Conductor(
                what_runners_do(),
                store=MemoryLeaseStore(),
                lease_name=f"lease-{number}",
                log_dir=folder / f"{number}",
                journal=journal,
                autostart=False,
                wall_clock=MockWallClock(1_700_000_000.0),
            )
            await nursery.start(conductor.run)
            await conductor.run_tick()
            await conductor.run_tick()
            conductor.request_stop()
    return [tuple(map(_told, read_journal(folder / f"{number}"))) for number in range(1 + len(journals))]


def _told(entry: JournalEntry) -> tuple[object, ...]:
    of_this_run = {"incarnation", "lease_name"}
    details = {name: value for name, value in entry.details.items() if name not in of_this_run}
    return entry.runner, entry.stage, entry.result, entry.duration_ms, entry.error, details


async def test_files_alone_say_what_files_beside_a_journal_say(autojump_clock: MockClock, tmp_path: Path) -> None:
    alone, beside = await journal_of_ticks(tmp_path, ListJournal())
    assert alone == beside
    assert len(alone) == 6 + 2 * (2 + 2 * 6 + 1)


async def test_a_runner_may_change_its_details_once_it_has_returned_them(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    details = {"count": 0}

    async def counts(ctx: TickContext) -> RunnerResult:
        details["count"] += 1
        return RunnerResult(details=details)

    conductor, journal = make_conductor(make_jobs(counts), autostart=False)
    await nursery.start(conductor.run)
    await conductor.run_tick()
    await conductor.run_tick()
    assert [entry.details for entry in journal.all("runner_completed")] == [{"count": 1}, {"count": 2}]
    nursery.cancel_scope.cancel()


async def test_a_tick_whose_runners_all_fail_lets_others_run(mock_clock: MockClock, nursery: trio.Nursery) -> None:
    turns: list[int] = []
    failed: list[int] = []

    async def fails(ctx: TickContext) -> None:
        failed.append(len(turns))
        mock_clock.jump(YIELD_AFTER * 0.9)
        raise RuntimeError("no")

    jobs = TimedJobs(interval=3600.0)
    for number in range(10):
        jobs.register_runner(f"runner-{number}", fails)
    conductor, _ = make_conductor(jobs, autostart=False)
    await nursery.start(conductor.run)

    async def turn() -> None:
        while True:
            turns.append(len(failed))
            await trio.lowlevel.checkpoint()

    nursery.start_soon(turn)
    await conductor.run_tick()
    # One turn of the loop for each that failed, in whichever order the loop takes its tasks.
    assert failed[-1] - failed[0] >= 8
    nursery.cancel_scope.cancel()


async def test_the_end_of_a_runner_stands_before_what_others_write_while_the_tick_yields(
    mock_clock: MockClock, nursery: trio.Nursery, tmp_path: Path
) -> None:
    async def takes_long(ctx: TickContext) -> None:
        mock_clock.jump(YIELD_AFTER * 2)
        nursery.start_soon(writes, ctx)

    async def writes(ctx: TickContext) -> None:
        ctx.log("meanwhile")

    # Several, since the loop takes its tasks in any order.
    jobs = TimedJobs(interval=3600.0)
    for number in range(10):
        jobs.register_runner(f"runner-{number}", takes_long)
    conductor = Conductor(jobs, store=MemoryLeaseStore(), log_dir=tmp_path, autostart=False)
    await nursery.start(conductor.run)
    await conductor.run_tick()
    for name in jobs.runner_names:
        stages = [entry.stage for entry in read_journal(tmp_path) if entry.runner == name]
        assert stages == ["runner_started", "runner_completed", "meanwhile"]
    nursery.cancel_scope.cancel()


async def test_a_runner_that_has_ended_is_not_cancelled_with_the_tick_that_yields(
    mock_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def takes_long(ctx: TickContext) -> None:
        mock_clock.jump(TTL)

    conductor, journal = make_conductor(make_jobs(takes_long, noop), autostart=False)
    await nursery.start(conductor.run)
    assert (await conductor.run_tick()).decision == "interrupted"
    stages = journal.stages(of="takes_long")
    assert stages == ["runner_started", "runner_completed"]
    assert journal.one("tick_interrupted").details["successful_runner_count"] == 1
    assert journal.stages(of="noop") == ["runner_skipped"]
    nursery.cancel_scope.cancel()


async def test_a_tick_yields_once_a_millisecond_and_not_after_each_runner(
    mock_clock: MockClock, nursery: trio.Nursery
) -> None:
    turns = 0
    seen: list[int] = []

    async def takes_most_of_it(ctx: TickContext) -> None:
        seen.append(turns)
        mock_clock.jump(YIELD_AFTER * 0.6)

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    jobs = TimedJobs(interval=3600.0)
    for number in range(10):
        jobs.register_runner(f"runner-{number}", takes_most_of_it)
    conductor, _ = make_conductor(jobs, autostart=False)
    await nursery.start(conductor.run)
    nursery.start_soon(turn)
    await conductor.run_tick()
    # After every second one, in whichever order the loop takes its tasks.
    assert 3 <= seen[-1] - seen[0] <= 5
    nursery.cancel_scope.cancel()


async def test_each_runner_has_its_own_time(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    jobs = TimedJobs(interval=3600.0)

    def lasting(name: str, seconds: float, timeout: float | None) -> None:
        async def run(ctx: TickContext) -> None:
            await trio.sleep(seconds)

        jobs.register_runner(name, run, timeout=timeout)

    lasting("ends in time", 1.0, 5.0)
    lasting("has no limit", 20.0, None)
    lasting("takes too long", 9.0, 3.0)
    lasting("has one that is never near", 2.0, 1000.0)
    lasting("takes too long again", 9.0, 0.5)
    lasting("ends at last", 4.0, 5.0)
    journal = MemoryJournal()
    conductor = Conductor(jobs, store=MemoryLeaseStore(), journal=journal, autostart=False)
    await nursery.start(conductor.run)
    assert (await conductor.run_tick()).failed_runner_count == 2
    ended = [entry for entry in journal.entries if entry.stage in ("runner_completed", "runner_failed")]
    assert [(entry.runner, entry.duration_ms, entry.error) for entry in ended] == [
        ("ends in time", 1000, None),
        ("has no limit", 20000, None),
        ("takes too long", 3000, "timed out after 3 s"),
        ("has one that is never near", 2000, None),
        ("takes too long again", 500, "timed out after 0.5 s"),
        ("ends at last", 4000, None),
    ]
    nursery.cancel_scope.cancel()


async def test_a_runner_that_clings_past_its_time_is_waited_for_and_the_watch_does_not_spin(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    jobs = TimedJobs(interval=3600.0)

    async def ends_soon(ctx: TickContext) -> None:
        await trio.sleep(1.0)

    jobs.register_runner("ends soon", ends_soon, timeout=5.0)
    # Its time is up after the moment for which the watch was set by the one before.
    jobs.register_runner("clings", clings_for(20.0), timeout=10.0)
    jobs.register_runner("ends soon again", ends_soon, timeout=5.0)
    conductor, journal = make_conductor(jobs, autostart=False)
    await nursery.start(conductor.run)
    with trio.fail_after(60.0):
        await conductor.run_tick()
    failed = journal.one("runner_failed")
    assert (failed.runner, failed.duration_ms, failed.error) == ("clings", 30_000, "timed out after 10 s")
    assert [entry.duration_ms for entry in journal.all("runner_completed")] == [1000, 1000]
    nursery.cancel_scope.cancel()


async def test_the_time_of_a_runner_that_failed_is_not_that_of_the_next(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    jobs = TimedJobs(interval=3600.0)

    @jobs.runner("fails", timeout=5.0)
    async def fails(ctx: TickContext) -> None:
        raise RuntimeError("no")

    @jobs.runner("has no limit")
    async def has_no_limit(ctx: TickContext) -> None:
        await trio.sleep(20.0)

    conductor, journal = make_conductor(jobs, autostart=False)
    await nursery.start(conductor.run)
    await conductor.run_tick()
    assert journal.one("runner_failed").runner == "fails"
    assert journal.one("runner_completed").duration_ms == 20_000
    nursery.cancel_scope.cancel()


async def test_an_interrupt_in_the_cleanup_of_a_runner_that_was_timed_out_goes_on(autojump_clock: MockClock) -> None:
    jobs = TimedJobs(interval=3600.0)

    @jobs.runner("interrupted", timeout=5.0)
    async def interrupted(ctx: TickContext) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise KeyboardInterrupt

    conductor, journal = make_conductor(jobs, autostart=False)
    with pytest.raises(BaseExceptionGroup) as raised:
        async with trio.open_nursery() as nursery:
            await nursery.start(conductor.run)
            await conductor.run_tick()
    assert type(sole_exception(raised.value)) is KeyboardInterrupt
    assert journal.one("runner_cancelled").error is None
    ended = journal.one("tick_interrupted")
    assert (ended.result, ended.details["successful_runner_count"]) == ("cancelled", 0)


def test_lines_without_entries_wait_for_the_lock_that_entries_are_written_under(tmp_path: Path) -> None:
    recorder = Recorder(lambda: 0.0)
    files = JournalFiles(tmp_path, "node", "incarnation")
    recorder.attach([files])
    entries = entries_of_tick(recorder, "batch", {})
    entries.started("first")
    entries.completed("ok", 1, None)
    calls = [lambda: entries.started("second"), entries.settle]
    for call in calls:
        entries.completed("ok", 1, None)
        with recorder.lock:
            thread = threading.Thread(target=call)
            thread.start()
            thread.join(0.1)
            assert thread.is_alive()
        thread.join()
    files.close()
    assert [entry.stage for entry in read_journal(tmp_path)] == ["runner_started", "runner_completed"] * 2


def test_lines_that_are_written_at_once_follow_what_was_added_in_the_file_of_their_day(tmp_path: Path) -> None:
    files = JournalFiles(tmp_path, "node", "incarnation")
    first, second = "2026-04-01", "2026-04-02"
    files.write_lines(b"1\n", "batch", f"{first}T00:00:00.000Z")
    files.add_lines(b"2\n", "batch", f"{first}T00:00:01.000Z")
    files.write_lines(b"3\n", "batch", f"{first}T23:59:59.000Z")
    files.write_lines(b"4\n", "batch", f"{second}T00:00:00.000Z")
    assert (tmp_path / f"{first}.jsonl").read_bytes() == b"1\n2\n3\n"
    assert (tmp_path / f"{second}.jsonl").read_bytes() == b"4\n"
    files.close()
    assert files.entries_lost == 0

"""The test kit, first half: what a test is told by it is what a conductor would do."""

import threading
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from conductor_jobs import JournalEntry, LeaseLost, LeaseTiming, RunnerResult, TickContext, TimedJobs
from conductor_jobs.journal import Journal
from conductor_jobs.testing import MemoryJournal, MockWallClock, threads_inline, tick_context

from .support import MARGIN, TTL, make_conductor, make_jobs

HOURS = 3600.0
START = 1_774_735_200.0  # 2026-03-28T22:00:00Z


def entry(stage: str, runner: str = "dispatcher") -> JournalEntry:
    return JournalEntry("timed-jobs-0-1", None, None, None, runner, stage, "2026-03-28T22:00:00.000Z")


def written(*entries: JournalEntry) -> MemoryJournal:
    journal = MemoryJournal()
    for each in entries:
        journal.add(each)
    journal.flush()
    return journal


# MemoryJournal


def test_only_what_was_flushed_is_in_the_journal() -> None:
    journal = written(entry("one"))
    assert isinstance(journal, Journal)
    journal.add(entry("two"))
    assert journal.stages() == ["one"]
    journal.flush()
    journal.flush()
    assert journal.entries == [entry("one"), entry("two")]


def test_entries_are_found_by_runner_and_by_stage() -> None:
    journal = written(entry("scan"), entry("scan", "report"), entry("sent", "report"))
    assert journal.of("report") == [entry("scan", "report"), entry("sent", "report")]
    assert journal.stages("report") == ["scan", "sent"]
    assert journal.one("sent") == entry("sent", "report")
    assert journal.one("scan", "dispatcher") == entry("scan")


def test_one_entry_means_one_and_says_what_there_is_instead() -> None:
    journal = written(entry("scan"), entry("scan", "report"))
    with pytest.raises(AssertionError, match=r"^2 entries of stage 'scan', not one, among \['scan', 'scan'\]$"):
        journal.one("scan")
    with pytest.raises(AssertionError, match=r"^0 entries of stage 'sent', not one, among \['scan'\]$"):
        journal.one("sent", "report")


# MockWallClock


async def test_wall_time_counts_from_construction_in_a_run(mock_clock: MockClock) -> None:
    mock_clock.jump(5)
    wall = MockWallClock(START)
    mock_clock.jump(8 * HOURS)
    assert wall() == START + 8 * HOURS


def test_wall_time_counts_from_the_first_call_in_a_run_when_constructed_outside() -> None:
    wall = MockWallClock(START)
    clock = MockClock()

    async def main() -> None:
        clock.jump(5)
        assert wall() == START
        clock.jump(3)
        assert wall() == START + 3

    assert wall() == START
    trio.run(main, clock=clock)
    assert wall() == START + 3


def test_in_another_run_wall_time_goes_on_from_where_it_stood() -> None:
    wall = MockWallClock(START)

    async def main(clock: MockClock) -> float:
        wall()
        clock.jump(10)
        return wall()

    assert [trio.run(main, clock, clock=clock) for clock in (MockClock(), MockClock())] == [START + 10, START + 20]


async def test_wall_time_is_read_from_a_worker_thread(mock_clock: MockClock) -> None:
    wall = MockWallClock(START)
    mock_clock.jump(60)
    assert await trio.to_thread.run_sync(wall) == START + 60


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=2))])
def test_an_aware_datetime_is_the_moment_it_names(zone: timezone) -> None:
    assert MockWallClock(datetime.fromtimestamp(START, zone))() == START


def test_what_names_no_moment_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must be an aware datetime, with a tzinfo, not datetime\.datetime\(2026"):
        MockWallClock(datetime(2026, 3, 28))
    for start in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="MockWallClock start must be a finite number of seconds"):
            MockWallClock(start)
    with pytest.raises(ValueError, match="MockWallClock step must be a finite number of seconds, not nan"):
        MockWallClock(START).step(float("nan"))


async def test_a_step_moves_the_wall_clock_and_not_trios(mock_clock: MockClock) -> None:
    wall = MockWallClock(START)
    wall.step(90)
    assert (wall(), trio.current_time()) == (START + 90, 0.0)
    mock_clock.jump(1)
    wall.step(-100)
    assert wall() == START - 9


async def test_a_job_due_in_eight_hours_is_journaled_at_that_time(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    ran_at: list[float] = []

    async def report(ctx: TickContext) -> None:
        ran_at.append(trio.current_time())

    wall = MockWallClock(START)
    timing = LeaseTiming(2 * HOURS, HOURS)
    conductor, journal = make_conductor(make_jobs(report, interval=8 * HOURS), wall_clock=wall, timing=timing)
    await nursery.start(conductor.run)
    await trio.sleep(4 * HOURS)
    wall.step(-60)
    await trio.sleep(4 * HOURS + 1)
    assert ran_at == [8 * HOURS]
    assert journal.one("started").ts == "2026-03-28T22:00:00.000Z"
    assert journal.one("runner_started").ts == "2026-03-29T05:59:00.000Z"
    nursery.cancel_scope.cancel()


# tick_context


def test_a_context_has_a_default_for_everything_and_those_of_timed_jobs() -> None:
    ctx = tick_context()
    assert ctx.config == TimedJobs().config
    assert (ctx.runner, ctx.controller_id, ctx.host, ctx.term) == ("runner", "node", "host", 1)
    assert (ctx.batch_id, ctx.trigger, ctx.resources) == ("timed-jobs-0-1", "manual", None)
    ctx.log("written nowhere")
    ctx.check_lease()


def test_each_override_is_what_the_runner_sees() -> None:
    resources = object()
    ctx = tick_context(
        runner="report",
        controller_id="alpha",
        host="host-a",
        term=7,
        batch_id="timed-jobs-1-2",
        trigger="interval",
        interval=60,
        max_messages_per_tick=3,
        max_tasks_per_tick=4,
        settle_delay=0,
        resources=resources,
    )
    assert (ctx.runner, ctx.controller_id, ctx.host, ctx.term) == ("report", "alpha", "host-a", 7)
    assert (ctx.batch_id, ctx.trigger, ctx.config.interval) == ("timed-jobs-1-2", "interval", 60)
    assert (ctx.max_messages_per_tick, ctx.max_tasks_per_tick, ctx.settle_delay) == (3, 4, 0)
    assert ctx.resources is resources


def test_what_a_runner_logs_is_in_the_journal_under_its_name() -> None:
    journal = MemoryJournal()
    ctx = tick_context(runner="report", journal=journal, wall_clock=MockWallClock(START))
    ctx.log("scan_window", result="ok", details={"cursor": 5}, duration_ms=2)
    assert journal.entries == [
        JournalEntry(
            "timed-jobs-0-1", 2, None, "ok", "report", "scan_window", "2026-03-28T22:00:00.000Z", {"cursor": 5}
        )
    ]


def test_an_unknown_argument_is_refused_naming_the_known_ones() -> None:
    known = (
        "runner, controller_id, host, term, batch_id, trigger, interval, max_messages_per_tick, max_tasks_per_tick, "
        "settle_delay, resources, journal, lease_remaining, cursor, due_at, wall_clock"
    )
    with pytest.raises(TypeError, match=f"^tick_context has no lease, terms; it takes {known}\\.$"):
        tick_context(lease=1, terms=2)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def test_a_context_takes_the_settings_that_a_registry_takes() -> None:
    with pytest.raises(ValueError, match="max_messages_per_tick must be a positive integer, not 0"):
        tick_context(max_messages_per_tick=0)
    with pytest.raises(ValueError, match="tick_context lease_remaining must be a non-negative number of seconds"):
        tick_context(lease_remaining=-1)


def test_a_term_with_nothing_left_is_over() -> None:
    for ctx in (tick_context(lease_remaining=0), tick_context(lease_remaining=lambda: -1.0)):
        assert ctx.lease_remaining() == 0.0
        with pytest.raises(LeaseLost, match="term 1 of lease 'conductor' is over: lease_expired"):
            ctx.check_lease()


def test_a_function_says_how_much_of_the_lease_remains_each_time() -> None:
    remaining = 5.0
    ctx = tick_context(lease_remaining=lambda: remaining)
    ctx.check_lease()
    assert ctx.lease_remaining() == 5.0
    remaining = 0.0
    with pytest.raises(LeaseLost):
        ctx.check_lease()


async def test_a_lease_runs_out_by_the_clock_of_the_run_also_in_a_thread(mock_clock: MockClock) -> None:
    mock_clock.jump(3)
    ctx = tick_context(lease_remaining=10)
    mock_clock.jump(9)
    assert ctx.lease_remaining() == 1.0
    await trio.to_thread.run_sync(ctx.check_lease)
    mock_clock.jump(1)
    with pytest.raises(LeaseLost):
        await trio.to_thread.run_sync(ctx.check_lease)


async def test_without_a_given_lease_it_is_as_if_every_renewal_came_in_time(mock_clock: MockClock) -> None:
    ctx = tick_context()
    mock_clock.jump(8 * HOURS)
    assert ctx.lease_remaining() == TTL - MARGIN


def test_outside_of_a_run_a_lease_runs_out_in_real_time() -> None:
    ctx = tick_context(lease_remaining=0.01)
    gone_by = threading.Event()
    assert not gone_by.wait(0.02)
    with pytest.raises(LeaseLost):
        ctx.check_lease()


async def test_a_context_can_be_made_in_a_worker_thread() -> None:
    ctx = await trio.to_thread.run_sync(lambda: tick_context(lease_remaining=60))
    assert 0 < ctx.lease_remaining() <= 60


def test_a_context_keeps_a_cursor_without_a_conductor_and_without_trio() -> None:
    ctx = tick_context(cursor="message:1")
    assert ctx.load_cursor_sync() == "message:1"
    ctx.save_cursor_sync("message:2")
    assert ctx.load_cursor_sync() == "message:2"
    assert tick_context().load_cursor_sync() is None


async def test_a_context_keeps_its_cursor_on_the_loop_and_in_threads(autojump_clock: MockClock) -> None:
    ctx = tick_context(cursor="message:1")
    assert await ctx.load_cursor() == "message:1"
    await ctx.save_cursor("message:2")
    assert ctx.load_cursor_sync() == "message:2"
    await trio.to_thread.run_sync(ctx.save_cursor_sync, "message:3")
    assert await ctx.load_cursor() == "message:3"


async def test_a_cursor_in_memory_is_cancelled_like_one_in_a_store() -> None:
    ctx = tick_context(cursor="message:1")
    with trio.CancelScope() as scope:
        scope.cancel()
        await ctx.save_cursor("message:2")
    with trio.move_on_after(0):
        await ctx.load_cursor()
        raise AssertionError
    assert scope.cancelled_caught
    assert ctx.load_cursor_sync() == "message:1"


def test_once_a_contexts_term_is_over_its_cursor_is_out_of_reach() -> None:
    ctx = tick_context(lease_remaining=0, cursor="message:1")
    for call in (
        ctx.load_cursor,
        ctx.load_cursor_sync,
        lambda: ctx.save_cursor("a"),
        lambda: ctx.save_cursor_sync("a"),
    ):
        with pytest.raises(LeaseLost):
            call()


def test_a_context_is_due_at_an_instant_of_utc() -> None:
    berlin = timezone(timedelta(hours=1))
    due_at = tick_context(due_at=datetime(2026, 11, 23, 6, tzinfo=berlin)).due_at
    assert (due_at, due_at and due_at.tzinfo) == (datetime(2026, 11, 23, 5, tzinfo=UTC), UTC)
    assert tick_context().due_at is None
    bad: Any
    for bad in (datetime(2026, 11, 23, 6), "2026-11-23T06:00Z"):
        with pytest.raises(ValueError, match="tick_context due_at must be an aware datetime, with a tzinfo, not "):
            tick_context(due_at=bad)


def test_a_context_begins_with_no_cursor_that_a_runner_could_not_have_saved() -> None:
    with pytest.raises(TypeError, match=r"^tick_context: cursor must be a text, not 5\.$"):
        tick_context(cursor=5)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    for ctx_saves in (lambda: tick_context(cursor="\0"), lambda: tick_context().save_cursor_sync("\0")):
        with pytest.raises(
            ValueError, match="cursor must be a text that UTF-8 can hold, without NUL, but its character 0"
        ):
            ctx_saves()


# threads_inline


@contextmanager
def threads() -> Generator[None, None, None]:
    yield


async def where_a_plain_runner_runs(inside: AbstractContextManager[None]) -> int:
    """Return the thread in which a conductor of this Trio run calls a plain runner."""
    seen: list[int] = []

    def plain(ctx: TickContext) -> None:
        seen.append(threading.get_ident())

    conductor, _ = make_conductor(make_jobs(plain), autostart=False)
    async with trio.open_nursery() as nursery:
        with inside:
            await nursery.start(conductor.run)
            assert (await conductor.run_tick()).decision == "scheduled"
        conductor.request_stop()
    return seen[0]


async def test_a_plain_runner_runs_in_a_thread_and_inline_on_the_loop() -> None:
    here = threading.get_ident()
    assert await where_a_plain_runner_runs(threads()) != here
    assert await where_a_plain_runner_runs(threads_inline()) == here
    assert await where_a_plain_runner_runs(threads()) != here


async def test_inline_runners_take_no_virtual_time_and_work_as_in_a_thread(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    def plain(ctx: TickContext) -> RunnerResult:
        ctx.log("scan_window")
        ctx.check_lease()
        return RunnerResult(details={"sent": 2})

    def fails(ctx: TickContext) -> None:
        raise LookupError("no such window")

    conductor, journal = make_conductor(make_jobs(plain, fails, interval=10))
    with threads_inline():
        await nursery.start(conductor.run)
        await trio.sleep(10)
        await trio.testing.wait_all_tasks_blocked()
        assert trio.current_time() == 10.0
    assert journal.stages(of="plain") == ["runner_started", "scan_window", "runner_completed"]
    assert journal.one("runner_completed").details == {"sent": 2}
    assert journal.one("runner_failed").error == "no such window"
    nursery.cancel_scope.cancel()


async def test_a_plain_function_that_returns_a_coroutine_is_told_so_inline_too(nursery: trio.Nursery) -> None:
    async def forgotten(ctx: TickContext) -> None: ...

    def plain(ctx: TickContext) -> object:
        return forgotten(ctx)

    conductor, journal = make_conductor(make_jobs(plain), autostart=False)
    with threads_inline():
        await nursery.start(conductor.run)
        await conductor.run_tick()
    assert "declare the runner `async def`" in (journal.one("runner_failed").error or "")
    nursery.cancel_scope.cancel()


async def test_from_thread_does_not_work_inline(nursery: trio.Nursery) -> None:
    def plain(ctx: TickContext) -> None:
        trio.from_thread.run_sync(trio.current_time)

    conductor, journal = make_conductor(make_jobs(plain), autostart=False)
    await nursery.start(conductor.run)
    assert (await conductor.run_tick()).failed_runner_count == 0
    with threads_inline():
        assert (await conductor.run_tick()).failed_runner_count == 1
    assert journal.one("runner_failed").runner == "plain"
    nursery.cancel_scope.cancel()


async def test_who_leaves_first_does_not_send_the_others_runners_to_threads() -> None:
    first, second = threads_inline(), threads_inline()
    with first:
        second.__enter__()
    assert await where_a_plain_runner_runs(threads()) == threading.get_ident()
    second.__exit__(None, None, None)
    assert await where_a_plain_runner_runs(threads()) != threading.get_ident()


async def test_an_error_inside_ends_it_too() -> None:
    with pytest.raises(LookupError), threads_inline():
        raise LookupError
    assert await where_a_plain_runner_runs(threads()) != threading.get_ident()


async def test_other_runs_of_the_process_are_left_alone() -> None:
    def other_run() -> tuple[int, int]:
        return threading.get_ident(), trio.run(where_a_plain_runner_runs, threads())

    with threads_inline():
        loop, runner = await trio.to_thread.run_sync(other_run)
    assert runner != loop


def test_outside_of_a_run_there_is_nothing_to_run_inline() -> None:
    with pytest.raises(RuntimeError, match="outside of a run"), threads_inline():
        raise NotImplementedError

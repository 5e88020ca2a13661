"""The hot path says the same as the plain one, yields as often, and ends each runner in its own time."""

from pathlib import Path
from typing import Any

import trio
from trio.testing import MockClock

from conductor_jobs import Conductor, JournalEntry, RunnerResult, TickContext, TimedJobs, read_journal
from conductor_jobs.execution import YIELD_AFTER
from conductor_jobs.stores.memory import MemoryLeaseStore
from conductor_jobs.testing import MemoryJournal, MockWallClock

from .support import ListJournal, make_conductor, make_jobs


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

    for number, run in enumerate([waits, logs, fails, of_another_type, with_no_details, waits]):
        jobs.register_runner(f'runner {number} "{run.__name__}" \ud800', run)
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

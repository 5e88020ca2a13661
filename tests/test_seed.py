"""What the system that this library began as did, as its own tests and its behaviour table state it."""

import json
from pathlib import Path

import pytest
import trio

from conductor_jobs import Conductor, Holder, Node, RunnerResult, TickContext, TimedJobs, read_journal
from conductor_jobs.stores.memory import MemoryLeaseStore

from .support import make_conductor, make_jobs, noop

OTHER = Holder("other", "1")


async def test_a_leaders_manual_tick_runs_the_runner_once_with_its_limits_and_term(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, tmp_path: Path
) -> None:
    store = MemoryLeaseStore()
    for _ in range(3):
        assert (await store.acquire("conductor", OTHER, 30)).is_leader
    await store.release("conductor", OTHER)
    jobs = TimedJobs(interval=5, max_messages_per_tick=10, max_tasks_per_tick=8, settle_delay=12)
    seen: list[TickContext] = []

    @jobs.runner("renewal.projector")
    async def project(ctx: TickContext) -> RunnerResult:
        seen.append(ctx)
        ctx.log("scan_window", result="ok", details={"cursor": "message:1"})
        return RunnerResult(details={"projected_messages": 0})

    conductor = Conductor(
        jobs, store=store, node=Node("mini-main", "mini"), log_dir=tmp_path, autostart=False, resources="artifacts"
    )
    await nursery.start(conductor.run)
    tick = await conductor.run_tick()
    await conductor.stop()

    assert (tick.decision, tick.runner_count) == ("scheduled", 1)
    (ctx,) = seen
    assert (ctx.controller_id, ctx.host, ctx.term, ctx.trigger) == ("mini-main", "mini", 4, "manual")
    assert (ctx.max_messages_per_tick, ctx.max_tasks_per_tick, ctx.settle_delay) == (10, 8, 12)
    assert (ctx.batch_id, ctx.config, ctx.resources) == (tick.batch_id, jobs.config, "artifacts")
    entries = {entry.stage: entry for entry in read_journal(tmp_path) if entry.runner == "renewal.projector"}
    assert list(entries) == ["runner_started", "scan_window", "runner_completed"]
    assert entries["runner_started"].details == {
        "controller_id": "mini-main",
        "host": "mini",
        "max_messages_per_tick": 10,
        "max_tasks_per_tick": 8,
        "settle_delay_ms": 12000,
        "term": 4,
        "trigger": "manual",
    }
    assert entries["scan_window"].details == {"cursor": "message:1"}
    completed = entries["runner_completed"]
    assert (completed.result, completed.duration_ms, completed.error) == ("ok", 0, None)
    assert (completed.batch_id, completed.details) == (tick.batch_id, {"projected_messages": 0})


async def test_a_standby_with_an_interval_skips_its_ticks_and_says_so(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    store = MemoryLeaseStore()
    await store.acquire("conductor", OTHER, 1000)
    ran: list[object] = []

    async def project(ctx: TickContext) -> None:
        ran.append(ctx)

    conductor, journal = make_conductor(make_jobs(project, interval=5), store)
    await nursery.start(conductor.run)
    tick = await conductor.run_tick()
    await trio.sleep(5.5)
    await conductor.stop()

    assert tick.decision == "skipped_not_leader"
    assert ran == []
    assert [entry.details["trigger"] for entry in journal.all("tick_started")] == ["manual", "interval"]
    skipped = journal.all("runner_skipped")[0]
    assert (skipped.runner, skipped.result, skipped.duration_ms) == ("project", "skipped_not_leader", 0)
    assert skipped.details == {"trigger": "manual"}
    completed = journal.all("tick_completed")[0]
    assert (completed.result, completed.details) == ("skipped_not_leader", {"runner_count": 1, "trigger": "manual"})
    # No interval is left: the virtual clock finds nothing to wait for.
    before = len(journal.entries)
    await trio.sleep(60)
    assert len(journal.entries) == before


async def test_a_run_makes_the_journal_folder_and_writes_started_as_its_first_line(
    nursery: trio.Nursery, tmp_path: Path
) -> None:
    folder = tmp_path / "logs" / "timed-jobs"
    conductor = Conductor(
        make_jobs(noop), store=MemoryLeaseStore(), log_dir=folder, autostart=False, wall_clock=lambda: 1774861200.5
    )
    assert not folder.exists()
    await nursery.start(conductor.run)
    conductor.request_stop()
    await conductor.stop()

    lines = (folder / "2026-03-30.jsonl").read_bytes().splitlines()
    first = json.loads(lines[0])
    assert list(first)[:7] == ["batch_id", "duration_ms", "error", "result", "runner", "stage", "ts"]
    assert first["batch_id"] == "timed-jobs-1774861200500-1"
    assert (first["runner"], first["stage"], first["result"]) == ("timed-jobs.framework", "started", "loop_disabled")
    assert first["ts"] == "2026-03-30T09:00:00.500Z"
    assert first.keys() >= {"node_id", "host", "pid", "incarnation", "version"}
    last = json.loads(lines[-1])
    assert (last["stage"], last["result"]) == ("stopped", "stopped")


async def test_the_tick_in_flight_makes_the_next_one_busy_at_once(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    async def slow(ctx: TickContext) -> None:
        await trio.sleep(10)

    conductor, journal = make_conductor(make_jobs(slow, noop), autostart=False)
    await nursery.start(conductor.run)
    nursery.start_soon(conductor.run_tick)
    await trio.sleep(1)
    before = trio.current_time()
    tick = await conductor.run_tick("interval")
    assert trio.current_time() == before
    assert (tick.decision, tick.runner_count) == ("skipped_busy", 2)
    busy = journal.one("tick_skipped_busy")
    assert (busy.batch_id, busy.result, busy.details) == (tick.batch_id, "skipped_busy", {"trigger": "interval"})
    assert conductor.status().batch_in_flight not in (None, tick.batch_id)
    await conductor.stop()
    assert journal.one("tick_completed").duration_ms == 10_000


async def test_without_runners_there_is_no_tick(nursery: trio.Nursery) -> None:
    conductor, journal = make_conductor(TimedJobs(), autostart=False)
    await nursery.start(conductor.run)
    tick = await conductor.run_tick()
    await conductor.stop()
    assert (tick.decision, tick.runner_count) == ("skipped_no_runners", 0)
    assert journal.one("tick_skipped_no_runners").details == {"trigger": "manual"}


async def test_a_failing_runner_does_not_stop_the_next_ones(nursery: trio.Nursery) -> None:
    async def first(ctx: TickContext) -> None:
        raise ValueError("no such customer")

    async def second(ctx: TickContext) -> RunnerResult:
        return RunnerResult("partly", {"left": 3})

    conductor, journal = make_conductor(make_jobs(first, second), autostart=False)
    await nursery.start(conductor.run)
    tick = await conductor.run_tick()
    await conductor.stop()
    assert (tick.decision, tick.failed_runner_count) == ("scheduled", 1)
    failed, completed = journal.one("runner_failed"), journal.one("runner_completed")
    assert (failed.runner, failed.result, failed.error) == ("first", "failed", "no such customer")
    assert (completed.runner, completed.result, completed.details) == ("second", "partly", {"left": 3})
    tick_completed = journal.one("tick_completed")
    assert tick_completed.result == "completed_with_failures"
    assert tick_completed.details == {
        "failed_runner_count": 1,
        "runner_count": 2,
        "successful_runner_count": 1,
        "trigger": "manual",
    }


async def test_the_sequence_of_batch_ids_counts_every_tick_and_framework_entry(nursery: trio.Nursery) -> None:
    conductor, journal = make_conductor(make_jobs(noop), autostart=False, wall_clock=lambda: 7.0)
    await nursery.start(conductor.run)
    ticks = [await conductor.run_tick() for _ in range(2)]
    await conductor.stop()
    sequence = list(dict.fromkeys(entry.batch_id for entry in journal.entries))
    assert sequence == [f"timed-jobs-7000-{number}" for number in range(1, 9)]
    assert [tick.batch_id for tick in ticks] == sequence[2:4]


async def test_ticks_lie_on_a_grid_that_a_slow_tick_does_not_shift(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    begun: list[float] = []

    async def slow(ctx: TickContext) -> None:
        begun.append(trio.current_time() - start)
        await trio.sleep(4 if len(begun) == 2 else 25 if len(begun) == 4 else 0)

    conductor, journal = make_conductor(make_jobs(slow, interval=10))
    start = trio.current_time()
    await nursery.start(conductor.run)
    await trio.sleep(75)
    await conductor.stop()
    assert begun == pytest.approx([10, 20, 30, 40, 70])
    assert len(journal.all("tick_skipped_busy")) == 2


async def test_run_tick_of_a_conductor_that_does_not_run_is_an_error() -> None:
    conductor, journal = make_conductor(make_jobs(noop))
    with pytest.raises(RuntimeError, match="not running"):
        await conductor.run_tick()
    await conductor.stop()
    assert journal.entries == []

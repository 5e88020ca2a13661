"""Whoever is attached is told of ticks and runners, disturbs nothing, and costs nothing where there is nobody."""

import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from conductor_jobs import Conductor, TickContext, TickDecision, TimedJobs, observers
from conductor_jobs import tick_entries as tick_entries_module
from conductor_jobs.observers import RunnerEnd, TickEnd, TickFacts, encodable
from conductor_jobs.stores.memory import MemoryLeaseStore

from .support import NodeStore, make_conductor, make_jobs, noop


class Notes:
    """Notes what it is told of, as one list; of its own ticks too."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def tick_refused(self, decision: TickDecision) -> None:
        self.told.append(decision)

    def tick_started(self, tick: TickFacts) -> "Notes":
        self.told.append(tick)
        return self

    def runner_started(self, runner: str) -> None:
        self.told.append(runner)

    def runner_ended(self, end: RunnerEnd) -> None:
        self.told.append((end.runner, end.outcome, end.result, repr(end.error)))

    def ended(self, end: TickEnd) -> None:
        self.told.append((end.decision, end.result, end.error))


class Broken(Notes):
    def runner_started(self, runner: str) -> None:
        raise RuntimeError("out of order")

    def ended(self, end: TickEnd) -> None:
        raise RuntimeError("still out of order")


async def fails(ctx: TickContext) -> None:
    raise ValueError("bad customer")


async def too_slow(ctx: TickContext) -> None:
    await trio.sleep_forever()


def in_thread(ctx: TickContext) -> None: ...


async def test_an_observer_is_told_of_a_tick_and_of_each_runner(mock_clock: MockClock, nursery: trio.Nursery) -> None:
    notes = Notes()
    conductor, _ = make_conductor(make_jobs(noop, fails, in_thread), autostart=False)
    await nursery.start(conductor.run)
    with conductor.observed_by(notes):
        result = await conductor.run_tick()
    assert notes.told == [
        TickFacts(result.batch_id, "manual", 3, "mini-main", 1, "conductor"),
        "noop",
        ("noop", "completed", "ok", "None"),
        "fails",
        ("fails", "failed", "failed", "ValueError('bad customer')"),
        "in_thread",
        ("in_thread", "completed", "ok", "None"),
        ("scheduled", "completed_with_failures", None),
    ]
    await conductor.run_tick()
    assert len(notes.told) == 8
    nursery.cancel_scope.cancel()


async def test_an_observer_is_told_of_what_the_lost_term_cancelled(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    notes = Notes()
    store = NodeStore(MemoryLeaseStore())
    conductor, _ = make_conductor(make_jobs(too_slow), store, autostart=False)
    await nursery.start(conductor.run)
    store.hang()
    with conductor.observed_by(notes):
        await conductor.run_tick()
        ends = [("too_slow", "cancelled", "lease_expired", "None"), ("interrupted", "lease_expired", None)]
        assert notes.told[2:] == ends
    nursery.cancel_scope.cancel()


async def test_a_runner_that_was_timed_out_has_failed_with_that(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    notes = Notes()
    jobs = TimedJobs()
    jobs.register_runner("timed out", too_slow, timeout=2.0)
    conductor, _ = make_conductor(jobs, autostart=False)
    await nursery.start(conductor.run)
    with conductor.observed_by(notes):
        await conductor.run_tick()
    assert notes.told[2] == ("timed out", "failed", "failed", "TimeoutError('timed out after 2 s')")
    nursery.cancel_scope.cancel()


async def test_an_observer_is_told_of_ticks_that_were_refused_or_had_no_leader(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    shared = MemoryLeaseStore()
    leader, _ = make_conductor(make_jobs(noop), NodeStore(shared), autostart=False)
    standby, _ = make_conductor(make_jobs(noop), NodeStore(shared), node_id="other", autostart=False)
    empty, _ = make_conductor(TimedJobs(), autostart=False)
    notes, of_empty = Notes(), Notes()
    for conductor in (leader, standby, empty):
        await nursery.start(conductor.run)
    with standby.observed_by(notes), empty.observed_by(of_empty):
        refused = await standby.run_tick()
        await empty.run_tick()
    assert notes.told == [
        TickFacts(refused.batch_id, "manual", 1, "other", None, None),
        ("skipped_not_leader", "skipped_not_leader", None),
    ]
    assert of_empty.told == ["skipped_no_runners"]
    nursery.cancel_scope.cancel()


async def test_an_observer_that_raises_is_told_of_once_and_disturbs_neither_tick_nor_others(
    mock_clock: MockClock, nursery: trio.Nursery, capfd: pytest.CaptureFixture[str]
) -> None:
    notes = Notes()
    conductor, _ = make_conductor(make_jobs(noop, fails), autostart=False)
    await nursery.start(conductor.run)
    with conductor.observed_by(Broken()), conductor.observed_by(notes):
        result = await conductor.run_tick()
    assert (result.decision, result.failed_runner_count) == ("scheduled", 1)
    assert len(notes.told) == 6
    assert capfd.readouterr().err == "conductor-jobs: Broken raised RuntimeError: out of order\n"
    nursery.cancel_scope.cancel()


async def test_the_runners_entries_are_the_same_with_an_observer(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    seen: list[list[object]] = []
    for notes in (None, Notes()):
        conductor, journal = make_conductor(make_jobs(noop, fails, in_thread), autostart=False)
        await nursery.start(conductor.run)
        if notes is None:
            await conductor.run_tick()
        else:
            with conductor.observed_by(notes):
                await conductor.run_tick()
        told = [(entry.runner, entry.stage, entry.result, entry.error) for entry in journal.entries]
        seen.append([each for each in told if each[0] != "timed-jobs.lease"])
    assert seen[0] == seen[1]
    assert len(seen[0]) == 1 + 2 + 2 * 3
    nursery.cancel_scope.cancel()


async def test_what_is_no_observer_is_refused(mock_clock: MockClock) -> None:
    conductor, journal = make_conductor(make_jobs(noop))
    with pytest.raises(TypeError, match=r"Conductor observer must have tick_refused and tick_started, not <"):
        conductor.observed_by(journal)  # type: ignore[arg-type] # that is the test


def calls_of_observers(count: list[str]) -> Any:
    def note(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code.co_filename == observers.__file__:
            count.append(frame.f_code.co_name)

    return note


async def test_without_an_observer_a_tick_asks_once_and_a_runner_never(
    mock_clock: MockClock, nursery: trio.Nursery
) -> None:
    jobs = TimedJobs()
    for number in range(20):
        jobs.register_runner(f"runner-{number}", fails if number % 2 else noop)
    conductor, _ = make_conductor(jobs, autostart=False)
    await nursery.start(conductor.run)
    called: list[str] = []
    before = sys.getprofile()
    sys.setprofile(calls_of_observers(called))
    try:
        await conductor.run_tick()
        await conductor.run_tick()
    finally:
        sys.setprofile(before)
    assert called == ["tick_started", "tick_started"]
    nursery.cancel_scope.cancel()


async def test_files_keep_their_fast_way_of_writing_beside_an_observer(
    mock_clock: MockClock, nursery: trio.Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tick_entries_module, "PlainTickEntries", None)
    conductor = Conductor(make_jobs(noop), store=MemoryLeaseStore(), log_dir=tmp_path, autostart=False)
    await nursery.start(conductor.run)
    with conductor.observed_by(Notes()):
        assert (await conductor.run_tick()).decision == "scheduled"
    nursery.cancel_scope.cancel()


NOTHING_OF_EXTRAS = """
import sys
import trio
from conductor_jobs import Conductor, TimedJobs
from conductor_jobs.stores.memory import MemoryLeaseStore

jobs = TimedJobs()

@jobs.runner("noop")
async def noop(ctx): ...

async def main():
    conductor = Conductor(jobs, store=MemoryLeaseStore(), autostart=False)
    async with trio.open_nursery() as nursery:
        await nursery.start(conductor.run)
        await conductor.run_tick()
        conductor.request_stop()

trio.run(main)
print([name for name in sys.modules if name.partition(".")[0] in ("opentelemetry", "prometheus_client")])
print([name for name in sys.modules if name in ("conductor_jobs.tracing", "conductor_jobs.metrics")])
"""


def test_nothing_of_traces_or_metrics_is_imported_where_nobody_wants_them() -> None:
    done = subprocess.run([sys.executable, "-c", NOTHING_OF_EXTRAS], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n[]\n"


def test_a_text_that_utf8_cannot_hold_is_made_one_that_it_can() -> None:
    assert encodable("Läufer \ud800") == "Läufer \\ud800"


async def test_an_observer_that_is_attached_twice_hears_until_it_has_left_twice(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    notes = Notes()
    conductor, _ = make_conductor(make_jobs(too_slow), autostart=False)
    await nursery.start(conductor.run)
    with conductor.observed_by(notes):
        with conductor.observed_by(notes):
            pass
        with trio.move_on_after(1.0):
            await conductor.run_tick()
    assert notes.told
    nursery.cancel_scope.cancel()

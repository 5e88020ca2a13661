"""What Prometheus is told: names that it likes, labels that are bounded, and the truth."""

import re
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families
from trio.testing import MockClock

from conductor_jobs import Conductor, Every, LeaseTiming, Node, Retry, RunnerResult, TickContext, TimedJobs
from conductor_jobs.metrics import ConductorMetrics
from conductor_jobs.stores.memory import MemoryLeaseStore
from conductor_jobs.testing import MockWallClock
from conductor_jobs.watchdog import Overrun

from .support import NodeStore, make_conductor, make_jobs, noop

P = "conductor_jobs_"


def value(metrics: ConductorMetrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(P + name, {"lease": "conductor", **labels})


def values(metrics: ConductorMetrics, name: str, label: str) -> Mapping[str, float]:
    families = text_string_to_metric_families(metrics.exposition().decode())
    samples = [sample for family in families for sample in family.samples if sample.name == P + name]
    return {sample.labels[label]: sample.value for sample in samples}


async def fails(ctx: TickContext) -> None:
    raise ValueError("bad customer")


async def takes_two_seconds(ctx: TickContext) -> RunnerResult:
    await trio.sleep(2)
    return RunnerResult(f"sent {ctx.batch_id}")


def test_before_a_run_there_is_nothing_to_tell_but_who_we_are() -> None:
    node = Node("mini-main", "mini", version="7")
    metrics = ConductorMetrics(Conductor(make_jobs(noop), store=MemoryLeaseStore(), node=node))
    who = {"node_id": "mini-main", "host": "mini", "role": "primary", "version": "7"}
    assert value(metrics, "node_info", **who) == 1
    assert [value(metrics, name) for name in ("running", "leader", "lease_remaining_seconds", "runners")] == [
        0,
        0,
        0,
        1,
    ]
    # There is no term yet.
    assert value(metrics, "term") is None
    assert metrics.content_type.startswith("text/plain; version=")


async def test_leading_is_told_with_its_term_and_what_remains(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    shared = MemoryLeaseStore()
    stores = NodeStore(shared), NodeStore(shared)
    leader, _ = make_conductor(make_jobs(noop), stores[0], autostart=False)
    standby, _ = make_conductor(make_jobs(noop), stores[1], node_id="other", autostart=False)
    for conductor in (leader, standby):
        await nursery.start(conductor.run)
    await trio.sleep(4)
    told = [ConductorMetrics(conductor) for conductor in (leader, standby)]
    assert [value(metrics, "leader") for metrics in told] == [1, 0]
    assert [value(metrics, "term") for metrics in told] == [1, 1]
    assert [value(metrics, "lease_remaining_seconds") for metrics in told] == [23, 0]
    assert [value(metrics, "running") for metrics in told] == [1, 1]
    nursery.cancel_scope.cancel()


async def test_renewals_are_counted_and_timed_and_their_failures_counted(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    store = NodeStore(MemoryLeaseStore())
    conductor, _ = make_conductor(make_jobs(noop), store, autostart=False)
    metrics = ConductorMetrics(conductor)
    await nursery.start(conductor.run)
    store.delay_before = 0.5
    await trio.sleep(16)
    assert value(metrics, "renew_duration_seconds_count") == 3
    assert value(metrics, "renew_duration_seconds_sum") == 1.5
    assert (value(metrics, "renew_failures_total"), value(metrics, "degraded")) == (0, 0)
    store.error = ConnectionError("gone")
    await trio.sleep(8)
    assert value(metrics, "renew_duration_seconds_count") == 3
    assert value(metrics, "renew_failures_total") == conductor.status().renew_failures >= 2
    assert value(metrics, "degraded") == 1
    nursery.cancel_scope.cancel()


async def test_ticks_are_counted_by_decision(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    conductor, _ = make_conductor(make_jobs(takes_two_seconds, interval=10.0))
    with ConductorMetrics(conductor) as metrics:
        await nursery.start(conductor.run)
        await trio.sleep(11)
        assert value(metrics, "ticks_in_flight") == 1
        await conductor.run_tick()
        await trio.sleep(14)
    assert values(metrics, "ticks_total", "decision") == {
        "scheduled": 2,
        "skipped_busy": 1,
        "failed": 0,
        "interrupted": 0,
        "skipped_no_runners": 0,
        "skipped_not_leader": 0,
        "skipped_stopping": 0,
    }
    assert value(metrics, "tick_duration_seconds_sum") == 4
    assert value(metrics, "ticks_in_flight") == 0
    nursery.cancel_scope.cancel()


async def test_ticks_of_a_standby_are_counted_and_take_no_time(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    store = NodeStore(MemoryLeaseStore())
    store.error = ConnectionError("gone")
    conductor, _ = make_conductor(make_jobs(noop), store, autostart=False)
    await nursery.start(conductor.run)
    with ConductorMetrics(conductor) as metrics:
        await conductor.run_tick()
    assert values(metrics, "ticks_total", "decision")["skipped_not_leader"] == 1
    assert value(metrics, "tick_duration_seconds_count") == 0
    nursery.cancel_scope.cancel()


async def test_runs_are_counted_by_outcome_and_timed_below_a_millisecond(
    mock_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def quick(ctx: TickContext) -> None:
        mock_clock.jump(0.0004)

    conductor, _ = make_conductor(make_jobs(quick, fails), autostart=False)
    await nursery.start(conductor.run)
    with ConductorMetrics(conductor) as metrics:
        # Known before their first run: a first failure is a rise from 0.
        assert value(metrics, "runner_runs_total", runner="fails", outcome="failed") == 0
        await conductor.run_tick()
        await conductor.run_tick()
    assert value(metrics, "runner_runs_total", runner="quick", outcome="completed") == 2
    assert value(metrics, "runner_runs_total", runner="fails", outcome="failed") == 2
    assert value(metrics, "runner_runs_total", runner="fails", outcome="completed") == 0
    assert value(metrics, "runner_duration_seconds_sum", runner="quick") == pytest.approx(0.0008)
    bounds = [value(metrics, "runner_duration_seconds_bucket", runner="quick", le=le) for le in ("0.0001", "0.001")]
    assert bounds == [0, 2]
    assert list(values(metrics, "runner_last_completed_timestamp_seconds", "runner")) == ["quick"]
    nursery.cancel_scope.cancel()


async def test_a_run_that_the_lost_term_cancels_is_counted_as_that(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def lasts(ctx: TickContext) -> None:
        await trio.sleep_forever()

    store = NodeStore(MemoryLeaseStore())
    conductor, _ = make_conductor(make_jobs(lasts), store, autostart=False)
    await nursery.start(conductor.run)
    store.hang()
    with ConductorMetrics(conductor) as metrics:
        await conductor.run_tick()
    assert values(metrics, "runner_runs_total", "outcome") == {
        "completed": 0,
        "failed": 0,
        "cancelled": 1,
        "retrying": 0,
    }
    assert values(metrics, "ticks_total", "decision")["interrupted"] == 1
    nursery.cancel_scope.cancel()


async def test_attempts_that_are_followed_by_another_are_counted_apart(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    jobs = TimedJobs()
    jobs.register_runner("fails", fails, retry=Retry(attempts=3))
    conductor, _ = make_conductor(jobs, autostart=False)
    await nursery.start(conductor.run)
    with ConductorMetrics(conductor) as metrics:
        await conductor.run_tick()
    assert values(metrics, "runner_runs_total", "outcome") == {
        "completed": 0,
        "failed": 1,
        "cancelled": 0,
        "retrying": 2,
    }
    # The pauses between them are no time of a run.
    assert value(metrics, "runner_duration_seconds_sum", runner="fails") == 0
    nursery.cancel_scope.cancel()


async def test_what_a_runner_returns_and_how_many_there_are_makes_no_more_series(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    jobs = TimedJobs()
    for number in range(8):
        jobs.register_runner(f"runner-{number}", takes_two_seconds)
    conductor, _ = make_conductor(jobs, autostart=False)
    await nursery.start(conductor.run)
    with ConductorMetrics(conductor, runner_limit=3) as metrics:
        before = metrics.exposition().count(b"\n")
        await conductor.run_tick()
        await conductor.run_tick()
    # The only ones that come with a run tell when a runner completed.
    assert metrics.exposition().count(b"\n") == before + 4
    counts = values(metrics, "runner_duration_seconds_count", "runner")
    assert counts == {"runner-0": 2, "runner-1": 2, "runner-2": 2, "(others)": 10}
    nursery.cancel_scope.cancel()


async def test_a_drain_is_timed_while_it_lasts_and_afterwards(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    conductor, _ = make_conductor(make_jobs(takes_two_seconds), autostart=False)
    metrics = ConductorMetrics(conductor)
    await nursery.start(conductor.run)
    nursery.start_soon(conductor.run_tick)
    await trio.sleep(0.5)
    assert (value(metrics, "drain_duration_seconds"), value(metrics, "stopping")) == (0, 0)
    conductor.request_stop()
    await trio.sleep(1)
    assert (value(metrics, "drain_duration_seconds"), value(metrics, "stopping")) == (1, 1)
    await trio.sleep(9)
    assert (value(metrics, "drain_duration_seconds"), value(metrics, "stopping")) == (1.5, 0)


async def test_bytes_of_the_journal_are_those_of_its_files(
    autojump_clock: MockClock, nursery: trio.Nursery, tmp_path: Path
) -> None:
    # A torn line, before which we write a newline.
    (tmp_path / "2026-04-01.jsonl").write_bytes(b"torn")
    conductor = Conductor(
        make_jobs(noop, fails),
        store=MemoryLeaseStore(),
        log_dir=tmp_path,
        autostart=False,
        wall_clock=lambda: 1775087e3,
    )
    metrics = ConductorMetrics(conductor)
    await nursery.start(conductor.run)
    await conductor.run_tick()
    await conductor.stop()
    (file,) = tmp_path.iterdir()
    assert value(metrics, "journal_written_bytes_total") == file.stat().st_size - len(b"torn")
    assert value(metrics, "journal_lost_entries_total") == 0


async def test_the_lag_of_the_loop_is_measured_by_a_task_of_the_callers(
    mock_clock: MockClock, nursery: trio.Nursery
) -> None:
    mock_clock.autojump_threshold = 0
    conductor, _ = make_conductor(make_jobs(noop))
    metrics = ConductorMetrics(conductor)
    await trio.sleep(5)
    assert value(metrics, "loop_lag_seconds_count") == 0
    await nursery.start(metrics.run)
    await trio.sleep(0.9)
    assert value(metrics, "loop_lag_seconds_sum") == 0
    # Code that holds up the loop for three seconds.
    mock_clock.jump(3.0)
    await trio.sleep(0.1)
    assert value(metrics, "loop_lag_seconds_sum") == pytest.approx(2.9)
    assert value(metrics, "loop_lag_seconds_bucket", le="2.5") == 1
    assert value(metrics, "loop_lag_seconds_count") == 2
    nursery.cancel_scope.cancel()


async def test_missed_intervals_are_told(mock_clock: MockClock, nursery: trio.Nursery) -> None:
    async def blocks(ctx: TickContext) -> None:
        mock_clock.jump(25)

    mock_clock.autojump_threshold = 0
    conductor, _ = make_conductor(make_jobs(blocks, interval=10.0), timing=LeaseTiming(ttl=300))
    metrics = ConductorMetrics(conductor)
    await nursery.start(conductor.run)
    await trio.sleep(36)
    assert value(metrics, "missed_intervals_total") == conductor.status().missed_interval_count > 0
    nursery.cancel_scope.cancel()


async def test_names_of_runners_with_any_characters_spoil_no_scrape(mock_clock: MockClock) -> None:
    jobs = TimedJobs()
    jobs.register_runner('a "quoted" \\ \n \U0001f600 name', noop)
    conductor, _ = make_conductor(jobs)
    assert list(values(ConductorMetrics(conductor), "runner_duration_seconds_count", "runner")) == [
        'a "quoted" \\ \n \U0001f600 name'
    ]


async def test_metrics_are_read_from_another_thread_while_runners_are_registered(nursery: trio.Nursery) -> None:
    jobs = make_jobs(noop)
    conductor = Conductor(jobs, store=MemoryLeaseStore(), autostart=False)
    await nursery.start(conductor.run)
    ticks, over = 0, False

    async def run_ticks() -> None:
        nonlocal ticks
        while not over:
            # No more of them: a thread that comes to little would have more to tell each time.
            if ticks < 150:
                jobs.register_runner(f"runner-{ticks}", noop)
            await conductor.run_tick()
            ticks += 1

    def scrape() -> None:
        nonlocal over
        scrapes = 0
        while ticks < 150 or scrapes < 3:
            metrics.exposition()
            scrapes += 1
        over = True

    with ConductorMetrics(conductor) as metrics:
        async with trio.open_nursery() as beside:
            beside.start_soon(run_ticks)
            await trio.to_thread.run_sync(scrape)
    assert value(metrics, "runner_runs_total", runner="noop", outcome="completed") == ticks
    nursery.cancel_scope.cancel()


def test_metrics_are_entered_once_at_a_time() -> None:
    conductor, _ = make_conductor(make_jobs(noop))
    metrics = ConductorMetrics(conductor)
    with metrics, pytest.raises(RuntimeError, match="entered already"):
        metrics.__enter__()
    with metrics:
        pass


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"duration_buckets": ()}, r"duration_buckets must rise, and there must be one, not \(\)"),
        ({"duration_buckets": 5}, "duration_buckets must be several numbers, not 5"),
        ({"duration_buckets": (1.0, 1.0)}, r"duration_buckets must rise"),
        ({"duration_buckets": (0.0, 1.0)}, r"duration_buckets must be a positive number of seconds, not 0\.0"),
        ({"runner_limit": -1}, r"runner_limit must be an integer from 0 on, not -1"),
    ],
)
def test_bad_arguments_are_named(settings: dict[str, object], problem: str) -> None:
    conductor, _ = make_conductor(make_jobs(noop))
    with pytest.raises((ValueError, TypeError), match=problem):
        ConductorMetrics(conductor, **settings)  # type: ignore[arg-type] # that is the test


def test_what_is_no_conductor_is_refused() -> None:
    with pytest.raises(TypeError, match=r"ConductorMetrics conductor must be a Conductor, not None"):
        ConductorMetrics(None)  # type: ignore[arg-type] # that is the test


def test_names_follow_the_rules_of_prometheus() -> None:
    conductor, _ = make_conductor(make_jobs(noop))
    families = list(ConductorMetrics(conductor).registry.collect())
    assert len({family.name for family in families}) == len(families)
    for family in families:
        assert re.fullmatch(r"conductor_jobs_[a-z_]+", family.name)
        assert family.documentation.endswith(".")
        # Base units; the parser has taken `_total` off the counters.
        assert not re.search(r"_(ms|milliseconds|minutes|kilobytes|total)$", family.name)
        assert all("lease" in sample.labels for sample in family.samples)


async def test_runners_with_a_schedule_are_told_with_what_is_due_next_and_what_is_paused(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    jobs = make_jobs(noop)
    jobs.register_runner("hourly", noop, schedule=Every(3600.0))
    conductor, _ = make_conductor(jobs, wall_clock=MockWallClock(7200.0 * 1000 + 60))
    with ConductorMetrics(conductor) as metrics:
        await nursery.start(conductor.run)
        await conductor.wait_leader()
        assert values(metrics, "runner_next_due_timestamp_seconds", "runner") == {"hourly": 7200.0 * 1000 + 3600}
        await trio.sleep(3600)
        assert value(metrics, "runner_runs_total", runner="hourly", outcome="completed") == 1
        assert values(metrics, "runner_paused", "runner") == {"noop": 0, "hourly": 0}
        await conductor.pause("hourly")
        assert values(metrics, "runner_paused", "runner") == {"noop": 0, "hourly": 1}
    nursery.cancel_scope.cancel()


def test_what_is_found_at_fault_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    conductor, _ = make_conductor(make_jobs(noop))
    overrun = Overrun("runner 'noop'", 1, 2.5, loop_blocked=True, stack=())
    status = msgspec.structs.replace(
        conductor.status(),
        overruns=(overrun,),
        overrun_count=3,
        drift=("a", "b"),
        runs_in_flight=("noop",),
        entries_lost=9,
    )
    monkeypatch.setattr(Conductor, "status", lambda _: status)
    metrics = ConductorMetrics(conductor)
    assert (value(metrics, "overrunning_work"), value(metrics, "overruns_total")) == (1, 3)
    assert value(metrics, "drifting_nodes") == 2
    assert value(metrics, "ticks_in_flight") == 1
    assert value(metrics, "journal_lost_entries_total") == 9

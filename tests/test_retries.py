"""A runner that fails is tried again within its tick and its term, if it was registered with a `Retry`."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from conductor_jobs import Conductor, Every, Retry, TickContext, TimedJobs, read_journal
from conductor_jobs.journal import FRAMEWORK
from conductor_jobs.stores.memory import MemoryLeaseStore

from .scheduled import LEASE, Cluster, at
from .support import MARGIN, TTL, NodeStore, SuspendableClock, make_conductor, noop


def failing(times: int, error: Callable[[], BaseException] = lambda: OSError("no route")) -> Any:
    """Make a runner that fails so many times and then does not; its `began` are the moments of its starts."""

    async def fails(ctx: TickContext) -> None:
        began.append(trio.current_time())
        await trio.sleep(0.25)
        if len(began) <= times:
            raise error()

    began: list[float] = []
    fails.began = began  # type: ignore[attr-defined] # for the tests to look at
    return fails


def jobs_with(run: Any, retry: Retry, **registered: Any) -> TimedJobs:
    jobs = TimedJobs()
    jobs.register_runner("flaky", run, retry=retry, **registered)
    jobs.register_runner("next", noop)
    return jobs


# What `Retry` is


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"attempts": 1}, "Retry attempts must be an integer of 2 or more, not 1."),
        ({"attempts": True}, "Retry attempts must be an integer of 2 or more, not True."),
        ({"attempts": 2.0}, "Retry attempts must be an integer of 2 or more, not 2.0."),
        ({"backoff": -1}, "Retry backoff must be a non-negative number of seconds, not -1."),
        ({"jitter": "1"}, "Retry jitter must be a non-negative number of seconds, not '1'."),
        ({"backoff": 2.0, "max_backoff": 1.0}, "Retry max_backoff must not be less than backoff, 2.0: 1.0."),
        ({"on": ()}, "Retry on must be a class of Exception, or a tuple of several, not ()."),
        ({"on": OSError("no")}, "Retry on must be a class of Exception, or a tuple of several, not OSError('no')."),
        ({"on": BaseException}, "Retry on must be a class of Exception, or a tuple of several, not <class"),
        ({"on": (OSError, KeyboardInterrupt)}, "Retry on must be a class of Exception, or a tuple of several, not ("),
    ],
)
def test_a_bad_retry_is_refused_naming_the_argument_and_the_rule(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        Retry(**arguments)
    assert str(caught.value).startswith(message)


def test_pauses_double_up_to_the_longest_and_jitter_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    retry = Retry(attempts=9, backoff=0.5, max_backoff=3.0, jitter=0.25)
    assert [retry.pause_after(attempt) for attempt in (1, 2, 3, 4, 5, 5000)] == [0.75, 1.25, 2.25, 3.25, 3.25, 3.25]


def test_a_retry_that_is_none_is_refused_when_the_runner_is_registered() -> None:
    with pytest.raises(TypeError, match='Timed job runner "flaky": retry must be a Retry, not 3'):
        jobs_with(noop, 3)  # type: ignore[arg-type] # on purpose


# In a tick


async def test_a_runner_that_fails_is_tried_again_after_pauses_and_then_the_next_one_runs(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    flaky = failing(2)
    conductor, journal = make_conductor(jobs_with(flaky, Retry(attempts=4, backoff=1.5)), autostart=False)
    start = trio.current_time()
    await nursery.start(conductor.run)
    tick = await conductor.run_tick()
    assert [began - start for began in flaky.began] == [0.0, 1.75, 5.0]
    assert (tick.decision, tick.runner_count, tick.failed_runner_count) == ("scheduled", 2, 0)
    assert [(entry.runner, entry.stage) for entry in journal.entries if entry.batch_id == tick.batch_id] == [
        (FRAMEWORK, "tick_started"),
        *(("flaky", stage) for stage in ("runner_started", "runner_retrying") * 2),
        *((runner, stage) for runner in ("flaky", "next") for stage in ("runner_started", "runner_completed")),
        (FRAMEWORK, "tick_completed"),
    ]
    assert [
        (entry.result, entry.error, entry.duration_ms, entry.details) for entry in journal.all("runner_retrying")
    ] == [
        ("failed", "no route", 250, {"attempt": 1, "attempts": 4, "retry_in_ms": 1500}),
        ("failed", "no route", 250, {"attempt": 2, "attempts": 4, "retry_in_ms": 3000}),
    ]
    completed = journal.one("tick_completed")
    assert completed.result == "scheduled"
    assert completed.details == {
        "failed_runner_count": 0,
        "runner_count": 2,
        "successful_runner_count": 2,
        "trigger": "manual",
    }
    await conductor.stop()


async def test_only_the_last_failure_counts_and_the_next_tick_counts_anew(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    flaky = failing(3)
    conductor, journal = make_conductor(jobs_with(flaky, Retry(attempts=2, backoff=0.0)), autostart=False)
    await nursery.start(conductor.run)
    tick = await conductor.run_tick()
    assert (tick.decision, tick.failed_runner_count) == ("scheduled", 1)
    failed = journal.one("runner_failed")
    assert (failed.result, failed.error, failed.duration_ms) == ("failed", "no route", 250)
    assert failed.details == {"attempt": 2, "attempts": 2}
    assert journal.one("tick_completed").result == "completed_with_failures"
    assert journal.one("tick_completed").details["successful_runner_count"] == 1
    assert (await conductor.run_tick()).failed_runner_count == 0
    assert [entry.details["attempt"] for entry in journal.all("runner_retrying")] == [1, 1]
    await conductor.stop()


async def test_each_runner_has_its_own_attempts(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    jobs = TimedJobs()
    for name, times in (("a", 1), ("b", 2), ("c", 3)):
        jobs.register_runner(name, failing(times), retry=Retry(attempts=3, backoff=0.0))
    conductor, journal = make_conductor(jobs, autostart=False)
    await nursery.start(conductor.run)
    assert (await conductor.run_tick()).failed_runner_count == 1
    told = [entry for entry in journal.entries if entry.stage in ("runner_retrying", "runner_failed")]
    assert [(entry.runner, entry.details["attempt"]) for entry in told] == [
        *(("a", 1), ("b", 1), ("b", 2)),
        *(("c", 1), ("c", 2), ("c", 3)),
    ]
    await conductor.stop()


@pytest.mark.parametrize(
    ("error", "is_tried_again"),
    [
        (ConnectionResetError("a kind of OSError"), True),
        (ValueError("bad customer"), False),
        (ExceptionGroup("all of them", [OSError("a"), ExceptionGroup("b", [TimeoutError("b")])]), True),
        (ExceptionGroup("not all of them", [OSError("a"), ValueError("b")]), False),
    ],
    ids=str,
)
async def test_what_is_worth_another_attempt_is_told_by_the_exceptions_class(
    autojump_clock: MockClock, nursery: trio.Nursery, error: Exception, is_tried_again: bool
) -> None:
    flaky = failing(1, lambda: error)
    conductor, journal = make_conductor(jobs_with(flaky, Retry(on=OSError)), autostart=False)
    await nursery.start(conductor.run)
    tick = await conductor.run_tick()
    assert (len(flaky.began), tick.failed_runner_count) == ((2, 0) if is_tried_again else (1, 1))
    if not is_tried_again:
        assert journal.one("runner_failed").details == {"attempt": 1, "attempts": 3}
    await conductor.stop()


async def test_what_a_nursery_raises_is_judged_by_what_it_holds(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def in_a_nursery(ctx: TickContext) -> None:
        began.append(trio.current_time())
        async with trio.open_nursery() as children:
            children.start_soon(trio.sleep_forever)
            raise OSError("no route") if len(began) == 1 else KeyError("customer")

    began: list[float] = []
    conductor, journal = make_conductor(jobs_with(in_a_nursery, Retry(on=OSError)), autostart=False)
    await nursery.start(conductor.run)
    await conductor.run_tick()
    assert journal.one("runner_retrying").error == "Exceptions from Trio nursery: no route"
    assert journal.one("runner_failed").details == {"attempt": 2, "attempts": 3}
    await conductor.stop()


async def test_without_a_retry_nothing_is_tried_again_and_nothing_is_said_of_attempts(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    jobs = TimedJobs()
    jobs.register_runner("fails", failing(1))
    conductor, journal = make_conductor(jobs, autostart=False)
    await nursery.start(conductor.run)
    await conductor.run_tick()
    assert journal.one("runner_failed").details == {}
    await conductor.stop()


async def test_each_attempt_has_the_whole_timeout_and_a_timeout_may_be_worth_another_one(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def slow(ctx: TickContext) -> None:
        began.append(trio.current_time())
        await trio.sleep([3, 3, 2][len(began) - 1])

    began: list[float] = []
    jobs = jobs_with(slow, Retry(backoff=4.0, on=TimeoutError), timeout=2.5)
    conductor, journal = make_conductor(jobs, autostart=False)
    await nursery.start(conductor.run)
    tick = await conductor.run_tick()
    assert [each - began[0] for each in began] == [0.0, 6.5, 17.0]
    assert [(entry.error, entry.duration_ms) for entry in journal.all("runner_retrying")] == [
        ("timed out after 2.5 s", 2500)
    ] * 2
    assert (tick.failed_runner_count, journal.all("runner_completed")[0].duration_ms) == (0, 2000)
    await conductor.stop()


async def test_the_start_of_each_attempt_is_in_the_file_before_its_code_runs(
    autojump_clock: MockClock, nursery: trio.Nursery, tmp_path: Path
) -> None:
    found: list[list[str]] = []

    async def looks(ctx: TickContext) -> None:
        found.append([entry.stage for entry in read_journal(tmp_path) if entry.batch_id == ctx.batch_id])
        if len(found) == 1:
            raise OSError("no route")

    async def looks_in_the_pause() -> None:
        await trio.sleep(5)
        found.append([entry.stage for entry in read_journal(tmp_path)])

    jobs = TimedJobs()
    jobs.register_runner("first", noop)
    jobs.register_runner("looks", looks, retry=Retry(attempts=2, backoff=10.0))
    conductor = Conductor(jobs, store=MemoryLeaseStore(), log_dir=tmp_path, autostart=False)
    await nursery.start(conductor.run)
    nursery.start_soon(looks_in_the_pause)
    await conductor.run_tick()
    first = ["tick_started", "runner_started", "runner_completed", "runner_started"]
    assert found[0] == first
    # A kill in the pause leaves the failure told.
    assert found[1][-1] == "runner_retrying"
    assert found[2] == [*first, "runner_retrying", "runner_started"]
    await conductor.stop()


async def test_a_plain_function_is_tried_again_in_its_thread(nursery: trio.Nursery) -> None:
    def plain(ctx: TickContext) -> None:
        began.append(ctx.term)
        if len(began) == 1:
            raise OSError("no route")

    began: list[int] = []
    conductor, journal = make_conductor(jobs_with(plain, Retry(backoff=0.0)), autostart=False)
    await nursery.start(conductor.run)
    assert (await conductor.run_tick()).failed_runner_count == 0
    assert began == [1, 1]
    assert journal.stages(of="flaky") == ["runner_started", "runner_retrying", "runner_started", "runner_completed"]
    await conductor.stop()


async def test_however_often_a_runner_is_tried_again_the_ones_after_it_run(nursery: trio.Nursery) -> None:
    async def fails(ctx: TickContext) -> None:
        raise OSError("no route")

    jobs = jobs_with(fails, Retry(attempts=20_000, backoff=0.0))
    conductor, journal = make_conductor(jobs, autostart=False)
    await nursery.start(conductor.run)
    await conductor.run_tick()
    assert journal.one("runner_failed").details == {"attempt": 20_000, "attempts": 20_000}
    assert journal.one("runner_completed").runner == "next"
    await conductor.stop()


# Beyond the term


async def test_a_term_that_ends_in_the_pause_ends_the_pause_and_there_is_no_other_attempt(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    store, flaky = NodeStore(MemoryLeaseStore()), failing(99)
    retry = Retry(attempts=9, backoff=60.0)
    conductor, journal = make_conductor(jobs_with(flaky, retry), store, autostart=False)
    start = trio.current_time()
    await nursery.start(conductor.run)
    store.hang()
    tick = await conductor.run_tick()
    assert trio.current_time() == pytest.approx(start + TTL - MARGIN)
    assert (tick.decision, tick.failed_runner_count, len(flaky.began)) == ("interrupted", 0, 1)
    assert [(entry.runner, entry.result) for entry in journal.all("runner_skipped")] == [
        ("flaky", "lease_expired"),
        ("next", "lease_expired"),
    ]
    assert journal.one("tick_interrupted").details["successful_runner_count"] == 0
    nursery.cancel_scope.cancel()


async def test_there_is_no_other_attempt_after_a_suspend_in_the_pause(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def suspend() -> None:
        await trio.sleep(1)
        clock.suspended = TTL

    clock, flaky = SuspendableClock(), failing(99)
    # Shorter than until the lease task looks again, which would end the term.
    conductor, journal = make_conductor(
        jobs_with(flaky, Retry(backoff=2.0)), NodeStore(MemoryLeaseStore()), autostart=False, boot_clock=clock
    )
    await nursery.start(conductor.run)
    nursery.start_soon(suspend)
    assert (await conductor.run_tick()).decision == "interrupted"
    assert len(flaky.began) == 1
    assert [entry.result for entry in journal.all("runner_skipped")] == ["lease_expired"] * 2
    nursery.cancel_scope.cancel()


async def test_what_fails_once_its_term_is_over_is_cancelled_and_not_tried_again(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def fails_in_cleanup(ctx: TickContext) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise OSError("socket already closed")

    store = NodeStore(MemoryLeaseStore())
    conductor, journal = make_conductor(jobs_with(fails_in_cleanup, Retry(backoff=0.0)), store, autostart=False)
    await nursery.start(conductor.run)
    store.hang()
    tick = await conductor.run_tick()
    assert (tick.decision, tick.failed_runner_count) == ("interrupted", 0)
    cancelled = journal.one("runner_cancelled")
    assert (cancelled.result, cancelled.error) == ("lease_expired", "socket already closed")
    assert cancelled.details == {"attempt": 1, "attempts": 3}
    assert journal.stages(of="flaky") == ["runner_started", "runner_cancelled"]
    nursery.cancel_scope.cancel()


async def test_a_drain_waits_for_further_attempts(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    flaky = failing(2)
    retry = Retry(backoff=4.0)
    conductor, journal = make_conductor(jobs_with(flaky, retry), autostart=False, drain_timeout=20.0)
    await nursery.start(conductor.run)
    nursery.start_soon(conductor.run_tick)
    await trio.sleep(1)
    await conductor.stop()
    assert len(flaky.began) == 3
    assert journal.one("tick_completed").result == "scheduled"


async def test_a_drain_that_takes_too_long_cuts_the_pause(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    flaky = failing(2)
    retry = Retry(backoff=4.0)
    conductor, journal = make_conductor(jobs_with(flaky, retry), autostart=False, drain_timeout=5.0)
    await nursery.start(conductor.run)
    nursery.start_soon(conductor.run_tick)
    await trio.sleep(1)
    began = trio.current_time()
    await conductor.stop()
    assert trio.current_time() == began + 5.0
    assert len(flaky.began) == 2
    assert [entry.result for entry in journal.all("runner_skipped")] == ["drain_timeout"] * 2


async def test_an_interrupt_is_never_tried_again_also_beside_a_failure(autojump_clock: MockClock) -> None:
    flaky = failing(9, lambda: BaseExceptionGroup("both", [OSError("no route"), KeyboardInterrupt()]))
    conductor, journal = make_conductor(jobs_with(flaky, Retry(backoff=0.0)), autostart=False)
    with pytest.raises(BaseExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            await nursery.start(conductor.run)
            await conductor.run_tick()
    assert caught.group_contains(KeyboardInterrupt)
    assert len(flaky.began) == 1
    assert journal.one("runner_failed").details == {"attempt": 1, "attempts": 3}


async def test_the_tick_is_said_to_be_at_the_runner_that_it_will_try_again(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    jobs = TimedJobs()
    jobs.register_runner("first", noop)
    jobs.register_runner("flaky", failing(1), retry=Retry(backoff=10.0))
    conductor, _ = make_conductor(jobs, autostart=False)
    await nursery.start(conductor.run)
    nursery.start_soon(conductor.run_tick)
    await trio.sleep(5)
    supervisor = conductor._supervisor
    assert supervisor is not None
    tick = supervisor.ticks.in_flight
    assert tick is not None
    assert tick.label == "runner 'flaky'"
    await conductor.stop()


async def test_a_runner_with_a_schedule_is_tried_again_in_its_own_tick_and_delays_no_other(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    flaky, plain = failing(2), failing(0)
    jobs = TimedJobs(interval=10.0)
    jobs.register_runner("report", flaky, schedule=Every(60.0), retry=Retry(backoff=15.0))
    jobs.register_runner("plain", plain)
    cluster = Cluster()
    conductor, _ = cluster.node(jobs)
    start = trio.current_time()
    await nursery.start(conductor.run)
    await trio.sleep_until(start + 115)
    assert [began - start for began in flaky.began] == [60.0, 75.25, 105.5]
    assert [began - start for began in plain.began] == [10.0 * number for number in range(1, 12)]
    assert [entry.details["attempt"] for entry in cluster.entries("runner_retrying")] == [1, 2]
    (claim,) = await cluster.store.claims(LEASE)
    assert (claim.due_at, claim.result) == (at(60), "completed")
    await conductor.stop()

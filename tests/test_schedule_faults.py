"""Schedules beside a store, a disk or an operator that does what it should not, at the worst moment."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from conductor_jobs import Every, Holder, StaleTerm, TickContext, TimedJobs
from conductor_jobs.journal_files import JournalFiles
from conductor_jobs.runner_records import Claim
from conductor_jobs.testing import HANG, StoreFault

from .scheduled import LEASE, NOON, Cluster, Ledger, at, iso, jobs_of


def never_beside_itself() -> tuple[Ledger, Callable[[TickContext], Any]]:
    """Return a runner of three seconds that fails when it is run beside itself, and what it did."""
    ledger, at_work = Ledger(), set[str]()

    async def run(ctx: TickContext) -> None:
        assert not at_work
        at_work.add(ctx.batch_id)
        try:
            await ledger.runner(3)(ctx)
        finally:
            at_work.clear()

    return ledger, run


async def test_a_run_by_hand_while_an_instant_is_being_claimed_comes_before_it(
    autojump_clock: Any, nursery: Any
) -> None:
    cluster = Cluster()
    ledger, run = never_beside_itself()
    conductor, store = cluster.node(jobs_of("report", run, Every(60)))
    await nursery.start(conductor.run)
    await trio.sleep(59)
    store.fault = lambda call: StoreFault(delay_after=2) if call == "claim" else None
    await trio.sleep(2)
    assert (await conductor.run_now("report")).decision == "scheduled"
    store.fault = None
    await trio.sleep(60)
    assert ledger.runs == [(61, "a", None), (64, "a", 60), (120, "a", 120)]
    assert not cluster.entries("runner_failed")
    await conductor.stop()


async def test_a_run_by_hand_while_a_rerun_is_being_claimed_comes_before_it(autojump_clock: Any, nursery: Any) -> None:
    cluster = Cluster()
    ledger, run = never_beside_itself()
    await cluster.store.acquire(LEASE, Holder("old", "x"), 1.0)
    await cluster.store.claim(LEASE, [Claim("report", at(0), 1)])
    await trio.sleep(5)
    conductor, store = cluster.node(jobs_of("report", run, Every(60), on_crash="rerun"))
    store.fault = lambda call: StoreFault(delay_after=2) if call == "claim" else None
    await nursery.start(conductor.run)
    await conductor.wait_leader()
    await trio.sleep(0.5)
    assert (await conductor.run_now("report")).decision == "scheduled"
    store.fault = None
    await trio.sleep(60)
    assert ledger.due == [None, 0, 60]
    assert not cluster.entries("runner_failed")
    await conductor.stop()


async def test_a_rerun_waits_for_a_run_by_hand_that_was_there_first(autojump_clock: Any, nursery: Any) -> None:
    cluster = Cluster()
    ledger, run = never_beside_itself()
    await cluster.store.acquire(LEASE, Holder("old", "x"), 1.0)
    await cluster.store.claim(LEASE, [Claim("report", at(0), 1)])
    await trio.sleep(5)
    conductor, store = cluster.node(jobs_of("report", run, Every(60), on_crash="rerun"))
    store.fault = lambda call: StoreFault(delay_after=2) if call == "claims" else None
    await nursery.start(conductor.run)
    await conductor.wait_leader()
    began_at = trio.current_time()
    assert (await conductor.run_now("report")).decision == "scheduled"
    await trio.sleep(2)
    assert ledger.runs == [(began_at, "a", None), (began_at + 3, "a", 0)]
    await conductor.stop()


async def lose_the_lease(cluster: Cluster) -> None:
    record = cluster.store._records[LEASE]
    assert record.value is not None
    record.value = msgspec.structs.replace(record.value, released=True)


async def test_a_rerun_waits_for_the_disk_that_is_to_confirm_the_run_of_the_term_before(
    autojump_clock: Any, nursery: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crawl(files: JournalFiles) -> None:
        await trio.sleep(30)

    monkeypatch.setattr(JournalFiles, "sync", crawl)
    cluster = Cluster()
    ledger, run = never_beside_itself()
    conductor, _ = cluster.node(
        jobs_of("report", run, Every(60), on_crash="rerun"), log_dir=tmp_path, journal_sync="tick"
    )
    await nursery.start(conductor.run)
    await trio.sleep(64)
    await lose_the_lease(cluster)
    await trio.sleep(170)
    assert conductor.status().term == 2
    assert ledger.runs == [(60, "a", 60), (93, "a", 60), (126, "a", 120), (180, "a", 180)]
    await conductor.stop()


async def test_the_next_term_of_a_node_waits_for_the_end_that_is_being_told_the_store(
    autojump_clock: Any, nursery: Any
) -> None:
    cluster = Cluster()
    ledger, run = never_beside_itself()
    conductor, store = cluster.node(jobs_of("report", run, Every(60), on_crash="rerun"))
    await nursery.start(conductor.run)
    await trio.sleep(62)
    store.fault = lambda call: StoreFault(delay_before=4) if call == "claim" else None
    await trio.sleep(2)
    await lose_the_lease(cluster)
    await trio.sleep(30)
    assert ledger.runs == [(60, "a", 60), (69, "a", 60)]
    await conductor.stop()


@pytest.mark.parametrize("fault", [HANG, StoreFault(error=OSError("read-only"))], ids=["hangs", "raises"])
async def test_a_store_that_does_not_take_the_end_of_a_run_holds_up_a_stop_no_longer_than_a_drain(
    autojump_clock: Any, nursery: Any, fault: StoreFault
) -> None:
    cluster, ledger = Cluster(), Ledger()
    conductor, store = cluster.node(jobs_of("report", ledger.runner(5), Every(60)), drain_timeout=20)
    await nursery.start(conductor.run)
    await trio.sleep(61)
    store.fault = lambda call: fault if call == "claim" else None
    with trio.fail_after(100):
        await conductor.stop()
    assert trio.current_time() == 81


async def test_nor_does_it_hold_up_what_cancels_the_work(autojump_clock: Any, nursery: Any) -> None:
    cluster, ledger = Cluster(), Ledger()
    conductor, store = cluster.node(jobs_of("report", ledger.runner(5), Every(60)))
    await nursery.start(conductor.run)
    await trio.sleep(61)
    store.fault = lambda call: HANG if call == "claim" else None
    await trio.sleep(5)
    conductor.cancel_work()
    with trio.fail_after(100):
        await conductor.stop()
    assert trio.current_time() == 66


@pytest.mark.parametrize("ended_by", ["stop", "resign"])
async def test_a_disk_that_hangs_after_several_runs_holds_up_no_end(
    autojump_clock: Any, nursery: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended_by: str
) -> None:
    async def hang(files: JournalFiles) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(JournalFiles, "sync", hang)
    cluster, ledger, jobs = Cluster(), Ledger(), TimedJobs(interval=82)
    for name in "xyz":
        jobs.register_runner(name, ledger.runner(), schedule=Every(60))
    jobs.register_runner("plain", ledger.runner())
    conductor, _ = cluster.node(jobs, drain_timeout=20, log_dir=tmp_path, journal_sync="tick")
    await nursery.start(conductor.run)
    await trio.sleep(61)
    with trio.fail_after(100):
        await getattr(conductor, ended_by)()
    assert trio.current_time() == 81
    await conductor.stop()


async def test_a_run_by_hand_after_a_failure_of_the_conductor_is_refused_and_holds_up_nothing(
    autojump_clock: Any,
) -> None:
    async def exits(ctx: TickContext) -> None:
        raise SystemExit(3)

    async def lingers(ctx: TickContext) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(30)

    cluster, ledger, jobs = Cluster(), Ledger(), TimedJobs(interval=50)
    jobs.register_runner("exits", exits, schedule=Every(60))
    jobs.register_runner("quick", ledger.runner(), schedule=Every(3600))
    jobs.register_runner("plain", lingers)
    conductor, _ = cluster.node(jobs)

    async def run() -> None:
        with pytest.raises(SystemExit):
            await conductor.run()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await trio.sleep(65)
        assert (await conductor.run_now("quick")).decision == "skipped_stopping"
    assert trio.current_time() == 80
    assert ledger.runs == []


class Nonsense:
    """A store whose answer to one call is what a function makes of the true one."""

    def __init__(self, store: Any, call: str, answer: Callable[[Any], Any]) -> None:
        self._store, self._call = store, call
        self.answer: Callable[[Any], Any] | None = answer

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._store, name)

        async def call(*arguments: Any, **named: Any) -> Any:
            answer = await real(*arguments, **named)
            return answer if name != self._call or self.answer is None else self.answer(answer)

        return call


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        pytest.param("paused", lambda _: None, id="paused is None"),
        pytest.param("paused", lambda _: [["x"]], id="paused is a list of lists"),
        pytest.param("paused", lambda _: [1, "x"], id="a paused name is a number"),
        pytest.param("paused", lambda _: "report", id="paused is a text"),
        pytest.param("claims", lambda _: None, id="claims is None"),
        pytest.param("claims", lambda _: [None], id="a claim is None"),
        pytest.param("claims", lambda _: [Claim("report", datetime(2026, 1, 1), 1)], id="no time zone"),
        pytest.param("claims", lambda _: [Claim("report", at(-1e10), 1)], id="before 1970"),
        pytest.param("claims", lambda _: [Claim("report", at(0), "1")], id="a term that is a text"),  # type: ignore[arg-type] # on purpose
        pytest.param("claims", lambda _: [Claim(["x"], at(0), 1)], id="a runner that is a list"),  # type: ignore[arg-type] # on purpose
        pytest.param("claims", lambda _: [Claim("report", at(0), 1, "lost")], id="a result of its own"),  # type: ignore[arg-type] # on purpose
        pytest.param("claim", lambda _: None, id="claim returns None"),
        pytest.param("claim", lambda _: True, id="claim returns True"),
        pytest.param("claim", lambda _: [None], id="claim returns a list of None"),
    ],
)
async def test_nonsense_of_a_store_is_a_failure_and_runs_nothing(
    autojump_clock: Any, nursery: Any, call: str, answer: Callable[[Any], Any]
) -> None:
    cluster, ledger = Cluster(), Ledger()
    nonsense: Any = Nonsense(cluster.store, call, answer)
    conductor, store = cluster.node(jobs_of("report", ledger.runner(), Every(60)))
    store._store = nonsense
    await nursery.start(conductor.run)
    await trio.sleep(130)
    assert ledger.runs == []
    (failed,) = cluster.entries("claim_failed")
    assert failed.error is not None
    assert f"{call} returned " in failed.error
    assert (conductor.status().paused, len(conductor.runner_statuses())) == ((), 1)
    nonsense.answer = None
    await trio.sleep(60)
    assert ledger.due[-1] == 180
    await conductor.stop()


@pytest.mark.parametrize(
    "answer",
    [lambda kept: [*kept, *kept], lambda kept: [*kept, Claim("other", at(0), 1)]],
    ids=["twice", "of a runner that nobody asked about"],
)
async def test_claims_that_nobody_asked_for_begin_nothing(
    autojump_clock: Any, nursery: Any, answer: Callable[[Any], Any]
) -> None:
    cluster = Cluster()
    ledger, run = never_beside_itself()
    conductor, store = cluster.node(jobs_of("report", run, Every(60)))
    nonsense: Any = Nonsense(cluster.store, "claim", answer)
    store._store = nonsense
    await cluster.store.acquire(LEASE, Holder("old", "x"), 1.0)
    await cluster.store.claim(LEASE, [Claim("report", at(0), 1)])
    await nursery.start(conductor.run)
    await trio.sleep(130)
    assert ledger.due == [60, 120]
    assert not cluster.entries("runner_failed")
    await conductor.stop()


async def test_by_a_wall_clock_of_before_1970_nothing_is_due_until_it_is_set(autojump_clock: Any, nursery: Any) -> None:
    cluster, ledger = Cluster(), Ledger()
    cluster.wall_clock.step(-NOON.timestamp() - 100)
    conductor, _ = cluster.node(jobs_of("report", ledger.runner(), Every(60), misfire="skip"))
    await nursery.start(conductor.run)
    await trio.sleep(50)
    assert len(conductor.runner_statuses()) == 1
    assert ledger.runs == []
    cluster.wall_clock.step(NOON.timestamp() + 100)
    await trio.sleep(20)
    assert ledger.runs == [(60, "a", 60)]
    await conductor.stop()


async def test_what_became_late_while_the_store_was_asked_who_is_paused_is_a_misfire(
    autojump_clock: Any, nursery: Any
) -> None:
    cluster, ledger = Cluster(), Ledger()
    conductor, store = cluster.node(jobs_of("report", ledger.runner(), Every(60), misfire="skip"))
    await nursery.start(conductor.run)
    await trio.sleep(59)
    store.fault = lambda call: StoreFault(error=OSError("away")) if call == "paused" else None
    await trio.sleep(30)
    store.fault = None
    await trio.sleep(60)
    assert ledger.due == [120]
    await conductor.stop()


async def test_of_two_runs_in_a_row_the_second_may_be_cancelled_first(autojump_clock: Any) -> None:
    async def exits(ctx: TickContext) -> None:
        raise SystemExit(3)

    async def lingers(ctx: TickContext) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(30)

    cluster, jobs = Cluster(), TimedJobs()
    jobs.register_runner("lingers", lingers, schedule=Every(60))
    conductor, store = cluster.node(jobs)

    async def run() -> None:
        with pytest.raises(SystemExit):
            await conductor.run()

    async def run_now() -> None:
        assert (await conductor.run_now("lingers")).decision == "interrupted"

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await trio.sleep(59)
        store.fault = lambda call: StoreFault(delay_after=2) if call == "claim" else None
        await trio.sleep(2)
        nursery.start_soon(run_now)
        await trio.sleep(4)
        store.fault = None
        jobs.register_runner("exits", exits, schedule=Every(1))
    assert trio.current_time() == 91


async def test_a_store_that_calls_the_term_stale_for_a_moment_ends_no_schedule(
    autojump_clock: Any, nursery: Any
) -> None:
    cluster, ledger = Cluster(), Ledger()
    conductor, store = cluster.node(jobs_of("report", ledger.runner(), Every(60)))
    await nursery.start(conductor.run)
    await trio.sleep(59)
    store.fault = lambda call: StoreFault(error=StaleTerm("an old replica")) if call == "claim" else None
    await trio.sleep(2)
    store.fault = None
    await trio.sleep(60)
    assert ledger.due == [60, 120]
    (failed,) = cluster.entries("claim_failed")
    assert failed.error == "StaleTerm: an old replica"
    await conductor.stop()


async def test_an_older_answer_about_pauses_undoes_no_pause_of_this_node(autojump_clock: Any, nursery: Any) -> None:
    cluster, ledger = Cluster(), Ledger()
    jobs = TimedJobs(interval=1)
    jobs.register_runner("plain", ledger.runner())
    conductor, store = cluster.node(jobs)
    await nursery.start(conductor.run)
    # The node asks every five seconds who is paused; this answer is on its way for a second.
    store.fault = lambda call: StoreFault(delay_after=1) if call == "paused" else None
    await trio.sleep(5.5)
    await conductor.pause("plain")
    ledger.runs.clear()
    await trio.sleep(4)
    assert conductor.status().paused == ("plain",)
    assert ledger.runs == []
    await conductor.stop()


async def test_an_older_answer_about_claims_has_nothing_run_again(autojump_clock: Any, nursery: Any) -> None:
    cluster, ledger = Cluster(), Ledger()
    await cluster.store.acquire(LEASE, Holder("old", "x"), 2.0)
    await cluster.store.claim(LEASE, [Claim("report", at(-60), 1, "completed"), Claim("other", at(-60), 1)])
    jobs = jobs_of("report", ledger.runner(), Every(60))
    jobs.register_runner("other", Ledger().runner(), schedule=Every(60), on_crash="rerun")
    conductor, store = cluster.node(jobs)
    await nursery.start(conductor.run)
    store.fault = lambda call: StoreFault(delay_after=4) if call == "claims" else None
    nursery.start_soon(conductor.refresh)
    await trio.sleep(0.5)
    # The other node has begun a run, and is gone before the answer comes in; whoever leads next asks who is paused.
    store.fault = lambda call: StoreFault(delay_after=4) if call == "paused" else None
    await cluster.store.claim(LEASE, [Claim("report", at(0), 1)])
    await conductor.wait_leader()
    await trio.sleep(20)
    assert [each.details["due_at"] for each in cluster.entries("run_unknown", "report")] == [iso(0)]
    assert ledger.due == []
    await conductor.stop()


async def test_an_older_answer_about_pauses_undoes_no_later_one(autojump_clock: Any, nursery: Any) -> None:
    cluster, ledger = Cluster(), Ledger()
    jobs = TimedJobs(interval=1)
    jobs.register_runner("plain", ledger.runner())
    jobs.register_runner("report", Ledger().runner(), schedule=Every(1))
    conductor, store = cluster.node(jobs)
    await trio.sleep(0.3)
    await nursery.start(conductor.run)

    def slow(call: str) -> StoreFault | None:
        # What the node asks every five seconds, and not what it asks before each claim.
        return StoreFault(delay_after=3.9) if call == "paused" and trio.current_time() == pytest.approx(5.3) else None

    store.fault = slow
    await trio.sleep(6)
    await cluster.store.set_paused(LEASE, "plain", True)
    await trio.sleep(1)
    ledger.runs.clear()
    await trio.sleep(10)
    assert ledger.runs == []
    await conductor.stop()


async def test_a_pause_set_here_while_it_is_asked_who_is_paused_hides_none_that_was_set_elsewhere(
    autojump_clock: Any, nursery: Any
) -> None:
    cluster, ledger = Cluster(), Ledger()
    jobs = jobs_of("report", ledger.runner(), Every(60))
    jobs.register_runner("other", Ledger().runner())
    conductor, store = cluster.node(jobs)
    await nursery.start(conductor.run)
    await trio.sleep(59)
    await cluster.store.set_paused(LEASE, "report", True)
    store.fault = lambda call: StoreFault(delay_after=2) if call == "paused" else None
    await trio.sleep(2)
    await conductor.pause("other")
    store.fault = None
    await trio.sleep(10)
    assert ledger.runs == []
    assert conductor.status().paused == ("other", "report")
    await conductor.stop()


async def test_an_older_answer_about_claims_undoes_nothing_that_was_claimed_since(
    autojump_clock: Any, nursery: Any
) -> None:
    cluster, ledger = Cluster(), Ledger()
    conductor, store = cluster.node(jobs_of("report", ledger.runner(), Every(60)))
    await nursery.start(conductor.run)
    await trio.sleep(59)
    store.fault = lambda call: StoreFault(delay_after=3) if call == "claims" else None
    await conductor.refresh()
    (status,) = conductor.runner_statuses()
    assert status.last_claim == Claim("report", at(60), 1, "completed")
    store.fault = None
    await conductor.stop()


@pytest.mark.parametrize("call", ["claims", "paused"])
@pytest.mark.parametrize("end", ["stop", "resign"])
async def test_a_stop_waits_for_no_store_that_is_only_read(
    autojump_clock: Any, nursery: Any, call: str, end: str
) -> None:
    cluster, ledger = Cluster(), Ledger()
    conductor, store = cluster.node(jobs_of("report", ledger.runner(), Every(60)))
    await trio.sleep(59)
    store.fault = lambda each: HANG if each == call else None
    await nursery.start(conductor.run)
    await conductor.wait_leader()
    await trio.sleep(3)
    began = trio.current_time()
    await getattr(conductor, end)()
    assert trio.current_time() == began
    assert ledger.runs == []
    await conductor.stop()

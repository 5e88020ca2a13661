"""Schedules beside a store, a disk or an operator that does what it should not, at the worst moment."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from conductor_jobs import Every, Holder, TickContext, TimedJobs
from conductor_jobs.journal_files import JournalFiles
from conductor_jobs.runner_records import Claim
from conductor_jobs.testing import HANG, StoreFault

from .scheduled import LEASE, Cluster, Ledger, at, jobs_of


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


async def test_a_run_by_hand_while_an_instant_is_being_claimed_is_refused(autojump_clock: Any, nursery: Any) -> None:
    cluster = Cluster()
    ledger, run = never_beside_itself()
    conductor, store = cluster.node(jobs_of("report", run, Every(60)))
    await nursery.start(conductor.run)
    await trio.sleep(59)
    store.fault = lambda call: StoreFault(delay_after=2) if call == "claim" else None
    await trio.sleep(2)
    assert (await conductor.run_now("report")).decision == "skipped_busy"
    store.fault = None
    await trio.sleep(60)
    assert ledger.runs == [(62, "a", 60), (120, "a", 120)]
    assert not cluster.entries("runner_failed")
    await conductor.stop()


async def test_a_run_by_hand_while_a_rerun_is_being_claimed_is_refused(autojump_clock: Any, nursery: Any) -> None:
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
    assert (await conductor.run_now("report")).decision == "skipped_busy"
    store.fault = None
    await trio.sleep(60)
    assert ledger.due == [0, 60]
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

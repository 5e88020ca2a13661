"""Stops that meet something else halfway: a late grant, a lease task that dies, a disk that hangs (I7, I8, I14)."""

from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from conductor_jobs import ConductorStopped, Holder, LeaseGrant, LeaseLost, Term, TickContext
from conductor_jobs.journal_files import JournalFiles
from conductor_jobs.stores.memory import MemoryLeaseStore

from .support import TTL, NodeStore, clings_for, make_conductor, make_jobs, noop

OTHER = Holder("other", "1")


async def test_a_lease_that_a_stop_could_not_keep_from_being_granted_is_only_given_back(
    autojump_clock: MockClock,
) -> None:
    class Unstoppable(NodeStore):
        async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> LeaseGrant:
            with trio.CancelScope(shield=True):
                answers.append(await super().acquire(lease_name, holder, ttl, term=term))
            return answers[-1]

    answers: list[LeaseGrant] = []
    memory = MemoryLeaseStore()
    store = Unstoppable(memory)
    store.delay_before = 4.0
    conductor, journal = make_conductor(make_jobs(noop), store, autostart=False)
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(conductor.run)
        await trio.sleep(1)
        store.delay_before = 0.0
        conductor.request_stop()
    assert trio.current_time() == start + 4
    assert journal.stages() == ["started", "stopping", "lease_released", "stopped"]
    assert (await memory.acquire("conductor", OTHER, TTL)).term == 2


async def test_a_standby_that_is_held_up_in_its_stop_campaigns_no_more(
    autojump_clock: MockClock, nursery: trio.Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(files: JournalFiles) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(JournalFiles, "sync", hang)
    memory = MemoryLeaseStore()
    await memory.acquire("conductor", OTHER, 5)
    store = NodeStore(memory)
    conductor, journal = make_conductor(
        make_jobs(noop), store, autostart=False, log_dir=tmp_path, journal_sync="tick", drain_timeout=20
    )
    await nursery.start(conductor.run)
    nursery.start_soon(conductor.run_tick)
    await trio.sleep(1)
    requested_at = trio.current_time()
    conductor.request_stop()
    await conductor.stop()
    assert trio.current_time() == requested_at + 20
    assert [call for at, call in store.calls if at > requested_at] == ["release"]
    assert journal.all("lease_released") == []


async def test_a_lease_task_that_dies_has_the_work_cancelled_and_waited_for_before_the_release(
    autojump_clock: MockClock,
) -> None:
    clings = clings_for(60)

    async def work() -> None:
        with pytest.raises(LeaseLost, match="cancelled"):
            await conductor.run_as_leader(clings)

    store = NodeStore(MemoryLeaseStore())
    conductor, journal = make_conductor(make_jobs(), store, autostart=False)
    start = trio.current_time()
    with pytest.raises(BaseExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            await nursery.start(conductor.run)
            nursery.start_soon(work)
            await trio.sleep(1)
            store.error = SystemExit()
            await trio.sleep(5)
            store.heal()
    assert caught.group_contains(SystemExit)
    assert [(at - start, call) for at, call in store.calls[-2:]] == [(5, "renew"), (65, "release")]
    assert journal.stages()[-1] == "stopped"


async def test_a_conductor_that_fails_lets_go_of_whoever_asks_for_a_tick_meanwhile(autojump_clock: MockClock) -> None:
    async def exits(ctx: TickContext) -> None:
        raise SystemExit

    async def ask() -> None:
        decisions.append((await conductor.run_tick()).decision)
        # The tick task is gone, and nobody has noticed yet.
        with pytest.raises(ConductorStopped, match="failed with this tick in flight"):
            await conductor.run_tick()
        decisions.append((await conductor.run_tick()).decision)

    decisions: list[str] = []
    store = NodeStore(MemoryLeaseStore())
    conductor, journal = make_conductor(make_jobs(exits), store)
    with pytest.raises(BaseExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            await nursery.start(conductor.run)
            store.delay_before = 1.0
            nursery.start_soon(ask)
    assert caught.group_contains(SystemExit)
    assert decisions == ["interrupted", "skipped_stopping"]
    assert journal.stages()[-1] == "stopped"


async def test_a_service_that_is_offered_to_a_drain_does_not_begin(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def sleeps(ctx: TickContext) -> None:
        await trio.sleep(10)

    async def serve(term: Term) -> None:
        pytest.fail("began in the drain")

    conductor, _ = make_conductor(make_jobs(sleeps), autostart=False)
    await nursery.start(conductor.run)
    nursery.start_soon(conductor.run_tick)
    await trio.sleep(1)
    requested_at = trio.current_time()
    conductor.request_stop()
    await conductor.run_while_leader(serve)
    assert trio.current_time() == requested_at + 9


async def test_cancelling_the_work_cuts_a_drain_at_once(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    async def sleeps(ctx: TickContext) -> None:
        await trio.sleep_forever()

    conductor, journal = make_conductor(make_jobs(sleeps, noop), autostart=False, drain_timeout=20)
    await nursery.start(conductor.run)
    nursery.start_soon(conductor.run_tick)
    await trio.sleep(1)
    requested_at = trio.current_time()
    conductor.request_stop()
    await trio.sleep(3)
    conductor.cancel_work()
    await conductor.stop()
    assert trio.current_time() == requested_at + 3
    assert [journal.one(stage).result for stage in ("runner_cancelled", "runner_skipped", "tick_interrupted")] == [
        "cancelled"
    ] * 3
    assert journal.one("leader_ended").result == "released"


async def test_a_drain_lets_the_disk_confirm_the_tick_that_has_just_ended(
    autojump_clock: MockClock, nursery: trio.Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def confirm_slowly(files: JournalFiles) -> None:
        await trio.sleep(3)
        confirmed_at.append(trio.current_time())

    confirmed_at: list[float] = []
    monkeypatch.setattr(JournalFiles, "sync", confirm_slowly)
    conductor, _ = make_conductor(make_jobs(noop), autostart=False, log_dir=tmp_path, journal_sync="tick")
    start = trio.current_time()
    await nursery.start(conductor.run)
    nursery.start_soon(conductor.run_tick)
    await trio.sleep(1)
    await conductor.stop()
    assert confirmed_at == [start + 3]
    assert trio.current_time() == start + 3


async def test_a_term_that_a_stop_found_idle_is_over_because_it_was_released(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    conductor, _ = make_conductor(make_jobs(noop), autostart=False)
    await nursery.start(conductor.run)
    term = await conductor.wait_leader()
    await conductor.stop()
    assert term.over == "released"

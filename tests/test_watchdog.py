"""Work that is still at work when its lease has run out is told of while it is, by a thread, and once."""

import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock

from conductor_jobs import Conductor, Holder, LeaseLost, LeaseTiming, TickContext
from conductor_jobs import watchdog as watchdog_module
from conductor_jobs.clocks import boot_time
from conductor_jobs.stores.memory import MemoryLeaseStore
from conductor_jobs.watchdog import Overrun, Watchdog

from .support import ListJournal, NodeStore, make_conductor, make_jobs, noop

TIMING = LeaseTiming(ttl=0.6)
THREAD = "conductor-jobs watchdog"


class Node:
    """A conductor in real time, its store, and what it tells."""

    def __init__(self, *runners: Any, timing: LeaseTiming = TIMING, **settings: Any) -> None:
        self.store = NodeStore(MemoryLeaseStore())
        self.conductor: Conductor
        self.journal: ListJournal
        self.conductor, self.journal = make_conductor(
            make_jobs(*runners), self.store, timing=timing, autostart=False, boot_clock=boot_time, **settings
        )

    def told(self) -> bool:
        """Whether a report is complete: the journal has it last."""
        return bool(self.journal.all("term_overrun"))

    def lose_lease(self) -> None:
        self.store.error = ConnectionError("gone")

    async def have_one_tick(self) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(self.conductor.run)
            await self.conductor.run_tick()
            self.store.heal()
            self.conductor.request_stop()


def block_until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.005)


async def sleep_until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(60), trio.CancelScope(shield=True):
        while not condition():
            await trio.sleep(0.005)


def looks_of(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """Note each time the watchdog wakes and looks, and for how long it will sleep then."""
    looks: list[float | None] = []
    look = Watchdog._look

    def noted(watchdog: Watchdog) -> float | None:
        looks.append(look(watchdog))
        return looks[-1]

    monkeypatch.setattr(Watchdog, "_look", noted)
    return looks


def watchdog_threads() -> int:
    return sum(1 for thread in threading.enumerate() if thread.name == THREAD)


async def test_a_runner_that_blocks_the_loop_is_reported_with_its_stack_while_it_does(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def blocks(ctx: TickContext) -> None:
        block_until(node.told)
        seen.extend(node.conductor.status().overruns)
        heard.append(capsys.readouterr().err)

    seen: list[Overrun] = []
    heard: list[str] = []
    node = Node(noop, blocks)
    await node.have_one_tick()
    ((overrun,), (stderr,)) = seen, heard
    assert (overrun.work, overrun.term, overrun.loop_blocked) == ("runner 'blocks'", 1, True)
    assert overrun.seconds > 0
    assert overrun.stack[0].startswith(f"{__file__}:")
    assert overrun.stack[0].endswith(" in blocks: block_until(node.told)")
    assert " in block_until: " in overrun.stack[1]
    running, ended = node.journal.all("term_overrun")
    assert (running.result, ended.result) == ("running", "ended")
    assert running.runner == "timed-jobs.lease"
    assert running.details["work"] == "runner 'blocks'"
    assert running.details["stack"] == overrun.stack
    assert (running.details["term"], running.details["holder_id"]) == (1, "mini-main")
    assert ended.details["overrun_ms"] >= running.details["overrun_ms"] > 0
    assert "conductor-jobs: runner 'blocks' is still at work " in stderr
    assert "s after term 1 of lease 'conductor' has run out, and the loop is blocked:\n    " in stderr
    assert "".join(f"\n    {line}" for line in overrun.stack) in stderr
    status = node.conductor.status()
    assert (status.overruns, status.overrun_count) == ((), 1)


async def test_a_runners_thread_is_reported_with_its_own_stack_though_the_loop_turns() -> None:
    def works_on(ctx: TickContext) -> None:
        node.lose_lease()
        block_until(node.told)
        seen.extend(node.conductor.status().overruns)

    seen: list[Overrun] = []
    node = Node(works_on)
    await node.have_one_tick()
    (overrun,) = seen
    assert (overrun.work, overrun.loop_blocked) == ("runner 'works_on'", False)
    assert " in works_on: " in overrun.stack[0]


async def test_a_cleanup_that_outlives_its_lease_is_reported_with_the_stack_of_its_task() -> None:
    async def cleans_up(ctx: TickContext) -> None:
        node.lose_lease()
        try:
            await trio.sleep_forever()
        finally:
            await sleep_until(node.told)
            seen.extend(node.conductor.status().overruns)

    seen: list[Overrun] = []
    node = Node(cleans_up)
    await node.have_one_tick()
    (overrun,) = seen
    assert (overrun.work, overrun.loop_blocked) == ("runner 'cleans_up'", False)
    assert overrun.stack[0].endswith(" in cleans_up: await sleep_until(node.told)")
    assert " in sleep_until: await trio.sleep(" in overrun.stack[1]
    assert node.journal.one("runner_cancelled").result == "lease_expired"


async def test_the_tasks_that_a_runner_started_are_named_each_with_its_stack() -> None:
    async def cleans_up() -> None:
        try:
            await trio.sleep_forever()
        finally:
            await sleep_until(node.told)
            seen.extend(node.conductor.status().overruns)

    async def starts_another(ctx: TickContext) -> None:
        node.lose_lease()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cleans_up)

    seen: list[Overrun] = []
    node = Node(starts_another)
    await node.have_one_tick()
    (overrun,) = seen
    own, child = (
        overrun.stack[0],
        overrun.stack[overrun.stack.index(f"{cleans_up.__module__}.{cleans_up.__qualname__}:") + 1],
    )
    assert " in starts_another: " in own
    assert " in cleans_up: await sleep_until(node.told)" in child


@pytest.mark.parametrize("method", ["run_as_leader", "run_while_leader"])
async def test_leaders_work_beside_the_ticks_is_named_by_its_function(method: str) -> None:
    async def publishes(term: object) -> None:
        block_until(node.told)
        seen.extend(node.conductor.status().overruns)

    async def work() -> None:
        result: Awaitable[object] = getattr(node.conductor, method)(publishes)
        await result

    seen: list[Overrun] = []
    node = Node()
    async with trio.open_nursery() as nursery:
        await nursery.start(node.conductor.run)
        nursery.start_soon(work)
        with trio.fail_after(60):
            while not seen:
                await trio.sleep(0.01)
        node.conductor.request_stop()
    (overrun,) = seen
    assert overrun.work == f"{method}({publishes.__qualname__})"
    assert " in publishes: block_until(node.told)" in overrun.stack[0]


async def test_work_that_only_waits_is_not_blamed_for_work_that_blocks_the_loop() -> None:
    async def waits(term: object) -> None:
        await trio.sleep_forever()

    async def beside() -> None:
        with pytest.raises(LeaseLost):
            await node.conductor.run_as_leader(waits)

    async def blocks(ctx: TickContext) -> None:
        await trio.lowlevel.checkpoint()
        block_until(node.told)
        seen.extend(node.conductor.status().overruns)

    seen: list[Overrun] = []
    node = Node(blocks)
    async with trio.open_nursery() as nursery:
        await nursery.start(node.conductor.run)
        nursery.start_soon(beside)
        await trio.lowlevel.checkpoint()
        await node.conductor.run_tick()
        node.conductor.request_stop()
    assert [overrun.work for overrun in seen] == ["runner 'blocks'"]


async def test_where_other_code_blocks_the_loop_the_stack_shows_that_code() -> None:
    async def waits(ctx: TickContext) -> None:
        waiting.set()
        await trio.sleep_forever()

    def some_library() -> None:
        block_until(node.told)
        seen.extend(node.conductor.status().overruns)

    seen: list[Overrun] = []
    waiting = trio.Event()
    node = Node(waits)
    async with trio.open_nursery() as nursery:
        await nursery.start(node.conductor.run)
        nursery.start_soon(node.conductor.run_tick)
        await waiting.wait()
        some_library()
        node.conductor.request_stop()
    (overrun,) = seen
    assert (overrun.work, overrun.loop_blocked) == ("runner 'waits'", True)
    assert overrun.stack[0] == "the loop, in other code:"
    assert any(" in some_library: " in line for line in overrun.stack)


async def test_work_is_reported_once_however_long_it_lasts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def blocks(ctx: TickContext) -> None:
        block_until(node.told)
        already = len(looks)
        block_until(lambda: len(looks) >= already + 20)

    monkeypatch.setattr(watchdog_module, "_NEXT_LOOK", 0.005)
    looks = looks_of(monkeypatch)
    node = Node(blocks)
    await node.have_one_tick()
    assert [entry.result for entry in node.journal.all("term_overrun")] == ["running", "ended"]
    assert capsys.readouterr().err.count("is still at work") == 1


async def test_the_next_term_is_watched_as_the_first_was() -> None:
    async def blocks(ctx: TickContext) -> None:
        reports = len(node.journal.all("term_overrun"))
        block_until(lambda: len(node.journal.all("term_overrun")) > reports)

    node = Node(blocks)
    async with trio.open_nursery() as nursery:
        await nursery.start(node.conductor.run)
        for number in (1, 2):
            await node.conductor.wait_leader()
            await node.conductor.run_tick()
            assert [entry.details["term"] for entry in node.journal.all("term_overrun")][-1] == number
            with trio.fail_after(60):
                while node.journal.all("term_overrun")[-1].result != "ended":
                    await trio.sleep(0.01)
        node.conductor.request_stop()


async def test_while_all_is_well_it_wakes_about_once_a_ttl(monkeypatch: pytest.MonkeyPatch) -> None:
    async def busy(ctx: TickContext) -> None:
        await trio.lowlevel.checkpoint()

    looks = looks_of(monkeypatch)
    node = Node(busy, timing=LeaseTiming(ttl=2.0, renew_interval=0.02))
    async with trio.open_nursery() as nursery:
        await nursery.start(node.conductor.run)
        began = time.monotonic()
        with trio.fail_after(150):
            while node.store.count("renew") < 120:
                await node.conductor.run_tick()
                await trio.sleep(0.001)
        # A wake for each renewal or tick would be a hundred and more.
        woken, ttls = len(looks), (time.monotonic() - began) / 2.0
        node.conductor.request_stop()
    assert 2 <= woken <= 4 + 2 * ttls
    assert node.journal.all("term_overrun") == []


async def test_a_standby_has_no_watchdog_and_a_leaders_ends_with_the_run() -> None:
    standby, leader = Node(), Node()
    await standby.store._store.acquire("conductor", Holder("other", "1"), 1000)
    async with trio.open_nursery() as nursery:
        await nursery.start(standby.conductor.run)
        assert watchdog_threads() == 0
        await nursery.start(leader.conductor.run)
        assert watchdog_threads() == 1
        standby.conductor.request_stop()
        leader.conductor.request_stop()
    assert watchdog_threads() == 0


async def test_once_the_lease_is_lost_it_sleeps_until_the_next_term(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = looks_of(monkeypatch)
    node = Node()
    async with trio.open_nursery() as nursery:
        await nursery.start(node.conductor.run)
        node.lose_lease()
        with trio.fail_after(60):
            while None not in looks:
                await trio.sleep(0.01)
        node.store.heal()
        await node.conductor.wait_leader()
        with trio.fail_after(60):
            while looks[-1] is None:
                await trio.sleep(0.01)
        node.conductor.request_stop()


async def test_in_virtual_time_there_is_no_watchdog(autojump_clock: MockClock) -> None:
    nodes = [Node(timing=LeaseTiming()) for _ in range(20)]
    async with trio.open_nursery() as nursery:
        for node in nodes:
            await nursery.start(node.conductor.run)
        await trio.sleep(100)
        assert watchdog_threads() == 0
        for node in nodes:
            node.conductor.request_stop()


async def test_a_terminal_that_hangs_holds_up_no_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hanging:
        def write(self, text: str) -> None:
            hangs.set()
            scrolls.wait(30)

        def flush(self) -> None:
            pass

    async def blocks(ctx: TickContext) -> None:
        block_until(hangs.is_set)
        # The status has it already.
        seen.extend(node.conductor.status().overruns)

    seen: list[Overrun] = []
    hangs, scrolls = threading.Event(), threading.Event()
    monkeypatch.setattr(watchdog_module, "_PATIENCE", 0.05)
    monkeypatch.setattr(sys, "stderr", Hanging())
    node = Node(blocks)
    await node.have_one_tick()
    assert [overrun.work for overrun in seen] == ["runner 'blocks'"]
    assert node.journal.stages()[-1] == "stopped"
    scrolls.set()
    block_until(lambda: watchdog_threads() == 0)

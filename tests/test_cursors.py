"""Cursors: how far a runner has come, kept in the lease store, fenced, and to be had on the loop and in threads."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from conductor_jobs import Holder, LeaseStore, StaleTerm, TickContext, TimedJobs, run_in_thread
from conductor_jobs.stores.memory import MemoryLeaseStore
from conductor_jobs.testing import HANG, FaultyLeaseStore, StoreFault, threads_inline

from .support import MARGIN, STORE_TIMEOUT, TTL, ListJournal, NodeStore, make_conductor, make_jobs

OTHER = Holder("other", "1")
NO_LOOP = (
    "ctx.{0}() is to be awaited on the conductor's loop; this is a thread, or another loop: call ctx.{0}_sync() here."
)


async def ticked(
    *runners: Callable[[TickContext], Any], store: LeaseStore | None = None, **settings: Any
) -> ListJournal:
    """Run one tick of the runners, in a run of a conductor of its own, and return its journal."""
    conductor, journal = make_conductor(make_jobs(*runners), store, autostart=False, **settings)
    async with trio.open_nursery() as nursery:
        await nursery.start(conductor.run)
        await conductor.wait_leader()
        await conductor.run_tick()
        conductor.request_stop()
    return journal


def failure(journal: ListJournal) -> str | None:
    return journal.one("runner_failed").error


# Kept


async def test_a_cursor_is_there_in_the_next_tick_the_next_term_and_after_a_restart(nursery: trio.Nursery) -> None:
    async def counts(ctx: TickContext) -> None:
        cursor = await ctx.load_cursor()
        seen.append((ctx.term, cursor))
        await ctx.save_cursor(f"message:{len(seen)}")

    seen: list[tuple[int, str | None]] = []
    store = MemoryLeaseStore()
    conductor, _ = make_conductor(make_jobs(counts), store, autostart=False)
    await nursery.start(conductor.run)
    await conductor.run_tick()
    await conductor.run_tick()
    await conductor.stop()
    await ticked(counts, store=store)
    assert seen == [(1, None), (1, "message:1"), (2, "message:2")]


async def test_each_runner_of_each_lease_has_its_own_cursor() -> None:
    async def one(ctx: TickContext) -> None:
        found.append((ctx.runner, await ctx.load_cursor()))
        await ctx.save_cursor(f"{ctx.runner} of {lease_name}")

    async def two(ctx: TickContext) -> None:
        await one(ctx)

    found: list[tuple[str, str | None]] = []
    store = MemoryLeaseStore()
    for lease_name in ("a", "b", "a"):
        await ticked(one, two, store=store, lease_name=lease_name)
    assert found == [("one", None), ("two", None)] * 2 + [("one", "one of a"), ("two", "two of a")]


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize("cursor", ["", "{}", "zürich \U0001f552\r\n", "x" * 2_000_000, Text("a")], ids=len)
async def test_a_cursor_is_any_text(cursor: str) -> None:
    async def saves(ctx: TickContext) -> None:
        await ctx.save_cursor(cursor)

    def loads(ctx: TickContext) -> None:
        found.append(trio.from_thread.run(store.load_cursor, "conductor", "saves"))

    found: list[str | None] = []
    store = MemoryLeaseStore()
    await ticked(saves, loads, store=store)
    assert found == [cursor]
    assert type(found[0]) is str


@pytest.mark.parametrize(
    ("cursor", "error"),
    [
        (None, "must be a text, not None."),
        (5, "must be a text, not 5."),
        (b"5", "must be a text, not b'5'."),
        ("ab\0c", "must be a text that UTF-8 can hold, without NUL, but its character 2 is '\\x00'."),
        ("\ud800", "must be a text that UTF-8 can hold, without NUL, but its character 0 is '\\ud800'."),
    ],
)
async def test_what_no_store_could_keep_is_refused_before_one_is_asked(cursor: Any, error: str) -> None:
    async def on_loop(ctx: TickContext) -> None:
        await ctx.save_cursor(cursor)

    def in_thread(ctx: TickContext) -> None:
        ctx.save_cursor_sync(cursor)

    store = FaultyLeaseStore(MemoryLeaseStore())
    journal = await ticked(on_loop, in_thread, store=store)
    assert [entry.error for entry in journal.all("runner_failed")] == [f"ctx.save_cursor: cursor {error}"] * 2
    assert "save_cursor" not in [call for _, call in store.calls]


async def test_a_store_without_cursors_is_named() -> None:
    async def loads(ctx: TickContext) -> None:
        await ctx.load_cursor()

    def saves(ctx: TickContext) -> None:
        ctx.save_cursor_sync("a")

    journal = await ticked(loads, saves, store=NodeStore(MemoryLeaseStore()))
    assert [entry.error for entry in journal.all("runner_failed")] == [
        "NodeStore keeps no cursors: it has no load_cursor and save_cursor."
    ] * 2


# Fenced


async def test_a_save_from_an_older_term_is_refused_and_changes_nothing() -> None:
    async def is_superseded(ctx: TickContext) -> None:
        await ctx.save_cursor("before")
        holder = Holder("mini-main", incarnations[-1])
        await memory.release("conductor", holder)
        await memory.acquire("conductor", OTHER, TTL)
        try:
            await ctx.save_cursor("after")
        except StaleTerm:
            found.append(await ctx.load_cursor())
            raise

    class Memory(MemoryLeaseStore):  # type: ignore[misc] # it is final; here it tells who asks
        async def acquire(self, lease_name: str, holder: Holder, *args: Any, **more: Any) -> Any:
            incarnations.append(holder.incarnation)
            return await super().acquire(lease_name, holder, *args, **more)

    incarnations: list[str] = []
    found: list[str | None] = []
    memory = Memory()
    journal = await ticked(is_superseded, store=memory)
    assert failure(journal) == "a write under term 1 of lease 'conductor' was refused: its term is 2"
    assert found == ["before"]


@pytest.mark.parametrize("method", ["load_cursor", "save_cursor", "load_cursor_sync", "save_cursor_sync"])
async def test_once_the_term_is_over_the_store_is_not_asked(mock_clock: MockClock, method: str) -> None:
    def call(ctx: TickContext) -> Any:
        mock_clock.jump(TTL)
        return getattr(ctx, method)(*(["a"] if "save" in method else []))

    async def on_loop(ctx: TickContext) -> None:
        await call(ctx)

    def in_thread(ctx: TickContext) -> None:
        call(ctx)

    store = FaultyLeaseStore(MemoryLeaseStore())
    journal = await ticked(in_thread if method.endswith("sync") else on_loop, store=store)
    cancelled = journal.one("runner_cancelled")
    assert (cancelled.result, cancelled.error) == (
        *("lease_expired", "term 1 of lease 'conductor' is over: lease_expired"),
    )
    assert not {"load_cursor", "save_cursor"} & {call for _, call in store.calls}


# Bounded


@pytest.mark.parametrize("call", ["load_cursor", "save_cursor"])
async def test_a_store_that_hangs_is_given_up_after_the_store_timeout(autojump_clock: MockClock, call: str) -> None:
    async def asks(ctx: TickContext) -> None:
        began = trio.current_time()
        try:
            await (ctx.load_cursor() if call == "load_cursor" else ctx.save_cursor("a"))
        except TimeoutError:
            took.append(trio.current_time() - began)
            raise

    took: list[float] = []
    store = FaultyLeaseStore(MemoryLeaseStore())
    store.fault = lambda each: HANG if each == call else None
    journal = await ticked(asks, store=store)
    assert took == [STORE_TIMEOUT]
    assert failure(journal) == "the lease store gave no answer within 5 s"
    assert journal.one("tick_completed").result == "completed_with_failures"


async def test_what_a_store_raises_comes_out_as_it_is_and_it_was_asked_once() -> None:
    async def on_loop(ctx: TickContext) -> None:
        with pytest.raises(RuntimeError) as caught:
            await ctx.load_cursor()
        raised.append(caught.value)

    def in_thread(ctx: TickContext) -> None:
        with pytest.raises(RuntimeError) as caught:
            ctx.load_cursor_sync()
        raised.append(caught.value)

    raised: list[Exception] = []
    error = RuntimeError("connection pool is closed")
    store = FaultyLeaseStore(MemoryLeaseStore())
    store.fault = lambda call: StoreFault(error=error) if call == "load_cursor" else None
    await ticked(on_loop, in_thread, store=store)
    assert raised == [error, error]
    assert [call for _, call in store.calls].count("load_cursor") == 2


async def test_what_a_store_loads_must_be_a_text() -> None:
    async def asks(ctx: TickContext) -> None:
        await ctx.load_cursor()

    store = MemoryLeaseStore()
    store._cursors["conductor", "asks"] = b"5"  # type: ignore[assignment] # on purpose
    assert failure(await ticked(asks, store=store)) == ("MemoryLeaseStore.load_cursor returned b'5', which is no text")


class HangingStore:
    """Lets a moment come, and then keeps a save waiting for ever."""

    def __init__(self, come: Callable[[], object]) -> None:
        self._memory = MemoryLeaseStore()
        self._come = come
        self.acquire = self._memory.acquire
        self.release = self._memory.release
        self.load_cursor = self._memory.load_cursor

    async def save_cursor(self, lease_name: str, runner: str, term: int, cursor: str) -> None:
        self._come()
        await trio.sleep_forever()


async def test_a_term_that_ends_while_a_thread_waits_for_its_cursor_ends_the_waiting(mock_clock: MockClock) -> None:
    def waits(ctx: TickContext) -> None:
        try:
            ctx.save_cursor_sync("a")
        except BaseException as error:
            raised.append(type(error))
            raise

    raised: list[type[BaseException]] = []
    journal = await ticked(waits, store=HangingStore(lambda: mock_clock.jump(TTL - MARGIN)))
    assert journal.one("runner_cancelled").result == "lease_expired"
    assert raised == [trio.Cancelled]


async def test_the_time_of_a_runner_that_is_up_while_its_thread_waits_for_the_cursor_ends_the_waiting(
    mock_clock: MockClock, nursery: trio.Nursery
) -> None:
    def waits(ctx: TickContext) -> None:
        ctx.save_cursor_sync("a")

    jobs = TimedJobs()
    jobs.register_runner("waits", waits, timeout=2.0)
    conductor, journal = make_conductor(jobs, HangingStore(lambda: mock_clock.jump(2.0)), autostart=False)
    await nursery.start(conductor.run)
    await conductor.run_tick()
    assert failure(journal) == "timed out after 2 s"
    await conductor.stop()


# On the loop, and in threads


async def test_a_plain_function_has_cursors_in_its_thread() -> None:
    def counts(ctx: TickContext) -> None:
        seen.append(ctx.load_cursor_sync())
        ctx.save_cursor_sync("message:1")
        seen.append(ctx.load_cursor_sync())

    seen: list[str | None] = []
    store = MemoryLeaseStore()
    await ticked(counts, store=store)
    await ticked(counts, store=store)
    assert seen == [None, "message:1", "message:1", "message:1"]


async def test_any_thread_has_cursors_by_the_loop_of_the_conductor() -> None:
    class Memory(MemoryLeaseStore):  # type: ignore[misc] # it is final; here it tells where it is asked
        async def load_cursor(self, lease_name: str, runner: str) -> str | None:
            runs.add(trio.lowlevel.current_trio_token())
            return await super().load_cursor(lease_name, runner)

    def work(ctx: TickContext) -> None:
        ctx.save_cursor_sync(f"{ctx.load_cursor_sync()}+")

    async def in_threads_of_trios(ctx: TickContext) -> None:
        await trio.to_thread.run_sync(work, ctx)
        await trio.to_thread.run_sync(work, ctx, abandon_on_cancel=True)
        await trio.to_thread.run_sync(trio.from_thread.run, lambda: save_twice(ctx))

    async def save_twice(ctx: TickContext) -> None:
        await ctx.save_cursor(f"{await ctx.load_cursor()}++")

    def in_threads_of_others(ctx: TickContext) -> None:
        thread = threading.Thread(target=work, args=(ctx,))
        thread.start()
        thread.join()
        trio.run(trio.to_thread.run_sync, work, ctx)

    runs: set[trio.lowlevel.TrioToken] = set()
    store = Memory()
    journal = await ticked(in_threads_of_trios, in_threads_of_others, store=store)
    assert journal.all("runner_failed") == []
    assert runs == {trio.lowlevel.current_trio_token()}
    assert await store.load_cursor("conductor", "in_threads_of_trios") == "None++++"
    assert await store.load_cursor("conductor", "in_threads_of_others") == "None++"


def test_runners_of_a_conductor_in_a_thread_of_its_own_have_cursors() -> None:
    async def on_loop(ctx: TickContext) -> None:
        await ctx.save_cursor("a")
        seen.append(await ctx.load_cursor())

    def in_thread(ctx: TickContext) -> None:
        ctx.save_cursor_sync("b")
        seen.append(ctx.load_cursor_sync())
        done.set()

    seen: list[str | None] = []
    done = threading.Event()
    conductor, _ = make_conductor(make_jobs(on_loop, in_thread, interval=0.01))
    with run_in_thread(conductor):
        assert done.wait(60)
    assert seen[:2] == ["a", "b"]


@pytest.mark.parametrize("method", ["load_cursor", "save_cursor"])
async def test_what_is_to_be_awaited_says_so_in_a_thread_and_on_another_loop(method: str) -> None:
    def forgets_to_await(ctx: TickContext) -> None:
        call(ctx)

    def runs_trio(ctx: TickContext) -> None:
        trio.run(call, ctx)

    def runs_asyncio(ctx: TickContext) -> None:
        async def main() -> None:
            await call(ctx)

        asyncio.run(main())

    def call(ctx: TickContext) -> Awaitable[object]:
        return ctx.load_cursor() if method == "load_cursor" else ctx.save_cursor("a")

    journal = await ticked(forgets_to_await, runs_trio, runs_asyncio)
    assert [entry.error for entry in journal.all("runner_failed")] == [NO_LOOP.format(method)] * 3


@pytest.mark.parametrize("method", ["load_cursor", "save_cursor"])
async def test_what_blocks_says_so_on_the_loop(method: str) -> None:
    def blocks(ctx: TickContext) -> None:
        ctx.load_cursor_sync() if method == "load_cursor" else ctx.save_cursor_sync("a")

    async def on_loop(ctx: TickContext) -> None:
        blocks(ctx)

    assert failure(await ticked(on_loop)) == (
        f"ctx.{method}_sync() would block the loop: use `await ctx.{method}()` here."
    )
    with threads_inline():
        journal = await ticked(blocks)
    assert failure(journal) == (
        f"ctx.{method}_sync() needs a thread to wait in, and under threads_inline() a plain runner has none: test it "
        f"without, or by a tick_context(cursor=...). An async runner awaits ctx.{method}()."
    )

"""Faults that were found by reviewing and torturing the engine, each as the test that showed it."""

import dataclasses
import os
import re
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, cast

import click
import msgspec
import pytest
import trio
from msgspec import structs
from trio.testing import MockClock

from conductor_jobs import (
    Conductor,
    ConductorStopped,
    Holder,
    JournalEntry,
    LeaseGrant,
    LeaseStore,
    Node,
    RunnerResult,
    Term,
    TickContext,
    TimedJobs,
    cli,
    read_journal,
    run_in_thread,
)
from conductor_jobs.errors import Unusable
from conductor_jobs.failures import split_failure
from conductor_jobs.journal_format import decode_line, encode_line
from conductor_jobs.stores.memory import MemoryLeaseStore
from conductor_jobs.stores.sqlite import SQLiteLeaseStore
from conductor_jobs.terminal import person_line
from conductor_jobs.testing import MockWallClock

from .strategies import Aloof, Closed, Impostor, Wordy, deep_group
from .support import NodeStore, WatchingNodeStore, blocked_fdatasync, make_conductor, make_jobs, noop

TS = "2026-04-01T00:00:00.000Z"


async def test_a_log_folder_that_cannot_be_written_leaves_no_half_running_conductor(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    conductor, _ = make_conductor(make_jobs(noop), log_dir=tmp_path / "file" / "logs")
    for _ in range(2):
        with pytest.raises(Unusable, match="log_dir"):
            await conductor.run()
        assert not conductor.started
        with pytest.raises(RuntimeError, match="not running"):
            await conductor.run_tick()


async def test_a_users_predicate_that_raises_costs_neither_lease_nor_stop(
    autojump_clock: MockClock, nursery: trio.Nursery, capsys: pytest.CaptureFixture[str]
) -> None:
    memory = MemoryLeaseStore()
    conductor, journal = make_conductor(make_jobs(noop), memory, autostart=False)
    await nursery.start(conductor.run)
    nursery.start_soon(conductor.leadership.wait_value, lambda term: term.number > 5)
    await trio.testing.wait_all_tasks_blocked()
    await conductor.stop()
    assert journal.stages()[-3:] == ["leader_ended", "lease_released", "stopped"]
    assert (await memory.acquire("conductor", Holder("other", "1"), 30)).is_leader
    assert "a predicate that waits on Conductor.leadership raised AttributeError" in capsys.readouterr().err
    nursery.cancel_scope.cancel()


async def test_a_term_that_is_over_before_its_waiter_wakes_is_no_end_of_the_conductor(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def await_leader() -> None:
        terms.append(await conductor.wait_leader())

    suspended = [0.0]
    terms: list[Term] = []
    memory = MemoryLeaseStore()
    await memory.acquire("conductor", Holder("other", "1"), 10)
    conductor, _ = make_conductor(make_jobs(noop), memory, autostart=False, boot_clock=lambda: suspended[-1])
    await nursery.start(conductor.run)

    def suspend(term: Term | None) -> bool:
        # Called in the change itself: time jumps between the change and the waiter's wake.
        if term is not None and len(suspended) == 1:
            suspended.append(1000.0)
        return False

    nursery.start_soon(conductor.leadership.wait_value, suspend)
    nursery.start_soon(await_leader)
    await trio.sleep(60)
    assert [term.number for term in terms] == [3]
    nursery.cancel_scope.cancel()


async def test_an_unusable_grant_is_a_failure_with_a_pause_not_a_hot_loop(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    class Stingy(NodeStore):
        async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> LeaseGrant:
            await super().acquire(lease_name, holder, ttl, term=term)
            return answers(len(self.calls))

    def answers(number: int) -> LeaseGrant:
        return LeaseGrant("mini-main", number, True, "acquire", 0, 0, expires_in=2.0)

    store = Stingy(MemoryLeaseStore())
    conductor, journal = make_conductor(make_jobs(noop), store, autostart=False)
    await nursery.start(conductor.run)
    await trio.sleep(3600)
    assert store.count("campaign") < 3600
    assert conductor.status().degraded
    (failed,) = journal.all("acquire_failed")
    assert failed.error is not None
    assert "too late for work to begin" in failed.error
    nursery.cancel_scope.cancel()


async def test_an_answer_that_is_no_grant_is_a_failure(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    class Mute(NodeStore):
        async def acquire(self, *_: object, **__: object) -> LeaseGrant:
            return None  # type: ignore[return-value] # on purpose

    conductor, journal = make_conductor(make_jobs(noop), Mute(MemoryLeaseStore()), autostart=False)
    await nursery.start(conductor.run)
    await trio.sleep(60)
    assert conductor.status().degraded
    assert journal.one("acquire_failed").error == "TypeError: acquire returned None, which is no LeaseGrant"
    nursery.cancel_scope.cancel()


async def test_a_store_that_lost_its_memory_is_campaigned_at_until_terms_rise_again(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    memories = [MemoryLeaseStore(), MemoryLeaseStore()]
    other = Holder("other", "1")
    for _ in range(6):
        await memories[0].acquire("conductor", other, 30)
    await memories[0].release("conductor", other)
    store = NodeStore(memories[0])
    conductor, journal = make_conductor(make_jobs(noop), store, autostart=False)
    await nursery.start(conductor.run)
    assert (await conductor.wait_leader()).number == 7
    store._store = memories[1]
    await conductor.wait_standby()
    assert (await conductor.wait_leader()).number == 8
    assert "the lease store granted the lease as term 1 after 7" in (journal.one("acquire_failed").error or "")
    nursery.cancel_scope.cancel()


async def test_details_that_cannot_be_read_are_their_runners_failure(nursery: trio.Nursery) -> None:
    class Broken(Mapping[str, object]):
        def __getitem__(self, key: str) -> object:
            raise OSError("no such row")

        def __iter__(self) -> Iterator[str]:
            return iter(["row"])

        def __len__(self) -> int:
            return 1

    async def broken(ctx: TickContext) -> RunnerResult:
        return RunnerResult(details=Broken())

    conductor, journal = make_conductor(make_jobs(broken, noop), autostart=False)
    await nursery.start(conductor.run)
    assert (await conductor.run_tick()).failed_runner_count == 1
    assert journal.one("runner_failed").error == "no such row"
    assert journal.one("runner_completed").runner == "noop"
    await conductor.stop()


async def test_a_repr_that_logs_does_not_lock_the_journal(nursery: trio.Nursery, tmp_path: Path) -> None:
    class Talkative:
        def __repr__(self) -> str:
            contexts[0].log("inner")
            return "talkative"

    async def talks(ctx: TickContext) -> None:
        contexts.append(ctx)
        ctx.log("outer", details={"value": Talkative()})

    contexts: list[TickContext] = []
    conductor, _ = make_conductor(make_jobs(talks), log_dir=tmp_path, autostart=False)
    await nursery.start(conductor.run)
    await conductor.run_tick()
    await conductor.stop()
    reader = read_journal(tmp_path)
    stages = [entry.stage for entry in reader]
    assert reader.skipped == []
    assert stages.count("inner") == stages.count("outer") == 1


async def test_work_of_a_child_task_may_not_wait_for_its_own_stop(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def work(term: Term) -> None:
        async with trio.open_nursery() as children:
            children.start_soon(conductor.stop)

    async def sibling() -> None:
        await trio.sleep(1)
        await conductor.stop()

    conductor, _ = make_conductor(make_jobs(), autostart=False)
    await nursery.start(conductor.run)
    with pytest.raises(ExceptionGroup) as caught:
        await conductor.run_as_leader(work)
    assert caught.group_contains(RuntimeError, match="use request_stop")
    # But a task beside the work, though started by the same task, may.
    nursery.start_soon(sibling)
    assert await conductor.run_as_leader(lambda term: trio.sleep(2)) == "scheduled"


async def test_a_hung_disk_does_not_hold_up_a_stop(
    nursery: trio.Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = blocked_fdatasync(monkeypatch)
    conductor, journal = make_conductor(
        make_jobs(noop), log_dir=tmp_path, journal_sync="tick", autostart=False, drain_timeout=0
    )
    await nursery.start(conductor.run)
    nursery.start_soon(conductor.run_tick)
    await trio.testing.wait_all_tasks_blocked(0.01)
    with trio.fail_after(60):
        await conductor.stop()
    disk.set()
    assert journal.stages()[-1] == "stopped"


async def test_no_descriptor_left_for_a_sync_costs_nothing(
    nursery: trio.Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(descriptor: int) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "dup", full)
    conductor, _ = make_conductor(make_jobs(noop), log_dir=tmp_path, journal_sync="tick", autostart=False)
    await nursery.start(conductor.run)
    assert (await conductor.run_tick()).decision == "scheduled"
    await conductor.stop()
    assert "not confirmed by the disk" in capsys.readouterr().err


async def test_a_refused_conductor_lets_go_of_those_who_wait_for_it(nursery: trio.Nursery) -> None:
    memory = MemoryLeaseStore()
    first, _ = make_conductor(make_jobs(), memory, autostart=False)
    second, _ = make_conductor(make_jobs(), memory, autostart=False)
    await nursery.start(first.run)
    async with trio.open_nursery() as waiting:

        async def expect_stopped() -> None:
            with pytest.raises(ConductorStopped):
                await second.wait_leader()

        waiting.start_soon(expect_stopped)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(ValueError, match="lease_name"):
            await second.run()
    await first.stop()


def test_a_second_block_around_a_running_conductor_does_not_stop_it() -> None:
    conductor = Conductor(make_jobs(noop), store=MemoryLeaseStore())
    with run_in_thread(conductor):
        with pytest.raises(RuntimeError, match="running already"), run_in_thread(conductor):
            pytest.fail("entered twice")
        assert conductor.started
        assert not conductor.status().stopping


async def test_a_stop_request_after_the_end_leaves_the_conductor_ended(autojump_clock: MockClock) -> None:
    conductor, _ = make_conductor(make_jobs(noop), autostart=False)
    async with trio.open_nursery() as nursery:
        await nursery.start(conductor.run)
        supervisor = conductor._supervisor
        conductor.request_stop()
    assert supervisor is not None
    supervisor.request_stop()
    assert not conductor.started
    async with trio.open_nursery() as nursery:
        await nursery.start(conductor.run)
        conductor.request_stop()


async def test_a_file_that_the_day_began_without_us_says_whose_lines_it_holds(
    nursery: trio.Nursery, tmp_path: Path
) -> None:
    now = [1774915199.0]
    conductor = Conductor(
        make_jobs(noop), store=MemoryLeaseStore(), log_dir=tmp_path, autostart=False, wall_clock=lambda: now[-1]
    )
    await nursery.start(conductor.run)
    now.append(now[-1] + 2)
    await conductor.run_tick()
    await conductor.stop()
    second = list(read_journal(tmp_path / "2026-03-31.jsonl"))
    assert [entry.stage for entry in second][:2] == ["continued", "tick_started"]
    (first, *_) = read_journal(tmp_path / "2026-03-30.jsonl")
    assert second[0].details == first.details


@pytest.mark.parametrize("fresh", range(3))
async def test_sixteen_conductors_on_a_fresh_database_all_start(tmp_path: Path, fresh: int) -> None:
    class Separate:
        """A store of its own for each conductor, as in processes of their own."""

        def __init__(self) -> None:
            self._store = SQLiteLeaseStore(tmp_path / "c.db")

        def __getattr__(self, name: str) -> Any:
            return getattr(self._store, name)

    conductors = [
        make_conductor(make_jobs(), cast("LeaseStore", Separate()), node_id=str(n), autostart=False)[0]
        for n in range(16)
    ]
    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as starting:
            for conductor in conductors:
                starting.start_soon(nursery.start, conductor.run)
        assert sum(conductor.status().leadership == "leader" for conductor in conductors) == 1
        for conductor in conductors:
            conductor.request_stop()


INTERRUPTED = """
import os, signal, sys, threading, time
import trio
from conductor_jobs import Conductor, TimedJobs
from conductor_jobs.stores.memory import MemoryLeaseStore

log, interrupts, slow_release = [], int(sys.argv[1]), sys.argv[2] == "release"

class Store:
    def __init__(self):
        self.store = MemoryLeaseStore()
    async def acquire(self, *args, **kwargs):
        return await self.store.acquire(*args, **kwargs)
    async def release(self, *args):
        log.append(f"release at work={working}")
        if slow_release:
            os.kill(os.getpid(), signal.SIGINT)
        await trio.sleep(0.05)
        return await self.store.release(*args)

class Journal:
    def add(self, entry): log.append(entry.stage)
    def flush(self): pass

working = 0
def in_thread():
    global working
    working = 1
    for _ in range(interrupts):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
    working = 0

async def app():
    await conductor.wait_leader()
    await conductor.run_as_leader(lambda term: trio.to_thread.run_sync(in_thread))

async def main():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(app)
        await conductor.run()

conductor = Conductor(TimedJobs(), store=Store(), journal=Journal())
try:
    trio.run(main)
except KeyboardInterrupt:
    log.append("interrupted")
except BaseExceptionGroup as group:
    log.append("interrupted" if group.subgroup(KeyboardInterrupt) else repr(group))
print(*log, sep="\\n")
"""


@pytest.mark.parametrize(("interrupts", "when"), [(1, "work"), (2, "work"), (1, "release")])
def test_interrupts_at_any_moment_release_once_after_the_work(interrupts: int, when: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(interrupts), when], capture_output=True, text=True, timeout=30
    )
    assert done.stderr == ""
    assert done.stdout.splitlines()[-5:] == [
        *("leader_ended", "release at work=0", "lease_released", "stopped", "interrupted")
    ]


TWO_UNTIL_SIGNALLED = """
import trio
from conductor_jobs import Conductor, TimedJobs
from conductor_jobs.stores.memory import MemoryLeaseStore

async def main():
    first, second = (Conductor(TimedJobs(), store=MemoryLeaseStore()) for _ in range(2))
    async with trio.open_nursery() as nursery:
        await nursery.start(first.run_until_signalled)
        try:
            await second.run_until_signalled()
        except RuntimeError as error:
            print(error)
        first.request_stop()

trio.run(main)
"""


def test_only_one_conductor_of_a_process_may_have_the_signals() -> None:
    done = subprocess.run([sys.executable, "-c", TWO_UNTIL_SIGNALLED], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("another conductor of this process runs until signalled"), done.stderr


def test_leaving_the_block_before_the_start_is_done_still_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(WatchingNodeStore):
        async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> LeaseGrant:
            asked.set()
            await trio.sleep(0.2)
            return await super().acquire(lease_name, holder, ttl, term=term)

    def interrupt() -> None:
        assert asked.wait(60)
        signal.raise_signal(signal.SIGINT)

    asked = threading.Event()
    conductor = Conductor(TimedJobs(), store=Slow(MemoryLeaseStore()))
    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), run_in_thread(conductor):
        time.sleep(120)
    interrupter.join()
    assert time.monotonic() - began < 60
    assert not conductor.started


async def test_a_sync_after_a_tick_that_the_drain_cut_holds_up_no_stop(
    nursery: trio.Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = blocked_fdatasync(monkeypatch)

    async def sleeper(ctx: TickContext) -> None:
        await trio.sleep_forever()

    conductor, journal = make_conductor(
        make_jobs(sleeper), log_dir=tmp_path, journal_sync="tick", autostart=False, drain_timeout=0
    )
    await nursery.start(conductor.run)
    nursery.start_soon(conductor.run_tick)
    await trio.testing.wait_all_tasks_blocked()
    with trio.fail_after(60):
        await conductor.stop()
    disk.set()
    assert journal.stages()[-1] == "stopped"


async def test_a_watch_that_always_returns_at_once_is_no_hot_loop(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    class Jumpy(WatchingNodeStore):
        async def wait_released(self, lease_name: str, term: int) -> None:
            await trio.lowlevel.checkpoint()

        async def wait_begun(self, lease_name: str, term: int) -> None:
            await trio.lowlevel.checkpoint()

    memory = MemoryLeaseStore()
    await memory.acquire("conductor", Holder("other", "1"), 1000)
    store = Jumpy(memory)
    conductor, _ = make_conductor(make_jobs(), store, autostart=False)
    await nursery.start(conductor.run)
    await trio.sleep(60)
    assert store.count("campaign") <= 170
    nursery.cancel_scope.cancel()


async def test_a_wrapper_of_a_store_that_passes_everything_on_watches_and_keeps_nodes(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    class Wrapper:
        def __init__(self, store: MemoryLeaseStore) -> None:
            self._store = store

        def __getattr__(self, name: str) -> Any:
            return getattr(self._store, name)

    memory = MemoryLeaseStore()
    first, _ = make_conductor(make_jobs(), cast("LeaseStore", Wrapper(memory)), autostart=False)
    second, _ = make_conductor(make_jobs(), cast("LeaseStore", Wrapper(memory)), autostart=False, node_id="second")
    await nursery.start(first.run)
    await nursery.start(second.run)
    await trio.sleep(1)
    await first.stop()
    released_at = trio.current_time()
    await second.wait_leader()
    assert trio.current_time() - released_at <= 0.1
    assert [seen.node.node_id for seen in await memory.nodes("conductor")] == ["mini-main", "second"]
    await second.stop()


async def test_a_thread_of_the_work_may_not_wait_for_its_own_stop_through_a_token(nursery: trio.Nursery) -> None:
    token = trio.lowlevel.current_trio_token()

    def stops(ctx: TickContext) -> None:
        trio.from_thread.run(conductor.stop, trio_token=token)

    conductor, journal = make_conductor(make_jobs(stops), autostart=False)
    await nursery.start(conductor.run)
    with trio.fail_after(60):
        await conductor.run_tick()
    assert "use request_stop()" in (journal.one("runner_failed").error or "")
    await conductor.stop()


def test_a_day_of_a_great_many_files_is_read_in_the_order_of_time(tmp_path: Path) -> None:
    (limit, hard) = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (150, hard))
    try:
        line = (
            '{{"batch_id":"b","duration_ms":null,"error":null,"result":null,"runner":"r","stage":"{0}","ts":"{0}"}}\n'
        )
        for number in range(300):
            (tmp_path / f"2026-01-01.n-{number}.jsonl").write_text(line.format(f"{(number * 7) % 300:03d}"))
        assert [entry.stage for entry in read_journal(tmp_path)] == [f"{number:03d}" for number in range(300)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def test_a_decorator_without_its_parentheses_is_an_error_and_no_silence() -> None:
    with pytest.raises(TypeError, match="needs a name"):
        TimedJobs().runner(noop)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] # on purpose


def test_a_runner_cannot_move_the_cursor_of_a_terminal() -> None:
    line = click.unstyle(
        person_line(JournalEntry("b", None, "e\x1b[0m", "r\n", "na\x1b[31mme", "st\x1b[2J", TS, {"k\x1b\n": "v"}))
    )
    assert line.isprintable()
    assert "na\\x1b[31mme" in line


# Found by Hypothesis, which hands in bad input by the thousand -------------------------------------------------------


def test_the_home_of_nobody_is_a_bad_path_and_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "--logs-dir", "~nobody-of-that-name/logs"]) == 2
    assert "--logs-dir: Conductor logs dir must be" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--store", "sqlite:///a\nshared_token_configured: false"],
        ["--store", "sqlite:///caf\udce9.db"],
        ["--public-api-base", "http://control/\nrole: standby"],
        ["--public-api-base", "http://con trol"],
    ],
)
def test_a_url_of_several_lines_forges_no_line_of_the_settings(arguments: list[str]) -> None:
    assert cli.main(["config", *arguments]) == 2


def test_a_url_that_is_refused_for_its_password_does_not_show_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "--public-api-base", "http://me:hunter2@control", "--store", "db://me:hunter2@h"]) == 2
    assert "hunter2" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("term", "2"),
        ("term", 1.5),
        ("term", True),
        ("term", 0),
        ("term", 2**63),
        ("holder_id", "other"),
        ("holder_id", 5),
        ("is_leader", 1),
        ("expires_in", None),
        ("expires_in", float("nan")),
        ("expires_in", float("inf")),
        ("expires_in", -1.0),
    ],
)
async def test_a_grant_with_a_field_of_no_sense_leads_nobody_and_is_a_failure_that_names_it(
    autojump_clock: MockClock, nursery: trio.Nursery, field: str, value: Any
) -> None:
    class Odd(NodeStore):
        async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> LeaseGrant:
            grant = await super().acquire(lease_name, holder, ttl, term=term)
            return structs.replace(grant, **{field: value})

    conductor, journal = make_conductor(make_jobs(noop), Odd(MemoryLeaseStore()))
    await nursery.start(conductor.run)
    await trio.sleep(60)
    assert conductor.status().degraded
    assert "leader_started" not in journal.stages()
    assert f"lease grant: {field}" in str(journal.one("acquire_failed").error)
    await conductor.stop()


async def test_a_renewal_that_expired_before_time_began_leaves_the_run_alone(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    class Odd(NodeStore):
        async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> LeaseGrant:
            grant = await super().acquire(lease_name, holder, ttl, term=term)
            return grant if term is None else structs.replace(grant, expires_in=float("-inf"))

    conductor, journal = make_conductor(make_jobs(noop), Odd(MemoryLeaseStore()), autostart=False)
    await nursery.start(conductor.run)
    await trio.sleep(28)
    # The term ends when what was confirmed last does.
    assert journal.one("leader_ended").result == "lease_expired"
    await conductor.stop()


async def test_an_answer_to_a_release_that_is_neither_true_nor_false_is_no_release(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    class Undecided:
        def __bool__(self) -> bool:
            raise RuntimeError("neither")

    class Odd(NodeStore):
        async def release(self, lease_name: str, holder: Holder) -> Any:
            return Undecided()

    conductor, journal = make_conductor(make_jobs(noop), Odd(MemoryLeaseStore()), autostart=False)
    await nursery.start(conductor.run)
    await conductor.stop()
    assert journal.stages()[-2:] == ["leader_ended", "stopped"]


def alter(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.executescript(";".join(statements))


@pytest.mark.parametrize(
    ("assignment", "problem"),
    [
        ("term = 1.5", "term 1.5"),
        ("term = 'seven'", "term 'seven'"),
        ("term = -1", "term -1"),
        ("ttl = 'long'", "ttl 'long'"),
        ("ttl = 9e999", "ttl inf"),
        ("expires_at = x'00'", r"expires_at b'\x00'"),
        ("incarnation = x'00'", r"incarnation b'\x00'"),
    ],
)
async def test_a_row_that_no_conductor_wrote_is_refused_naming_what_is_wrong(
    tmp_path: Path, assignment: str, problem: str
) -> None:
    store = SQLiteLeaseStore(tmp_path / "lease.db")
    await store.acquire("jobs", Holder("alpha", "1"), 0.001)
    alter(store.path, f"UPDATE lease SET {assignment}")
    with pytest.raises(Unusable, match=re.escape(f"has a lease 'jobs' that is not ours: {problem}.")):
        await store.acquire("jobs", Holder("beta", "1"), 30.0)


async def test_the_last_term_that_has_a_number_is_held_and_renewed_and_has_no_successor(tmp_path: Path) -> None:
    store, last = SQLiteLeaseStore(tmp_path / "lease.db"), 2**63 - 1
    await store.acquire("jobs", Holder("alpha", "1"), 0.001)
    alter(store.path, f"UPDATE lease SET term = {last - 1}")
    for term in (None, last):
        grant = await store.acquire("jobs", Holder("beta", "1"), 30.0, term=term)
        assert (grant.is_leader, grant.term) == (True, last)
    assert await store.release("jobs", Holder("beta", "1"))
    with pytest.raises(Unusable, match="no number left for the next term of 'jobs'"):
        await store.acquire("jobs", Holder("alpha", "1"), 30.0)


@pytest.mark.parametrize("expires_at", ["9e999", "1e12"])
async def test_an_expiry_that_no_clock_of_ours_gave_is_waited_for_a_ttl_and_not_for_ever(
    tmp_path: Path, expires_at: str
) -> None:
    store, other = SQLiteLeaseStore(tmp_path / "lease.db"), Holder("beta", "1")
    await store.acquire("jobs", Holder("alpha", "1"), 0.05)
    alter(store.path, f"UPDATE lease SET expires_at = {expires_at}")
    refused = await store.acquire("jobs", other, 30.0)
    assert not refused.is_leader
    assert refused.expires_in == pytest.approx(0.05)
    await trio.sleep(0.06)
    assert (await store.acquire("jobs", other, 30.0)).term == 2


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TABLE copy AS SELECT * FROM lease", "DROP TABLE lease", "ALTER TABLE copy RENAME TO lease"],
        ["CREATE TRIGGER deaf BEFORE INSERT ON lease BEGIN SELECT RAISE(IGNORE); END"],
        ["DROP TABLE released"],
        ["ALTER TABLE node DROP COLUMN first_seen_at"],
    ],
    ids=["a copy without its key", "a trigger", "a table gone", "a column gone"],
)
async def test_altered_tables_never_give_one_lease_to_two_nodes(tmp_path: Path, statements: list[str]) -> None:
    store = SQLiteLeaseStore(tmp_path / "lease.db")
    await store.acquire("jobs", Holder("gone", "1"), 0.001)
    alter(store.path, *statements)
    for node in ("alpha", "beta"):
        with pytest.raises(Unusable, match=r"was altered: (lease|deaf|released|node) is missing or not as we made it"):
            await store.acquire("jobs", Holder(node, "1"), 30.0)


async def test_a_text_in_a_damaged_database_that_is_no_utf_8_is_no_crash_of_the_thread(tmp_path: Path) -> None:
    store = SQLiteLeaseStore(tmp_path / "lease.db")
    await store.acquire("jobs", Holder("alpha", "1"), 0.001)
    alter(store.path, "UPDATE lease SET node_id = CAST(x'616cff' AS TEXT)", "PRAGMA wal_checkpoint(TRUNCATE)")
    assert (await store.acquire("jobs", Holder("beta", "1"), 30.0)).term == 2
    alter(store.path, "PRAGMA wal_checkpoint(TRUNCATE)")
    store.path.write_bytes(store.path.read_bytes().replace(b"host TEXT", b"host \xff\xff\xff\xff"))
    with pytest.raises(Unusable, match="was altered: node is missing"):
        await store.acquire("jobs", Holder("beta", "1"), 30.0)


@pytest.mark.parametrize("error", [Closed("x", [OSError()]), deep_group(3000)], ids=["closed", "deep"])
async def test_a_group_that_cannot_be_put_in_words_fails_its_own_runner_alone(
    autojump_clock: MockClock, nursery: trio.Nursery, error: Exception
) -> None:
    async def careless(ctx: TickContext) -> None:
        raise error

    conductor, journal = make_conductor(make_jobs(careless, noop), autostart=False)
    await nursery.start(conductor.run)
    assert (await conductor.run_tick()).failed_runner_count == 1
    assert journal.stages(of="noop") == ["runner_started", "runner_completed"]
    await conductor.stop()


async def test_a_group_that_cannot_be_parted_goes_on_with_the_cancellation_in_it() -> None:
    class Whole(BaseExceptionGroup[BaseException]):
        def derive(self, excs: Any, /) -> Any:
            raise RuntimeError("no parts")

    whole = Whole("x", [KeyboardInterrupt(), OSError()])
    assert split_failure(whole) == (None, whole)


async def test_what_only_claims_to_be_a_text_is_refused_by_log_and_loses_no_entry(
    autojump_clock: MockClock, nursery: trio.Nursery, capsys: pytest.CaptureFixture[str]
) -> None:
    async def careless(ctx: TickContext) -> None:
        ctx.log(cast("Any", Impostor()))

    conductor, journal = make_conductor(make_jobs(careless), autostart=False)
    await nursery.start(conductor.run)
    await conductor.run_tick()
    assert "ctx.log: stage must be str" in str(journal.one("runner_failed").error)
    await conductor.stop()


def test_what_lies_in_a_journals_folder_and_is_no_file_is_passed_over(tmp_path: Path) -> None:
    entry = JournalEntry("b", None, None, None, "r", "s", TS)
    (tmp_path / "2026-04-01.jsonl").write_bytes(encode_line(entry))
    (tmp_path / "2026-04-01.folder.jsonl").mkdir()
    (tmp_path / "2026-04-01.gone.jsonl").symlink_to("nowhere")
    assert list(read_journal(tmp_path)) == [entry]


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("node", "mini-main"),
        ("timing", 30),
        ("timing", 0),
        ("log_dir", 5),
        ("log_dir", "logs\0"),
        ("wall_clock", 5),
        ("boot_clock", None),
        ("lease_name", "\ud800"),
        pytest.param("renew_failure_threshold", -(10**5000), id="huge"),
    ],
)
def test_a_conductor_refuses_by_name_what_would_only_fail_in_its_run(argument: str, value: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=f"Conductor {argument} must be"):
        Conductor(TimedJobs(), store=MemoryLeaseStore(), **{argument: value})


@pytest.mark.parametrize(
    ("argument", "value"),
    [("node_id", "\ud800"), ("priority", 2**63), pytest.param("host", 10**5000, id="huge"), ("version", 0)],
)
def test_a_node_that_no_store_could_keep_is_refused_by_name(argument: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"node {argument} must be"):
        Node(**{argument: value})


def test_a_number_too_large_to_be_shown_is_refused_by_name_all_the_same() -> None:
    with pytest.raises(ValueError, match="max_tasks_per_tick must be a positive integer, not <int>"):
        TimedJobs(max_tasks_per_tick=-(10**5000))
    with pytest.raises(ValueError, match="MockWallClock start must be a finite number of seconds"):
        MockWallClock(10**400)
    with pytest.raises(ValueError, match="path must be the name of a file"):
        SQLiteLeaseStore("lease\0.db")


@pytest.mark.parametrize(
    "details",
    [{Aloof(): 1}, {"a": Wordy()}, {Wordy(): 1}, {"a": [Wordy(), {Wordy(): Aloof()}]}],
    ids=["a key that cannot be compared", "a repr of its own kind", "a key of such words", "both, deep down"],
)
def test_no_kind_of_words_or_keys_loses_an_entry(details: dict[Any, Any]) -> None:
    assert len(decode_line(encode_line(JournalEntry("b", None, None, None, "r", "s", TS, details))).details) == 1


def test_a_duration_beyond_all_bounds_loses_no_entry() -> None:
    entry = JournalEntry("b", 10**5000, None, "ok", "r", "s", TS, {"a": 1})
    assert decode_line(encode_line(entry)) == structs.replace(entry, duration_ms=None)


async def test_a_result_that_only_claims_to_be_a_text_fails_its_runner_and_loses_no_entry(
    autojump_clock: MockClock, nursery: trio.Nursery, tmp_path: Path
) -> None:
    async def careless(ctx: TickContext) -> RunnerResult:
        return RunnerResult(cast("Any", Impostor()))

    conductor, journal = make_conductor(make_jobs(careless), autostart=False)
    await nursery.start(conductor.run)
    await conductor.run_tick()
    assert "result must be a text" in str(journal.one("runner_failed").error)
    await conductor.stop()


def test_details_that_change_while_they_are_written_do_not_take_the_process_down() -> None:
    class Meddler:
        def __repr__(self) -> str:
            # As another thread does while this repr has the interpreter.
            items.clear()
            kept.append([object() for _ in range(10_000)])
            return "meddler"

    kept: list[Any] = []
    items: list[Any] = [Meddler() for _ in range(1000)]
    line = encode_line(JournalEntry("b", None, None, None, "r", "s", TS, {"items": items}))
    assert decode_line(line).details == {"items": ["meddler"] * 1000}


class WrittenInPython(tzinfo):
    """A time zone that runs while a time is written, and what other threads do meanwhile."""

    def __init__(self, meddle: Callable[[], object]) -> None:
        self._meddle = meddle

    def utcoffset(self, moment: datetime | None) -> timedelta:
        self._meddle()
        return timedelta(0)

    def dst(self, moment: datetime | None) -> None:
        return None

    def tzname(self, moment: datetime | None) -> None:
        return None


@dataclasses.dataclass
class Batch:
    rows: list[Any]


class Page(msgspec.Struct, rename={"rows": "rowsOfPage"}):
    rows: list[Any]
    token: str | msgspec.UnsetType = msgspec.UNSET


@pytest.mark.parametrize(
    ("around", "written"),
    [
        (lambda items: items, lambda rows: rows),
        (lambda items: {"deep": (items,)}, lambda rows: {"deep": [rows]}),
        (Batch, lambda rows: {"rows": rows}),
        (Page, lambda rows: {"rowsOfPage": rows}),
    ],
    ids=["list", "tuple in a dict", "dataclass", "struct"],
)
def test_details_that_change_while_a_time_in_them_is_written_do_not_take_the_process_down(
    around: Callable[[list[Any]], Any], written: Callable[[list[Any]], Any]
) -> None:
    def meddle() -> None:
        items.clear()
        kept.append([object() for _ in range(10_000)])

    kept: list[Any] = []
    items: list[Any] = []
    for _ in range(20):
        items += [datetime(2026, 4, 1, tzinfo=WrittenInPython(meddle)), *(["text"] * 2 for _ in range(50))]
        line = encode_line(JournalEntry("b", None, None, None, "r", "s", TS, {"value": around(items)}))
        expected = ["2026-04-01T00:00:00Z", *[["text", "text"]] * 50]
        assert decode_line(line).details == {"value": written(expected)}
        assert items == []


async def test_what_only_claims_to_be_a_result_fails_its_runner_alone(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    class Claims:
        __class__ = RunnerResult  # type: ignore[assignment] # on purpose
        details = None
        reads = 0

        @property
        def result(self) -> str:
            self.reads += 1
            if self.reads > 1:
                raise RuntimeError("read twice")
            return "ok"

    async def careless(ctx: TickContext) -> Any:
        return Claims()

    conductor, journal = make_conductor(make_jobs(careless, noop), autostart=False)
    await nursery.start(conductor.run)
    tick = await conductor.run_tick()
    assert (tick.decision, tick.failed_runner_count) == ("scheduled", 1)
    assert "a runner returns a RunnerResult or None" in str(journal.one("runner_failed").error)
    assert journal.one("runner_completed").runner == "noop"
    await conductor.stop()

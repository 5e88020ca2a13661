"""A conductor on a thread beside a program that is not Trio's, and in a process that forks."""

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from conductor_jobs import Conductor, TickContext, TimedJobs, read_journal, run_in_thread
from conductor_jobs.errors import Unusable
from conductor_jobs.stores.memory import MemoryLeaseStore
from conductor_jobs.stores.sqlite import SQLiteLeaseStore

from .support import make_jobs, noop


def test_it_leads_while_the_block_lasts_and_drains_at_its_end(tmp_path: Path) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def waits(ctx: TickContext) -> None:
        begun.set()
        assert may_end.wait(60)

    conductor = Conductor(
        make_jobs(waits, interval=0.01), store=SQLiteLeaseStore(tmp_path / "c.db"), log_dir=tmp_path / "logs"
    )
    with run_in_thread(conductor) as running:
        assert running is conductor
        assert begun.wait(60)
        assert conductor.status().leadership == "leader"
        threading.Timer(0.05, may_end.set).start()
    stages = [entry.stage for entry in read_journal(tmp_path / "logs")]
    assert stages[-5:] == ["runner_completed", "tick_completed", "leader_ended", "lease_released", "stopped"]
    assert not conductor.started


def test_entering_raises_what_keeps_the_conductor_from_starting(tmp_path: Path) -> None:
    (tmp_path / "c.db").write_bytes(b"no database at all, but long enough to be read as one" * 100)
    conductor = Conductor(TimedJobs(), store=SQLiteLeaseStore(tmp_path / "c.db"))
    with pytest.raises(Unusable, match="no SQLite database"), run_in_thread(conductor):
        pytest.fail("the block was entered")


def test_what_is_no_conductor_is_refused() -> None:
    nobody: Any = None
    with pytest.raises(TypeError, match="run_in_thread conductor must be a Conductor, not None"), run_in_thread(nobody):
        pass


def test_leaving_raises_what_ended_the_conductor() -> None:
    async def exits(ctx: TickContext) -> None:
        raise SystemExit(3)

    conductor = Conductor(make_jobs(exits, interval=0.01), store=MemoryLeaseStore())
    ended = threading.Event()
    with pytest.raises(SystemExit), run_in_thread(conductor):
        while conductor.started:
            ended.wait(0.001)


def test_an_error_in_the_block_stops_the_conductor_and_comes_out() -> None:
    conductor = Conductor(make_jobs(noop), store=MemoryLeaseStore())
    with pytest.raises(ZeroDivisionError), run_in_thread(conductor):
        raise ZeroDivisionError
    assert not conductor.started


def in_forked_child(check: Callable[[], None]) -> int | None:
    child = multiprocessing.get_context("fork").Process(target=check)
    child.start()
    child.join(60)
    return child.exitcode


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_a_forked_child_is_told_that_the_conductor_runs_elsewhere(tmp_path: Path) -> None:
    conductor = Conductor(make_jobs(noop), store=SQLiteLeaseStore(tmp_path / "c.db"))

    def check() -> None:
        for use in (conductor.status, conductor.request_stop, lambda: trio.run(conductor.run)):
            with pytest.raises(RuntimeError, match="forked"):
                use()

    with run_in_thread(conductor):
        assert in_forked_child(check) == 0
        assert conductor.started


def test_a_conductor_made_before_the_fork_runs_in_the_child_under_its_own_name(tmp_path: Path) -> None:
    conductor = Conductor(make_jobs(noop), store=SQLiteLeaseStore(tmp_path / "c.db"))

    def check() -> None:
        with run_in_thread(conductor):
            assert conductor.status().node.node_id.endswith(f"-{os.getpid()}")

    assert in_forked_child(check) == 0


def test_an_interrupt_while_the_thread_starts_still_stops_the_conductor(monkeypatch: pytest.MonkeyPatch) -> None:
    def start_interrupted(thread: threading.Thread) -> None:
        start(thread)
        # As if a signal came while `Thread.start` waits for the thread to show up.
        if thread.name == "conductor-jobs":
            give_up_at = time.monotonic() + 60
            while not conductor.started and time.monotonic() < give_up_at:
                time.sleep(0.001)
            raise KeyboardInterrupt

    start = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", start_interrupted)
    conductor = Conductor(TimedJobs(), store=MemoryLeaseStore())
    with pytest.raises(KeyboardInterrupt), run_in_thread(conductor):
        pytest.fail("the block was entered")
    try:
        assert not conductor.started
    finally:
        conductor.request_stop()


INTERRUPTED_DRAIN = """
import os, signal, threading
import trio
from conductor_jobs import Conductor, TimedJobs, run_in_thread
from conductor_jobs.stores.memory import MemoryLeaseStore

begun, jobs = threading.Event(), TimedJobs(interval=0.01)

@jobs.runner("long")
async def long(ctx):
    begun.set()
    await trio.sleep(15)

class Journal:
    def add(self, entry):
        print(entry.stage, flush=True)
        if entry.stage == "stopping":
            os.kill(os.getpid(), signal.SIGINT)
    def flush(self): pass

with run_in_thread(Conductor(jobs, store=MemoryLeaseStore(), journal=Journal())):
    begun.wait()
"""


def test_an_interrupt_of_the_drain_cancels_the_work_and_releases() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED_DRAIN], capture_output=True, text=True, timeout=60)
    assert "KeyboardInterrupt" in done.stderr
    assert done.stdout.splitlines()[-5:] == [
        *("runner_cancelled", "tick_interrupted", "leader_ended", "lease_released", "stopped")
    ]

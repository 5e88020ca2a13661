"""One call of the SQLite store: what is done under the write lock, and calls that hang or are given up (I4, I6)."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio

from conductor_jobs.clocks import boot_time
from conductor_jobs.lease import Holder, Node
from conductor_jobs.stores import sqlite_leases
from conductor_jobs.stores.sqlite import SQLiteLeaseStore
from conductor_jobs.stores.sqlite_file import transaction

ALPHA, BETA = Holder("alpha", "1"), Holder("beta", "1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lease.db"


def is_locked(path: Path) -> bool:
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as other:
        try:
            other.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        return False


def test_the_write_lock_is_held_from_the_beginning_of_a_transaction_to_its_end(path: Path) -> None:
    with transaction(path):
        assert is_locked(path)
    assert not is_locked(path)
    with transaction(path) as database:
        assert database.execute("SELECT count(*) FROM lease").fetchone() == (0,)
        assert is_locked(path)


@pytest.mark.parametrize("call", ["campaign", "renew", "release"])
async def test_the_clock_is_read_under_the_write_lock(path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def boot_time_noting_the_lock() -> float:
        locked.append(is_locked(path))
        return boot_time()

    locked: list[bool] = []
    store = SQLiteLeaseStore(path)
    await store.acquire("jobs", ALPHA, 30.0)
    monkeypatch.setattr(sqlite_leases, "boot_time", boot_time_noting_the_lock)
    match call:
        case "campaign":
            await store.acquire("jobs", BETA, 30.0)
        case "renew":
            await store.acquire("jobs", ALPHA, 30.0, term=1)
        case _:
            await store.release("jobs", ALPHA)
    assert locked
    assert all(locked)


async def test_a_campaign_that_was_given_up_and_gets_the_file_late_takes_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect_late(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        assert disk_is_back.wait(120)
        connection: sqlite3.Connection = connect(*args, **kwargs)
        return connection

    connect, disk_is_back = sqlite3.connect, threading.Event()
    store = SQLiteLeaseStore(path)
    await store.acquire("jobs", ALPHA, 30.0)
    with monkeypatch.context() as slow:
        slow.setattr(sqlite3, "connect", connect_late)
        with trio.move_on_after(0.01) as patience:
            await store.acquire("jobs", ALPHA, 30.0)
        assert patience.cancelled_caught
        disk_is_back.set()
        with trio.fail_after(60):
            while store._lease_threads.limiter().borrowed_tokens:
                await trio.sleep(0.001)
    grant = await store.acquire("jobs", BETA, 30.0)
    assert (grant.is_leader, grant.holder_id, grant.term) == (False, "alpha", 1)


async def test_threads_of_the_application_do_not_starve_a_renewal(path: Path, nursery: trio.Nursery) -> None:
    async def occupy_thread() -> None:
        await trio.to_thread.run_sync(done.wait)

    done = threading.Event()
    store = SQLiteLeaseStore(path)
    limiter = trio.to_thread.current_default_thread_limiter()
    for _ in range(int(limiter.total_tokens)):
        nursery.start_soon(occupy_thread)
    await trio.testing.wait_all_tasks_blocked()
    assert limiter.available_tokens == 0
    try:
        with trio.fail_after(60):
            assert (await store.acquire("jobs", ALPHA, 30.0)).is_leader
            assert (await store.acquire("jobs", ALPHA, 30.0, term=1)).is_leader
    finally:
        done.set()


async def test_heartbeats_that_hang_do_not_starve_a_renewal(
    path: Path, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = threading.Event()
    store = SQLiteLeaseStore(path)
    await store.acquire("jobs", ALPHA, 30.0)
    monkeypatch.setattr(SQLiteLeaseStore, "_heartbeat", lambda *_: done.wait(120))
    for _ in range(10):
        nursery.start_soon(store.heartbeat, "jobs", Node("alpha", "host-a"), "1", "leader", "")
    await trio.testing.wait_all_tasks_blocked()
    try:
        with trio.fail_after(60):
            assert (await store.acquire("jobs", ALPHA, 30.0, term=1)).is_leader
    finally:
        done.set()

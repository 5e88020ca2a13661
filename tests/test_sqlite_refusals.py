"""A standby that is refused again by a SQLite file that nobody wrote to, in real time (I4, I9)."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio

from conductor_jobs.clocks import boot_time
from conductor_jobs.lease import Holder, LeaseGrant, Node
from conductor_jobs.stores import sqlite_refusals
from conductor_jobs.stores.sqlite import SQLiteLeaseStore

ALPHA, BETA = Holder("alpha", "1"), Holder("beta", "1")
# Longer than the files' clock needs to tell two writes apart.
A_WHILE = 0.15


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lease.db"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Note each connection that is made."""
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect
    made: list[object] = []

    def connect_noted(name: object, **settings: Any) -> sqlite3.Connection:
        made.append(name)
        return connect(name, **settings)

    monkeypatch.setattr(sqlite3, "connect", connect_noted)
    return made


async def refused_twice(path: Path, ttl: float = 30.0) -> SQLiteLeaseStore:
    """Return the store of a standby that knows how the file is."""
    store = SQLiteLeaseStore(path)
    await SQLiteLeaseStore(path).acquire("jobs", ALPHA, ttl)
    await trio.sleep(A_WHILE)
    for _ in range(2):
        assert not (await store.acquire("jobs", BETA, ttl)).is_leader
    return store


async def test_a_file_that_nobody_wrote_to_is_not_opened_to_refuse_again(path: Path, opened: list[object]) -> None:
    store = await refused_twice(path)
    first = await store.acquire("jobs", BETA, 30.0)
    opened.clear()
    again = await store.acquire("jobs", BETA, 30.0)
    assert opened == []
    assert (again.is_leader, again.holder_id, again.term, again.operation) == (False, "alpha", 1, "acquire")
    assert 0 < again.expires_in < first.expires_in
    assert again.renewed_at == pytest.approx(first.renewed_at, abs=0.01)


@pytest.mark.parametrize("opened_elsewhere", [False, True], ids=["the log is gone", "the log stays"])
@pytest.mark.parametrize("later", [0.0, A_WHILE], ids=["at once", "later"])
@pytest.mark.parametrize("by", ["lease.db", "link.db"])
async def test_whatever_is_written_is_seen_at_the_next_look(
    path: Path, by: str, later: float, opened_elsewhere: bool
) -> None:
    path.with_name("link.db").symlink_to(path)
    leader, standby = SQLiteLeaseStore(path), SQLiteLeaseStore(path.with_name(by))
    await leader.acquire("jobs", ALPHA, 30.0)

    async def look() -> LeaseGrant:
        await trio.sleep(later)
        return await standby.acquire("jobs", BETA, 30.0)

    with closing(sqlite3.connect(path)) as other:
        if opened_elsewhere:
            # Who has the file open keeps what is written in the log beside it.
            other.execute("SELECT * FROM lease").fetchall()
        for _ in range(2):
            await trio.sleep(A_WHILE)
            assert not (await look()).is_leader
        await leader.acquire("jobs", ALPHA, 300.0, term=1)
        assert (await look()).expires_in > 200
        await leader.acquire("jobs", ALPHA, 30.0)
        assert (await look()).term == 2
        await leader.release("jobs", ALPHA)
        assert (await look()).term == 3


async def test_no_stamp_is_given_that_the_next_write_could_get_too(path: Path) -> None:
    await SQLiteLeaseStore(path).acquire("jobs", ALPHA, 30.0)
    assert sqlite_refusals.stamp_of(path) is None
    await trio.sleep(A_WHILE)
    stamp = sqlite_refusals.stamp_of(path)
    assert stamp == sqlite_refusals.stamp_of(path) is not None
    await SQLiteLeaseStore(path).acquire("jobs", ALPHA, 30.0, term=1)
    assert sqlite_refusals.stamp_of(path) is None
    await trio.sleep(A_WHILE)
    assert sqlite_refusals.stamp_of(path) not in (stamp, None)


async def test_a_lease_that_has_run_out_is_taken_though_nobody_wrote_to_the_file(path: Path) -> None:
    store = await refused_twice(path, ttl=1.5)
    await trio.sleep(1.5)
    assert (await store.acquire("jobs", BETA, 30.0)).term == 2


async def test_the_holder_itself_and_other_leases_are_not_refused_by_what_was_seen(path: Path) -> None:
    store = await refused_twice(path)
    assert (await store.acquire("reports", BETA, 30.0)).is_leader
    await trio.sleep(A_WHILE)
    assert not (await store.acquire("jobs", BETA, 30.0)).is_leader
    assert (await store.acquire("jobs", ALPHA, 30.0)).term == 2
    await trio.sleep(A_WHILE)
    assert not (await store.acquire("jobs", BETA, 30.0)).is_leader
    assert (await store.acquire("jobs", ALPHA, 30.0, term=2)).is_leader


async def test_another_file_in_its_place_is_opened(path: Path, tmp_path: Path) -> None:
    store = await refused_twice(path)
    other = tmp_path / "other.db"
    await SQLiteLeaseStore(other).acquire("reports", ALPHA, 30.0)
    other.replace(path)
    assert (await store.acquire("jobs", BETA, 30.0)).term == 1


async def test_a_clock_that_went_back_is_no_reason_to_refuse(
    path: Path, monkeypatch: pytest.MonkeyPatch, opened: list[object]
) -> None:
    store = await refused_twice(path)
    monkeypatch.setattr(sqlite_refusals, "boot_time", lambda: boot_time() - 1000)
    opened.clear()
    await store.acquire("jobs", BETA, 30.0)
    assert len(opened) == 1


async def test_a_file_system_that_keeps_whole_seconds_is_not_relied_on(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await refused_twice(path)
    assert sqlite_refusals.stamp_of(path) is not None
    stat = Path.stat

    def coarse_stat(self: Path, **settings: Any) -> Any:
        found = stat(self, **settings)
        times = {name: getattr(found, name) // 10**9 * 10**9 for name in ("st_atime_ns", "st_mtime_ns", "st_ctime_ns")}
        return os.stat_result(tuple(found), times)

    monkeypatch.setattr(Path, "stat", coarse_stat)
    assert sqlite_refusals.stamp_of(path) is None


def test_a_file_that_is_not_there_has_no_stamp(tmp_path: Path) -> None:
    assert sqlite_refusals.stamp_of(tmp_path / "none.db") is None
    (tmp_path / "loop.db").symlink_to(tmp_path / "loop.db")
    assert sqlite_refusals.stamp_of(tmp_path / "loop.db") is None


async def test_heartbeats_of_other_nodes_change_nothing_but_the_cost(path: Path, opened: list[object]) -> None:
    store = await refused_twice(path)
    await SQLiteLeaseStore(path).heartbeat("jobs", Node("gamma"), "1", "standby", "")
    opened.clear()
    assert not (await store.acquire("jobs", BETA, 30.0)).is_leader
    assert len(opened) == 1

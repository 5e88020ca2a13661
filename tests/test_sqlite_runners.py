"""What the SQLite store keeps of runners, on real files: the fence, kills, full disks, garbage rows (I6, I19)."""

import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import assume, example, given
from hypothesis import strategies as st

from conductor_jobs import Holder, Node, StaleTerm
from conductor_jobs.errors import Unusable
from conductor_jobs.runner_records import Claim, from_microseconds, to_microseconds
from conductor_jobs.stores import sqlite_runners
from conductor_jobs.stores.sqlite import SQLiteLeaseStore

from .fence_race import race
from .strategies import fewer
from .test_bad_rows import cells, database_of

ALPHA, BETA = Holder("alpha", "1"), Holder("beta", "1")
DUE = datetime(2026, 3, 1, 6, tzinfo=UTC)
Call = Callable[[SQLiteLeaseStore], Awaitable[object]]
WRITES: dict[str, Call] = {
    "claim": lambda store: store.claim("jobs", [Claim("report", DUE, 1)]),
    "set_paused": lambda store: store.set_paused("jobs", "report", True),
    "save_cursor": lambda store: store.save_cursor("jobs", "report", 1, "17"),
}
CALLS: dict[str, Call] = WRITES | {
    "claims": lambda store: store.claims("jobs"),
    "paused": lambda store: store.paused("jobs"),
    "load_cursor": lambda store: store.load_cursor("jobs", "report"),
}
# Claims a batch of runners for one second after the other, and says when each is kept.
CLAIM_ON = """
import sys, trio
from datetime import timedelta
from conductor_jobs.runner_records import Claim
from conductor_jobs.stores.sqlite import SQLiteLeaseStore
from tests.test_sqlite_runners import DUE

async def main():
    second = 0
    while True:
        second += 1
        due = DUE + timedelta(seconds=second)
        await SQLiteLeaseStore(sys.argv[1]).claim("jobs", [Claim(f"runner {n}", due, 1) for n in range(300)])
        print(second, flush=True)

trio.run(main)
"""
# A limit on the size of files stands in for a full disk.
FILL = """
import resource, sqlite3, sys, trio
from pathlib import Path
from conductor_jobs.stores.sqlite import SQLiteLeaseStore

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

async def main():
    store, long = SQLiteLeaseStore(sys.argv[1]), "x" * 5_000_000
    await store.save_cursor("jobs", "report", 1, "short")
    limit(1_000_000)
    try:
        await store.save_cursor("jobs", "report", 1, long)
    except sqlite3.OperationalError as error:
        print(error)
    print(await store.load_cursor("jobs", "report"))
    await store.save_cursor("jobs", "report", 1, "another")
    limit(resource.RLIM_INFINITY)
    await store.save_cursor("jobs", "report", 1, long)
    print(await store.load_cursor("jobs", "report") == long)

trio.run(main)
"""
# Root may write anywhere, so the process becomes nobody before it asks; what it needs it has imported by then.
AS_NOBODY = """
import os, sys, trio
from conductor_jobs.errors import Unusable
from conductor_jobs.stores.sqlite import SQLiteLeaseStore
from tests.test_sqlite_runners import CALLS

async def main():
    for call in CALLS.values():
        try:
            print(await call(SQLiteLeaseStore(sys.argv[1])))
        except Unusable as error:
            print(f"Unusable: {error}")

trio.run(trio.to_thread.run_sync, os.getpid)
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
trio.run(main)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lease.db"


@pytest.fixture
async def store(path: Path) -> SQLiteLeaseStore:
    """A store in which alpha holds `jobs` in term 1."""
    store = SQLiteLeaseStore(path)
    await store.acquire("jobs", ALPHA, 3000.0)
    return store


def execute(path: Path, statement: str, row: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        return database.execute(statement, row).fetchall()


def program(text: str, path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", text, str(path)], stdout=subprocess.PIPE, text=True)


def said_by(text: str, path: Path) -> list[str]:
    with program(text, path) as process:
        return process.communicate(timeout=60)[0].splitlines()


async def kept(store: SQLiteLeaseStore) -> object:
    return list(await store.claims("jobs")), await store.paused("jobs"), await store.load_cursor("jobs", "report")


# The fence ------------------------------------------------------------------------------------------------------------


async def test_no_claim_and_no_cursor_of_a_term_is_kept_once_the_next_one_has_begun(path: Path) -> None:
    counts = await race(f"sqlite:///{path}", terms=30)
    assert min(counts["claims"], counts["cursors"], counts["refused"]) > 15


async def test_whoever_waited_for_the_lock_is_judged_by_the_term_at_which_it_got_it(
    path: Path, store: SQLiteLeaseStore
) -> None:
    refused = list[str]()

    async def write(call: Call) -> None:
        try:
            await call(store)
        except StaleTerm as error:
            refused.append(str(error))

    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        async with trio.open_nursery() as nursery:
            for name in ("claim", "save_cursor"):
                nursery.start_soon(write, WRITES[name])
            await trio.sleep(0.1)
            other.execute("UPDATE lease SET term = 2")
            other.execute("COMMIT")
    assert refused == ["a write under term 1 of lease 'jobs' was refused: its term is 2"] * 2
    assert await kept(store) == ([], set(), None)


# What is there afterwards ---------------------------------------------------------------------------------------------


async def test_ten_thousand_claims_are_one_transaction_and_are_there_after_a_restart(
    store: SQLiteLeaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = [Claim(f"runner {number:05}", DUE, 1, "registered") for number in range(10_000)]
    connect, opened = sqlite3.connect, list[object]()

    def connect_noted(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        opened.append(args)
        connection: sqlite3.Connection = connect(*args, **kwargs)
        return connection

    with monkeypatch.context() as noting:
        noting.setattr(sqlite3, "connect", connect_noted)
        assert await store.claim("jobs", claims) == claims
    assert len(opened) == 1
    assert await SQLiteLeaseStore(store.path).claims("jobs") == claims


async def test_of_claims_in_one_call_all_are_kept_or_none_when_the_process_is_killed(store: SQLiteLeaseStore) -> None:
    for _ in range(5):
        with program(CLAIM_ON, store.path) as process:
            assert process.stdout is not None
            told = int(process.stdout.readline())
            await trio.sleep(random.uniform(0.0, 0.1))
            process.send_signal(signal.SIGKILL)
            told = max([told, *map(int, process.stdout.read().split())])
        claims = await store.claims("jobs")
        (due,) = {claim.due_at for claim in claims}
        assert len(claims) == 300
        assert DUE + timedelta(seconds=told) <= due <= DUE + timedelta(seconds=told + 1)
        execute(store.path, "DELETE FROM claim")


async def test_a_cursor_that_the_disk_has_no_room_for_is_an_error_and_the_last_one_stays(
    store: SQLiteLeaseStore,
) -> None:
    error, cursor, is_kept = said_by(FILL, store.path)
    assert error in ("disk I/O error", "database or disk is full")
    assert (cursor, is_kept) == ("short", "True")


def test_on_a_read_only_file_each_call_says_so() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, path = Path(name), Path(name) / "lease.db"
        trio.run(SQLiteLeaseStore(path).acquire, "jobs", ALPHA, 3000.0)
        path.chmod(0o444)
        folder.chmod(0o555)
        before = path.read_bytes()
        assert said_by(AS_NOBODY, path) == [f"Unusable: database {str(path)!r} is read-only."] * len(CALLS)
        assert [file.read_bytes() for file in folder.iterdir()] == [before]


# Given up, and hung ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", WRITES)
async def test_a_write_that_was_given_up_and_gets_the_file_late_changes_nothing(
    store: SQLiteLeaseStore, monkeypatch: pytest.MonkeyPatch, write: str
) -> None:
    def connect_late(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        assert disk_is_back.wait(120)
        connection: sqlite3.Connection = connect(*args, **kwargs)
        return connection

    connect, disk_is_back = sqlite3.connect, threading.Event()
    with monkeypatch.context() as slow:
        slow.setattr(sqlite3, "connect", connect_late)
        with trio.move_on_after(0.01) as patience:
            await WRITES[write](store)
        assert patience.cancelled_caught
        disk_is_back.set()
        with trio.fail_after(60):
            while store._runner_threads.limiter().borrowed_tokens:
                await trio.sleep(0.001)
    assert await kept(store) == ([], set(), None)


@pytest.mark.parametrize("call", CALLS)
async def test_calls_for_runners_that_hang_starve_neither_a_renewal_nor_a_heartbeat(
    store: SQLiteLeaseStore, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    done = threading.Event()
    monkeypatch.setattr(sqlite_runners, call, lambda *_: done.wait(120))
    for _ in range(10):
        nursery.start_soon(CALLS[call], store)
    await trio.testing.wait_all_tasks_blocked()
    try:
        with trio.fail_after(60):
            assert (await store.acquire("jobs", ALPHA, 3000.0, term=1)).is_leader
            await store.heartbeat("jobs", Node("alpha"), "1", "leader", "")
    finally:
        done.set()


async def test_cursors_that_are_saved_without_a_pause_hold_up_no_renewal(store: SQLiteLeaseStore) -> None:
    async def save(runner: str) -> None:
        while True:
            await store.save_cursor("jobs", runner, 1, "x" * 1000)

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(save, f"runner {number}")
        for _ in range(20):
            with trio.fail_after(60):
                assert (await store.acquire("jobs", ALPHA, 3000.0, term=1)).is_leader
        nursery.cancel_scope.cancel()


# Rows and tables that others wrote ------------------------------------------------------------------------------------

YEAR_10000 = 253402300800 * 1_000_000


@pytest.mark.parametrize(
    ("table", "row", "calls", "complaint"),
    [
        ("claim", ("report", "soon", 1, None), ["claims", "claim"], "due_at 'soon'"),
        ("claim", ("report", YEAR_10000, 1, None), ["claims", "claim"], f"due_at {YEAR_10000}"),
        ("claim", ("report", 1.5, 1, None), ["claims", "claim"], "due_at 1.5"),
        ("claim", ("report", 0, 0, None), ["claims", "claim"], "term 0"),
        ("claim", ("report", 0, 2**63 - 1, "done"), ["claims", "claim"], "result 'done'"),
        ("claim", (b"report", 0, 1, None), ["claims"], "runner b'report'"),
        ("paused", (b"report",), ["paused"], "runner b'report'"),
        ("cursor", ("report", b"17"), ["load_cursor"], "content b'17'"),
    ],
)
async def test_a_row_that_is_not_ours_is_named_with_its_file_and_table_and_left_alone(
    store: SQLiteLeaseStore, table: str, row: tuple[object, ...], calls: list[str], complaint: str
) -> None:
    execute(store.path, f"INSERT INTO {table} VALUES ('jobs'{', ?' * len(row)})", row)
    before = store.path.read_bytes()
    for call in calls:
        with pytest.raises(Unusable) as caught:
            await CALLS[call](store)
        assert str(caught.value) == (
            f"database {str(store.path)!r} has a row of lease 'jobs' in table {table} that is not ours: {complaint}."
        )
    assert store.path.read_bytes() == before
    await store.claim("jobs", [Claim("another", DUE, 1)])
    assert (await store.acquire("jobs", ALPHA, 3000.0, term=1)).is_leader


@pytest.mark.parametrize("call", ["claim", "save_cursor"])
async def test_a_lease_that_is_not_ours_lets_nothing_be_written(store: SQLiteLeaseStore, call: str) -> None:
    execute(store.path, "UPDATE lease SET term = 1.5")
    with pytest.raises(Unusable, match=re.escape("has a lease 'jobs' that is not ours: term 1.5")):
        await CALLS[call](store)
    assert await kept(store) == ([], set(), None)


rows = st.tuples(
    st.one_of(st.just("report"), cells),
    st.one_of(st.integers(-(10**18), 10**18), cells),
    st.one_of(st.integers(1, 9), cells),
    st.one_of(st.sampled_from([None, "completed", "paused"]), cells),
)


@fewer(by=5)
@given(rows)
@example(("report", -62135596800000000, 1, None))
@example(("report", -62135596800000001, 1, None))
@example(("report", YEAR_10000 - 1, 2**63 - 1, "unknown"))
def test_any_row_of_a_claim_is_read_as_it_is_or_refused_and_ours_is_kept_or_superseded(
    row: tuple[object, ...],
) -> None:
    async def main(path: Path) -> None:
        store = SQLiteLeaseStore(path)
        await store.acquire("jobs", ALPHA, 3000.0)
        try:
            (found,) = await store.claims("jobs")
        except Unusable as error:
            assert str(path) in str(error)
            return
        # Not what was put in: to SQLite a number in a column of text is that text.
        (is_kept,) = execute(path, "SELECT runner, due_at, term, result FROM claim")
        assert (found.runner, to_microseconds(found.due_at), found.term, found.result) == is_kept
        later = Claim(found.runner, from_microseconds(YEAR_10000 - 1), 1)
        assert await store.claim("jobs", [later]) == ([later] if found.due_at < later.due_at else [])

    with database_of() as path:
        try:
            execute(path, "INSERT INTO claim VALUES ('jobs', ?, ?, ?, ?)", row)
        except sqlite3.IntegrityError:
            assume(condition=False)
        trio.run(main, path)


SPOILT = {
    "claim": "DROP TABLE claim",
    "paused": "ALTER TABLE paused ADD COLUMN since REAL",
    "cursor": "CREATE TABLE copy AS SELECT * FROM cursor; DROP TABLE cursor; ALTER TABLE copy RENAME TO cursor",
    "deaf": "CREATE TRIGGER deaf BEFORE INSERT ON claim BEGIN SELECT RAISE(IGNORE); END",
}


@pytest.mark.parametrize("name", SPOILT)
async def test_a_table_that_was_altered_is_named(store: SQLiteLeaseStore, name: str) -> None:
    with closing(sqlite3.connect(store.path)) as database:
        database.executescript(SPOILT[name])
    for call in CALLS.values():
        with pytest.raises(Unusable, match=f"was altered: {name} is missing or not as we made it"):
            await call(store)

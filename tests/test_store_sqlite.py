"""The SQLite store on real files, in real time: what it refuses to touch, and how it shares a file (I4, I6)."""

import contextlib
import os
import random
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import pytest
import trio

from conductor_jobs.errors import Unusable
from conductor_jobs.lease import Holder, LeaseGrant, Node
from conductor_jobs.stores.sqlite import SQLiteLeaseStore
from conductor_jobs.stores.sqlite_file import transaction

ALPHA, BETA = Holder("alpha", "1"), Holder("beta", "1")
FOREIGN = "belongs to another application"
DAMAGED = "is a damaged SQLite database"
NEWER = "has schema version 3, and this conductor-jobs knows 2"
# Root may write anywhere, so the process becomes nobody before it asks; what it needs it has imported by then.
CAMPAIGN = """
import os, sys, trio
from conductor_jobs.errors import Unusable
from conductor_jobs.lease import Holder
from conductor_jobs.stores.sqlite import SQLiteLeaseStore
trio.run(trio.to_thread.run_sync, os.getpid)
if sys.argv[2] == "nobody" and os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
print("ready", flush=True)
sys.stdin.readline()
try:
    grant = trio.run(SQLiteLeaseStore(sys.argv[1]).acquire, "jobs", Holder(sys.argv[2], "1"), 30.0)
    print(grant.is_leader, grant.term, grant.holder_id)
except Unusable as error:
    print(f"Unusable: {error}")
"""


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


def execute(path: Path, *statements: str) -> object:
    with closing(connect(path)) as database:
        return [database.execute(statement).fetchone() for statement in statements][-1]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lease.db"


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """Make a folder that every user may read, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


async def test_the_file_is_made_with_its_folders_by_the_first_call(tmp_path: Path) -> None:
    store = SQLiteLeaseStore(tmp_path / "deep" / "er" / "lease.db")
    assert not list(tmp_path.iterdir())
    await store.acquire("jobs", ALPHA, 30.0)
    assert store.path.is_file()


def test_commits_survive_a_power_failure_and_readers_do_not_block_them(path: Path) -> None:
    assert execute(ours(path), "PRAGMA journal_mode") == ("wal",)
    with transaction(path) as database:
        assert database.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


async def test_nothing_is_held_open_between_calls(path: Path) -> None:
    store = SQLiteLeaseStore(path)
    await store.acquire("jobs", ALPHA, 30.0)
    assert list(content(path.parent)) == ["lease.db"]
    path.unlink()
    assert (await store.acquire("jobs", BETA, 30.0)).term == 1


async def test_a_folder_that_was_deleted_meanwhile_is_made_again(tmp_path: Path) -> None:
    store = SQLiteLeaseStore(tmp_path / "deep" / "er" / "lease.db")
    await store.acquire("jobs", ALPHA, 30.0)
    shutil.rmtree(tmp_path / "deep")
    assert (await store.acquire("jobs", BETA, 30.0)).term == 1
    assert store.path.is_file()


async def test_folders_of_a_file_that_is_there_are_left_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SQLiteLeaseStore(path)
    await store.acquire("jobs", ALPHA, 30.0)
    made: list[object] = []
    monkeypatch.setattr(os, "mkdir", lambda *arguments: made.append(arguments))
    assert not (await store.acquire("jobs", BETA, 30.0)).is_leader
    assert made == []


def ours(path: Path) -> Path:
    trio.run(SQLiteLeaseStore(path).acquire, "jobs", ALPHA, 30.0)
    return path


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(lambda path: path.write_bytes(b"no database\n" * 500), "is no SQLite database", id="garbage"),
        pytest.param(lambda path: execute(path, "CREATE TABLE lease (name)"), FOREIGN, id="foreign tables"),
        pytest.param(lambda path: execute(path, "PRAGMA application_id = 77", "VACUUM"), FOREIGN, id="foreign mark"),
        pytest.param(lambda path: execute(path, "PRAGMA user_version = 1"), FOREIGN, id="foreign version"),
        pytest.param(lambda path: execute(ours(path), "PRAGMA user_version = 3"), NEWER, id="newer"),
        pytest.param(lambda path: ours(path).write_bytes(path.read_bytes()[:5000]), DAMAGED, id="damaged"),
        pytest.param(Path.mkdir, "cannot be opened", id="folder"),
    ],
)
def test_a_file_that_can_never_work_is_named_and_not_touched(
    path: Path, make: Callable[[Path], object], reason: str
) -> None:
    make(path)
    before = content(path.parent)
    with pytest.raises(Unusable) as caught:
        trio.run(SQLiteLeaseStore(path).acquire, "jobs", ALPHA, 30.0)
    assert str(caught.value).startswith(f"database {str(path)!r} {reason}")
    assert content(path.parent) == before


def test_a_folder_that_cannot_be_made_is_an_error_naming_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file" / "lease.db"
    path.parent.touch()
    with pytest.raises(Unusable) as caught:
        trio.run(SQLiteLeaseStore(path).acquire, "jobs", ALPHA, 30.0)
    assert str(caught.value).startswith(f"database {str(path)!r} cannot be made: ")


def campaigner(path: Path, node_id: str) -> Popen[str]:
    return Popen([sys.executable, "-c", CAMPAIGN, str(path), node_id], stdin=PIPE, stdout=PIPE, text=True)


def ask_as_nobody(path: Path) -> str:
    with campaigner(path, "nobody") as process:
        return process.communicate("\n")[0].removeprefix("ready\n")


@pytest.mark.parametrize("prepared", [True, False], ids=["a lease database", "an empty file"])
@pytest.mark.parametrize("folder_mode", [0o555, 0o777], ids=["read-only folder", "writable folder"])
def test_a_read_only_file_is_named_and_not_touched(public_folder: Path, folder_mode: int, prepared: bool) -> None:
    path = public_folder / "lease.db"
    path.touch()
    if prepared:
        ours(path)
    path.chmod(0o444)
    public_folder.chmod(folder_mode)
    before = content(public_folder)
    assert ask_as_nobody(path).startswith(
        (f"Unusable: database {str(path)!r} is read-only", f"Unusable: database {str(path)!r} cannot be opened")
    )
    assert content(public_folder) == before


def test_a_file_that_another_process_makes_meanwhile_is_no_read_only_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = os.access

    def answer_for_a_file_made_just_then(asked: Path, mode: int) -> bool:
        answer = access(asked, mode)
        path.touch()
        return answer

    monkeypatch.setattr(os, "access", answer_for_a_file_made_just_then)
    assert trio.run(SQLiteLeaseStore(path).acquire, "jobs", ALPHA, 30.0).is_leader


def test_a_file_that_is_deleted_meanwhile_is_no_read_only_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    access = os.access
    path.touch()

    def answer_for_a_file_deleted_just_then(asked: Path, mode: int) -> bool:
        answer = access(asked, mode)
        path.unlink(missing_ok=True)
        return answer

    monkeypatch.setattr(os, "access", answer_for_a_file_deleted_just_then)
    assert trio.run(SQLiteLeaseStore(path).acquire, "jobs", ALPHA, 30.0).is_leader


@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize("called", ["os.mkdir", "os.access", "sqlite3.connect"])
def test_a_folder_that_a_failed_start_takes_away_meanwhile_is_made_by_the_next_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, called: str, exists: bool
) -> None:
    path = tmp_path / "state" / "lease.db"
    module, function = {"os": os, "sqlite3": sqlite3}[called.split(".")[0]], called.split(".")[1]
    call = getattr(module, function)

    def call_as_others_clean_up(*arguments: Any, **options: Any) -> Any:
        take_away()
        try:
            return call(*arguments, **options)
        finally:
            take_away()

    def take_away() -> None:
        with contextlib.suppress(OSError):
            path.parent.rmdir()

    if exists:
        path.parent.mkdir()
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(module, function, call_as_others_clean_up)
        with contextlib.suppress(OSError, sqlite3.OperationalError):
            trio.run(SQLiteLeaseStore(path).acquire, "jobs", ALPHA, 30.0)
    assert trio.run(SQLiteLeaseStore(path).acquire, "jobs", ALPHA, 30.0).is_leader


@pytest.mark.parametrize("name", ["lease.db", "deep/lease.db"])
def test_a_file_that_may_not_be_made_is_an_error_naming_it(public_folder: Path, name: str) -> None:
    public_folder.chmod(0o555)
    path = public_folder / name
    assert ask_as_nobody(path).startswith(
        (f"Unusable: database {str(path)!r} cannot be opened", f"Unusable: database {str(path)!r} cannot be made")
    )
    assert content(public_folder) == {}


async def test_a_lock_of_another_connection_is_waited_out_in_trio(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, pauses, third_pause, grants = SQLiteLeaseStore(path), list[float](), trio.Event(), list[LeaseGrant]()
    await store.acquire("jobs", ALPHA, 30.0)

    def choose_pause(low: float, high: float) -> float:
        pauses.append(low)
        if len(pauses) == 3:
            third_pause.set()
        return low

    async def renew() -> None:
        grants.append(await store.acquire("jobs", ALPHA, 30.0, term=1))

    monkeypatch.setattr(random, "uniform", choose_pause)
    with closing(connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(renew)
            with trio.fail_after(60):
                await third_pause.wait()
            other.execute("ROLLBACK")
    assert [grant.is_leader for grant in grants] == [True]


async def test_a_cancellation_while_the_file_is_locked_is_prompt_and_changes_nothing(path: Path) -> None:
    store = SQLiteLeaseStore(path)
    await store.acquire("jobs", ALPHA, 30.0)
    with closing(connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        # The lock is not given back before: a call that waited for it would never end.
        with trio.fail_after(60), trio.move_on_after(0.1) as scope:
            await store.acquire("jobs", ALPHA, 30.0)
        assert scope.cancelled_caught
    assert (await store.acquire("jobs", BETA, 30.0)).term == 1


def test_of_16_processes_that_make_the_file_at_once_one_leads_in_term_1(path: Path) -> None:
    with ExitStack() as stack:
        processes = [stack.enter_context(campaigner(path, f"node-{number}")) for number in range(16)]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            print(file=process.stdin, flush=True)
        answers = sorted(process.communicate()[0] for process in processes)
    leader = answers[-1].split()[-1]
    assert answers == [f"False 1 {leader}\n"] * 15 + [f"True 1 {leader}\n"]


@pytest.mark.parametrize("statement", range(12))
def test_a_file_that_another_process_makes_between_two_statements_of_ours_is_no_foreign_one(
    path: Path, monkeypatch: pytest.MonkeyPatch, statement: int
) -> None:
    rivals, statements = list[LeaseGrant](), list[str]()

    async def rival() -> None:
        with trio.move_on_after(0.1 if statement else 30):  # ours may have the write lock
            rivals.append(await SQLiteLeaseStore(path).acquire("jobs", BETA, 30.0))

    def trace(text: str) -> None:
        statements.append(text)
        if len(statements) == statement + 1:
            trio.run(rival)

    def connect_traced(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        monkeypatch.undo()
        connection: sqlite3.Connection = sqlite3.connect(*args, **kwargs)
        connection.set_trace_callback(trace)
        return connection

    monkeypatch.setattr(sqlite3, "connect", connect_traced)
    grant = trio.run(SQLiteLeaseStore(path).acquire, "jobs", ALPHA, 30.0)
    assert [each.term for each in [grant, *rivals]] == [1] * (1 + len(rivals))
    # A rival that was given up may have been carried out all the same: who leads is what the file says.
    assert grant.is_leader == (grant.holder_id == ALPHA.node_id)
    assert not (rivals and grant.is_leader)
    assert rivals or statement > 0


def test_two_stores_of_one_file_are_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = SQLiteLeaseStore("lease.db")
    assert SQLiteLeaseStore("other.db") != store == SQLiteLeaseStore(tmp_path / "lease.db")
    assert hash(store) == hash(SQLiteLeaseStore(tmp_path / "lease.db"))


def test_an_empty_path_is_rejected() -> None:
    with pytest.raises(ValueError, match="path must be the name of a file, not ''"):
        SQLiteLeaseStore("")


async def test_a_node_was_never_first_seen_after_it_was_last_seen(path: Path) -> None:
    store = SQLiteLeaseStore(path)
    await store.heartbeat("jobs", Node("alpha"), "1", "leader", "")
    for first_seen_at, is_kept in ((1000.0, True), (1e11, False)):
        execute(path, f"UPDATE node SET first_seen_at = {first_seen_at}")
        await store.heartbeat("jobs", Node("alpha"), "1", "leader", "")
        (seen,) = await store.nodes("jobs")
        assert seen.first_seen_at == (1000.0 if is_kept else seen.last_seen_at)

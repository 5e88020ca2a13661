"""Calls of the PostgreSQL store and their connections: given up, broken, kept, forked, pooled, hinted at (I6, I9)."""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar
from urllib.parse import urlsplit

import psycopg
import pytest
import trio

from conductor_jobs import Holder, Node, StaleTerm
from conductor_jobs.runner_records import Claim
from conductor_jobs.stores import postgres, postgres_connections, postgres_watches
from conductor_jobs.stores.postgres import PostgresLeaseStore
from conductor_jobs.stores.postgres_connections import Line
from conductor_jobs.testing import conformance_times, exercise_lease_store
from conductor_jobs.testing.conformance import OF_LEASES
from conductor_jobs.testing.conformance_clients import Clients

from .real_servers import PATIENCE, ServerProcess, free_port
from .real_servers.postgres import PostgresServer, execute, instead
from .real_servers.proxy import Proxy

ALPHA, BETA = Holder("alpha", "1"), Holder("beta", "1")
# Before a fork a store was entered and used; after it both processes use it.
FORK = """
import os, sys, trio, warnings
from conductor_jobs import Holder
from conductor_jobs.stores.postgres import PostgresLeaseStore

async def ask(term):
    grant = await store.acquire("jobs", Holder("alpha", "1"), 30.0, term=term)
    (line,) = store._lines._kept[os.getpid()]
    print(grant.is_leader, grant.term, line.database.execute("SELECT pg_backend_pid()").fetchone()[0], flush=True)

warnings.simplefilter("ignore", DeprecationWarning)
store = PostgresLeaseStore(sys.argv[1])
trio.run(store.__aenter__)
trio.run(ask, None)
child = os.fork()
if child == 0:
    trio.run(ask, 1)
    trio.run(store.__aexit__)
    os._exit(0)
os.waitpid(child, 0)
trio.run(ask, 1)
trio.run(store.__aexit__)
"""


@pytest.fixture
async def store(postgres_url: str) -> AsyncGenerator[PostgresLeaseStore, None]:
    async with PostgresLeaseStore(postgres_url) as store:
        yield store


@pytest.fixture
def proxy(postgres_url: str) -> Generator[Proxy, None, None]:
    parts = urlsplit(postgres_url)
    if parts.hostname != "127.0.0.1" or parts.port is None:
        pytest.skip("the proxy leads to loopback only")
    if "sslmode" in parts.query:
        pytest.skip("the proxy cannot read what is encrypted")
    with Proxy(parts.port) as proxy:
        yield proxy


@pytest.fixture
async def far(postgres_url: str, proxy: Proxy) -> AsyncGenerator[PostgresLeaseStore, None]:
    """A store beyond a proxy, which holds the lease `jobs` for alpha."""
    async with PostgresLeaseStore(proxy.instead_of(postgres_url)) as store:
        await store.acquire("jobs", ALPHA, 30.0)
        yield store


@contextmanager
def frozen(server: PostgresServer) -> Generator[None, None, None]:
    server.freeze()
    try:
        yield
    finally:
        server.thaw()


def sessions(url: str) -> int:
    """Return how many sessions there are in the database, but for the one that asks."""
    query = "SELECT count(*)::int FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    ((number,),) = execute(url, query)
    return int(number)


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(PATIENCE):
        while not condition():
            await trio.sleep(0.01)


# Given up -------------------------------------------------------------------------------------------------------------


async def test_calls_of_a_frozen_server_end_when_they_are_given_up_and_hold_no_threads(
    postgres_server: PostgresServer, store: PostgresLeaseStore
) -> None:
    await store.acquire("jobs", ALPHA, 30.0)
    await store.acquire("jobs", ALPHA, 30.0, term=1)
    threads = threading.active_count()
    with frozen(postgres_server):
        began = trio.current_time()
        with trio.move_on_after(0.2) as scope:
            await store.acquire("jobs", ALPHA, 30.0, term=1)
        assert scope.cancelled_caught
        assert trio.current_time() - began < PATIENCE
        await until(lambda: store._lease_threads.limiter().borrowed_tokens == 0)
    assert (await store.acquire("jobs", ALPHA, 30.0, term=1)).is_leader
    assert threading.active_count() <= threads + 1


async def test_more_calls_are_given_up_than_there_are_threads_and_the_store_recovers(
    postgres_server: PostgresServer, store: PostgresLeaseStore
) -> None:
    await store.acquire("jobs", ALPHA, 30.0)
    with frozen(postgres_server):
        for _ in range(2 * postgres._THREADS):
            with trio.move_on_after(0.02):
                await store.acquire("jobs", ALPHA, 30.0, term=1)
    with trio.fail_after(PATIENCE):
        assert (await store.acquire("jobs", ALPHA, 30.0, term=1)).is_leader


@pytest.mark.parametrize("when", ["before a thread has it", "in a thread", "when it has ended"])
async def test_the_connection_of_a_call_that_is_given_up_is_closed_whoever_has_it(
    postgres_url: str, store: PostgresLeaseStore, when: str
) -> None:
    await store.acquire("jobs", ALPHA, 30.0)
    assert sessions(postgres_url) == 1
    ended = threading.Event()

    def work(line: Line) -> None:
        if when == "in a thread":
            line.database.execute("SELECT pg_sleep(1)")
        scope.cancel() if when == "before a thread has it" else trio.from_thread.run_sync(scope.cancel)
        ended.set()

    with trio.CancelScope() as scope:
        if when == "before a thread has it":
            scope.cancel()
        if when == "in a thread":
            scope.deadline = trio.current_time() + 0.1
        await store._lines.run(store._lease_threads, work)
    assert scope.cancelled_caught
    await until(lambda: sessions(postgres_url) == 0)


async def test_heartbeats_that_hang_do_not_starve_a_renewal(
    postgres_url: str, store: PostgresLeaseStore, nursery: trio.Nursery
) -> None:
    await store.acquire("jobs", ALPHA, 30.0)
    with psycopg.connect(postgres_url) as other:
        other.execute("LOCK TABLE conductor_jobs.node")
        for _ in range(postgres._THREADS + 1):
            nursery.start_soon(store.heartbeat, "jobs", Node("alpha"), "1", "leader", "")
        await until(lambda: store._node_threads.limiter().available_tokens == 0)
        with trio.fail_after(PATIENCE):
            assert (await store.acquire("jobs", ALPHA, 30.0, term=1)).is_leader


async def test_threads_of_the_application_do_not_starve_a_renewal(
    store: PostgresLeaseStore, nursery: trio.Nursery
) -> None:
    async def occupy_thread() -> None:
        await trio.to_thread.run_sync(done.wait)

    done = threading.Event()
    limiter = trio.to_thread.current_default_thread_limiter()
    for _ in range(int(limiter.total_tokens)):
        nursery.start_soon(occupy_thread)
    await until(lambda: limiter.available_tokens == 0)
    try:
        with trio.fail_after(PATIENCE):
            assert (await store.acquire("jobs", ALPHA, 30.0)).is_leader
    finally:
        done.set()


# Broken ---------------------------------------------------------------------------------------------------------------


async def test_a_connection_that_ended_while_nobody_used_it_is_not_used_again(
    postgres_url: str, store: PostgresLeaseStore
) -> None:
    await store.acquire("jobs", ALPHA, 30.0)
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    execute(postgres_url, f"SELECT pg_terminate_backend(pid, 5000) {others}")
    assert (await store.acquire("jobs", ALPHA, 30.0, term=1)).is_leader


async def test_after_a_cut_the_next_call_connects_anew(far: PostgresLeaseStore, proxy: Proxy) -> None:
    for _ in range(3):
        proxy.cut()
        await until(lambda: bool(proxy.cuts))
        assert (await far.acquire("jobs", ALPHA, 30.0, term=1)).is_leader


async def test_a_renewal_whose_answer_is_lost_is_an_error_and_was_carried_out(
    postgres_url: str, far: PostgresLeaseStore, proxy: Proxy
) -> None:
    proxy.lose_answer(b"conductor_jobs.acquire")
    with pytest.raises(psycopg.OperationalError):
        await far.acquire("jobs", ALPHA, 3000.0, term=1)
    assert execute(postgres_url, "SELECT ttl FROM conductor_jobs.lease") == [(3000.0,)]
    proxy.lose_request(b"conductor_jobs.acquire")
    with pytest.raises(psycopg.OperationalError):
        await far.acquire("jobs", ALPHA, 30.0, term=1)
    assert execute(postgres_url, "SELECT ttl FROM conductor_jobs.lease") == [(3000.0,)]
    assert (await far.acquire("jobs", ALPHA, 30.0, term=1)).is_leader


async def test_a_black_hole_costs_each_call_its_patience_and_no_more(far: PostgresLeaseStore, proxy: Proxy) -> None:
    proxy.black_hole()
    for _ in range(3):
        began = trio.current_time()
        with trio.move_on_after(0.2) as scope:
            await far.acquire("jobs", ALPHA, 30.0, term=1)
        assert scope.cancelled_caught
        assert trio.current_time() - began < PATIENCE
    proxy.heal()
    with trio.fail_after(PATIENCE):
        assert (await far.acquire("jobs", ALPHA, 30.0, term=1)).is_leader


async def test_a_login_that_takes_longer_than_a_call_may_is_there_for_the_next_call(
    far: PostgresLeaseStore, proxy: Proxy
) -> None:
    proxy.delay = 0.1
    proxy.cut()
    connections = proxy.connections
    renewed = list[bool]()
    for _ in range(20):
        if not renewed:
            with trio.move_on_after(0.4):
                renewed.append((await far.acquire("jobs", ALPHA, 30.0, term=1)).is_leader)
    assert renewed == [True]
    assert proxy.connections > connections


# Kept -----------------------------------------------------------------------------------------------------------------


async def test_one_connection_serves_all_calls_that_follow_each_other(
    postgres_url: str, store: PostgresLeaseStore
) -> None:
    for _ in range(3):
        await store.acquire("jobs", ALPHA, 30.0)
        await store.heartbeat("jobs", Node("alpha"), "1", "leader", "")
        await store.nodes("jobs")
    await store.release("jobs", ALPHA)
    assert sessions(postgres_url) == 1


async def test_what_is_kept_is_closed_at_the_end_and_after_a_minute_without_use(
    postgres_url: str,
) -> None:
    async with PostgresLeaseStore(postgres_url) as store:
        async with store, trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(store.nodes, "jobs")
        assert 1 < sessions(postgres_url) <= 5
        for line in store._lines._kept[os.getpid()]:
            line.used_at -= 61.0
        await store.nodes("jobs")
        await until(lambda: sessions(postgres_url) == 1)
    await until(lambda: sessions(postgres_url) == 0)
    await store.nodes("jobs")  # it is not closed for good; but it is told that nobody will close it again
    await until(lambda: sessions(postgres_url) == 0)


def test_a_store_serves_one_trio_run_after_another(postgres_url: str) -> None:
    store = PostgresLeaseStore(postgres_url)
    trio.run(store.__aenter__)
    assert trio.run(store.acquire, "jobs", ALPHA, 30.0).is_leader
    assert trio.run(store.acquire, "jobs", BETA, 30.0).holder_id == "alpha"
    trio.run(store.__aexit__)


# Hints ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def hints_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_watches, "_LOOK", (60.0, 60.0))


@pytest.mark.usefixtures("hints_only")
async def test_a_release_and_the_next_term_are_told_by_notification(
    postgres_url: str, store: PostgresLeaseStore
) -> None:
    async with PostgresLeaseStore(postgres_url) as rival:
        await rival.acquire("jobs", ALPHA, 30.0)
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(store.wait_released, "jobs", 1)
                await trio.sleep(0.3)
                assert nursery.child_tasks
                await rival.release("jobs", ALPHA)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(store.wait_begun, "jobs", 2)
                await trio.sleep(0.3)
                assert nursery.child_tasks
                await rival.acquire("jobs", BETA, 30.0)


class AnsweredTooEarly:
    """A line whose first answer is old when it comes, and has a notification in tow."""

    def __init__(self, line: Line, change: Callable[[], object]) -> None:
        self.hints = line.hints
        self._database = line.database
        self._change: Callable[[], object] | None = change

    @property
    def database(self) -> "AnsweredTooEarly":
        return self

    def execute(self, query: Any, parameters: Any) -> Any:
        answer = self._database.execute(query, parameters)
        if self._change is not None:
            self._change()
            self._change = None
            while not self.hints:
                self._database.execute("SELECT 1")
        return answer


@pytest.mark.usefixtures("hints_only")
async def test_a_notification_that_comes_with_an_answer_is_heard(
    store: PostgresLeaseStore, monkeypatch: pytest.MonkeyPatch, postgres_url: str
) -> None:
    look = postgres_watches._standings
    async with PostgresLeaseStore(postgres_url) as rival:
        await rival.acquire("jobs", ALPHA, 30.0)

        def look_too_early(line: Any, names: Any) -> Any:
            return look(AnsweredTooEarly(line, partial(trio.from_thread.run, rival.release, "jobs", ALPHA)), names)  # type: ignore[arg-type]

        monkeypatch.setattr(postgres_watches, "_standings", look_too_early)
        with trio.fail_after(PATIENCE):
            await store.wait_released("jobs", 1)


@pytest.mark.usefixtures("hints_only")
async def test_all_who_wait_share_one_connection_and_whoever_leaves_leaves_it_to_the_next(
    postgres_url: str, store: PostgresLeaseStore
) -> None:
    told = list[str]()

    async def wait(name: str, term: int) -> None:
        await store.wait_released(name, term)
        told.append(name)

    async with PostgresLeaseStore(postgres_url) as rival:
        for name in ("jobs", "reports"):
            await rival.acquire(name, ALPHA, 30.0)
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                first = await nursery.start(cancellable, wait, "jobs", 1)
                await trio.sleep(0.3)
                for name in ("jobs", "reports", "reports"):
                    nursery.start_soon(wait, name, 1)
                nursery.start_soon(wait, "jobs", 0)  # term 1 has begun long ago
                await until(lambda: told == ["jobs"])
                assert sessions(postgres_url) == 2
                first.cancel()
                await trio.sleep(0.1)
                await rival.release("reports", ALPHA)
                await until(lambda: told == ["jobs", "reports", "reports"])
                await rival.release("jobs", ALPHA)
    assert told == ["jobs", "reports", "reports", "jobs"]
    assert sessions(postgres_url) == 1


async def cancellable(wait: Any, *arguments: Any, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
    with trio.CancelScope() as scope:
        task_status.started(scope)
        await wait(*arguments)


async def test_a_watch_that_is_cancelled_keeps_its_connection_for_the_next(
    postgres_url: str, store: PostgresLeaseStore
) -> None:
    await store.acquire("jobs", ALPHA, 30.0)
    for _ in range(3):
        began = trio.current_time()
        with trio.move_on_after(0.3):
            await store.wait_released("jobs", 1)
        assert trio.current_time() - began < PATIENCE
    assert sessions(postgres_url) == 2


async def test_a_watch_ends_with_an_error_when_the_server_does(
    postgres_url: str, far: PostgresLeaseStore, proxy: Proxy, nursery: trio.Nursery
) -> None:
    async def keep_cutting() -> None:
        while True:
            await trio.sleep(0.3)
            proxy.cut()

    nursery.start_soon(keep_cutting)
    with pytest.raises(psycopg.OperationalError):
        await far.wait_released("jobs", 1)
    nursery.cancel_scope.cancel()


# Forked ---------------------------------------------------------------------------------------------------------------


def test_a_fork_uses_connections_of_its_own_and_leaves_those_of_its_parent_alone(postgres_url: str) -> None:
    command = [sys.executable, "-X", "dev", "-c", FORK, postgres_url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.stderr == ""
    before, in_child, after = (line.split() for line in done.stdout.splitlines())
    assert before[:2] == in_child[:2] == after[:2] == ["True", "1"]
    assert before[2] == after[2] != in_child[2]


# Pooled ---------------------------------------------------------------------------------------------------------------


class Pooled:
    """A connection as of a pooler in transaction mode: each transaction has another session, which was reset."""

    executed: ClassVar[list[str]] = []

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]]) -> None:
        self._sessions = [connect(), connect()]
        self._in_transaction = False
        self.info = SimpleNamespace(backend_pid=-1)
        self.isolation_level: Any = None

    def execute(self, query: Any, parameters: Any = None) -> Any:
        self.executed.append(query)
        if not self._in_transaction:
            self._next_session()
        return self._sessions[0].execute(query, parameters)

    @contextmanager
    def transaction(self) -> Generator[None, None, None]:
        self._next_session()
        self._in_transaction = True
        self._sessions[0].isolation_level = self.isolation_level
        with self._sessions[0].transaction():
            yield
        self._in_transaction = False

    def _next_session(self) -> None:
        self._sessions.reverse()
        self._sessions[0].execute("DISCARD ALL")

    def add_notify_handler(self, _: object) -> None:
        """A pooler passes no notifications on."""

    def fileno(self) -> int:
        return self._sessions[0].fileno()

    def close(self) -> None:
        for session in self._sessions:
            session.close()


@pytest.fixture
def imitated(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of the database, before which there is an imitation of a pooler."""

    def connect(**parameters: Any) -> Pooled:
        return Pooled(lambda: psycopg.connect(**parameters))

    monkeypatch.setattr(postgres_connections, "psycopg", SimpleNamespace(connect=connect))
    monkeypatch.setattr(Pooled, "executed", [])
    return postgres_url


@pytest.fixture
def pgbouncer(postgres_url: str) -> Generator[str, None, None]:
    """The URL of a real pooler before the database; no wheel carries one."""
    with started_pgbouncer(postgres_url) as url:
        yield url


@contextmanager
def started_pgbouncer(url: str) -> Generator[str, None, None]:
    binary = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if binary is None:
        pytest.skip("no pgbouncer here, which no wheel carries: another test imitates it")
    if "sslmode" in url:
        pytest.skip("this pgbouncer is started without a certificate")
    parts, port = urlsplit(url), free_port()
    user = "nobody" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "users").write_text(f'"{parts.username}" "{parts.password}"\n')
        (folder / "ini").write_text(
            f"[databases]\n* = host={parts.hostname} port={parts.port}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\npool_mode = transaction\n"
            f"auth_type = scram-sha-256\nauth_file = {folder}/users\ndefault_pool_size = 3\nmax_client_conn = 200\n"
        )
        if user is not None:
            shutil.chown(folder, user)
        process = ServerProcess(folder, user=user)
        pooled = instead(url, port=str(port))
        process.start([binary, str(folder / "ini")], lambda: bool(execute(pooled, "SELECT 1")))
        try:
            yield pooled
        finally:
            process.stop()


async def test_behind_a_real_pooler_in_transaction_mode_it_keeps_every_rule(pgbouncer: str) -> None:
    await exercise_lease_store(lambda: PostgresLeaseStore(pgbouncer), ttl=0.5, prompt=20.0)
    async with PostgresLeaseStore(pgbouncer) as store:
        await watch_without_listening(store)


async def test_behind_an_imitated_pooler_in_transaction_mode_it_keeps_the_rules_of_leases(imitated: str) -> None:
    def open_store() -> PostgresLeaseStore:
        return PostgresLeaseStore(imitated)

    async with open_store() as one, open_store() as two, open_store() as three:
        clients = Clients([one, two, three], open_store, ttl=0.5, prompt=2.0)
        for rule in OF_LEASES:
            if rule.__module__ != conformance_times.__name__:
                await rule(clients)
        await watch_without_listening(one)
    assert not any(query.startswith("LISTEN") for query in Pooled.executed)


async def test_behind_an_imitated_pooler_what_is_kept_of_runners_is_fenced_and_durable(imitated: str) -> None:
    claim = Claim("report", datetime(2026, 3, 1, tzinfo=UTC), 1)
    async with PostgresLeaseStore(imitated) as store:
        await store.acquire("jobs", ALPHA, 30.0)
        for number in range(3):
            assert await store.claim("jobs", [claim]) == [claim]
            await store.set_paused("jobs", "report", number % 2 == 0)
            await store.save_cursor("jobs", "report", 1, str(number))
        assert await store.claims("jobs") == [claim]
        assert (await store.paused("jobs"), await store.load_cursor("jobs", "report")) == ({"report"}, "2")
        await store.acquire("jobs", ALPHA, 30.0)
        for call in (store.claim("jobs", [claim]), store.save_cursor("jobs", "report", 1, "3")):
            with pytest.raises(StaleTerm):
                await call


async def watch_without_listening(store: PostgresLeaseStore) -> None:
    await store.acquire("jobs", ALPHA, 30.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.wait_released, "jobs", 1)
        await trio.sleep(0.3)
        await store.release("jobs", ALPHA)
    channels = await store._watch_lines.run(
        store._watch_threads, lambda line: line.database.execute("SELECT pg_listening_channels()").fetchall()
    )
    assert channels == []

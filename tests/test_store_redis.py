"""The Redis store on a real server: the rules that its scripts keep, its connections, and what it refuses (I4, I6)."""

import re
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
import trio
import trio.testing
from coredis.connection import TCPConnection, TCPLocation

from conductor_jobs import Holder, Node
from conductor_jobs.errors import Unusable
from conductor_jobs.stores.redis import RedisLeaseStore
from conductor_jobs.stores.redis_connections import ServerRefused
from conductor_jobs.stores.redis_scripts import SCHEMA, key
from conductor_jobs.testing import exercise_lease_store

from .real_servers import PATIENCE, free_port
from .real_servers.proxy import Proxy
from .real_servers.redis import RedisServer, own_url, running

ALPHA, BETA = Holder("alpha", "1"), Holder("beta", "1")
LIMIT = 2**63
# A server of the user's own need not keep what it is told.
pytestmark = pytest.mark.filterwarnings("ignore:.*may forget leases")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[RedisServer, None, None]:
    """A server of ours, that a test may look into; never the user's own."""
    with running(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def url(server: RedisServer) -> str:
    return own_url() or server.url


@pytest.fixture
def name() -> str:
    """A lease of this test's own, whoever else uses the server."""
    return f"jobs-{uuid4()}"


@pytest.fixture
def proxy(server: RedisServer) -> Generator[Proxy, None, None]:
    with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
async def store(url: str) -> AsyncGenerator[RedisLeaseStore, None]:
    async with RedisLeaseStore(url) as store:
        yield store


async def ask(url: str, *words: str | bytes | int) -> Any:
    """Ask the server directly."""
    from conductor_jobs.stores.redis_url import parse_redis_url

    address = parse_redis_url(url)
    connection = TCPConnection(
        TCPLocation(address.host, address.port),
        username=address.user,
        password=address.password,
        db=address.database,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(connection.run)
        command, *rest = words
        answer = await connection.create_request(str(command).encode(), *rest)
        connection.invalidate()
    return answer


async def plant(url: str, name: str, **fields: object) -> None:
    """Make a lease in the server by hand: held by alpha, unless told otherwise."""
    info: bytes = await ask(url, "INFO", "server")
    (server,) = re.findall(r"run_id:(\w+)", info.decode())
    ours = {"schema": SCHEMA, "node_id": "alpha", "incarnation": "1", "term": 7, "ttl_us": 30_000_000}
    ours |= {"expires_at_us": round((time.time() + 30) * 1e6), "released": 0, "server": server}
    for field, value in (ours | fields).items():
        if value is not None:
            await ask(url, "HSET", key(name, "lease"), field, value if isinstance(value, bytes) else str(value))


# What it keeps, and how it decides


@pytest.mark.parametrize("opened", [True, False], ids=["opened", "a connection for each call"])
async def test_the_store_keeps_the_rules_of_every_lease_store(url: str, opened: bool) -> None:
    await exercise_lease_store(
        lambda: RedisLeaseStore(url) if opened else nullcontext(RedisLeaseStore(url)), ttl=0.5, prompt=20.0
    )


async def test_terms_that_a_float_cannot_tell_apart_rise_by_one(store: RedisLeaseStore, url: str, name: str) -> None:
    term = 2**53 + 1
    await plant(url, name, term=term)
    assert (await store.acquire(name, BETA, 30.0)).term == term
    assert not (await store.acquire(name, ALPHA, 30.0, term=term - 1)).is_leader
    renewed = await store.acquire(name, ALPHA, 30.0, term=term)
    assert (renewed.is_leader, renewed.term) == (True, term)
    taken = await store.acquire(name, ALPHA, 30.0)
    assert (taken.is_leader, taken.term) == (True, term + 1)
    with trio.fail_after(PATIENCE):
        await store.wait_released(name, term)
    with trio.move_on_after(0.1) as patience:
        await store.wait_released(name, term + 1)
    assert patience.cancelled_caught


async def test_the_last_term_can_be_renewed_and_there_is_no_further_one(
    store: RedisLeaseStore, url: str, name: str
) -> None:
    await plant(url, name, term=LIMIT - 2)
    assert (await store.acquire(name, ALPHA, 30.0)).term == LIMIT - 1
    assert (await store.acquire(name, ALPHA, 30.0, term=LIMIT - 1)).is_leader
    with pytest.raises(Unusable, match="no number is left for its next term"):
        await store.acquire(name, ALPHA, 30.0)
    assert (await store.acquire(name, BETA, 30.0)).holder_id == "alpha"


async def test_nothing_of_a_lease_has_a_ttl(store: RedisLeaseStore, url: str, name: str) -> None:
    await store.acquire(name, ALPHA, 0.001)
    await store.release(name, ALPHA)
    await store.heartbeat(name, Node("alpha", "mini"), "1", "leader", "fingerprint")
    keys = await ask(url, "KEYS", f"*{name}*")
    assert sorted(keys) == [f"conductor-jobs:{{{name}}}:{what}".encode() for what in ("barred", "lease", "nodes")]
    assert [await ask(url, "TTL", each) for each in keys] == [-1, -1, -1]


async def test_all_of_a_lease_is_in_one_hash_slot_and_the_slot_elsewhere_is_an_error(tmp_path: Path) -> None:
    with running(tmp_path, {"cluster-enabled": "yes", "cluster-port": str(free_port())}) as server:
        async with RedisLeaseStore(server.url) as store:
            with pytest.raises(ServerRefused, match=r"answered with an error: .*slot"):
                await store.acquire("jobs", ALPHA, 30.0)
            server.ask("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
            with trio.fail_after(PATIENCE):
                while b"cluster_state:ok" not in server.ask("CLUSTER", "INFO"):
                    await trio.sleep(0.05)
            assert (await store.acquire("jobs", ALPHA, 30.0)).is_leader
            assert await store.release("jobs", ALPHA)


@pytest.mark.parametrize("ttl", [1e-9, 0.0005, 1e9, 1e300], ids=str)
async def test_a_ttl_of_any_length_is_kept(store: RedisLeaseStore, name: str, ttl: float) -> None:
    grant = await store.acquire(name, ALPHA, ttl)
    assert 0 < grant.expires_in <= max(ttl, 1e-6)
    assert grant.is_leader
    if ttl == 1e9:
        assert grant.expires_in == ttl
        assert (await store.acquire(name, ALPHA, ttl, term=1)).is_leader


async def test_a_server_whose_clock_went_back_gives_a_lease_its_whole_ttl_again_and_no_more(
    store: RedisLeaseStore, url: str, name: str
) -> None:
    await plant(url, name, expires_at_us=round((time.time() + 86400) * 1e6))
    refused = await store.acquire(name, BETA, 30.0)
    assert (refused.is_leader, refused.expires_in) == (False, 30.0)
    assert 29.0 < (await store.acquire(name, BETA, 30.0)).expires_in < 30.0
    assert (await store.acquire(name, ALPHA, 30.0, term=7)).is_leader


async def test_a_server_that_forgot_the_scripts_is_sent_them_again(
    store: RedisLeaseStore, server: RedisServer, name: str
) -> None:
    async with RedisLeaseStore(server.url) as store:
        assert (await store.acquire(name, ALPHA, 30.0)).is_leader
        server.ask("SCRIPT", "FLUSH")
        assert (await store.acquire(name, ALPHA, 30.0, term=1)).is_leader


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"schema": None}, "its schema is '', which no conductor-jobs wrote"),
        ({"schema": SCHEMA + 1}, f"it has schema version '{SCHEMA + 1}', and this conductor-jobs knows {SCHEMA}"),
        ({"node_id": None}, "its node_id is ''"),
        ({"incarnation": None}, "its incarnation is ''"),
        ({"term": "x"}, "its term is 'x'"),
        ({"term": -1}, "its term is '-1'"),
        ({"term": 0}, "its term is '0'"),
        ({"term": LIMIT}, f"its term is '{LIMIT}'"),
        ({"ttl_us": "nan"}, "its ttl_us is 'nan'"),
        ({"expires_at_us": "soon"}, "its expires_at_us is 'soon'"),
        ({"released": "yes"}, "its released is 'yes'"),
        ({"node_id": b"\xff"}, "'utf-8' codec can't decode"),
    ],
    ids=lambda value: "=".join(map(str, *value.items())) if isinstance(value, dict) else None,
)
async def test_a_lease_that_others_altered_is_refused_and_not_touched(
    store: RedisLeaseStore, url: str, name: str, fields: dict[str, object], reason: str
) -> None:
    await plant(url, name, **fields)
    before = await ask(url, "HGETALL", key(name, "lease"))
    with pytest.raises(Unusable) as caught:
        await store.acquire(name, BETA, 30.0)
    assert f"has a lease {name!r} that cannot be used: {reason}" in str(caught.value)
    with pytest.raises(Unusable):
        await store.release(name, BETA)
    assert await ask(url, "HGETALL", key(name, "lease")) == before


@pytest.mark.parametrize("what", ["lease", "barred", "nodes"])
async def test_a_key_of_ours_that_holds_something_else_is_refused_and_not_touched(
    store: RedisLeaseStore, url: str, name: str, what: str
) -> None:
    await ask(url, "SET", key(name, what), "theirs")
    with pytest.raises(Unusable, match="has something under our keys that is not ours: "):
        await (store.nodes(name) if what == "nodes" else store.acquire(name, ALPHA, 30.0))
    assert await ask(url, "GET", key(name, what)) == b"theirs"
    assert not await ask(url, "EXISTS", key(name, "barred" if what == "lease" else "lease"))


@pytest.mark.parametrize(
    "kept", ["", "1.5", "1.5 1.5", "1.5 1.5 {}", '1.5 x ["h", "primary", 1, "v", "i", "leader", "f"]']
)
async def test_a_node_that_others_altered_is_refused(store: RedisLeaseStore, url: str, name: str, kept: str) -> None:
    await store.heartbeat(name, Node("beta", "mini"), "1", "leader", "fingerprint")
    await ask(url, "HSET", key(name, "nodes"), "alpha", kept)
    with pytest.raises(Unusable, match=f"has a node of '{name}' that is not ours: "):
        await store.nodes(name)
    await store.heartbeat(name, Node("alpha", "mini"), "i", "leader", "fingerprint")
    assert [seen.node.node_id for seen in await store.nodes(name)] == ["alpha", "beta"]


@pytest.mark.parametrize("incarnation", ["i", "\n\"ü'🦊 \\u0041"])
async def test_a_node_was_never_first_seen_after_it_was_last_seen(
    store: RedisLeaseStore, url: str, name: str, incarnation: str
) -> None:
    described = msgspec.json.encode(("h h", "primary", 2**63 - 1, "v", incarnation, "leader", "f")).decode()
    for first_seen_at, is_kept in (("1.500000", True), ("99999999999.000000", False)):
        await ask(url, "HSET", key(name, "nodes"), "alpha", f"{first_seen_at} 2.000000 {described}")
        await store.heartbeat(name, Node("alpha", "mini"), incarnation, "leader", "fingerprint")
        (seen,) = await store.nodes(name)
        assert seen.first_seen_at == (1.5 if is_kept else seen.last_seen_at)


# Its connections


async def test_an_open_store_keeps_its_connection_and_another_makes_one_for_each_call(proxy: Proxy, name: str) -> None:
    url = proxy.instead_of("redis://127.0.0.1:1/0")
    store = RedisLeaseStore(url)
    for calls in (1, 2):
        await store.acquire(name, ALPHA, 30.0)
        assert proxy.connections == calls
    async with store:
        for _ in range(3):
            await store.acquire(name, ALPHA, 30.0)
        await store.heartbeat(name, Node("alpha", "mini"), "1", "leader", "fingerprint")
        assert proxy.connections == 3
    assert (await store.acquire(name, ALPHA, 30.0)).term == 6
    assert proxy.connections == 4


async def test_nothing_is_sent_by_making_a_store_or_by_opening_it(proxy: Proxy) -> None:
    async with RedisLeaseStore(proxy.instead_of("redis://127.0.0.1:1/0")):
        assert proxy.connections == 0


async def test_errors_of_the_body_leave_an_open_store_as_they_are(store: RedisLeaseStore, name: str, url: str) -> None:
    with pytest.raises(KeyError) as caught:
        async with RedisLeaseStore(url) as other:
            await other.acquire(name, ALPHA, 30.0)
            raise KeyError("mine") from ValueError("why")
    assert repr(caught.value.__cause__) == "ValueError('why')"
    with trio.move_on_after(0.05) as patience:
        async with RedisLeaseStore(url) as other:
            await other.acquire(name, ALPHA, 30.0)
            await trio.sleep_forever()
    assert patience.cancelled_caught


async def test_a_store_is_opened_once(store: RedisLeaseStore) -> None:
    with pytest.raises(RuntimeError, match="is open already: enter it once, and share it"):
        async with store:
            pass


async def test_an_open_store_serves_other_trio_runs_too(store: RedisLeaseStore, name: str) -> None:
    await store.acquire(name, ALPHA, 30.0)
    grant = await trio.to_thread.run_sync(lambda: trio.run(store.acquire, name, BETA, 30.0))
    assert grant.holder_id == "alpha"


async def test_a_broken_connection_costs_one_call_at_most(proxy: Proxy, name: str) -> None:
    async with RedisLeaseStore(proxy.instead_of("redis://127.0.0.1:1/0")) as store:
        await store.acquire(name, ALPHA, 30.0)
        proxy.cut()
        await trio.sleep(0.5)  # it has ended, which the loop must notice
        assert (await store.acquire(name, ALPHA, 30.0, term=1)).is_leader
        proxy.lose_answer(b"EVALSHA")
        with pytest.raises(ConnectionError, match=r"^redis://127\.0\.0\.1:\d+/0 cannot be reached: "):
            await store.acquire(name, ALPHA, 30.0, term=1)
        assert (await store.acquire(name, ALPHA, 30.0, term=1)).is_leader


async def test_an_answer_that_comes_after_the_call_was_given_up_meets_no_later_question(
    proxy: Proxy, url: str, name: str
) -> None:
    async with RedisLeaseStore(proxy.instead_of("redis://127.0.0.1:1/0")) as store, RedisLeaseStore(url) as direct:
        await store.acquire(name, ALPHA, 30.0)
        proxy.delay = 0.1
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.acquire, name, ALPHA, 30.0)
            await trio.sleep(0.05)
            proxy.delay = 5.0  # of the answer, and of no question
            # It is given up once it has been carried out, with its answer on its way: term 2.
            while (await direct.acquire(name, BETA, 30.0, term=1)).term == 1:
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
        proxy.delay = 0.0
        refused = await store.acquire(name, BETA, 30.0, term=1)
        assert (refused.is_leader, refused.holder_id, refused.term) == (False, "alpha", 2)
        assert proxy.connections == 2


async def test_calls_of_a_server_that_does_not_answer_are_given_up_promptly_and_do_not_wait_for_each_other(
    proxy: Proxy, name: str
) -> None:
    async with RedisLeaseStore(proxy.instead_of("redis://127.0.0.1:1/0")) as store:
        await store.acquire(name, ALPHA, 30.0)
        proxy.black_hole()
        begun = trio.current_time()
        # The first on a connection that was open, the others on new ones that nobody greets.
        for _ in range(3):
            with trio.move_on_after(0.1) as patience:
                await store.acquire(name, ALPHA, 30.0, term=1)
            assert patience.cancelled_caught
        assert trio.current_time() - begun < PATIENCE
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.heartbeat, name, Node("alpha", "mini"), "1", "leader", "fingerprint")
            await trio.sleep(0.05)
            proxy.heal()
            assert (await store.acquire(name, ALPHA, 30.0, term=1)).is_leader


async def test_a_host_is_looked_up_though_the_application_uses_all_threads_of_trio(
    server: RedisServer, name: str
) -> None:
    store = RedisLeaseStore(f"redis://localhost:{server.port}")
    at_work = threading.Event()
    async with trio.open_nursery() as nursery:
        for _ in range(int(trio.to_thread.current_default_thread_limiter().total_tokens)):
            nursery.start_soon(trio.to_thread.run_sync, at_work.wait, PATIENCE)
        await trio.testing.wait_all_tasks_blocked()
        try:
            with trio.fail_after(PATIENCE):
                assert (await store.acquire(name, ALPHA, 30.0)).is_leader
        finally:
            at_work.set()


# Its watches


async def test_all_who_wait_for_a_lease_share_one_connection(proxy: Proxy, name: str) -> None:
    async with RedisLeaseStore(proxy.instead_of("redis://127.0.0.1:1/0")) as store, trio.open_nursery() as nursery:
        await store.acquire(name, ALPHA, 30.0)
        for _ in range(50):
            nursery.start_soon(store.wait_released, name, 1)
            nursery.start_soon(store.wait_begun, name, 2)
        await trio.sleep(0.1)
        await store.release(name, ALPHA)
        await store.wait_released(name, 1)
        await store.acquire(name, BETA, 30.0)
        await store.wait_begun(name, 2)
        assert proxy.connections == 2


async def test_a_watch_that_breaks_is_an_error_for_all_who_wait_and_the_next_one_begins_anew(
    proxy: Proxy, name: str
) -> None:
    async def wait(store: RedisLeaseStore) -> None:
        with pytest.raises(ConnectionError, match="cannot be reached: "):
            await store.wait_released(name, 1)

    async with RedisLeaseStore(proxy.instead_of("redis://127.0.0.1:1/0")) as store:
        await store.acquire(name, ALPHA, 30.0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, store)
            nursery.start_soon(wait, store)
            with trio.fail_after(PATIENCE):
                while proxy.connections < 2:
                    await trio.sleep(0.01)
            await trio.sleep(0.1)
            proxy.cut()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.wait_released, name, 1)
            await trio.sleep(0.1)
            await store.release(name, ALPHA)


async def test_a_watch_that_has_become_silent_is_given_up(
    proxy: Proxy, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conductor_jobs.stores.redis_watches._LOOK_EVERY", 0.1)
    monkeypatch.setattr("conductor_jobs.stores.redis_watches._PATIENCE", 0.1)
    async with RedisLeaseStore(proxy.instead_of("redis://127.0.0.1:1/0")) as store, trio.open_nursery() as nursery:
        nursery.start_soon(proxy_becomes_a_black_hole, proxy)
        with pytest.raises(trio.TooSlowError) as caught, trio.fail_after(PATIENCE):
            await store.wait_released(name, 1)
        assert isinstance(caught.value.__cause__, trio.TooSlowError)  # not that of this test


async def proxy_becomes_a_black_hole(proxy: Proxy) -> None:
    await trio.sleep(0.05)
    proxy.black_hole()


async def test_a_watch_looks_now_and_then_for_what_it_was_not_told(
    store: RedisLeaseStore, url: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conductor_jobs.stores.redis_watches._LOOK_EVERY", 0.1)
    await plant(url, name, term=7)
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.wait_begun, name, 8)
            nursery.start_soon(store.wait_released, name, 7)
            await trio.sleep(0.05)
            await ask(url, "HSET", key(name, "lease"), "term", 8)
        # Also when it is that the server has lost its memory.
        await ask(url, "DEL", key(name, "lease"))
        await trio.sleep(0.2)
    with trio.move_on_after(0.1) as patience:
        await store.wait_begun(name, 1)
    assert patience.cancelled_caught


async def test_what_others_say_on_the_channel_is_passed_over(store: RedisLeaseStore, url: str, name: str) -> None:
    await store.acquire(name, ALPHA, 30.0)
    with trio.move_on_after(0.3) as patience:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.wait_released, name, 1)
            await trio.sleep(0.05)
            for text in ("", "x", "1", "x begun", "1 begun", "1 gone", "0 released", "1 begun released"):
                await ask(url, "PUBLISH", key(name, "changes"), text)
    assert patience.cancelled_caught


async def test_a_watch_ends_when_nobody_has_waited_for_a_while(
    proxy: Proxy, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def wait_for_connections(store: RedisLeaseStore, count: int) -> None:
        with trio.fail_after(PATIENCE):
            while proxy.connections < count:
                with trio.move_on_after(0.05):
                    await store.wait_begun(name, 1)
                await trio.sleep(0.3)

    monkeypatch.setattr("conductor_jobs.stores.redis_watches._LOOK_EVERY", 0.02)
    monkeypatch.setattr("conductor_jobs.stores.redis_watches._LINGER", 1000.0)
    async with RedisLeaseStore(proxy.instead_of("redis://127.0.0.1:1/0")) as store:
        await wait_for_connections(store, 1)
        with trio.move_on_after(0.05):
            await store.wait_begun(name, 1)
        assert proxy.connections == 1
        monkeypatch.setattr("conductor_jobs.stores.redis_watches._LINGER", 0.1)
        await wait_for_connections(store, 2)


# Servers that it cannot use, or not yet


async def test_a_server_that_is_not_there_is_an_error_that_says_so(name: str) -> None:
    for host, reason in (("127.0.0.1:1", "Connection refused"), ("no-such-host.invalid:1", "")):
        with pytest.raises(ConnectionError) as caught:
            await RedisLeaseStore(f"redis://:secret@{host}/3").acquire(name, ALPHA, 30.0)
        assert str(caught.value).startswith(f"redis://{host}/3 cannot be reached: {reason}")


async def test_a_server_of_another_kind_is_an_error(name: str) -> None:
    async def answer(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, answer, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        with pytest.raises(ConnectionError, match=r"cannot be reached: .*Unknown RESP data type"):
            await RedisLeaseStore(f"redis://127.0.0.1:{port}").acquire(name, ALPHA, 30.0)
        nursery.cancel_scope.cancel()


async def test_a_replica_is_an_error_and_once_promoted_gives_a_lease_its_whole_ttl_again(
    server: RedisServer, tmp_path: Path, name: str
) -> None:
    store = RedisLeaseStore(server.url)
    await store.acquire(name, ALPHA, 2.0)
    with running(tmp_path, {"replicaof": f"127.0.0.1 {server.port}"}) as copy:
        replica = RedisLeaseStore(copy.url)
        with trio.fail_after(PATIENCE):
            while not await ask(copy.url, "EXISTS", key(name, "lease")):
                await trio.sleep(0.05)
        with pytest.raises(ServerRefused, match=r"is a read-only replica: "):
            await replica.acquire(name, BETA, 30.0)
        assert copy.ask("REPLICAOF", "NO", "ONE") == b"+OK\r\n"
        # What was renewed last may not have got here, and the clock may be another.
        refused = await replica.acquire(name, BETA, 30.0)
        assert (refused.is_leader, refused.holder_id, refused.expires_in) == (False, "alpha", 2.0)
        assert (await replica.acquire(name, BETA, 30.0)).expires_in < 2.0
        with trio.fail_after(PATIENCE):
            while not (grant := await replica.acquire(name, BETA, 30.0)).is_leader:
                await trio.sleep(0.05)
    assert grant.term == 2


async def test_errors_of_a_full_server_are_told_and_change_nothing(tmp_path: Path, name: str) -> None:
    with running(tmp_path) as server:
        store = RedisLeaseStore(server.url)
        await store.acquire(name, ALPHA, 30.0)
        server.ask("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(ServerRefused, match=r"answered with an error: .*maxmemory"):
            await store.acquire(name, ALPHA, 30.0)
        server.ask("CONFIG", "SET", "maxmemory", "0")
        assert (await store.acquire(name, ALPHA, 30.0)).term == 2


def test_the_module_is_imported_without_coredis_which_a_store_needs() -> None:
    code = (
        "import sys; sys.modules['coredis'] = None\nfrom conductor_jobs.stores.redis import RedisLeaseStore as S\nS({})"
    )
    for argument, problem in (("'redis://h'", "ModuleNotFoundError"), ("'http://h'", "ValueError")):
        done = subprocess.run([sys.executable, "-c", code.format(argument)], capture_output=True, text=True)
        assert problem in done.stderr

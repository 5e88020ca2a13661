"""The Redis store and its server: who may log in, over which line, and whether the server keeps what it is told."""

import ssl
import warnings
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
import trio
import trustme

from conductor_jobs import Holder, Node
from conductor_jobs.errors import Unusable
from conductor_jobs.runner_records import Claim
from conductor_jobs.stores.redis import RedisLeaseStore
from conductor_jobs.stores.redis_connections import ServerRefused

from .real_servers import PATIENCE
from .real_servers.redis import RedisServer, running

ALPHA, BETA = Holder("alpha", "1"), Holder("beta", "1")
PASSWORD = "p@ss/w#rd?:%"
QUOTED = "p%40ss%2Fw%23rd%3F%3A%25"
# What docs/stores/redis.md asks an administrator for.
DOCUMENTED_USER = (
    "~conductor-jobs:* &conductor-jobs:* +@connection +evalsha +eval +time +exists +hget +hmget +hset +hincrby +hgetall"
    " +sismember +sadd +srem +smembers +publish +subscribe +info +config|get"
)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Generator[RedisServer, None, None]:
    """A server with users: the default one has a password, each of the others may do less than is needed."""
    with running(tmp_path_factory.mktemp("redis")) as server:
        for user, rules in {
            "documented": DOCUMENTED_USER,
            "no-channel": f"{DOCUMENTED_USER} resetchannels",
            "no-config": f"{DOCUMENTED_USER} -config",
            "no-info": f"{DOCUMENTED_USER} -info -config",
            "no-script": f"{DOCUMENTED_USER} -evalsha",
            "no-key": f"{DOCUMENTED_USER} resetkeys ~theirs:*",
        }.items():
            assert server.ask("ACL", "SETUSER", user, "on", f">{PASSWORD}", *rules.split()) == b"+OK\r\n"
        server.ask("CONFIG", "SET", "requirepass", PASSWORD)
        yield server


def url_for(server: RedisServer, user: str, *, database: int = 0, query: str = "") -> str:
    return f"redis://{user}:{QUOTED}@127.0.0.1:{server.port}/{database}{query}"


# The URL


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://host", "redis://host:6379/0"),
        ("redis://host/", "redis://host:6379/0"),
        ("redis://HOST:7/3", "redis://host:7/3"),
        ("redis://:secret@host", "redis://host:6379/0"),
        ("redis://me:secret@[::1]:7", "redis://[::1]:7/0"),
        ("rediss://me:secret@host?ssl_ca_certs=a.pem&require_durable=1", "rediss://host:6379/0"),
    ],
)
def test_a_store_shows_its_place_and_no_password(url: str, shown: str) -> None:
    assert repr(RedisLeaseStore(url)) == f"RedisLeaseStore({shown!r})"


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://host", "'http://host' has another form"),
        ("redis:host", "'redis:host' has another form"),
        ("redis://", "'redis://' has another form"),
        ("redis://host#3", "'redis://host#3' has another form"),
        ("redis://host:x", "'redis://host:x' has a port that is no number from 1 to 65535, or a host that is none"),
        ("redis://host:0", "has a port"),
        ("redis://host:70000", "has a port"),
        ("redis://[host", "has a port"),
        ("redis://host/three", "'redis://host/three' has a DATABASE that is no number from 0"),
        ("redis://host/-1", "has a DATABASE that is no number from 0"),
        ("redis://host/1?db=1", "has ?db=; there are only require_durable and ssl_ca_certs, ssl_certfile, ssl_keyfile"),
        ("redis://host?require_durable=yes", "has ?require_durable=, which must be 0 or 1"),
        ("redis://host?ssl_ca_certs=a.pem", "has ?ssl_ca_certs=, which must name a file, and needs rediss://"),
        ("rediss://host?ssl_ca_certs=", "has ?ssl_ca_certs=, which must name a file"),
        ("rediss://host?ssl_keyfile=a.pem", "has ?ssl_keyfile= without ?ssl_certfile="),
        ("redis://me:sec/ret@host", "that with a user and a password has a port"),
        ("redis://me:sec#ret@host", "that with a user and a password has a port"),
        (
            "redis://:1/ret@host",
            "that with a user and a password has another form; signs such as / # ? @ in a password",
        ),
    ],
)
def test_a_url_that_is_none_is_refused_showing_no_password(url: str, problem: str) -> None:
    with pytest.raises(ValueError, match="RedisLeaseStore url must be redis://") as caught:
        RedisLeaseStore(url)
    assert problem in str(caught.value)
    assert "ret" not in str(caught.value)
    assert caught.value.__context__ is None


def test_a_url_that_is_no_text_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must be a text like redis://.*, not a bytes"):
        RedisLeaseStore(b"redis://host")  # type: ignore[arg-type] # that is the point


def test_stores_of_one_place_are_equal_whoever_logs_in() -> None:
    one = RedisLeaseStore("redis://me:secret@host:6379/1")
    assert one == RedisLeaseStore("rediss://HOST/1", require_durable=True)
    assert hash(one) == hash(RedisLeaseStore("redis://host/1"))
    for other in ("redis://host/2", "redis://host:1/1", "redis://other/1"):
        assert one != RedisLeaseStore(other)


# The login


async def test_a_user_who_has_only_what_is_documented_can_do_everything(guarded: RedisServer) -> None:
    async with RedisLeaseStore(url_for(guarded, "documented", query="?require_durable=1")) as store:
        assert (await store.acquire("jobs", ALPHA, 30.0)).is_leader
        assert (await store.acquire("jobs", ALPHA, 30.0, term=1)).is_leader
        await store.heartbeat("jobs", Node("alpha", "mini"), "1", "leader", "fingerprint")
        assert len(await store.nodes("jobs")) == 1
        claim = Claim("a", datetime.now(UTC), 1)
        assert await store.claim("jobs", [claim]) == await store.claims("jobs") == [claim]
        await store.save_cursor("jobs", "a", 1, "7")
        assert await store.load_cursor("jobs", "a") == "7"
        for paused in (True, False):
            await store.set_paused("jobs", "a", paused)
            assert await store.paused("jobs") == ({"a"} if paused else set())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.wait_released, "jobs", 1)
            await trio.sleep(0.05)
            assert await store.release("jobs", ALPHA)


@pytest.mark.parametrize(
    ("user", "password", "problem"),
    [
        ("documented", "wrong", "refused the login: invalid username-password pair"),
        ("nobody", QUOTED, "refused the login: invalid username-password pair"),
        ("", "", "refused the login: HELLO must be called with the client already authenticated"),
        ("no-script", QUOTED, "does not allow its user that: "),
        ("no-key", QUOTED, "does not allow its user that: "),
    ],
)
async def test_a_refused_user_is_an_error_that_says_so_and_shows_no_password(
    guarded: RedisServer, user: str, password: str, problem: str
) -> None:
    userinfo = f"{user}:{password}@" if password else ""
    store = RedisLeaseStore(f"redis://{userinfo}127.0.0.1:{guarded.port}")
    for call in (partial(store.acquire, "jobs", BETA, 30.0), partial(store.release, "jobs", BETA)):
        with pytest.raises(ServerRefused) as caught:
            await call()
        assert str(caught.value).startswith(f"redis://127.0.0.1:{guarded.port}/0 {problem}")
        assert not password or password not in str(caught.value)


async def test_a_user_without_the_channel_can_lead_and_is_told_that_he_cannot_watch(guarded: RedisServer) -> None:
    async with RedisLeaseStore(url_for(guarded, "no-channel", database=1)) as store:
        assert (await store.acquire("jobs", ALPHA, 30.0)).is_leader
        with trio.fail_after(PATIENCE), pytest.raises(ServerRefused, match="does not allow its user that: "):
            await store.wait_released("jobs", 1)
        assert await store.release("jobs", ALPHA)


async def test_databases_of_one_server_are_places_of_their_own(guarded: RedisServer) -> None:
    one, other = (RedisLeaseStore(url_for(guarded, "documented", database=number)) for number in (2, 3))
    assert (await one.acquire("jobs", ALPHA, 30.0)).is_leader
    assert (await other.acquire("jobs", BETA, 30.0)).is_leader
    with pytest.raises(ServerRefused, match="out of range"):
        await RedisLeaseStore(url_for(guarded, "documented", database=9999)).acquire("jobs", ALPHA, 30.0)


# The line


@asynccontextmanager
async def tls_in_front_of(server: RedisServer, context: ssl.SSLContext) -> AsyncGenerator[int, None]:
    """End TLS for a server that is built without it; gives the port."""

    async def pump(source: trio.abc.Stream, target: trio.abc.Stream) -> None:
        while data := await source.receive_some(65536):
            await target.send_all(data)
        await target.aclose()

    async def serve(stream: trio.SSLStream[trio.SocketStream]) -> None:
        try:
            async with await trio.open_tcp_stream("127.0.0.1", server.port) as plain, trio.open_nursery() as nursery:
                nursery.start_soon(pump, stream, plain)
                nursery.start_soon(pump, plain, stream)
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async with trio.open_nursery() as nursery:
        serving = partial(trio.serve_ssl_over_tcp, serve, 0, context, host="127.0.0.1", https_compatible=True)
        listeners = await nursery.start(serving)
        yield listeners[0].transport_listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def test_tls_verifies_certificate_and_host_name(guarded: RedisServer, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    authority.issue_cert("me").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "me.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    files = f"ssl_ca_certs={tmp_path / 'ca.pem'}&ssl_certfile={tmp_path / 'me.pem'}"
    async with tls_in_front_of(guarded, context) as port:
        place, user = f"localhost:{port}/4", f"documented:{QUOTED}"
        async with RedisLeaseStore(f"rediss://{user}@{place}?{files}") as store:
            assert (await store.acquire("jobs", ALPHA, 30.0)).is_leader
            assert (await store.acquire("jobs", ALPHA, 30.0, term=1)).is_leader
        for url, problem in (
            (f"rediss://{user}@{place}", "certificate verify failed"),
            (f"rediss://{user}@127.0.0.1:{port}/4?{files}", "certificate verify failed: IP address mismatch"),
            (f"redis://{user}@{place}", ""),
        ):
            with pytest.raises(ConnectionError, match=f"cannot be reached: .*{problem}") as caught:
                await RedisLeaseStore(url).acquire("jobs", BETA, 30.0)
            assert QUOTED not in str(caught.value)


async def test_a_file_for_tls_that_is_not_there_is_named() -> None:
    with pytest.raises(
        Unusable, match=r"^rediss://h:6379/0 cannot be reached by TLS with ssl_ca_certs='gone.pem': No such"
    ):
        await RedisLeaseStore("rediss://:secret@h?ssl_ca_certs=gone.pem").acquire("jobs", ALPHA, 30.0)


# Whether it keeps what it is told


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"appendonly": "no"}, "appendonly is no: a restart loses leases and terms"),
        ({"maxmemory-policy": "allkeys-lru"}, "maxmemory-policy is allkeys-lru: a full memory loses leases and terms"),
    ],
    ids=["appendonly", "eviction"],
)
async def test_a_server_that_forgets_is_warned_of_once_or_refused(
    tmp_path: Path, settings: dict[str, str], problem: str
) -> None:
    with running(tmp_path, settings) as server:
        async with RedisLeaseStore(server.url) as store:
            with pytest.warns(RuntimeWarning) as warned:
                assert (await store.acquire("jobs", ALPHA, 30.0)).is_leader
            assert [str(each.message) for each in warned] == [f"{server.url} may forget leases: {problem}."]
            assert not (await store.acquire("jobs", BETA, 30.0)).is_leader
        for strict in (
            RedisLeaseStore(server.url, require_durable=True),
            RedisLeaseStore(f"{server.url}?require_durable=1"),
        ):
            for _ in range(2):
                with pytest.raises(Unusable) as caught:
                    await strict.acquire("jobs", ALPHA, 30.0)
                assert str(caught.value) == f"{server.url} is not durable, as was required: {problem}."


@pytest.mark.parametrize("fsync", ["everysec", "no"])
async def test_a_sync_now_and_then_is_enough_unless_more_is_required(tmp_path: Path, fsync: str) -> None:
    with running(tmp_path, {"appendfsync": fsync, "maxmemory-policy": "volatile-lru"}) as server:
        assert (await RedisLeaseStore(server.url).acquire("jobs", ALPHA, 30.0)).is_leader
        with pytest.raises(Unusable, match=f"appendfsync is {fsync}: a crash of the machine loses the last writes"):
            await RedisLeaseStore(server.url, require_durable=True).acquire("jobs", ALPHA, 30.0)


async def test_what_a_server_will_not_tell_could_not_be_checked(guarded: RedisServer) -> None:
    url = url_for(guarded, "no-config", database=5)
    assert (await RedisLeaseStore(url).acquire("jobs", ALPHA, 30.0)).is_leader
    with pytest.raises(Unusable, match=r"is not durable, as was required: appendfsync could not be checked \(.*config"):
        await RedisLeaseStore(url, require_durable=True).acquire("jobs", ALPHA, 30.0)
    with pytest.warns(RuntimeWarning, match=r"appendonly and maxmemory-policy could not be checked \(.*info"):
        await RedisLeaseStore(url_for(guarded, "no-info", database=5)).acquire("jobs", ALPHA, 30.0)


async def test_a_server_is_asked_again_after_its_connection_broke(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        async with RedisLeaseStore(server.url) as store:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                await store.acquire("jobs", ALPHA, 30.0)
                server.ask("CONFIG", "SET", "appendonly", "no")
                await store.acquire("jobs", ALPHA, 30.0)
            server.kill()
            with pytest.raises(ConnectionError):
                await store.acquire("jobs", ALPHA, 30.0)
            server.settings["appendonly"] = "no"
            server.start()
            with pytest.warns(RuntimeWarning, match="appendonly is no"):
                await store.acquire("jobs", ALPHA, 30.0)


@pytest.mark.parametrize("fsync", ["always", "everysec", "no"])
async def test_a_server_with_an_append_only_file_keeps_the_term_over_a_kill(tmp_path: Path, fsync: str) -> None:
    with running(tmp_path, {"appendfsync": fsync}) as server:
        async with RedisLeaseStore(server.url) as store:
            await store.acquire("jobs", ALPHA, 30.0)
            await store.release("jobs", ALPHA)
            assert (await store.acquire("jobs", BETA, 30.0)).term == 2
            server.kill()
            server.start()
            await trio.sleep(0.05)  # the old connection has ended, which the loop must notice
            assert (await store.acquire("jobs", BETA, 30.0, term=2)).is_leader
            refused = await store.acquire("jobs", ALPHA, 30.0)
            assert (refused.is_leader, refused.term, refused.holder_id) == (False, 2, "beta")
            assert (await store.acquire("jobs", BETA, 30.0)).term == 3


async def test_after_a_restart_a_lease_gets_its_whole_ttl_again_once_and_a_free_one_is_free(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        store = RedisLeaseStore(server.url)
        await store.acquire("held", ALPHA, 0.5)
        await store.acquire("expired", ALPHA, 0.001)
        await store.acquire("free", ALPHA, 0.5)
        await store.release("free", ALPHA)
        server.kill()
        await trio.sleep(0.6)
        server.start()
        for name in ("held", "expired"):
            refused = await store.acquire(name, BETA, 30.0)
            assert (refused.is_leader, refused.expires_in) == (False, 0.5 if name == "held" else 0.001)
        assert (await store.acquire("free", BETA, 30.0)).term == 2
        with trio.fail_after(PATIENCE):
            while not (grant := await store.acquire("held", BETA, 30.0)).is_leader:
                await trio.sleep(0.05)
        assert grant.term == 2


async def test_users_who_may_and_may_not_ask_which_server_it_is_share_a_lease(guarded: RedisServer) -> None:
    one = RedisLeaseStore(url_for(guarded, "documented", database=6))
    other = RedisLeaseStore(url_for(guarded, "no-info", database=6))
    with pytest.warns(RuntimeWarning, match="could not be checked"):
        await other.acquire("jobs", ALPHA, 0.3)
    with trio.fail_after(PATIENCE):
        while not (grant := await one.acquire("jobs", BETA, 30.0)).is_leader:
            assert not (await other.acquire("jobs", Holder("gamma", "1"), 30.0, term=1)).is_leader
            await trio.sleep(0.05)
    assert grant.term == 2
    assert (await other.acquire("jobs", BETA, 30.0, term=2)).is_leader


async def test_a_server_without_one_gives_a_term_twice_which_is_what_the_warning_is_for(tmp_path: Path) -> None:
    with running(tmp_path, {"appendonly": "no"}) as server:
        async with RedisLeaseStore(server.url) as store:
            with pytest.warns(RuntimeWarning, match="may forget leases"):
                assert (await store.acquire("jobs", ALPHA, 30.0)).term == 1
            server.kill()
            server.start()
            with pytest.warns(RuntimeWarning, match="may forget leases"):
                assert (await RedisLeaseStore(server.url).acquire("jobs", BETA, 30.0)).term == 1
            # At least the holder of the first one is told so by his next renewal.
            assert not (await store.acquire("jobs", ALPHA, 30.0, term=1)).is_leader

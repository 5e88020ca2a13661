"""What the Redis store keeps of runners, on a real server: fenced in one step, exact, kept over a restart (I19)."""

from collections.abc import AsyncGenerator, Generator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
import trio

from conductor_jobs import Node, StaleTerm
from conductor_jobs.errors import Unusable
from conductor_jobs.runner_records import Claim
from conductor_jobs.stores.redis import RedisLeaseStore
from conductor_jobs.stores.redis_connections import ServerRefused
from conductor_jobs.stores.redis_scripts import SCHEMA, key
from conductor_jobs.stores.stored_claims import FIRST_DUE, LAST_DUE, encoded

from .real_servers import PATIENCE, free_port
from .real_servers.proxy import Proxy
from .real_servers.redis import RedisServer, running
from .runner_stores import (
    ALPHA,
    BETA,
    DUE,
    SECOND,
    answers_as_the_memory_store_does,
    many,
    writes_of_a_superseded_term_are_refused,
)
from .test_store_redis import ask, plant

pytestmark = pytest.mark.filterwarnings("ignore:.*may forget leases")
TTL = 30.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[RedisServer, None, None]:
    with running(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def name() -> str:
    return f"jobs-{uuid4()}"


@pytest.fixture
def proxy(server: RedisServer) -> Generator[Proxy, None, None]:
    with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
async def store(server: RedisServer) -> AsyncGenerator[RedisLeaseStore, None]:
    async with RedisLeaseStore(server.url) as store:
        yield store


# The fence


@pytest.mark.parametrize("seed", range(3))
async def test_in_any_order_of_calls_it_answers_as_the_memory_store_does(
    store: RedisLeaseStore, name: str, seed: int
) -> None:
    await answers_as_the_memory_store_does(store, name, seed=seed, calls=150, ttl=TTL)


@pytest.mark.parametrize("claims", [1, 300])
async def test_nothing_of_a_term_is_kept_after_its_end_was_confirmed(
    server: RedisServer, store: RedisLeaseStore, name: str, claims: int
) -> None:
    async with RedisLeaseStore(server.url) as other:
        await writes_of_a_superseded_term_are_refused(store, other, name, rounds=40, claims=claims, ttl=TTL)


async def test_terms_that_a_float_cannot_tell_apart_are_told_apart(
    store: RedisLeaseStore, server: RedisServer, name: str
) -> None:
    term = 2**53 + 1
    await plant(server.url, name, term=term)
    for stale in (term - 1, term + 1, 1):
        for write in (partial(store.claim, name, many(1, stale)), partial(store.save_cursor, name, "a", stale, "7")):
            with pytest.raises(
                StaleTerm, match=f"under term {stale} of lease '{name}' was refused: its term is {term}"
            ):
                await write()
    assert await store.claim(name, many(1, term)) == many(1, term)
    await store.save_cursor(name, "a", term, "7")
    # As if the server had forgotten a term: what it kept under the higher one is not taken over.
    for present, is_kept in ((term - 1, False), (term, True), (2**63 - 1, True)):
        await plant(server.url, name, term=present)
        claims = many(1, present, "completed")
        assert await store.claim(name, claims) == (claims if is_kept else [])
        await ask(server.url, "HSET", key(name, "claims"), claims[0].runner, encoded(many(1, term)[0]))


async def test_an_expired_lease_is_fenced_by_its_term_alone(store: RedisLeaseStore, name: str) -> None:
    await store.acquire(name, ALPHA, 0.001)
    await trio.sleep(0.01)
    assert await store.claim(name, many(1, 1)) == many(1, 1)
    await store.save_cursor(name, "a", 1, "7")
    await store.acquire(name, BETA, TTL)
    with pytest.raises(StaleTerm):
        await store.claim(name, many(1, 1))


async def test_ten_thousand_claims_are_one_step(store: RedisLeaseStore, server: RedisServer, name: str) -> None:
    await store.acquire(name, ALPHA, TTL)
    assert await store.claim(name, many(10_000, 1, "registered")) == many(10_000, 1, "registered")
    assert await store.claims(name) == many(10_000, 1, "registered")
    # The last of them is not ours, and none is kept.
    await ask(server.url, "HSET", key(name, "claims"), "runner-09999", "theirs")
    with pytest.raises(Unusable, match=r"has a claim of runner 'runner-09999' of .* that is not ours: 'theirs'"):
        await store.claim(name, many(10_000, 1, due_at=DUE + SECOND))
    await ask(server.url, "HDEL", key(name, "claims"), "runner-09999")
    assert await store.claims(name) == many(9_999, 1, "registered")


async def test_claims_of_several_terms_are_none_of_one_call(store: RedisLeaseStore, name: str) -> None:
    await store.acquire(name, ALPHA, TTL)
    with pytest.raises(ValueError, match=r"claims of one call must carry one term, not \[1, 2\]"):
        await store.claim(name, [*many(1, 1), Claim("b", DUE, 2)])
    assert await store.claims(name) == []


async def test_a_claim_is_exact_to_the_microsecond(store: RedisLeaseStore, name: str) -> None:
    await store.acquire(name, ALPHA, TTL)
    for microseconds in (0, 1, -1):
        claim = Claim("a", DUE + timedelta(microseconds=microseconds), 1, "completed")
        assert await store.claim(name, [claim]) == ([] if microseconds < 0 else [claim])
    assert await store.claims(name) == [Claim("a", DUE + timedelta(microseconds=1), 1, "completed")]


@pytest.mark.parametrize("cursor", ["", "x", "ü🦊\n", "x" * 5_000_000], ids=["empty", "short", "unicode", "long"])
async def test_a_cursor_is_any_text(store: RedisLeaseStore, name: str, cursor: str) -> None:
    await store.acquire(name, ALPHA, TTL)
    assert await store.load_cursor(name, "a") is None
    await store.save_cursor(name, "a", 1, cursor)
    assert await store.load_cursor(name, "a") == cursor


# Where it is kept


async def test_a_server_that_is_killed_and_restarted_keeps_all_of_it(tmp_path: Path, name: str) -> None:
    with running(tmp_path) as server:
        async with RedisLeaseStore(server.url) as store:
            await store.acquire(name, ALPHA, TTL)
            await store.claim(name, [Claim("a", DUE, 1), Claim("b", DUE, 1, "completed")])
            await store.save_cursor(name, "a", 1, "message:7")
            await store.set_paused(name, "b", True)
            server.kill()
            server.start()
            await trio.sleep(0.05)  # the old connection has ended, which the loop must notice
            assert await store.claims(name) == [Claim("a", DUE, 1), Claim("b", DUE, 1, "completed")]
            assert await store.load_cursor(name, "a") == "message:7"
            assert await store.paused(name) == {"b"}
            # The term goes on, so do its writes.
            assert await store.claim(name, [Claim("a", DUE, 1, "completed")])
            await store.save_cursor(name, "a", 1, "message:8")


async def test_nothing_of_it_has_a_ttl_and_leases_do_not_share_it(
    store: RedisLeaseStore, server: RedisServer, name: str
) -> None:
    await store.acquire(name, ALPHA, TTL)
    await store.claim(name, many(1, 1))
    await store.save_cursor(name, "a", 1, "7")
    await store.set_paused(name, "a", True)
    await store.heartbeat(name, Node("alpha"), "1", "leader", "f1")
    kinds = {"lease", "claims", "cursors", "paused", "nodes"}
    assert {each.decode() for each in await ask(server.url, "KEYS", f"*{name}*")} == {key(name, kind) for kind in kinds}
    assert {await ask(server.url, "TTL", key(name, kind)) for kind in kinds} == {-1}
    for other in (name[:-1], f"{name}0"):
        await store.acquire(other, ALPHA, TTL)
        assert not await store.claims(other)
        assert not await store.paused(other)
        assert await store.load_cursor(other, "a") is None


async def test_all_of_it_is_in_the_hash_slot_of_the_lease(tmp_path: Path) -> None:
    with running(tmp_path, {"cluster-enabled": "yes", "cluster-port": str(free_port())}) as server:
        server.ask("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        async with RedisLeaseStore(server.url) as store:
            with trio.fail_after(PATIENCE):
                while b"cluster_state:ok" not in server.ask("CLUSTER", "INFO"):
                    await trio.sleep(0.05)
            await store.acquire("jobs", ALPHA, TTL)
            assert await store.claim("jobs", many(2, 1)) == many(2, 1)
            await store.save_cursor("jobs", "a", 1, "7")
            await store.set_paused("jobs", "a", True)
            assert await store.paused("jobs") == {"a"}


async def test_a_heartbeat_says_what_is_registered(store: RedisLeaseStore, name: str) -> None:
    for fingerprint in ("f1", "f2"):
        await store.heartbeat(name, Node("alpha"), "1", "leader", fingerprint)
        (seen,) = await store.nodes(name)
        assert (seen.fingerprint, seen.incarnation) == (fingerprint, "1")


# What others have put there


def claim_text(**fields: Any) -> bytes:
    return msgspec.json.encode({"due_at_us": 0, "term": 1, "result": None} | fields)


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"7", b"{}", b"null", b"\xff", b"[0,1,null]"),
        *(claim_text(due_at_us=due) for due in (FIRST_DUE - 1, LAST_DUE + 1, 10**30, 1.5, "0")),
        *(claim_text(term=term) for term in (0, -1, 2**63, 10**30, "1")),
        *(claim_text(result=result) for result in ("done", 7)),
        claim_text(format=2),
    ],
)
async def test_a_claim_that_others_altered_is_refused_and_not_touched(
    store: RedisLeaseStore, server: RedisServer, name: str, text: bytes
) -> None:
    await store.acquire(name, ALPHA, TTL)
    await ask(server.url, "HSET", key(name, "claims"), "runner-00001", text)
    for call in (partial(store.claims, name), partial(store.claim, name, many(2, 1))):
        with pytest.raises(Unusable, match=f"has a claim of runner 'runner-00001' of '{name}' that is not ours: "):
            await call()
    assert await ask(server.url, "HGETALL", key(name, "claims")) == {b"runner-00001": text}


@pytest.mark.parametrize("microseconds", [FIRST_DUE, LAST_DUE, 0, -1])
async def test_the_first_and_the_last_of_all_due_instants_are_ours(
    store: RedisLeaseStore, server: RedisServer, name: str, microseconds: int
) -> None:
    await store.acquire(name, ALPHA, TTL)
    await ask(server.url, "HSET", key(name, "claims"), "a", claim_text(due_at_us=microseconds))
    (claim,) = await store.claims(name)
    assert await store.claim(name, [claim]) == [claim]


async def test_texts_that_are_none_are_refused(store: RedisLeaseStore, server: RedisServer, name: str) -> None:
    await ask(server.url, "HSET", key(name, "claims"), b"\xff", claim_text())
    await ask(server.url, "HSET", key(name, "cursors"), "a", b"\xff")
    await ask(server.url, "SADD", key(name, "paused"), b"\xff")
    for call, what in (
        (store.claims(name), "claim of runner '\ufffd'"),
        (store.load_cursor(name, "a"), "cursor of runner 'a'"),
        (store.paused(name), "name of a paused runner"),
    ):
        with pytest.raises(Unusable, match=f"has a {what} of '{name}' that is not ours: "):
            await call


@pytest.mark.parametrize("what", ["claims", "paused", "cursors"])
async def test_a_key_of_ours_that_holds_something_else_is_refused_and_not_touched(
    store: RedisLeaseStore, server: RedisServer, name: str, what: str
) -> None:
    await store.acquire(name, ALPHA, TTL)
    await ask(server.url, "SET", key(name, what), "theirs")
    calls = {
        "claims": (store.claims(name), store.claim(name, many(1, 1))),
        "paused": (store.paused(name), store.set_paused(name, "a", True), store.set_paused(name, "a", False)),
        "cursors": (store.load_cursor(name, "a"), store.save_cursor(name, "a", 1, "7")),
    }
    for call in calls[what]:
        with pytest.raises(Unusable, match="has something under our keys that is not ours: "):
            await call
    for other in calls.keys() - {what}:
        for call in calls[other]:
            await call
    assert await ask(server.url, "GET", key(name, what)) == b"theirs"


@pytest.mark.parametrize("fields", [{"schema": SCHEMA - 1}, {"schema": SCHEMA + 1}, {"term": "x"}, {"term": 2**63}])
async def test_under_a_lease_of_somebody_elses_nothing_is_written(
    store: RedisLeaseStore, server: RedisServer, name: str, fields: dict[str, object]
) -> None:
    await plant(server.url, name, **fields)
    for call in (store.claim(name, many(1, 7)), store.save_cursor(name, "a", 7, "7")):
        with pytest.raises(Unusable, match=f"has a lease '{name}' that cannot be used: "):
            await call
    assert not await ask(server.url, "EXISTS", key(name, "claims"), key(name, "cursors"))


# Calls that are given up, or fail


async def test_a_call_that_is_given_up_is_carried_out_as_a_whole_or_not_and_can_be_made_again(
    proxy: Proxy, name: str
) -> None:
    async with RedisLeaseStore(proxy.instead_of("redis://127.0.0.1:1/0")) as store:
        await store.acquire(name, ALPHA, TTL)
        await store.claim(name, many(200, 1, due_at=DUE - SECOND))
        await store.save_cursor(name, "a", 1, "-1")
        for second in range(10):
            claims = many(200, 1, due_at=DUE + second * SECOND)
            proxy.delay = 0.02
            with trio.move_on_after(0.005 * second):
                await store.claim(name, claims)
            with trio.move_on_after(0.005 * second):
                await store.save_cursor(name, "a", 1, str(second))
            proxy.delay = 0.0
            await trio.sleep(0.1)
            assert await store.claims(name) in (claims, many(200, 1, due_at=DUE + (second - 1) * SECOND))
            assert await store.claim(name, claims) == claims
            assert await store.load_cursor(name, "a") in (str(second), str(second - 1))
            await store.save_cursor(name, "a", 1, str(second))


async def test_calls_that_hang_are_in_no_renewals_way(proxy: Proxy, name: str) -> None:
    async with RedisLeaseStore(proxy.instead_of("redis://127.0.0.1:1/0")) as store:
        await store.acquire(name, ALPHA, TTL)
        proxy.black_hole()
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(store.claim, name, many(1, 1))
                nursery.start_soon(store.save_cursor, name, "a", 1, "7")
            await trio.sleep(0.05)
            proxy.heal()
            with trio.fail_after(PATIENCE):
                assert (await store.acquire(name, ALPHA, TTL, term=1)).is_leader
            nursery.cancel_scope.cancel()


async def test_a_full_server_keeps_none_of_many_claims_and_says_so(tmp_path: Path, name: str) -> None:
    with running(tmp_path) as server:
        store = RedisLeaseStore(server.url)
        await store.acquire(name, ALPHA, TTL)
        server.ask("CONFIG", "SET", "maxmemory", "1")
        for call in (store.claim(name, many(100, 1)), store.save_cursor(name, "a", 1, "7")):
            with pytest.raises(ServerRefused, match=r"answered with an error: .*maxmemory"):
                await call
        server.ask("CONFIG", "SET", "maxmemory", "0")
        assert await store.claims(name) == []

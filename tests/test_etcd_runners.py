"""What the etcd store keeps of runners, on a real etcd: fenced by transactions; many claims need many of them (I19)."""

from collections.abc import AsyncGenerator
from functools import partial
from typing import Any

import msgspec
import pytest
import trio

from conductor_jobs import Node, StaleTerm
from conductor_jobs.errors import Unusable
from conductor_jobs.runner_records import Claim
from conductor_jobs.stores.etcd import EtcdLeaseStore
from conductor_jobs.stores.etcd_api import Transacted
from conductor_jobs.stores.etcd_errors import EtcdError
from conductor_jobs.stores.etcd_gateway import EtcdGateway
from conductor_jobs.stores.etcd_runners import CLAIMS_AT_ONCE
from conductor_jobs.stores.stored_claims import FIRST_DUE, LAST_DUE

from .real_servers.etcd import EtcdServer, running, unused_prefix
from .real_servers.proxy import Proxy
from .runner_stores import (
    ALPHA,
    BETA,
    DUE,
    SECOND,
    answers_as_the_memory_store_does,
    many,
    writes_of_a_superseded_term_are_refused,
)

TTL = 30.0


@pytest.fixture
def url(etcd_server: EtcdServer) -> str:
    """A prefix that a test may look into, on a server of ours."""
    return unused_prefix(etcd_server.url)


@pytest.fixture
async def store(url: str) -> AsyncGenerator[EtcdLeaseStore, None]:
    async with EtcdLeaseStore(url) as store:
        yield store


@pytest.fixture
async def other(url: str) -> AsyncGenerator[EtcdLeaseStore, None]:
    async with EtcdLeaseStore(url) as store:
        yield store


@pytest.fixture
def paths(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of etcd."""

    async def note(gateway: EtcdGateway, path: str, *rest: Any) -> Any:
        paths.append(path)
        return await post(gateway, path, *rest)

    paths: list[str] = []
    post = EtcdGateway._post
    monkeypatch.setattr(EtcdGateway, "_post", note)
    return paths


def before_transaction(monkeypatch: pytest.MonkeyPatch, number: int, work: Any) -> None:
    """Have something done between what a call has read and its transaction of that number, the first one being 1."""

    async def interrupted(gateway: EtcdGateway, *, when: Any, then: Any) -> Transacted:
        nonlocal number
        number -= 1
        if number == 0:
            await work()
        return await transact(gateway, when=when, then=then)

    transact = EtcdGateway.transact
    monkeypatch.setattr(EtcdGateway, "transact", interrupted)


def plant(server: EtcdServer, url: str, key: str, value: str) -> str:
    """Write a key below the prefix of a URL, and return its name."""
    name = f"{url.rpartition('/')[2]}/{key}"
    server.ask("kv/put", {"key": name, "value": value})
    return name


def record_text(**fields: Any) -> str:
    ours = {"node_id": "a", "incarnation": "1", "term": 7, "ttl": 30.0, "granted": 30, "released": False, "format": 2}
    return msgspec.json.encode(ours | fields).decode()


# The fence


@pytest.mark.parametrize("seed", range(2))
async def test_in_any_order_of_calls_it_answers_as_the_memory_store_does(store: EtcdLeaseStore, seed: int) -> None:
    await answers_as_the_memory_store_does(store, "jobs", seed=seed, calls=60, ttl=TTL)


@pytest.mark.parametrize("claims", [1, 3 * CLAIMS_AT_ONCE])
async def test_nothing_of_a_term_is_kept_after_its_end_was_confirmed(
    store: EtcdLeaseStore, other: EtcdLeaseStore, claims: int
) -> None:
    await writes_of_a_superseded_term_are_refused(store, other, "jobs", rounds=20, claims=claims, ttl=TTL)


@pytest.mark.parametrize("ends_by", ["campaign", "release"])
@pytest.mark.parametrize("is_known", [True, False], ids=["known", "looked up"])
async def test_a_term_that_ends_between_look_and_transaction_writes_nothing(
    store: EtcdLeaseStore, other: EtcdLeaseStore, monkeypatch: pytest.MonkeyPatch, ends_by: str, is_known: bool
) -> None:
    end = partial(other.acquire, "jobs", ALPHA, TTL) if ends_by == "campaign" else partial(other.release, "jobs", ALPHA)
    why = "its term is 2" if ends_by == "campaign" else "that term has been released"
    await store.acquire("jobs", ALPHA, TTL)
    if is_known:
        await store.save_cursor("jobs", "a", 1, "6")
    with monkeypatch.context() as patch:
        before_transaction(patch, 1, end)
        with pytest.raises(StaleTerm, match=f"^a write under term 1 of lease 'jobs' was refused: {why}$"):
            await store.claim("jobs", many(1, 1))
    with pytest.raises(StaleTerm, match=why):
        await store.save_cursor("jobs", "a", 1, "7")
    assert await other.claims("jobs") == []
    assert await other.load_cursor("jobs", "a") == ("6" if is_known else None)


async def test_terms_that_a_float_cannot_tell_apart_are_told_apart(
    store: EtcdLeaseStore, etcd_server: EtcdServer, url: str
) -> None:
    term = 2**53 + 1
    plant(etcd_server, url, "lease/jobs/record", record_text(term=term))
    for stale in (term - 1, term + 1, 1):
        for write in (partial(store.claim, "jobs", many(1, stale)), partial(store.save_cursor, "jobs", "a", stale, "")):
            with pytest.raises(StaleTerm, match=f"under term {stale} of lease 'jobs' was refused: its term is {term}"):
                await write()
    assert await store.claim("jobs", many(1, term)) == many(1, term)
    plant(etcd_server, url, "lease/jobs/record", record_text(term=2**63 - 1))
    assert await store.claim("jobs", many(1, 2**63 - 1)) == many(1, 2**63 - 1)
    assert await store.claims("jobs") == many(1, 2**63 - 1)


async def test_an_expired_lease_is_fenced_by_its_term_alone(store: EtcdLeaseStore, other: EtcdLeaseStore) -> None:
    await store.acquire("jobs", ALPHA, 2.0)
    with trio.fail_after(60):
        while (await other.acquire("jobs", BETA, 2.0, term=1)).expires_in:
            await trio.sleep(0.1)
    assert await store.claim("jobs", many(1, 1)) == many(1, 1)
    await store.save_cursor("jobs", "a", 1, "7")
    await other.acquire("jobs", BETA, 2.0)
    with pytest.raises(StaleTerm):
        await store.claim("jobs", many(1, 1))


async def test_a_claim_that_supersedes_nothing_is_fenced_too(
    store: EtcdLeaseStore, other: EtcdLeaseStore, paths: list[str]
) -> None:
    await store.acquire("jobs", ALPHA, TTL)
    await store.claim("jobs", many(1, 1, "completed"))
    del paths[:]
    assert await store.claim("jobs", many(1, 1)) == []
    assert await store.claim("jobs", many(1, 1, "completed")) == many(1, 1, "completed")
    # A transaction of nothing but reads that is given up ends the process of many an etcd.
    assert paths == ["kv/range"] * 4
    await other.release("jobs", ALPHA)
    for result in ("completed", None):
        with pytest.raises(StaleTerm, match="that term has been released"):
            await store.claim("jobs", many(1, 1, result))


# Many claims, and others that write


async def test_ten_thousand_claims_are_kept_and_kept_again(
    store: EtcdLeaseStore, other: EtcdLeaseStore, paths: list[str]
) -> None:
    await store.acquire("jobs", ALPHA, TTL)
    claims = many(10_000, 1, "registered")
    assert await store.claim("jobs", claims[::-1]) == claims[::-1]
    assert await other.claims("jobs") == claims
    del paths[:]
    assert await store.claim("jobs", claims) == claims
    assert paths == ["kv/range", "kv/range"]


async def test_a_term_that_ends_between_two_transactions_keeps_what_it_claimed_in_time(
    store: EtcdLeaseStore, other: EtcdLeaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.acquire("jobs", ALPHA, TTL)
    claims = many(3 * CLAIMS_AT_ONCE, 1)
    before_transaction(monkeypatch, 3, partial(other.release, "jobs", ALPHA))
    with pytest.raises(StaleTerm):
        await store.claim("jobs", claims)
    assert await other.claims("jobs") == claims[: 2 * CLAIMS_AT_ONCE]


async def test_what_others_claimed_meanwhile_is_decided_upon_anew(
    store: EtcdLeaseStore, other: EtcdLeaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.acquire("jobs", ALPHA, TTL)
    claims = many(2 * CLAIMS_AT_ONCE, 1)
    later = [Claim(claims[number].runner, DUE + SECOND, 1) for number in (0, CLAIMS_AT_ONCE - 1, CLAIMS_AT_ONCE, -1)]
    earlier = [Claim(claims[-2].runner, DUE - SECOND, 1)]

    async def claim_others() -> None:
        assert await other.claim("jobs", later + earlier) == later + earlier

    # In its own transaction, after the first one of the call: what that has written was kept, for a while.
    before_transaction(monkeypatch, 2, claim_others)
    superseded = {claim.runner for claim in later}
    kept = await store.claim("jobs", claims)
    assert kept == [claim for claim in claims if claim.runner not in superseded or claim in claims[:CLAIMS_AT_ONCE]]
    by_runner = {claim.runner: claim for claim in claims} | {claim.runner: claim for claim in later}
    assert await other.claims("jobs") == list(by_runner.values())


async def test_what_was_claimed_by_the_very_next_write_is_seen(
    store: EtcdLeaseStore, other: EtcdLeaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def claim_later() -> None:
        assert await other.claim("jobs", later) == later

    later = many(1, 1, "completed", due_at=DUE + SECOND)
    await store.acquire("jobs", ALPHA, TTL)
    before_transaction(monkeypatch, 1, claim_later)
    assert await store.claim("jobs", many(1, 1)) == []
    assert await other.claims("jobs") == later


@pytest.mark.parametrize("ttl", [TTL, 2 * TTL], ids=["same ttl", "other ttl"])
async def test_a_renewal_is_in_no_writes_way(
    store: EtcdLeaseStore, other: EtcdLeaseStore, monkeypatch: pytest.MonkeyPatch, paths: list[str], ttl: float
) -> None:
    async def renew() -> None:
        assert (await other.acquire("jobs", ALPHA, ttl, term=1)).is_leader
        del paths[:]

    await store.acquire("jobs", ALPHA, TTL)
    await store.save_cursor("jobs", "a", 1, "6")
    for write in (partial(store.save_cursor, "jobs", "a", 1, "7"), partial(store.claim, "jobs", many(1, 1))):
        with monkeypatch.context() as patch:
            before_transaction(patch, 1, renew)
            await write()
        if ttl == TTL:
            assert paths == ["kv/txn"]
    assert await store.load_cursor("jobs", "a") == "7"
    assert await store.claims("jobs") == many(1, 1)


async def test_a_fenced_write_looks_once_a_term(store: EtcdLeaseStore, paths: list[str]) -> None:
    for term in (1, 2):
        await store.acquire("jobs", ALPHA, TTL)
        del paths[:]
        for number in range(3):
            await store.save_cursor("jobs", "a", term, str(number))
            await store.claim("jobs", many(1, term, due_at=DUE + (3 * term + number) * SECOND))
        assert paths == ["kv/range", "kv/txn", *("kv/range", "kv/txn"), *(("kv/txn", "kv/range", "kv/txn") * 2)]


async def test_claims_of_several_terms_are_none_of_one_call(store: EtcdLeaseStore) -> None:
    await store.acquire("jobs", ALPHA, TTL)
    with pytest.raises(ValueError, match=r"claims of one call must carry one term, not \[1, 2\]"):
        await store.claim("jobs", [*many(1, 1), Claim("b", DUE, 2)])
    assert await store.claims("jobs") == []


# Where it is kept


async def test_a_server_that_is_killed_and_restarted_keeps_all_of_it() -> None:
    with running() as server:
        async with EtcdLeaseStore(server.url) as store:
            await store.acquire("jobs", ALPHA, TTL)
            await store.claim("jobs", [Claim("a", DUE, 1), Claim("b", DUE, 1, "completed")])
            await store.save_cursor("jobs", "a", 1, "message:7")
            await store.set_paused("jobs", "b", True)
            server.kill()
            server.start()
            await trio.sleep(0.05)  # the old connection has ended, which the loop must notice
            assert await store.claims("jobs") == [Claim("a", DUE, 1), Claim("b", DUE, 1, "completed")]
            assert await store.load_cursor("jobs", "a") == "message:7"
            assert await store.paused("jobs") == {"b"}
            # The term goes on, so do its writes.
            assert await store.claim("jobs", [Claim("a", DUE, 1, "completed")])
            await store.save_cursor("jobs", "a", 1, "message:8")


async def test_leases_whose_names_begin_alike_share_nothing(store: EtcdLeaseStore) -> None:
    names = ["jobs", "jobs-2", "jobs/3", "jobs0", "job"]
    for name in names:
        await store.acquire(name, ALPHA, TTL)
        await store.claim(name, [Claim(f"of {name}", DUE, 1)])
        await store.set_paused(name, f"of {name}", True)
        await store.save_cursor(name, "a", 1, name)
    for name in names:
        assert await store.claims(name) == [Claim(f"of {name}", DUE, 1)]
        assert await store.paused(name) == {f"of {name}"}
        assert await store.load_cursor(name, "a") == name


async def test_runners_are_listed_by_their_names_whatever_their_keys(store: EtcdLeaseStore) -> None:
    await store.acquire("jobs", ALPHA, TTL)
    claims = [Claim(runner, DUE, 1) for runner in ("%", "/", "0", "Z", "a", "a/b", "ab", "ü", "🦊")]
    assert await store.claim("jobs", claims[::-1]) == claims[::-1]
    assert await store.claims("jobs") == claims


@pytest.mark.parametrize("cursor", ["", "x", "ü🦊\n", '"' * 1_500_000], ids=["empty", "short", "unicode", "long"])
async def test_a_cursor_is_any_text(store: EtcdLeaseStore, cursor: str) -> None:
    await store.acquire("jobs", ALPHA, TTL)
    assert await store.load_cursor("jobs", "a") is None
    await store.save_cursor("jobs", "a", 1, cursor)
    assert await store.load_cursor("jobs", "a") == cursor


async def test_a_cursor_that_etcd_finds_too_long_is_refused_and_the_last_one_stays(store: EtcdLeaseStore) -> None:
    await store.acquire("jobs", ALPHA, TTL)
    await store.save_cursor("jobs", "a", 1, "7")
    for size in (1_600_000, 5_000_000):
        with pytest.raises(EtcdError, match=r"refused: .*(too large|larger than max)"):
            await store.save_cursor("jobs", "a", 1, "x" * size)
    assert await store.load_cursor("jobs", "a") == "7"


async def test_a_heartbeat_says_what_is_registered(store: EtcdLeaseStore) -> None:
    for fingerprint in ("f1", "f2"):
        await store.heartbeat("jobs", Node("alpha"), "1", "leader", fingerprint)
        (seen,) = await store.nodes("jobs")
        assert (seen.fingerprint, seen.incarnation) == (fingerprint, "1")


# What others have put there


def claim_text(**fields: Any) -> str:
    return msgspec.json.encode({"due_at_us": 0, "term": 1, "result": None} | fields).decode()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "truncated"),
        ("theirs", "malformed"),
        ("{}", "missing required field `due_at_us`"),
        (claim_text(due_at_us=FIRST_DUE - 1), "int.*>= .*due_at_us"),
        (claim_text(due_at_us=LAST_DUE + 1), "int.*<= .*due_at_us"),
        (claim_text(term=0), "int.*>= 1.*term"),
        (claim_text(term=2**63), "term"),
        (claim_text(result="done"), "Invalid enum value 'done'"),
        (claim_text(format=2), "unknown field `format`"),
    ],
)
async def test_a_claim_that_others_altered_is_refused_and_not_touched(
    store: EtcdLeaseStore, etcd_server: EtcdServer, url: str, text: str, why: str
) -> None:
    await store.acquire("jobs", ALPHA, TTL)
    key = plant(etcd_server, url, "claims/jobs/runner-00001", text)
    for call in (partial(store.claims, "jobs"), partial(store.claim, "jobs", many(2, 1))):
        with pytest.raises(Unusable, match=f"etcd key '{key}' holds what this conductor-jobs would not write: .*{why}"):
            await call()
    assert await store.claim("jobs", many(1, 1)) == many(1, 1)


@pytest.mark.parametrize("key", ["a%2fb", "a b", "%FF", "%"])
async def test_a_runner_whose_key_is_encoded_otherwise_is_refused(
    store: EtcdLeaseStore, etcd_server: EtcdServer, url: str, key: str
) -> None:
    for what, value in (("claims", claim_text()), ("paused", "")):
        plant(etcd_server, url, f"{what}/jobs/{key}", value)
    for call in (store.claims("jobs"), store.paused("jobs")):
        with pytest.raises(Unusable, match=f"etcd key '.*/jobs/{key}' holds what this conductor-jobs would not write"):
            await call


async def test_what_is_written_under_a_pause_or_is_no_text_is_refused(
    store: EtcdLeaseStore, etcd_server: EtcdServer, url: str
) -> None:
    plant(etcd_server, url, "paused/jobs/a", "theirs")
    with pytest.raises(Unusable, match=r"/paused/jobs/a' holds what .*: it should be empty"):
        await store.paused("jobs")
    await store.set_paused("jobs", "a", True)
    assert await store.paused("jobs") == {"a"}
    key = f"{url.rpartition('/')[2]}/cursors/jobs/a"
    await store._gateway.write(key.encode(), b"\xff")
    with pytest.raises(Unusable, match=r"/cursors/jobs/a' holds what .*can't decode"):
        await store.load_cursor("jobs", "a")


@pytest.mark.parametrize("record", ["theirs", record_text(format=1), record_text(format=3), record_text(term=0)])
async def test_under_a_record_of_somebody_elses_nothing_is_written(
    store: EtcdLeaseStore, etcd_server: EtcdServer, url: str, record: str
) -> None:
    key = plant(etcd_server, url, "lease/jobs/record", record)
    for call in (store.claim("jobs", many(1, 7)), store.save_cursor("jobs", "a", 7, "7")):
        with pytest.raises(Unusable, match=f"etcd key '{key}' holds what this conductor-jobs would not write: "):
            await call
    assert await store.claims("jobs") == []
    assert await store.load_cursor("jobs", "a") is None


# Calls that are given up


async def test_a_call_that_is_given_up_can_be_made_again_and_etcd_lives(etcd_server: EtcdServer, url: str) -> None:
    with Proxy(etcd_server.port) as proxy:
        async with EtcdLeaseStore(proxy.instead_of(url)) as store:
            await store.acquire("jobs", ALPHA, TTL)
            for second in range(20):
                claims = many(3 * CLAIMS_AT_ONCE, 1, due_at=DUE + second * SECOND)
                for call in (
                    partial(store.claim, "jobs", claims),
                    partial(store.claims, "jobs"),
                    partial(store.save_cursor, "jobs", "a", 1, str(second)),
                    partial(store.load_cursor, "jobs", "a"),
                    partial(store.set_paused, "jobs", "a", bool(second % 2)),
                    partial(store.paused, "jobs"),
                ):
                    with trio.move_on_after(0.003 * second):
                        await call()
                assert await store.claim("jobs", claims) == claims
                await store.save_cursor("jobs", "a", 1, str(second))
                assert await store.claims("jobs") == claims
                assert await store.load_cursor("jobs", "a") == str(second)


async def test_calls_that_hang_are_in_no_renewals_way(etcd_server: EtcdServer, url: str) -> None:
    with Proxy(etcd_server.port) as proxy:
        async with EtcdLeaseStore(proxy.instead_of(url)) as store, trio.open_nursery() as nursery:
            await store.acquire("jobs", ALPHA, TTL)
            await trio.to_thread.run_sync(proxy.black_hole)
            for _ in range(20):
                nursery.start_soon(store.claim, "jobs", many(1, 1))
                nursery.start_soon(store.save_cursor, "jobs", "a", 1, "7")
            await trio.sleep(0.05)
            await trio.to_thread.run_sync(proxy.heal)
            with trio.fail_after(60):
                assert (await store.acquire("jobs", ALPHA, TTL, term=1)).is_leader
            nursery.cancel_scope.cancel()

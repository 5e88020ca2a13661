"""The etcd store on a real etcd: the rules of every store, and what is etcd's own."""

import re
import threading
from collections.abc import Generator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from conductor_jobs import Holder
from conductor_jobs.errors import Unusable
from conductor_jobs.lease import Node
from conductor_jobs.stores.etcd import EtcdLeaseStore
from conductor_jobs.stores.etcd_address import EtcdAddress
from conductor_jobs.stores.etcd_api import EtcdLease, Found
from conductor_jobs.stores.etcd_errors import EtcdError
from conductor_jobs.stores.etcd_gateway import EtcdGateway
from conductor_jobs.testing import exercise_lease_store

from .real_servers.etcd import EtcdServer, running, running_cluster, unused_prefix
from .real_servers.proxy import Proxy

ALPHA, BETA = Holder("alpha", "1"), Holder("beta", "1")
TTL = 5.0
EVERY_KEY = {"key": b"conductor-jobs/", "range_end": b"conductor-jobs0"}


async def test_it_keeps_the_rules_of_every_store(etcd_url: str) -> None:
    await exercise_lease_store(lambda: EtcdLeaseStore(etcd_url), ttl=2.0, prompt=20.0)


@pytest.mark.parametrize("ttl", [1.9, 1, 0.5])
async def test_a_ttl_that_etcd_does_not_grant_is_refused_before_anything_is_asked(ttl: float) -> None:
    store = EtcdLeaseStore("etcd://127.0.0.1:1")  # where nobody listens
    with pytest.raises(Unusable, match=f"ttl must be at least 2 seconds with a lease store in etcd, not {ttl:g}:"):
        await store.acquire("jobs", ALPHA, ttl)


async def test_a_longer_lease_than_asked_for_is_not_trusted_for_longer(etcd_url: str) -> None:
    async with EtcdLeaseStore(etcd_url) as store:
        assert (await store.acquire("jobs", ALPHA, 2.5)).expires_in == 2.5
        assert (await store.acquire("jobs", ALPHA, 2.5, term=1)).expires_in == 2.5
        refused = await store.acquire("jobs", BETA, 2.5)
        assert 0 < refused.expires_in <= 3


async def test_a_renewal_may_ask_for_another_ttl(etcd_url: str) -> None:
    async with EtcdLeaseStore(etcd_url) as store, EtcdLeaseStore(etcd_url) as other:
        await store.acquire("jobs", ALPHA, TTL)
        for ttl in (100.0, 3.0):
            assert (await store.acquire("jobs", ALPHA, ttl, term=1)).expires_in == ttl
            assert (await other.acquire("jobs", ALPHA, ttl, term=1)).expires_in == ttl
        # What the longest has left is nobody's any more.
        with trio.fail_after(60):
            while not (grant := await other.acquire("jobs", BETA, TTL)).is_leader:
                await trio.sleep(0.2)
        assert grant.term == 2


# What a renewal rests on


async def test_a_keep_alive_by_a_deposed_leader_of_etcd_confirms_nothing(
    etcd_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def keep_alive_late(gateway: EtcdGateway, lease: int) -> EtcdLease:
        kept = await keep_alive(gateway, lease)
        asked.append(kept)
        return EtcdLease(lease, kept.seconds, (kept.raft_term or 0) - 1) if len(asked) < 4 else kept

    asked: list[EtcdLease] = []
    keep_alive = EtcdGateway.keep_alive
    async with EtcdLeaseStore(etcd_url) as store:
        await store.acquire("jobs", ALPHA, TTL)
        monkeypatch.setattr(EtcdGateway, "keep_alive", keep_alive_late)
        assert (await store.acquire("jobs", ALPHA, TTL, term=1)).is_leader
    assert len(asked) == 4


async def test_a_lease_that_is_lost_between_the_keep_alive_and_the_transaction_is_not_renewed(
    etcd_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def keep_alive_and_lose_it(gateway: EtcdGateway, lease: int) -> EtcdLease:
        kept = await keep_alive(gateway, lease)
        await gateway.revoke(lease)
        assert (await other.acquire("jobs", BETA, TTL)).term == 2
        return kept

    keep_alive = EtcdGateway.keep_alive
    async with EtcdLeaseStore(etcd_url) as store, EtcdLeaseStore(etcd_url) as other:
        await store.acquire("jobs", ALPHA, TTL)
        monkeypatch.setattr(EtcdGateway, "keep_alive", keep_alive_and_lose_it)
        answer = await store.acquire("jobs", ALPHA, TTL, term=1)
    assert (answer.is_leader, answer.holder_id, answer.term) == (False, "beta", 2)


async def test_a_campaign_that_is_carried_out_late_does_not_supersede_the_next_one(
    etcd_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def grant_late(gateway: EtcdGateway, seconds: int) -> EtcdLease:
        monkeypatch.setattr(EtcdGateway, "grant", grant)
        granted.append((await store.acquire("jobs", ALPHA, TTL)).term)
        return await grant(gateway, seconds)

    granted: list[int] = []
    grant = EtcdGateway.grant
    async with EtcdLeaseStore(etcd_url) as store:
        monkeypatch.setattr(EtcdGateway, "grant", grant_late)
        late = await store.acquire("jobs", ALPHA, TTL)
        # It has seen the other, and made up its mind anew.
        assert (granted, late.term) == ([1], 2)


async def test_a_lease_that_was_taken_and_given_back_meanwhile_gets_the_term_after(
    etcd_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def grant_late(gateway: EtcdGateway, seconds: int) -> EtcdLease:
        monkeypatch.setattr(EtcdGateway, "grant", grant)
        assert (await other.acquire("jobs", BETA, TTL)).term == 1
        assert await other.release("jobs", BETA)
        return await grant(gateway, seconds)

    grant = EtcdGateway.grant
    async with EtcdLeaseStore(etcd_url) as store, EtcdLeaseStore(etcd_url) as other:
        monkeypatch.setattr(EtcdGateway, "grant", grant_late)
        assert (await store.acquire("jobs", ALPHA, TTL)).term == 2


async def test_a_renewal_costs_two_requests(etcd_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def note(gateway: EtcdGateway, path: str, *rest: Any) -> Any:
        paths.append(path)
        return await post(gateway, path, *rest)

    paths: list[str] = []
    post = EtcdGateway._post
    async with EtcdLeaseStore(etcd_url) as store:
        await store.acquire("jobs", ALPHA, TTL)
        monkeypatch.setattr(EtcdGateway, "_post", note)
        await store.acquire("jobs", ALPHA, TTL, term=1)
    assert paths == ["lease/keepalive", "kv/txn"]


async def test_a_transaction_always_writes(etcd_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # One of nothing but reads that is given up ends the process of many an etcd: a cancelled read did.
    async def note(gateway: EtcdGateway, *, when: Any, then: Any) -> Any:
        steps.extend(then)
        return await transact(gateway, when=when, then=then)

    steps: list[dict[str, Any]] = []
    transact = EtcdGateway.transact
    monkeypatch.setattr(EtcdGateway, "transact", note)
    async with EtcdLeaseStore(etcd_url) as store:
        for holder in (ALPHA, BETA):
            await store.acquire("jobs", holder, TTL)
        await store.acquire("jobs", ALPHA, TTL, term=1)
        for holder in (BETA, ALPHA):
            await store.release("jobs", holder)
        await store.wait_released("jobs", 1)
        await store.nodes("jobs")
    assert steps
    assert not [step for step in steps if "request_range" in step]


async def test_every_term_has_one_etcd_lease_and_a_release_revokes_it(etcd_server: EtcdServer) -> None:
    def leases() -> list[str]:
        return [each["ID"] for each in etcd_server.ask("lease/leases").get("leases", [])]

    before = leases()
    async with EtcdLeaseStore(unused_prefix(etcd_server.url)) as store:
        await store.acquire("jobs", ALPHA, 60.0)
        for _ in range(3):
            await store.acquire("jobs", ALPHA, 60.0, term=1)
        assert len(set(leases()) - set(before)) == 1
        await store.release("jobs", ALPHA)
        assert set(leases()) <= set(before)


# Keys of others


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("leader-7", "malformed"),
        ("{}", "missing required field `node_id`"),
        ('{"node_id":"a","incarnation":"1","term":0,"ttl":2.0,"granted":2,"released":false}', "int.*>= 1.*term"),
        ('{"format":1,"holder":"a"}', "Invalid enum value 1.*format"),
        ('{"node_id":"a","incarnation":"1","term":"7","ttl":2.0,"granted":2,"released":false}', "Expected `int`"),
        ("\udcff".encode(errors="surrogateescape").decode("latin-1"), "malformed"),
    ],
)
async def test_a_record_of_somebody_elses_is_left_alone(etcd_server: EtcdServer, value: str, why: str) -> None:
    url = unused_prefix(etcd_server.url)
    key = f"{url.rpartition('/')[2]}/lease/jobs/record"
    etcd_server.ask("kv/put", {"key": key, "value": value})
    async with EtcdLeaseStore(url) as store:
        for call in (store.acquire("jobs", ALPHA, TTL), store.release("jobs", ALPHA), store.wait_released("jobs", 1)):
            with pytest.raises(
                Unusable, match=f"etcd key '{key}' holds what this conductor-jobs would not write: .*{why}"
            ):
                await call
        assert (await store.acquire("reports", ALPHA, TTL)).is_leader


async def test_a_sign_of_life_that_lives_by_no_lease_keeps_none(etcd_server: EtcdServer) -> None:
    url = unused_prefix(etcd_server.url)
    etcd_server.ask("kv/put", {"key": f"{url.rpartition('/')[2]}/lease/jobs/alive", "value": ""})
    async with EtcdLeaseStore(url) as store:
        assert (await store.acquire("jobs", ALPHA, TTL)).is_leader
        assert not (await store.acquire("jobs", BETA, TTL)).is_leader


async def test_one_prefix_knows_nothing_of_another(etcd_url: str) -> None:
    async with EtcdLeaseStore(etcd_url) as store, EtcdLeaseStore(f"{etcd_url}/b") as other:
        assert (await store.acquire("jobs", ALPHA, TTL)).is_leader
        assert (await other.acquire("jobs", BETA, TTL)).is_leader
        await other.heartbeat("jobs", Node("beta"), "1", "leader", "fingerprint")
        assert list(await store.nodes("jobs")) == []


async def test_when_a_node_was_first_seen_is_read_once_and_then_remembered(
    etcd_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[bytes] = []
    read = EtcdGateway.read

    async def note(gateway: EtcdGateway, key: bytes, end: bytes | None = None) -> Found:
        reads.append(key)
        return await read(gateway, key, end)

    async with EtcdLeaseStore(etcd_url) as store, EtcdLeaseStore(etcd_url) as other:
        await store.heartbeat("jobs", Node("alpha"), "1", "leader", "fingerprint")
        (first,) = await store.nodes("jobs")
        monkeypatch.setattr(EtcdGateway, "read", note)
        for each in (store, other, other, store):
            await each.heartbeat("jobs", Node("alpha"), "1", "leader", "fingerprint")
        assert len(reads) == 1
        (last,) = await store.nodes("jobs")
        assert first.first_seen_at == first.last_seen_at == last.first_seen_at < last.last_seen_at


async def test_a_node_whose_key_was_altered_is_refused_until_its_next_heartbeat(etcd_server: EtcdServer) -> None:
    url = unused_prefix(etcd_server.url)
    etcd_server.ask("kv/put", {"key": f"{url.rpartition('/')[2]}/nodes/jobs/alpha", "value": '{"format": 1}'})
    async with EtcdLeaseStore(url) as store:
        with pytest.raises(Unusable, match="alpha' holds what this conductor-jobs would not write"):
            await store.nodes("jobs")
        await store.heartbeat("jobs", Node("alpha"), "1", "leader", "fingerprint")
        (seen,) = await store.nodes("jobs")
        assert seen.first_seen_at == seen.last_seen_at


async def test_leases_whose_names_begin_alike_have_nodes_of_their_own(etcd_url: str) -> None:
    names = ["jobs", "jobs-2", "jobs/3", "jobs0", "job"]
    async with EtcdLeaseStore(etcd_url) as store:
        for name in names:
            await store.heartbeat(name, Node(f"of {name}"), "1", "leader", "fingerprint")
        for name in names:
            assert [seen.node.node_id for seen in await store.nodes(name)] == [f"of {name}"]


# Being told


async def test_a_watch_goes_on_after_etcd_has_forgotten_where_it_began(
    etcd_server: EtcdServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def watch_from_long_ago(gateway: EtcdGateway, key: bytes, end: bytes, revision: int, enough: Any) -> None:
        monkeypatch.setattr(EtcdGateway, "watch", watch)
        watched.set()
        await watch(gateway, key, end, 1, enough)

    watched, watch = trio.Event(), EtcdGateway.watch
    with trio.fail_after(60):
        async with EtcdLeaseStore(unused_prefix(etcd_server.url)) as store, trio.open_nursery() as nursery:
            await store.acquire("jobs", ALPHA, 60.0)
            revision = etcd_server.ask("kv/range", {"key": "a"})["header"]["revision"]
            etcd_server.ask("kv/compaction", {"revision": revision})
            monkeypatch.setattr(EtcdGateway, "watch", watch_from_long_ago)
            nursery.start_soon(store.wait_released, "jobs", 1)
            await watched.wait()
            await trio.sleep(0.3)
            assert nursery.child_tasks
            await store.release("jobs", ALPHA)


async def test_a_watch_that_breaks_off_says_so(etcd_server: EtcdServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async def noted_watch(*arguments: Any) -> None:
        watched.set()
        await watch(*arguments)

    watched, watch = trio.Event(), EtcdGateway.watch
    url = unused_prefix(etcd_server.url)
    with Proxy(etcd_server.port) as proxy:
        async with EtcdLeaseStore(proxy.instead_of(url)) as store, EtcdLeaseStore(url) as other:
            await other.acquire("jobs", ALPHA, TTL)
            monkeypatch.setattr(EtcdGateway, "watch", noted_watch)
            with trio.fail_after(60), pytest.raises(ExceptionGroup) as raised:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(store.wait_released, "jobs", 1)
                    await watched.wait()
                    await trio.sleep(0.5)
                    await trio.to_thread.run_sync(proxy.cut)
    assert isinstance(raised.value.exceptions[0], EtcdError)
    assert "the watch of etcd at 127.0.0.1:" in str(raised.value.exceptions[0])


async def test_whoever_watches_need_not_ask_for_whole_seconds(etcd_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def note(gateway: EtcdGateway, lease: int) -> int:
        asked.append(lease)
        return await time_to_live(gateway, lease)

    asked: list[int] = []
    time_to_live = EtcdGateway.time_to_live
    monkeypatch.setattr(EtcdGateway, "time_to_live", note)
    async with EtcdLeaseStore(etcd_url) as store, EtcdLeaseStore(etcd_url) as other:
        await store.acquire("jobs", ALPHA, 30.0)
        whole = (await other.acquire("jobs", BETA, 30.0)).expires_in
        assert len(asked) == 1
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other.wait_released, "jobs", 1)
            await trio.sleep(0.5)
            await store.acquire("jobs", ALPHA, 30.0, term=1)
            await trio.sleep(0.5)
            nursery.cancel_scope.cancel()
        exact = (await other.acquire("jobs", BETA, 30.0)).expires_in
    assert len(asked) == 1
    assert whole < exact <= 30.0


# Connections


async def test_a_call_that_is_given_up_takes_its_connection_with_it(etcd_server: EtcdServer) -> None:
    with Proxy(etcd_server.port) as proxy:
        async with EtcdLeaseStore(proxy.instead_of(unused_prefix(etcd_server.url))) as store:
            await store.acquire("jobs", ALPHA, TTL)
            assert proxy.connections == 1
            await trio.to_thread.run_sync(proxy.black_hole)
            for connections in (1, 2, 3):
                with trio.fail_after(60):
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(renew, store)
                        await trio.sleep(0.1)
                        while proxy.connections < connections:
                            await trio.sleep(0.01)
                        nursery.cancel_scope.cancel()
                    assert nursery.cancel_scope.cancelled_caught
            await trio.to_thread.run_sync(proxy.heal)
            assert (await store.acquire("jobs", ALPHA, TTL, term=1)).is_leader
            assert proxy.connections == 4


async def renew(store: EtcdLeaseStore) -> None:
    await store.acquire("jobs", ALPHA, TTL, term=1)


async def test_heartbeats_and_watches_that_hang_are_in_no_renewals_way(etcd_server: EtcdServer) -> None:
    async with EtcdLeaseStore(unused_prefix(etcd_server.url)) as store, trio.open_nursery() as nursery:
        await store.acquire("jobs", ALPHA, 60.0)
        for _ in range(150):
            nursery.start_soon(store.wait_released, "jobs", 1)
        await trio.sleep(1)
        with trio.fail_after(60):
            assert (await store.acquire("jobs", ALPHA, 60.0, term=1)).is_leader
        nursery.cancel_scope.cancel()


async def test_a_host_is_looked_up_without_the_threads_of_the_application(etcd_url: str) -> None:
    done = threading.Event()
    async with EtcdLeaseStore(etcd_url.replace("127.0.0.1", "localhost")) as store, trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(lambda: trio.to_thread.run_sync(done.wait))
        await trio.sleep(0.1)
        try:
            with trio.fail_after(60):
                assert (await store.acquire("jobs", ALPHA, TTL)).is_leader
        finally:
            done.set()


async def test_what_is_no_etcd_is_named(tmp_path: Path) -> None:
    async def answer(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nno such p")

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, answer, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        async with EtcdLeaseStore(f"etcd://127.0.0.1:{port}") as store:
            with pytest.raises(EtcdError, match=rf"127.0.0.1:{port} is not etcd's JSON API \(HTTP status 404\)"):
                await store.acquire("jobs", ALPHA, TTL)
        nursery.cancel_scope.cancel()


async def test_who_cannot_be_reached_is_named() -> None:
    async with EtcdLeaseStore("etcd://127.0.0.1:1,127.0.0.1:2") as store:
        with pytest.raises(EtcdError, match=r"etcd at 127.0.0.1:1 cannot be reached: .*127.0.0.1:2 cannot be reached"):
            await store.acquire("jobs", ALPHA, TTL)


def test_it_serves_one_trio_run_after_another(etcd_url: str) -> None:
    async def take(store: EtcdLeaseStore, term: int) -> None:
        async with store:
            assert (await store.acquire("jobs", ALPHA, TTL)).term == term

    store = EtcdLeaseStore(etcd_url)
    trio.run(take, store, 1)
    trio.run(take, store, 2)


# Several members


async def test_with_a_member_down_the_others_are_asked() -> None:
    with running_cluster(3) as members:
        url = "etcd://" + ",".join(f"127.0.0.1:{member.port}" for member in members)
        async with EtcdLeaseStore(url) as store:
            with trio.fail_after(60):
                while True:
                    with suppress(EtcdError):
                        await store.acquire("jobs", ALPHA, 60.0)
                        break
                    await trio.sleep(0.1)
            leader = next(each for each in members if each.leads())
            await trio.to_thread.run_sync(leader.kill)
            # A leader of etcd's is elected anew meanwhile; which of the three was asked first does not matter.
            with trio.fail_after(60):
                while True:
                    with suppress(EtcdError):
                        grant = await store.acquire("jobs", ALPHA, 60.0, term=1)
                        break
                    await trio.sleep(0.1)
            assert (grant.is_leader, grant.term) == (True, 1)


# Logins and TLS


@pytest.fixture(scope="module")
def guarded() -> Generator[EtcdServer, None, None]:
    """An etcd where everybody has to log in, and where a login lasts for a second."""
    with running("--auth-token-ttl=1") as server:
        for user, password in (("root", "r00t"), ("jobs", "p@ss/w:rd"), ("nobody", "x")):
            server.ask("auth/user/add", {"name": user, "password": password})
        server.ask("auth/user/grant", {"user": "root", "role": "root"})
        server.ask("auth/role/add", {"name": "jobs"})
        server.ask(
            "auth/role/grant",
            {
                "name": "jobs",
                "perm": {"permType": "READWRITE", "key": "Y29uZHVjdG9yLWpvYnMv", "range_end": "Y29uZHVjdG9yLWpvYnMw"},
            },
        )
        server.ask("auth/user/grant", {"user": "jobs", "role": "jobs"})
        server.ask("auth/enable")
        yield server


def at(server: EtcdServer, login: str) -> str:
    return server.url.replace("etcd://", f"etcd://{login}@")


async def test_a_user_logs_in_and_logs_in_again_when_the_login_has_run_out(guarded: EtcdServer) -> None:
    async with EtcdLeaseStore(at(guarded, "jobs:p%40ss%2Fw%3Ard")) as store:
        term = (await store.acquire("jobs", ALPHA, 30.0)).term
        for _ in range(2):
            await trio.sleep(2.2)
            assert (await store.acquire("jobs", ALPHA, 30.0, term=term)).is_leader
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.wait_released, "jobs", term)
            await trio.sleep(0.3)
            assert await store.release("jobs", ALPHA)


@pytest.mark.parametrize(
    ("login", "why"),
    [
        ("jobs:secret", "login as 'jobs': etcd at .* refused: authentication failed, invalid user ID or password"),
        ("jobs", "login as 'jobs': etcd at .* refused: "),
        ("nobody:x", "etcd at .* refused: permission denied"),
    ],
)
async def test_a_refused_login_is_told_without_the_password(guarded: EtcdServer, login: str, why: str) -> None:
    async with EtcdLeaseStore(at(guarded, login)) as store:
        for call in (store.acquire("jobs", ALPHA, TTL), store.nodes("jobs")):
            with pytest.raises(EtcdError, match=why) as raised:
                await call
            assert "secret" not in "".join(map(repr, [store, raised.value, raised.value.__cause__]))


async def test_without_a_login_where_one_is_needed_etcd_says_so(guarded: EtcdServer) -> None:
    async with EtcdLeaseStore(guarded.url) as store:
        with pytest.raises(EtcdError, match="user name is empty"):
            await store.acquire("jobs", ALPHA, TTL)


async def test_a_login_that_nobody_needs_does_no_harm(etcd_server: EtcdServer) -> None:
    async with EtcdLeaseStore(unused_prefix(at(etcd_server, "jobs:secret"))) as store:
        assert (await store.acquire("jobs", ALPHA, TTL)).is_leader


async def test_a_member_with_tls_is_known_by_its_certificate(tmp_path: Path) -> None:
    server = EtcdServer(tmp_path, "--auto-tls", secure=True)
    server.start()
    try:
        url = f"etcds://127.0.0.1:{server.port}"
        certificate = tmp_path / "data/fixtures/client/cert.pem"
        async with EtcdLeaseStore(f"{url}?ca={certificate}") as store:
            assert (await store.acquire("jobs", ALPHA, TTL)).is_leader
        async with EtcdLeaseStore(url) as store:
            with pytest.raises(EtcdError, match=r"cannot be reached: .*certificate verify failed"):
                await store.acquire("jobs", ALPHA, TTL)
        async with EtcdLeaseStore(f"{url}?ca={tmp_path / 'none.pem'}") as store:
            with pytest.raises(Unusable, match=r"the certificates for etcds://.* cannot be read: .*No such file"):
                await store.acquire("jobs", ALPHA, TTL)
    finally:
        server.stop()


# URLs


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("etcd://host", "etcd://host:2379/conductor-jobs"),
        ("etcd://host:1,[::1]:2,other/", "etcd://host:1,[::1]:2,other:2379/conductor-jobs"),
        ("etcds://me:secret@host/prod/jobs?ca=ca.pem&cert=c.pem&key=k.pem", "etcds://host:2379/prod/jobs"),
        ("etcd://me:se%40cret@host/a%20b", "etcd://host:2379/a b"),
    ],
)
def test_a_url_is_shown_without_its_login(url: str, shown: str) -> None:
    assert repr(EtcdLeaseStore(url)) == f"EtcdLeaseStore({shown!r})"
    assert not re.search("secret|se@cret", repr(EtcdAddress.parsed(url)))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://me:secret@host", "its scheme is 'http'"),
        ("etcd://", "'' is no HOST"),
        ("etcd://me:secret@", "'' is no HOST"),
        ("etcd://me:secret@host,", "'' is no HOST"),
        ("etcd://me:secret@host:0", "'host:0' is no HOST"),
        ("etcd://me:secret@host:70000", "'host:70000' is no HOST"),
        ("etcd://me:secret@[::1", "it is no URL"),
        ("etcd://:secret@host", "a password needs a user"),
        ("etcd://me:secret@host?ca=x", "certificates need etcds://"),
        ("etcds://me:secret@host?tls=1", r"not `tls`"),
        ("etcds://me:secret@host?ca=", "not `ca`"),
        ("etcds://me:secret@host?key=k", "key=FILE needs cert=FILE"),
        ("etcd://me:secret@host#x", "a fragment means nothing"),
    ],
)
def test_a_bad_url_is_refused_with_the_rule_and_without_the_password(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as raised:
        EtcdLeaseStore(url)
    assert "etcd://[USER:PASSWORD@]HOST[:PORT]" in str(raised.value)
    assert "secret" not in str(raised.value)
    assert raised.value.__cause__ is None or "secret" not in repr(raised.value.__cause__)


def test_stores_are_equal_when_they_keep_their_leases_in_one_place() -> None:
    store = EtcdLeaseStore("etcd://one,two")
    assert store == EtcdLeaseStore("etcds://me@two:2379,one:2379/conductor-jobs/")
    assert hash(store) == hash(EtcdLeaseStore("etcd://two,one"))
    assert store not in (EtcdLeaseStore("etcd://one"), EtcdLeaseStore("etcd://one,two/other"), "etcd://one,two")

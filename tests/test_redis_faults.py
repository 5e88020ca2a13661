"""Conductors on a real server that is killed, frozen, cut off, slow, full, guarded or altered; verify judges them."""

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from conductor_jobs import Conductor, Holder, LeaseTiming, TimedJobs
from conductor_jobs.errors import Unusable
from conductor_jobs.stores.redis import RedisLeaseStore
from conductor_jobs.stores.redis_scripts import key

from .real_nodes import (
    LONG,
    RealNode,
    cut_off,
    degraded,
    lead_again_after_latency,
    leader,
    recovered,
    running,
    survive_broken_connections,
    survive_latency,
    until,
)
from .real_servers.proxy import Proxy
from .real_servers.redis import RedisServer
from .real_servers.redis import running as running_redis

NODES = ("alpha", "beta")
SHORT = LeaseTiming(2.0)
LEASE = key("conductor", "lease")


@pytest.fixture
def server(tmp_path: Path) -> Generator[RedisServer, None, None]:
    folder = tmp_path / "server"
    folder.mkdir()
    with running_redis(folder) as server:
        yield server


@asynccontextmanager
async def on(
    server: RedisServer, folder: Path, *names: str, timing: LeaseTiming = SHORT, userinfo: str = ""
) -> AsyncGenerator[list[RealNode], None]:
    """Run nodes, each behind a proxy; the first of them leads when this begins."""

    def open_store(proxy: Proxy) -> RedisLeaseStore:
        return RedisLeaseStore(f"redis://{userinfo}127.0.0.1:{proxy.port}")

    async with running(folder, server.port, open_store, *names, timing=timing) as nodes:
        await until(lambda: leader(nodes))
        yield nodes


# The server


async def test_a_server_that_is_killed_and_restarted_in_a_term_ends_no_term(
    server: RedisServer, tmp_path: Path
) -> None:
    async with on(server, tmp_path, *NODES, timing=LONG) as nodes:
        await trio.to_thread.run_sync(server.kill)
        await nodes[0].until(lambda node: node.problems())
        await trio.to_thread.run_sync(server.start)
        assert await recovered(nodes) is nodes[0]
        assert [node.term for node in nodes] == [1, 1]
        assert not nodes[0].journal("leader_ended")
    where = f"redis://127.0.0.1:{nodes[0].proxy.port}/0"
    for problem in nodes[0].problems():
        assert f"ConnectionError: {where} cannot be reached: " in problem or f"{where} is loading its data: " in problem


async def test_a_server_that_is_away_for_longer_than_the_ttl_ends_the_term_and_terms_go_on_rising(
    server: RedisServer, tmp_path: Path
) -> None:
    async with on(server, tmp_path, *NODES) as nodes:
        await trio.to_thread.run_sync(server.kill)
        await nodes[0].until(lambda node: not node.leads)
        await degraded(nodes)
        await trio.to_thread.run_sync(server.start)
        assert (await recovered(nodes)).term >= 2
    assert nodes[0].journal("leader_ended")[0].result == "lease_expired"


async def test_a_frozen_server_ends_the_term_in_time_and_goes_on_when_it_thaws(
    server: RedisServer, tmp_path: Path
) -> None:
    async with on(server, tmp_path, *NODES) as nodes:
        server.freeze()
        await nodes[0].until(lambda node: not node.leads)
        await degraded(nodes)
        assert leader(nodes) is None
        server.thaw()
        assert (await recovered(nodes)).term >= 2
    assert any("the lease store gave no answer within 0.333333 s" in problem for problem in nodes[0].problems())


async def test_a_server_that_has_forgotten_everything_is_campaigned_at_until_terms_rise_again(
    server: RedisServer, tmp_path: Path
) -> None:
    # With one node: another, that has not seen the higher terms, would lead beside it, as the docs say.
    async with on(server, tmp_path, "alpha", timing=LONG) as (alpha,):
        server.ask("HSET", LEASE, "term", "7")
        await alpha.until(lambda node: node.leads and node.term == 8)
        await alpha.ticks()
        server.ask("FLUSHALL")
        await alpha.until(lambda node: node.leads and node.term == 9)
        await alpha.ticks()
    assert [entry.result for entry in alpha.journal("leader_ended")][:2] == ["lease_superseded", "lease_superseded"]


async def test_a_full_server_is_said_to_be_full_and_led_again_when_there_is_room(
    server: RedisServer, tmp_path: Path
) -> None:
    async with on(server, tmp_path, *NODES) as nodes:
        server.ask("CONFIG", "SET", "maxmemory", "1")
        await nodes[0].until(lambda node: not node.leads)
        await degraded(nodes)
        server.ask("CONFIG", "SET", "maxmemory", "0")
        assert (await recovered(nodes)).term >= 2
    assert any("answered with an error: OOM command not allowed" in problem for problem in nodes[0].problems())


# The network


@pytest.mark.parametrize("lost", ["request", "answer"])
async def test_a_renewal_that_is_cut_off_in_the_middle_extends_nothing_and_is_tried_again(
    server: RedisServer, tmp_path: Path, lost: str
) -> None:
    async with on(server, tmp_path, "alpha", timing=LONG) as (alpha,):
        lose = alpha.proxy.lose_answer if lost == "answer" else alpha.proxy.lose_request
        for count in (1, 2, 3):
            lose(b":barred")
            await until(lambda: len(alpha.problems()) >= count)  # noqa: B023 - called here
        await alpha.ticks(5)
        assert (alpha.leads, alpha.term) == (True, 1)
    assert all("/0 cannot be reached: " in problem for problem in alpha.problems())


async def test_a_campaign_whose_answer_is_lost_is_followed_by_one_for_a_higher_term(
    server: RedisServer, tmp_path: Path
) -> None:
    def open_store(proxy: Proxy) -> RedisLeaseStore:
        return RedisLeaseStore(f"redis://127.0.0.1:{proxy.port}")

    barrier = Holder("barrier", "1")
    async with RedisLeaseStore(server.url) as other:
        assert (await other.acquire("conductor", barrier, 60.0)).term == 1
        # With a timing so long that the next campaign is that after the release.
        async with running(tmp_path, server.port, open_store, "alpha", timing=LeaseTiming(60.0)) as (alpha,):
            alpha.proxy.lose_answer(b":barred")
            await other.release("conductor", barrier)
            await alpha.until(lambda node: node.leads)
            # Term 2 was granted, and nobody learned of it.
            assert alpha.term == 3
            await alpha.ticks()
    assert len(alpha.problems()) == 1


async def test_connections_that_break_cost_an_attempt_and_no_term(server: RedisServer, tmp_path: Path) -> None:
    async with on(server, tmp_path, *NODES, timing=LONG) as nodes:
        await survive_broken_connections(nodes, 0.15)


async def test_of_two_nodes_the_one_that_is_cut_off_stops_and_the_other_leads(
    server: RedisServer, tmp_path: Path
) -> None:
    async with on(server, tmp_path, *NODES) as (alpha, beta):
        await cut_off(alpha, beta)


async def test_latency_below_the_store_timeout_costs_nothing(server: RedisServer, tmp_path: Path) -> None:
    async with on(server, tmp_path, *NODES, timing=LONG) as nodes:
        await survive_latency(nodes, LONG.store_timeout / 8)


async def test_latency_near_the_ttl_lets_nobody_lead_until_it_is_over(server: RedisServer, tmp_path: Path) -> None:
    async with on(server, tmp_path, *NODES) as nodes:
        await lead_again_after_latency(nodes, SHORT)


# Handing over


async def test_a_clean_handover_does_not_wait_for_the_lease_to_expire(server: RedisServer, tmp_path: Path) -> None:
    async with on(server, tmp_path, *NODES, timing=LONG) as (alpha, beta):
        await beta.until(lambda node: node.conductor.status().holder_id == "alpha")
        await trio.sleep(0.3)
        alpha.conductor.request_stop()
        with trio.fail_after(LONG.ttl / 3):
            await beta.until(lambda node: node.leads)
        assert beta.term == 2


async def test_without_the_channel_a_standby_looks_again_and_again(server: RedisServer, tmp_path: Path) -> None:
    server.ask("ACL", "SETUSER", "default", "resetchannels")
    async with on(server, tmp_path, *NODES, timing=LONG) as (alpha, beta):
        await beta.until(lambda node: node.conductor.status().holder_id == "alpha")
        alpha.conductor.request_stop()
        with trio.fail_after(LONG.ttl / 3):
            await beta.until(lambda node: node.leads)
        assert beta.term == 2


# Who is let in, and what is found there


async def test_a_refused_login_is_a_degraded_standby_until_it_is_taken(server: RedisServer, tmp_path: Path) -> None:
    server.ask("ACL", "SETUSER", "me", "on", ">other", "+@all", "~*", "&*")

    def open_store(proxy: Proxy) -> RedisLeaseStore:
        return RedisLeaseStore(f"redis://me:wr0ng@127.0.0.1:{proxy.port}")

    async with running(tmp_path, server.port, open_store, "alpha") as (alpha,):
        await degraded([alpha])
        server.ask("ACL", "SETUSER", "me", ">wr0ng")
        await recovered([alpha])
        # And lost in the middle of a term, connections and all.
        server.ask("ACL", "DELUSER", "me")
        await alpha.until(lambda node: not node.leads)
        server.ask("ACL", "SETUSER", "me", "on", ">wr0ng", "+@all", "~*", "&*")
        assert (await recovered([alpha])).term >= 2
    assert f"redis://127.0.0.1:{alpha.proxy.port}/0 refused the login: invalid username-password" in alpha.problems()[0]
    assert "wr0ng" not in "".join(file.read_text() for file in alpha.folder.iterdir())


@pytest.mark.parametrize("field", ["schema", "term"])
async def test_on_a_lease_of_somebody_elses_run_ends_at_once_and_touches_nothing(
    server: RedisServer, tmp_path: Path, field: str
) -> None:
    server.ask("HSET", LEASE, field, "3")
    async with RedisLeaseStore(server.url) as store:
        conductor = Conductor(TimedJobs(), store=store, log_dir=tmp_path / "logs")
        with pytest.raises(Unusable, match="has a lease 'conductor' that cannot be used: it"):
            await conductor.run()
    assert server.ask("HGETALL", LEASE) == b"*2\r\n$%d\r\n%s\r\n$1\r\n3\r\n" % (len(field), field.encode())


async def test_a_lease_that_is_altered_in_a_term_is_said_to_be_and_goes_on_when_it_is_mended(
    server: RedisServer, tmp_path: Path
) -> None:
    async with on(server, tmp_path, *NODES) as nodes:
        server.ask("HSET", LEASE, "schema", "3")
        await nodes[0].until(lambda node: not node.leads)
        await degraded(nodes)
        server.ask("HSET", LEASE, "schema", "2")
        assert (await recovered(nodes)).term >= 2
    words = (
        "/0 has a lease 'conductor' that cannot be used: it has schema version '3', and this conductor-jobs knows 2."
    )
    assert all(problem.startswith("Unusable: redis://") and words in problem for problem in nodes[0].problems())


async def test_a_server_that_must_be_durable_and_is_not_ends_run_at_once(tmp_path: Path) -> None:
    with running_redis(tmp_path, {"appendonly": "no"}) as server:
        async with RedisLeaseStore(server.url, require_durable=True) as store:
            conductor = Conductor(TimedJobs(), store=store, log_dir=tmp_path / "logs")
            with pytest.raises(Unusable, match="is not durable, as was required: appendonly is no"):
                await conductor.run()

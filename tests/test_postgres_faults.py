"""Conductors on a real PostgreSQL that is killed, frozen, cut off, slow, locked or altered; verify judges them."""

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import trio
from psycopg import sql

from conductor_jobs import Conductor, Holder, LeaseTiming, TimedJobs
from conductor_jobs.errors import Unusable
from conductor_jobs.stores import postgres_watches
from conductor_jobs.stores.postgres import PostgresLeaseStore

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
from .real_servers.postgres import PostgresServer, database_name, database_of, execute, instead
from .real_servers.proxy import Proxy

NODES = ("alpha", "beta")
SHORT = LeaseTiming(2.0)
ACQUIRE = b"conductor_jobs.acquire"


@pytest.fixture
def server(postgres_server: PostgresServer) -> Generator[PostgresServer, None, None]:
    """The server of the session, as good as before when the test has ended, whatever it did to it."""
    yield postgres_server
    postgres_server.heal()


@pytest.fixture
def url(server: PostgresServer) -> Generator[str, None, None]:
    with database_of(server.url) as url:
        yield url
        server.heal()


@asynccontextmanager
async def on(url: str, folder: Path, *names: str, timing: LeaseTiming = SHORT) -> AsyncGenerator[list[RealNode], None]:
    """Run nodes, each behind a proxy; the first of them leads when this begins."""
    async with running(folder, port_of(url), over(url), *names, timing=timing) as nodes:
        await until(lambda: leader(nodes))
        yield nodes


def over(url: str) -> Callable[[Proxy], PostgresLeaseStore]:
    """Return how a node opens its store through its proxy."""
    return lambda proxy: PostgresLeaseStore(proxy.instead_of(url))


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


# The server


async def test_a_server_that_is_killed_and_restarted_in_a_term_ends_no_term(
    server: PostgresServer, url: str, tmp_path: Path
) -> None:
    async with on(url, tmp_path, *NODES, timing=LONG) as nodes:
        await trio.to_thread.run_sync(server.kill)
        await nodes[0].until(lambda node: node.problems())
        await trio.to_thread.run_sync(server.start)
        assert await recovered(nodes) is nodes[0]
        assert [node.term for node in nodes] == [1, 1]
        assert not nodes[0].journal("leader_ended")
    words = ("connection to server at", "server closed the connection", "the database system is", "no answer within")
    for problem in nodes[0].problems():
        assert any(each in problem for each in words), problem


async def test_a_server_that_is_away_for_longer_than_the_ttl_ends_the_term_and_terms_go_on_rising(
    server: PostgresServer, url: str, tmp_path: Path
) -> None:
    async with on(url, tmp_path, *NODES) as nodes:
        await trio.to_thread.run_sync(server.kill)
        await nodes[0].until(lambda node: not node.leads)
        await degraded(nodes)
        await trio.to_thread.run_sync(server.start)
        assert (await recovered(nodes)).term >= 2
    assert nodes[0].journal("leader_ended")[0].result == "lease_expired"


async def test_a_frozen_server_ends_the_term_in_time_and_goes_on_when_it_thaws(
    server: PostgresServer, url: str, tmp_path: Path
) -> None:
    async with on(url, tmp_path, *NODES) as nodes:
        server.freeze()
        await nodes[0].until(lambda node: not node.leads)
        await degraded(nodes)
        assert leader(nodes) is None
        server.thaw()
        first = await recovered(nodes)
        # What was asked in vain meanwhile, and is carried out now, supersedes nobody.
        await trio.sleep(SHORT.ttl)
        assert leader(nodes) is first
        assert len(first.journal("leader_ended")) <= 1
    assert any("the lease store gave no answer within 0.333333 s" in problem for problem in nodes[0].problems())


async def test_a_server_that_has_forgotten_everything_is_campaigned_at_until_terms_rise_again(
    url: str, tmp_path: Path
) -> None:
    # One node: of two, the other may well lead before this one learns that its term is forgotten.
    async with on(url, tmp_path, "alpha") as (alpha,):
        execute(url, "UPDATE conductor_jobs.lease SET term = 7")
        await alpha.until(lambda node: node.leads and node.term >= 8)
        term = (await recovered([alpha])).term
        execute(url, "DROP SCHEMA conductor_jobs CASCADE")
        await alpha.until(lambda node: node.leads and node.term > term)
        await recovered([alpha])
    assert "lease_superseded" in [entry.result for entry in alpha.journal("leader_ended")]


async def test_a_lock_that_somebody_holds_ends_the_term_and_is_said_to_be_the_reason(url: str, tmp_path: Path) -> None:
    async with on(url, tmp_path, *NODES) as nodes:
        with psycopg.connect(url) as other:
            other.execute("LOCK TABLE conductor_jobs.lease")
            await nodes[0].until(lambda node: not node.leads)
            await degraded(nodes)
        assert (await recovered(nodes)).term >= 2
    assert all("no answer within" in each or "lock timeout" in each for each in nodes[0].problems())


async def test_a_server_without_room_for_another_connection_is_said_to_be_full(url: str, tmp_path: Path) -> None:
    name = sql.Identifier(database_name(url))
    execute(url, "CREATE ROLE tenant LOGIN SUPERUSER PASSWORD 'tenant'")
    try:
        tenant = instead(url, user="tenant", password="tenant")
        execute(url, "ALTER ROLE tenant NOSUPERUSER CONNECTION LIMIT 0")
        execute(url, sql.SQL("GRANT CREATE ON DATABASE {} TO tenant").format(name))
        async with running(tmp_path, port_of(url), over(tenant), "alpha") as (alpha,):
            await degraded([alpha])
            execute(url, "ALTER ROLE tenant CONNECTION LIMIT 10")
            await recovered([alpha])
        assert 'too many connections for role "tenant"' in alpha.problems()[0]
    finally:
        execute(url, "DROP OWNED BY tenant CASCADE", "DROP ROLE tenant")


# The network


@pytest.mark.parametrize("lost", ["request", "answer"])
async def test_a_renewal_that_is_cut_off_in_the_middle_extends_nothing_and_is_tried_again(
    url: str, tmp_path: Path, lost: str
) -> None:
    async with on(url, tmp_path, "alpha", timing=LONG) as (alpha,):
        lose = alpha.proxy.lose_answer if lost == "answer" else alpha.proxy.lose_request
        for count in (1, 2, 3):
            lose(ACQUIRE)
            await until(lambda: len(alpha.problems()) >= count)  # noqa: B023 - called here
        await alpha.ticks(5)
        assert (alpha.leads, alpha.term) == (True, 1)
    assert all("OperationalError: " in problem for problem in alpha.problems())


async def test_a_campaign_whose_answer_is_lost_is_followed_by_one_for_a_higher_term(url: str, tmp_path: Path) -> None:
    barrier = Holder("barrier", "1")
    async with PostgresLeaseStore(url) as other:
        await other.acquire("conductor", barrier, 60.0)
        # With a timing so long that the next campaign is that after the release.
        async with running(tmp_path, port_of(url), over(url), "alpha", timing=LeaseTiming(60.0)) as (alpha,):
            await trio.sleep(0.1)
            alpha.proxy.lose_answer(ACQUIRE)
            await other.release("conductor", barrier)
            await alpha.until(lambda node: node.leads)
            # Term 2 was granted, and nobody learned of it.
            assert alpha.term == 3
            await alpha.ticks()
        assert len(alpha.problems()) == 1


async def test_connections_that_break_cost_an_attempt_and_no_term(url: str, tmp_path: Path) -> None:
    async with on(url, tmp_path, *NODES, timing=LONG) as nodes:
        await survive_broken_connections(nodes, 0.15)


async def test_of_two_nodes_the_one_that_is_cut_off_stops_and_the_other_leads(url: str, tmp_path: Path) -> None:
    async with on(url, tmp_path, *NODES) as (alpha, beta):
        await cut_off(alpha, beta)


async def test_latency_below_the_store_timeout_costs_nothing(url: str, tmp_path: Path) -> None:
    async with on(url, tmp_path, *NODES, timing=LONG) as nodes:
        await survive_latency(nodes, LONG.store_timeout / 8)


async def test_latency_near_the_ttl_lets_nobody_lead_until_it_is_over(url: str, tmp_path: Path) -> None:
    async with on(url, tmp_path, *NODES) as nodes:
        await lead_again_after_latency(nodes, SHORT)


# Handing over


async def test_a_clean_handover_does_not_wait_for_the_lease_to_expire(url: str, tmp_path: Path) -> None:
    async with on(url, tmp_path, *NODES, timing=LONG) as (alpha, beta):
        await handed_over(alpha, beta)


async def test_without_hints_a_standby_looks_again_and_again(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_watches, "listen", lambda _: None)
    async with on(url, tmp_path, *NODES, timing=LONG) as (alpha, beta):
        await handed_over(alpha, beta)


async def handed_over(alpha: RealNode, beta: RealNode) -> None:
    await beta.until(lambda node: node.conductor.status().holder_id == "alpha")
    await trio.sleep(0.3)
    alpha.conductor.request_stop()
    with trio.fail_after(LONG.ttl / 3):
        await beta.until(lambda node: node.leads)
    assert beta.term == 2


# Who is let in, and what is found there


async def test_a_refused_login_is_a_degraded_standby_until_it_is_taken(url: str, tmp_path: Path) -> None:
    execute(url, "CREATE ROLE guest LOGIN SUPERUSER PASSWORD 'other'")
    try:
        async with running(tmp_path, port_of(url), over(instead(url, user="guest", password="wr0ng")), "alpha") as (
            alpha,
        ):
            await degraded([alpha])
            execute(url, "ALTER ROLE guest PASSWORD 'wr0ng'")
            await recovered([alpha])
            # And lost in the middle of a term, connections and all.
            sessions = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'guest'"
            execute(url, "ALTER ROLE guest PASSWORD 'other'", sessions)
            await alpha.until(lambda node: not node.leads)
            execute(url, "ALTER ROLE guest PASSWORD 'wr0ng'")
            assert (await recovered([alpha])).term >= 2
    finally:
        execute(url, "REASSIGN OWNED BY guest TO CURRENT_USER", "DROP ROLE guest")
    assert 'password authentication failed for user "guest"' in alpha.problems()[0]
    assert "wr0ng" not in "".join(file.read_text() for file in alpha.folder.iterdir())


async def test_on_a_schema_of_somebody_elses_run_ends_at_once_and_touches_nothing(url: str, tmp_path: Path) -> None:
    execute(url, "CREATE SCHEMA conductor_jobs", "CREATE TABLE conductor_jobs.lease (name text)")
    async with PostgresLeaseStore(url) as store:
        conductor = Conductor(TimedJobs(), store=store, log_dir=tmp_path / "logs")
        with pytest.raises(Unusable, match="schema conductor_jobs of the database belongs to another application"):
            await conductor.run()
    assert execute(url, "SELECT count(*) FROM conductor_jobs.lease") == [(0,)]


async def test_a_schema_that_a_newer_version_makes_in_a_term_is_said_to_be_newer(url: str, tmp_path: Path) -> None:
    async with on(url, tmp_path, *NODES) as nodes:
        newer = "ALTER FUNCTION conductor_jobs.acquire_v2 RENAME TO acquire_by_newer_rules"
        execute(url, newer, "UPDATE conductor_jobs.schema_version SET version = 3")
        await nodes[0].until(lambda node: not node.leads)
        await degraded(nodes)
        older = "ALTER FUNCTION conductor_jobs.acquire_by_newer_rules RENAME TO acquire_v2"
        execute(url, older, "UPDATE conductor_jobs.schema_version SET version = 2")
        assert (await recovered(nodes)).term >= 2
    words = "Unusable: the schema conductor_jobs of the database has version 3, and this conductor-jobs knows 2"
    assert any(words in problem for problem in nodes[0].problems())

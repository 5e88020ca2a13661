"""A replica of a real PostgreSQL takes its place: nobody leads beside the leader, whatever was lost (I3, I4)."""

from collections.abc import Generator
from pathlib import Path

import psycopg
import pytest
import trio

from conductor_jobs import Conductor, Holder, LeaseTiming, Node, TimedJobs
from conductor_jobs.stores.postgres import PostgresLeaseStore

from .real_nodes import until
from .real_servers.postgres import PostgresServer, execute, running

# Long enough for a renewal in time, however slow the replication.
TTL = 2.0
ALPHA, BETA = Holder("alpha", "1"), Holder("beta", "1")


@pytest.fixture
def primary() -> Generator[PostgresServer, None, None]:
    with running() as server:
        yield server


@pytest.fixture
def replica(primary: PostgresServer) -> Generator[PostgresServer, None, None]:
    with primary.replica() as copy:
        yield copy


def promote(primary: PostgresServer, replica: PostgresServer) -> None:
    primary.kill()
    replica.thaw()
    execute(replica.url, "SELECT pg_promote()")


async def until_replicated(replica: PostgresServer, ttl: float) -> None:
    def is_there() -> bool:
        try:
            return execute(replica.url, "SELECT ttl FROM conductor_jobs.lease") == [(ttl,)]
        except psycopg.errors.UndefinedTable:
            return False

    await until(is_there)


async def test_though_the_last_renewals_were_not_replicated_nobody_takes_the_lease_before_its_time(
    primary: PostgresServer, replica: PostgresServer
) -> None:
    async with PostgresLeaseStore(primary.url) as store:
        await store.acquire("jobs", ALPHA, TTL)
        await until_replicated(replica, TTL)
        replica.freeze()
        renewed = await store.acquire("jobs", ALPHA, TTL, term=1)
    assert renewed.is_leader
    promote(primary, replica)
    await trio.sleep(1.1 * TTL)
    async with PostgresLeaseStore(replica.url) as store:
        grant = await store.acquire("jobs", BETA, 30.0)
        assert (grant.is_leader, grant.holder_id, grant.term, grant.expires_in) == (False, "alpha", 1, TTL)
        await trio.sleep(1.1 * TTL)
        assert (await store.acquire("jobs", BETA, 30.0)).term == 2


async def test_a_replica_that_the_primary_waits_for_has_the_last_term(
    primary: PostgresServer, replica: PostgresServer
) -> None:
    execute(primary.url, "ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
    async with PostgresLeaseStore(primary.url) as store:
        await store.acquire("jobs", ALPHA, 30.0)
        await until_replicated(replica, 30.0)
        replica.freeze()
        with trio.move_on_after(0.5) as scope:
            await store.acquire("jobs", ALPHA, 40.0, term=1)
        assert scope.cancelled_caught  # it is not confirmed before the replica has it
        replica.thaw()
        assert (await store.acquire("jobs", ALPHA, 50.0)).term == 2
    promote(primary, replica)
    async with PostgresLeaseStore(replica.url) as store:
        assert (await store.acquire("jobs", ALPHA, 50.0, term=2)).is_leader


async def test_a_leader_goes_on_in_its_term_on_the_replica_that_is_promoted(
    primary: PostgresServer, replica: PostgresServer, tmp_path: Path
) -> None:
    hosts = ",".join(server.url.rpartition("@")[2].partition("/")[0] for server in (primary, replica))
    url = f"{primary.url.rpartition('@')[0]}@{hosts}/postgres?target_session_attrs=read-write"
    async with PostgresLeaseStore(url) as store, trio.open_nursery() as nursery:
        conductor = Conductor(
            TimedJobs(), store=store, node=Node("alpha"), timing=LeaseTiming(20.0), log_dir=tmp_path / "logs"
        )
        await nursery.start(conductor.run)
        term = await conductor.wait_leader()
        await until_replicated(replica, 20.0)
        await trio.to_thread.run_sync(promote, primary, replica)
        renewed = "SELECT server_started = pg_postmaster_start_time() FROM conductor_jobs.lease"
        await until(lambda: execute(replica.url, renewed) == [(True,)])
        await until(lambda: conductor.status().consecutive_renew_failures == 0)
        assert (conductor.status().leadership, conductor.status().term, term.number) == ("leader", 1, 1)
        conductor.request_stop()

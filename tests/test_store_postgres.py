"""The PostgreSQL store on a real server: its schema, its clock and lock, what it refuses and what it shows (I3, I4)."""

import time
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Any, LiteralString

import psycopg
import pytest
import trio
from psycopg import sql

from conductor_jobs import Holder, LeaseGrant, Node
from conductor_jobs.errors import Unusable
from conductor_jobs.lease import NodeSeen
from conductor_jobs.runner_records import Claim
from conductor_jobs.stores import open_store, postgres
from conductor_jobs.stores.postgres import PostgresLeaseStore

from .real_servers import PATIENCE
from .real_servers.postgres import PASSWORD, database_name, execute, instead

ALPHA, BETA = Holder("alpha", "1"), Holder("beta", "1")
LOCK: LiteralString = "SELECT pg_advisory_lock(hashtextextended('jobs', 1667919714))"
LEASE: LiteralString = "SELECT node_id, term, released FROM conductor_jobs.lease"


@pytest.fixture
async def store(postgres_url: str) -> AsyncGenerator[PostgresLeaseStore, None]:
    async with PostgresLeaseStore(postgres_url) as store:
        yield store


@pytest.fixture
async def locked(postgres_url: str) -> AsyncGenerator[psycopg.Connection[Any], None]:
    """Another session that holds the lock of the lease `jobs`, which is alpha's, in term 1."""
    await ask_once(postgres_url)
    with psycopg.connect(postgres_url, autocommit=True) as other:
        other.execute(LOCK)
        yield other


async def ask_once(url: str, holder: Holder = ALPHA, ttl: float = 30.0, term: int | None = None) -> LeaseGrant:
    async with PostgresLeaseStore(url) as store:
        return await store.acquire("jobs", holder, ttl, term=term)


async def until_waiting(other: psycopg.Connection[Any], calls: int) -> None:
    """Wait until so many calls wait for the lock that this session holds."""
    query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    with trio.fail_after(PATIENCE):
        while other.execute(query).fetchone() != (calls,):
            await trio.sleep(0.01)


# The schema -----------------------------------------------------------------------------------------------------------


async def test_nothing_is_connected_before_the_first_call(postgres_url: str) -> None:
    async with PostgresLeaseStore(postgres_url) as store:
        assert execute(postgres_url, "SELECT to_regnamespace('conductor_jobs')") == [(None,)]
        await store.acquire("jobs", ALPHA, 30.0)
    assert execute(postgres_url, LEASE) == [("alpha", 1, False)]


async def test_of_16_that_make_the_schema_at_once_one_leads_in_term_1(postgres_url: str) -> None:
    grants = list[LeaseGrant]()

    async def campaign(number: int) -> None:
        grants.append(await ask_once(postgres_url, Holder(f"node-{number}", "1")))

    async with trio.open_nursery() as nursery:
        for number in range(16):
            nursery.start_soon(campaign, number)
    assert sorted(grant.is_leader for grant in grants) == [False] * 15 + [True]
    assert len({(grant.holder_id, grant.term) for grant in grants}) == 1


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("CREATE TABLE conductor_jobs.lease (name text)", "belongs to another application"),
        ("CREATE VIEW conductor_jobs.jobs AS SELECT 1", "belongs to another application"),
        ("CREATE TABLE conductor_jobs.schema_version AS SELECT 3 AS version", "has version 3, and .* by a newer one"),
        ("CREATE TABLE conductor_jobs.schema_version AS SELECT 1 AS version", "has version 1, and .* by another one"),
        ("CREATE TABLE conductor_jobs.schema_version (version integer)", "has version None"),
        ("CREATE TABLE conductor_jobs.schema_version AS SELECT 2 AS number", "cannot be used: .*version"),
        ("CREATE TABLE conductor_jobs.schema_version AS SELECT 2 AS version", "cannot be used: .*acquire"),
    ],
)
async def test_a_schema_that_is_not_ours_is_named_and_not_touched(
    postgres_url: str, statement: LiteralString, reason: str
) -> None:
    tables: LiteralString = "SELECT oid, relname FROM pg_class WHERE relnamespace = 'conductor_jobs'::regnamespace"
    execute(postgres_url, "CREATE SCHEMA conductor_jobs", statement)
    before = execute(postgres_url, tables)
    with pytest.raises(Unusable, match=reason):
        await ask_once(postgres_url)
    assert execute(postgres_url, tables) == before


async def test_an_empty_schema_that_somebody_made_for_us_is_used(postgres_url: str) -> None:
    execute(postgres_url, "CREATE SCHEMA conductor_jobs")
    assert (await ask_once(postgres_url)).is_leader


async def test_who_may_not_make_the_schema_is_told_so_and_who_may_use_it_does(postgres_url: str) -> None:
    role = sql.Identifier(f"guest_of_{postgres_url.rpartition('/')[2]}")
    guest = instead(postgres_url, user=role.as_string(None).strip('"'), password="guest")
    execute(postgres_url, sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'guest'").format(role))
    try:
        with pytest.raises(Unusable, match="cannot be used: permission denied for database"):
            await ask_once(guest)
        await ask_once(postgres_url)
        with pytest.raises(Unusable, match="cannot be used: permission denied for schema conductor_jobs"):
            await ask_once(guest)
        tables = "GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA conductor_jobs TO {}"
        for grant in ("GRANT USAGE ON SCHEMA conductor_jobs TO {}", tables):
            execute(postgres_url, sql.SQL(grant).format(role))
        assert (await ask_once(guest)).term == 2
        async with PostgresLeaseStore(guest) as store:
            await store.claim("jobs", [Claim("report", datetime.now(UTC), 2)])
            for paused in (True, False):
                await store.set_paused("jobs", "report", paused)
            await store.save_cursor("jobs", "report", 2, "17")
    finally:
        execute(postgres_url, sql.SQL("DROP OWNED BY {}").format(role), sql.SQL("DROP ROLE {}").format(role))


async def test_a_schema_that_was_dropped_is_made_again(postgres_url: str, store: PostgresLeaseStore) -> None:
    await store.acquire("jobs", ALPHA, 30.0)
    execute(postgres_url, "DROP SCHEMA conductor_jobs CASCADE")
    grant = await store.acquire("jobs", ALPHA, 30.0, term=1)
    assert (grant.is_leader, grant.holder_id, grant.term) == (False, None, 0)
    execute(postgres_url, "DROP SCHEMA conductor_jobs CASCADE")
    with trio.fail_after(PATIENCE):
        await store.heartbeat("jobs", Node("alpha"), "1", "leader", "")
    execute(postgres_url, "DROP SCHEMA conductor_jobs CASCADE")
    with trio.move_on_after(0.3):
        await store.wait_released("jobs", 0)
    assert (await store.acquire("jobs", BETA, 30.0)).term == 1


async def test_a_trigger_that_swallows_a_lease_is_no_grant(postgres_url: str, store: PostgresLeaseStore) -> None:
    await store.acquire("jobs", BETA, 30.0)
    execute(
        postgres_url,
        "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE TRIGGER swallow BEFORE INSERT ON conductor_jobs.lease FOR EACH ROW EXECUTE FUNCTION swallow()",
    )
    with pytest.raises(Unusable, match="query returned no rows"):
        await store.acquire("reports", ALPHA, 30.0)


@pytest.mark.parametrize(
    "change", ["term = 0", "ttl = 'NaN'", "ttl = -1", "expires_at = 'infinity'", "node_id = NULL", "released = NULL"]
)
async def test_a_row_that_makes_no_sense_is_refused_by_the_database(
    postgres_url: str, store: PostgresLeaseStore, change: LiteralString
) -> None:
    await store.acquire("jobs", ALPHA, 30.0)
    with pytest.raises(psycopg.IntegrityError):
        execute(postgres_url, "UPDATE conductor_jobs.lease SET " + change)


# The lock, the clock, and what is kept --------------------------------------------------------------------------------


async def test_a_renewal_that_waited_for_the_lock_is_judged_by_the_time_at_which_it_got_it(
    locked: psycopg.Connection[Any], store: PostgresLeaseStore
) -> None:
    grants = list[LeaseGrant]()

    async def renew() -> None:
        grants.append(await store.acquire("jobs", ALPHA, 30.0, term=1))

    locked.execute("UPDATE conductor_jobs.lease SET ttl = 0.3, expires_at = clock_timestamp() + interval '0.3 s'")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(renew)
        await until_waiting(locked, 1)
        locked.execute("SELECT pg_sleep(0.4)")
        locked.execute("SELECT pg_advisory_unlock_all()")
    assert [(grant.is_leader, grant.expires_in) for grant in grants] == [(False, 0.0)]


async def test_a_campaign_that_waited_for_a_release_of_its_own_incarnation_is_refused(
    locked: psycopg.Connection[Any], store: PostgresLeaseStore
) -> None:
    answers = dict[str, bool]()

    async def release() -> None:
        answers["freed"] = await store.release("jobs", ALPHA)

    async def campaign() -> None:
        answers["leads"] = (await store.acquire("jobs", ALPHA, 30.0)).is_leader

    async with trio.open_nursery() as nursery:
        nursery.start_soon(release)
        await until_waiting(locked, 1)
        nursery.start_soon(campaign)
        await until_waiting(locked, 2)
        locked.execute("SELECT pg_advisory_unlock_all()")
    assert answers == {"freed": True, "leads": False}


async def test_a_call_waits_for_a_lock_no_longer_than_its_caller(
    locked: psycopg.Connection[Any], store: PostgresLeaseStore
) -> None:
    with trio.move_on_after(0.5) as scope:
        await store.acquire("jobs", BETA, 30.0)
    assert scope.cancelled_caught
    await until_waiting(locked, 0)


async def test_a_campaign_that_was_given_up_and_arrives_late_does_not_supersede_a_later_one(
    locked: psycopg.Connection[Any], store: PostgresLeaseStore
) -> None:
    asked_at = time.monotonic_ns()
    with trio.move_on_after(0.3):
        await store.acquire("jobs", ALPHA, 30.0)
    locked.execute("SELECT pg_advisory_unlock_all()")
    later = await store.acquire("jobs", ALPHA, 30.0)
    assert later.is_leader
    (late,) = locked.execute(postgres._ACQUIRE, ("jobs", "alpha", "1", 30.0, None, asked_at, 0, 1000)).fetchall()
    assert late[0] is False
    assert (await store.acquire("jobs", ALPHA, 30.0, term=later.term)).is_leader


async def test_a_lease_that_another_server_process_stamped_gets_its_whole_ttl_again(
    postgres_url: str, store: PostgresLeaseStore
) -> None:
    await store.acquire("jobs", ALPHA, 30.0)
    execute(
        postgres_url,
        "UPDATE conductor_jobs.lease SET server_started = now() - interval '1 d', expires_at = now() - interval '1 h'",
    )
    grant = await store.acquire("jobs", BETA, 30.0)
    assert (grant.is_leader, grant.holder_id, grant.term, grant.expires_in) == (False, "alpha", 1, 30.0)
    assert (await store.acquire("jobs", ALPHA, 30.0, term=1)).is_leader


async def test_a_clock_that_was_set_back_makes_nobody_wait_longer_than_a_ttl(
    postgres_url: str, store: PostgresLeaseStore
) -> None:
    await store.acquire("jobs", ALPHA, 30.0)
    execute(postgres_url, "UPDATE conductor_jobs.lease SET expires_at = expires_at + interval '1 year'")
    assert (await store.acquire("jobs", BETA, 30.0)).expires_in == 30.0
    assert (await store.acquire("jobs", BETA, 30.0)).expires_in < 30.0


async def test_terms_use_all_of_64_bits_and_end_there(postgres_url: str, store: PostgresLeaseStore) -> None:
    await store.acquire("jobs", ALPHA, 30.0)
    execute(postgres_url, "UPDATE conductor_jobs.lease SET term = 9223372036854775806")
    assert (await store.acquire("jobs", ALPHA, 30.0)).term == 2**63 - 1
    assert (await store.acquire("jobs", ALPHA, 30.0, term=2**63 - 1)).is_leader
    assert not (await store.acquire("jobs", ALPHA, 30.0, term=2**70)).is_leader
    with pytest.raises(Unusable, match="out of range"):
        await store.acquire("jobs", ALPHA, 30.0)


async def test_a_grant_is_on_disk_though_the_database_is_told_not_to_wait(
    postgres_url: str, store: PostgresLeaseStore
) -> None:
    await store.acquire("jobs", ALPHA, 30.0)
    with psycopg.connect(postgres_url) as connection:
        connection.execute("SET synchronous_commit = off")
        connection.execute(postgres._ACQUIRE, ("jobs", "alpha", "1", 30.0, 1, 0, 0, 1000))
        assert connection.execute("SHOW synchronous_commit").fetchone() == ("on",)
        connection.commit()
        assert connection.execute("SHOW synchronous_commit").fetchone() == ("off",)


async def test_another_isolation_than_read_committed_is_refused_with_the_reason(postgres_url: str) -> None:
    database = sql.Identifier(database_name(postgres_url))
    alter = sql.SQL("ALTER DATABASE {} SET default_transaction_isolation = 'serializable'").format(database)
    execute(postgres_url, alter)
    with pytest.raises(Unusable, match="needs default_transaction_isolation = 'read committed', not 'serializable'"):
        await ask_once(postgres_url)


async def test_nodes_are_seen_by_the_servers_clock(postgres_url: str, store: PostgresLeaseStore) -> None:
    node = Node("alpha", "höst", "standby", -(2**63), "1.0\n")
    await store.heartbeat("jobs", node, "1", "standby", "")
    await store.heartbeat("jobs", node, "2", "leader", "")
    times = "first_seen_at = to_timestamp(1000), last_seen_at = to_timestamp(1234.5)"
    execute(postgres_url, f"UPDATE conductor_jobs.node SET {times}")
    assert await store.nodes("jobs") == [NodeSeen(node, "2", "leader", 1000.0, 1234.5, "")]
    await store.heartbeat("jobs", node, "2", "leader", "")
    (seen,) = await store.nodes("jobs")
    assert (seen.first_seen_at, seen.last_seen_at > 1234.5) == (1000.0, True)


async def test_nodes_without_a_column_of_ours_are_refused_and_cost_no_lease(
    postgres_url: str, store: PostgresLeaseStore
) -> None:
    await store.heartbeat("jobs", Node("alpha"), "1", "leader", "")
    execute(postgres_url, "ALTER TABLE conductor_jobs.node DROP COLUMN first_seen_at")
    for call in (store.heartbeat("jobs", Node("alpha"), "1", "leader", ""), store.nodes("jobs")):
        with pytest.raises(Unusable, match=r'cannot be used: column "first_seen_at" .*does not exist'):
            await call
    assert (await store.acquire("jobs", ALPHA, 30.0)).is_leader


async def test_a_node_was_never_first_seen_after_it_was_last_seen(postgres_url: str, store: PostgresLeaseStore) -> None:
    await store.heartbeat("jobs", Node("alpha"), "1", "leader", "")
    execute(postgres_url, "UPDATE conductor_jobs.node SET first_seen_at = now() + interval '1 d'")
    await store.heartbeat("jobs", Node("alpha"), "1", "leader", "")
    (seen,) = await store.nodes("jobs")
    assert seen.first_seen_at == seen.last_seen_at


# What is refused, and what is shown -----------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [("jo\0bs", "a", "1"), ("jobs", "a\0", "1"), ("jobs", "a", "\0")])
async def test_a_name_that_postgresql_cannot_keep_is_refused(store: PostgresLeaseStore, names: list[str]) -> None:
    name, *holder = names
    for call in (store.acquire(name, Holder(*holder), 30.0), store.release(name, Holder(*holder))):
        with pytest.raises(Unusable, match="has a NUL character in it, which PostgreSQL cannot keep"):
            await call


async def test_a_name_that_is_too_long_is_refused(store: PostgresLeaseStore) -> None:
    name = "".join(map(chr, range(0x4E00, 0x6E00)))
    with pytest.raises(Unusable, match=r"cannot be used: index row .*maximum"):
        await store.acquire(name, ALPHA, 30.0)
    assert (await store.acquire(name[:500], ALPHA, 30.0)).is_leader


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"password": "wrong-s3cret"}, "password authentication failed"),
        ({"user": "nobody-we-know"}, "password authentication failed"),
        ({"database": "none-such"}, 'database "none-such" does not exist'),
        ({"port": "1"}, "Connection refused"),
    ],
)
async def test_who_is_not_let_in_may_try_again_and_is_told_why(
    postgres_url: str, change: dict[str, str], reason: str
) -> None:
    with pytest.raises(psycopg.OperationalError, match=reason) as caught:
        await ask_once(instead(postgres_url, **change))
    assert PASSWORD not in str(caught.value)
    assert "s3cret" not in str(caught.value)


async def test_a_server_that_may_only_be_read_may_be_tried_again(postgres_url: str, store: PostgresLeaseStore) -> None:
    database = sql.Identifier(database_name(postgres_url))
    alter = sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = {}")
    execute(postgres_url, alter.format(database, sql.Literal("on")))
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction, match="read-only transaction"):
        await store.acquire("jobs", ALPHA, 30.0)
    connect = "SET default_transaction_read_only = off"
    execute(postgres_url, connect, alter.format(database, sql.Literal("off")))
    assert (await store.acquire("jobs", ALPHA, 30.0)).is_leader


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host=h password=s3cret",
        "mysql://u:s3cret@h/d",
        "postgresql+psycopg://u:s3cret@h/d",
        "postgresql://u:s3cret%zz@h/d",
        "postgresql://u:s3cret",
        "postgresql://u:s3cret/@h/d",
        "postgresql://u:s3cret@h/d?passwort=s3cret",
        "postgresql://u:s3cret@h/d\0",
    ],
)
def test_a_url_that_is_none_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match="PostgresLeaseStore url must be `postgresql://USER:PASSWORD") as caught:
        PostgresLeaseStore(url)
    assert "s3" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:s3cret@h:6432/d?sslmode=require", "postgresql://h:6432/d"),
        ("postgres://u:s3cret@h", "postgresql://h:5432/u"),
        ("postgresql://[::1]/d", "postgresql://[::1]:5432/d"),
        ("postgresql:///d?host=/run/pg&password=s3cret", "postgresql:///run/pg:5432/d"),
        ("postgresql://h1:1,h2:2/d", "postgresql://h1,h2:1,2/d"),
    ],
)
def test_a_store_shows_where_it_is_and_no_credentials(url: str, shown: str) -> None:
    assert repr(open_store(url)) == f"PostgresLeaseStore({shown!r})"


def test_two_stores_of_one_database_are_equal_whoever_logs_in() -> None:
    store = PostgresLeaseStore("postgresql://u:s3cret@h/d")
    assert (
        PostgresLeaseStore("postgresql://h/e") != store == PostgresLeaseStore("postgres://w@h:5432/d?sslmode=require")
    )
    assert hash(store) == hash(PostgresLeaseStore("postgresql://h/d"))

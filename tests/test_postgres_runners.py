"""What the PostgreSQL store keeps of runners, on a real server: the fence, kills, late calls, odd rows (I19)."""

import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

import psycopg
import pytest
import trio
from psycopg import sql

from conductor_jobs import Holder, Node, StaleTerm
from conductor_jobs.errors import Unusable
from conductor_jobs.runner_records import Claim, to_microseconds
from conductor_jobs.stores import postgres, postgres_runners
from conductor_jobs.stores.postgres import PostgresLeaseStore
from conductor_jobs.stores.postgres_connections import Line

from .fence_race import race
from .real_servers import PATIENCE
from .real_servers.postgres import PostgresServer, database_name, execute
from .test_store_postgres import until_waiting

ALPHA, BETA = Holder("alpha", "1"), Holder("beta", "1")
FENCE: LiteralString = "SELECT pg_advisory_xact_lock(hashtextextended('jobs', 1667919715))"
DUE = datetime(2026, 3, 1, 6, tzinfo=UTC)
Call = Callable[[PostgresLeaseStore], Awaitable[object]]
FENCED: dict[str, Call] = {
    "claim": lambda store: store.claim("jobs", [Claim("report", DUE, 1)]),
    "save_cursor": lambda store: store.save_cursor("jobs", "report", 1, "17"),
}
WRITES: dict[str, Call] = FENCED | {"set_paused": lambda store: store.set_paused("jobs", "report", True)}
CALLS: dict[str, Call] = WRITES | {
    "claims": lambda store: store.claims("jobs"),
    "paused": lambda store: store.paused("jobs"),
    "load_cursor": lambda store: store.load_cursor("jobs", "report"),
}
TABLES: dict[str, LiteralString] = {"claim": "claim", "save_cursor": "cursor", "set_paused": "paused"}


@pytest.fixture
async def store(postgres_url: str) -> AsyncGenerator[PostgresLeaseStore, None]:
    """A store in which alpha holds `jobs` in term 1."""
    async with PostgresLeaseStore(postgres_url) as store:
        await store.acquire("jobs", ALPHA, 3000.0)
        yield store


@pytest.fixture
async def other(postgres_url: str, store: PostgresLeaseStore) -> AsyncGenerator[psycopg.Connection[Any], None]:
    """Another session of the database that `store` has made its schema in."""
    await store.nodes("jobs")
    with psycopg.connect(postgres_url, autocommit=True) as other:
        yield other


async def kept(store: PostgresLeaseStore) -> object:
    return list(await store.claims("jobs")), await store.paused("jobs"), await store.load_cursor("jobs", "report")


# The fence ------------------------------------------------------------------------------------------------------------


async def test_no_claim_and_no_cursor_of_a_term_is_kept_once_the_next_one_has_begun(postgres_url: str) -> None:
    counts = await race(postgres_url, terms=100)
    assert min(counts["claims"], counts["cursors"], counts["refused"]) > 50


@pytest.mark.parametrize("call", FENCED)
async def test_a_write_that_waited_for_a_campaign_is_judged_by_the_term_that_it_finds(
    store: PostgresLeaseStore, other: psycopg.Connection[Any], call: str
) -> None:
    async def write() -> None:
        with pytest.raises(StaleTerm, match=r"under term 1 of lease 'jobs' was refused: its term is 2"):
            await FENCED[call](store)

    other.execute("BEGIN")
    other.execute(FENCE)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await until_waiting(other, 1)
        other.execute("UPDATE conductor_jobs.lease SET term = 2")
        other.execute("COMMIT")
    assert await kept(store) == ([], set(), None)


@pytest.mark.parametrize("by", ["campaign", "release"])
@pytest.mark.parametrize("call", FENCED)
async def test_a_campaign_and_a_release_wait_for_a_write_that_has_looked_at_the_lease(
    store: PostgresLeaseStore, other: psycopg.Connection[Any], call: str, by: str
) -> None:
    done = list[str]()

    async def write() -> None:
        await FENCED[call](store)
        done.append("written")

    async def change() -> None:
        await (store.acquire("jobs", ALPHA, 3000.0) if by == "campaign" else store.release("jobs", ALPHA))
        done.append("changed")

    async with trio.open_nursery() as nursery:
        with other.transaction():
            # It has the lease's lock already when it comes to the table.
            other.execute(sql.SQL("LOCK TABLE conductor_jobs.{} IN SHARE MODE").format(sql.Identifier(TABLES[call])))
            nursery.start_soon(write)
            await until_waiting_for_table(other)
            assert (await store.acquire("jobs", ALPHA, 3000.0, term=1)).is_leader  # a renewal does not wait
            nursery.start_soon(change)
            await until_waiting(other, 1)
            assert done == []
    assert sorted(done) == ["changed", "written"]


async def until_waiting_for_table(other: psycopg.Connection[Any]) -> None:
    query = "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'relation' AND NOT granted"
    with trio.fail_after(PATIENCE):
        while other.execute(query).fetchone() != (True,):
            await trio.sleep(0.01)


async def test_claims_of_one_term_do_not_wait_for_each_other(
    store: PostgresLeaseStore, other: psycopg.Connection[Any]
) -> None:
    with other.transaction():
        other.execute("SELECT pg_advisory_xact_lock_shared(hashtextextended('jobs', 1667919715))")
        with trio.fail_after(PATIENCE):
            for call in FENCED.values():
                await call(store)


async def test_claims_of_the_same_runners_in_any_order_never_wait_for_each_other_for_ever(
    store: PostgresLeaseStore,
) -> None:
    runners = [f"runner {number}" for number in range(300)]
    for due in (DUE + timedelta(seconds=second) for second in range(15)):
        async with trio.open_nursery() as nursery:
            for order in (runners, runners[::-1], random.sample(runners, len(runners))):
                nursery.start_soon(store.claim, "jobs", [Claim(runner, due, 1) for runner in order])
    assert {claim.due_at for claim in await store.claims("jobs")} == {DUE + timedelta(seconds=14)}


# What is there afterwards ---------------------------------------------------------------------------------------------


async def test_ten_thousand_claims_in_one_call_are_there_for_the_next_who_asks(
    store: PostgresLeaseStore, postgres_url: str
) -> None:
    claims = [Claim(f"runner {number:05}", DUE, 1, "registered") for number in range(10_000)]
    assert await store.claim("jobs", claims) == claims
    assert await PostgresLeaseStore(postgres_url).claims("jobs") == claims
    (transactions,) = execute(postgres_url, "SELECT count(DISTINCT xmin::text)::int FROM conductor_jobs.claim")
    assert transactions == (1,)


async def test_of_claims_in_one_call_all_are_kept_or_none_when_the_server_is_killed(
    postgres_server: PostgresServer, store: PostgresLeaseStore
) -> None:
    answered = broken = 0

    async def claim_on(second: int) -> None:
        nonlocal answered
        while True:
            second += 1
            due = DUE + timedelta(seconds=second)
            await store.claim("jobs", [Claim(f"runner {number}", due, 1) for number in range(300)])
            answered = second

    for _ in range(3):
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(claim_on, answered)
                await trio.sleep(random.uniform(0.05, 0.2))
                await trio.to_thread.run_sync(postgres_server.kill)
        except* psycopg.OperationalError:
            broken += 1
        await trio.to_thread.run_sync(postgres_server.start)
        claims = await store.claims("jobs")
        (due,) = {claim.due_at for claim in claims}
        assert len(claims) == 300
        assert DUE + timedelta(seconds=answered) <= due <= DUE + timedelta(seconds=answered + 1)
        answered += 1
    assert broken == 3


@pytest.mark.parametrize("call", WRITES)
async def test_what_was_kept_is_on_disk_though_the_database_is_told_not_to_wait(
    store: PostgresLeaseStore, other: psycopg.Connection[Any], call: str
) -> None:
    def settings_of(work: Callable[[Line], Any]) -> Any:
        with other.transaction():
            work(line)
            return other.execute("SHOW synchronous_commit").fetchone()

    other.execute("SET synchronous_commit = off")
    line = Line(other)
    works: dict[str, Callable[[Line], Any]] = {
        "claim": lambda line: postgres_runners.claim(line, "jobs", [Claim("report", DUE, 1)], 1, 1000),
        "set_paused": lambda line: postgres_runners.set_paused(line, "jobs", "report", True, 1000),
        "save_cursor": lambda line: postgres_runners.save_cursor(line, "jobs", "report", 1, "17", 1000),
    }
    assert settings_of(works[call]) == ("on",)
    line.socket.close()


async def test_after_the_schema_was_dropped_nothing_is_kept_and_no_term_is_the_present_one(
    store: PostgresLeaseStore, postgres_url: str
) -> None:
    await store.set_paused("jobs", "report", True)
    for call in CALLS:
        execute(postgres_url, "DROP SCHEMA conductor_jobs CASCADE")
        if call in FENCED:
            with pytest.raises(StaleTerm, match="nobody has held it yet"):
                await CALLS[call](store)
        else:
            assert not await CALLS[call](store)
    await store.set_paused("jobs", "report", True)
    assert await store.paused("jobs") == {"report"}


# Late, hung, refused --------------------------------------------------------------------------------------------------


async def test_a_pause_and_a_cursor_that_arrive_late_do_not_undo_later_ones(
    store: PostgresLeaseStore, other: psycopg.Connection[Any]
) -> None:
    # What was given up had read the number of the latest change; so had nobody who came after it.
    late_pause = ("jobs", "report", True, 0, 1000)
    late_cursor = ("jobs", "report", 1, "late", 0, 1000)
    await store.set_paused("jobs", "report", False)
    await store.save_cursor("jobs", "report", 1, "later")
    assert other.execute(postgres_runners._SET_PAUSED, late_pause).fetchone() == (False,)
    (answer,) = other.execute(postgres_runners._SAVE_CURSOR, late_cursor).fetchall()
    assert answer[-1] is False
    assert await kept(store) == ([], set(), "later")


@pytest.mark.parametrize("call", ["set_paused", "save_cursor"])
async def test_who_finds_that_another_came_between_looks_again(
    store: PostgresLeaseStore, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    latest, looks = postgres_runners._latest, list[int]()

    def latest_but_once(line: Line, *asked: Any) -> int:
        looks.append(latest(line, *asked))
        return looks[-1] if len(looks) > 1 else looks[-1] - 1

    for each in ("set_paused", "save_cursor"):
        await WRITES[each](store)
    monkeypatch.setattr(postgres_runners, "_latest", latest_but_once)
    later: dict[str, Call] = {
        "set_paused": lambda store: store.set_paused("jobs", "report", False),
        "save_cursor": lambda store: store.save_cursor("jobs", "report", 1, "18"),
    }
    await later[call](store)
    assert looks == [1, 1]
    assert await kept(store) == (([], set(), "17") if call == "set_paused" else ([], {"report"}, "18"))


@pytest.mark.parametrize("call", CALLS)
async def test_calls_for_runners_that_hang_starve_neither_a_renewal_nor_a_heartbeat(
    store: PostgresLeaseStore, other: psycopg.Connection[Any], nursery: trio.Nursery, call: str
) -> None:
    with other.transaction():
        other.execute("LOCK TABLE conductor_jobs.claim, conductor_jobs.paused, conductor_jobs.cursor")
        for _ in range(postgres._THREADS + 1):
            nursery.start_soon(CALLS[call], store)
        with trio.fail_after(PATIENCE):
            while store._runner_threads.limiter().available_tokens:
                await trio.sleep(0.01)
            assert (await store.acquire("jobs", ALPHA, 3000.0, term=1)).is_leader
            await store.heartbeat("jobs", Node("alpha"), "1", "leader", "")


async def test_cursors_that_are_saved_without_a_pause_hold_up_no_renewal(store: PostgresLeaseStore) -> None:
    async def save(runner: str) -> None:
        while True:
            await store.save_cursor("jobs", runner, 1, "x" * 1000)

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(save, f"runner {number}")
        for _ in range(20):
            with trio.fail_after(PATIENCE):
                assert (await store.acquire("jobs", ALPHA, 3000.0, term=1)).is_leader
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("call", WRITES)
async def test_a_write_waits_for_a_lock_no_longer_than_its_caller(
    store: PostgresLeaseStore, other: psycopg.Connection[Any], call: str
) -> None:
    with other.transaction():
        other.execute("LOCK TABLE conductor_jobs.claim, conductor_jobs.paused, conductor_jobs.cursor IN SHARE MODE")
        with trio.move_on_after(0.5) as scope:
            await WRITES[call](store)
        assert scope.cancelled_caught
        query = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        with trio.fail_after(PATIENCE):
            while other.execute(query).fetchone() != (0,):
                await trio.sleep(0.01)
    assert await kept(store) == ([], set(), None)


async def test_a_server_that_may_only_be_read_may_be_tried_again(postgres_url: str, store: PostgresLeaseStore) -> None:
    database = sql.Identifier(database_name(postgres_url))
    alter = sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = {}")
    execute(postgres_url, alter.format(database, sql.Literal("on")))
    async with PostgresLeaseStore(postgres_url) as late:
        for call in WRITES.values():
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                await call(late)
        assert await kept(late) == ([], set(), None)
    connect = "SET default_transaction_read_only = off"
    execute(postgres_url, connect, alter.format(database, sql.Literal("off")))
    for call in WRITES.values():
        await call(store)
    assert await kept(store) == ([Claim("report", DUE, 1)], {"report"}, "17")


@pytest.mark.parametrize(
    "change",
    [
        "claim SET due_at = 253402300800000000",
        "claim SET due_at = -62135596800000001",
        "claim SET term = 0",
        "claim SET result = 'done'",
        "claim SET runner = NULL",
        "paused SET is_paused = NULL",
        "cursor SET content = NULL",
        "cursor SET change = NULL",
    ],
)
async def test_a_row_that_makes_no_sense_is_refused_by_the_database(
    store: PostgresLeaseStore, other: psycopg.Connection[Any], change: LiteralString
) -> None:
    for call in WRITES.values():
        await call(store)
    with pytest.raises(psycopg.IntegrityError):
        other.execute("UPDATE conductor_jobs." + change)


async def test_every_moment_that_python_knows_can_be_due(store: PostgresLeaseStore) -> None:
    for moment in (datetime.min, datetime.max):
        claim = Claim("report", moment.replace(tzinfo=UTC), 1)
        assert await store.claim("jobs", [claim]) == [claim]
        assert await store.claims("jobs") == [claim]
    assert to_microseconds(claim.due_at) == 253402300799999999


async def test_tables_without_a_column_of_ours_are_refused_and_cost_no_lease(
    store: PostgresLeaseStore, other: psycopg.Connection[Any]
) -> None:
    for table, column in (("claim", "due_at"), ("paused", "is_paused"), ("cursor", "content")):
        names = map(sql.Identifier, (table, column))
        other.execute(sql.SQL("ALTER TABLE conductor_jobs.{} DROP COLUMN {}").format(*names))
    for call in CALLS.values():
        with pytest.raises(Unusable, match=r"cannot be used: .*(column|expressions)"):
            await call(store)
    assert (await store.acquire("jobs", ALPHA, 3000.0, term=1)).is_leader


async def test_a_name_with_a_nul_is_refused(store: PostgresLeaseStore) -> None:
    for call in (
        store.claim("jobs", [Claim("re\0port", DUE, 1)]),
        store.set_paused("jobs", "re\0port", True),
        store.save_cursor("jobs", "re\0port", 1, "17"),
        store.load_cursor("jobs", "re\0port"),
    ):
        with pytest.raises(Unusable, match="NUL"):
            await call

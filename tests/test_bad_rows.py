"""Databases and rows that someone else wrote: `Unusable` that says what is wrong, or an answer that holds.

Never two holders, never a term that goes down, and never an exception out of a run that has begun.
"""

import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import trio
from hypothesis import assume, example, given
from hypothesis import strategies as st

from conductor_jobs import Holder, LeaseGrant, LeaseTiming
from conductor_jobs.clocks import boot_clock_domain, boot_time
from conductor_jobs.errors import Unusable
from conductor_jobs.stores.sqlite import SQLiteLeaseStore
from conductor_jobs.stores.sqlite_file import APPLICATION_ID, SCHEMA, SCHEMA_VERSION

from .strategies import fewer
from .support import make_conductor, make_jobs, noop

ALPHA, BETA, GAMMA = (Holder(name, "1") for name in ("alpha", "beta", "gamma"))
NAME = "conductor"
#: The columns of `lease` after its name, loosely typed: as a hand, another program or an older tool may have made them.
LOOSE = SCHEMA.replace(" NOT NULL", "")

#: What SQLite can hold in any column.
cells = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([0, 1, -1, 2**63 - 1, 2**63 - 2, -(2**63)]),
    st.floats(),
    st.sampled_from([float("inf"), float("-inf"), 1e308, -1.0, 0.5, 1.5, 5e-324]),
    st.text(max_size=8),
    st.sampled_from(["", "7", "1e400", "nan", "alpha", "\0"]),
    st.binary(max_size=8),
)
from_now = st.one_of(st.floats(-100, 100), st.floats()).map(lambda seconds: boot_time() + seconds)
rows = st.tuples(
    st.one_of(st.sampled_from(["alpha", "beta"]), cells),
    st.one_of(st.just("1"), cells),
    st.one_of(st.integers(1, 9), cells),
    st.one_of(st.floats(0.001, 100), cells),
    st.one_of(from_now, cells),
    st.one_of(st.sampled_from([0, 1]), cells),
    st.one_of(st.just(boot_clock_domain()), st.just("another boot"), cells),
)


@contextmanager
def database_of(*statements: str, version: int = SCHEMA_VERSION, schema: str = SCHEMA) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "lease.db"
        with closing(sqlite3.connect(path)) as database:
            database.executescript(schema)
            database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            database.execute(f"PRAGMA user_version = {version}")
            for statement in statements:
                database.execute(statement)
            database.commit()
        yield path


def put(path: Path, row: Sequence[Any]) -> bool:
    """Put the row of a lease into the database, as somebody else does; return whether SQLite took it."""
    with closing(sqlite3.connect(path)) as database:
        try:
            database.execute("INSERT OR REPLACE INTO lease VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (NAME, *row))
            database.commit()
        except sqlite3.IntegrityError:
            return False
        return True


async def ask(store: SQLiteLeaseStore, holder: Holder, term: int | None = None) -> LeaseGrant | None:
    """Return the store's answer, or None for an error that the engine treats as no answer."""
    try:
        return await store.acquire(NAME, holder, 30.0, term=term)
    except Unusable as error:
        assert str(store.path) in str(error)
    except (sqlite3.Error, MemoryError):
        pass
    return None


async def campaigns(path: Path, *, before: int = 0) -> list[LeaseGrant]:
    """Have three nodes campaign and renew, and judge what they were told."""
    store = SQLiteLeaseStore(path)
    leaders: list[tuple[Holder, LeaseGrant]] = []
    for holder in (ALPHA, BETA, GAMMA):
        grant = await ask(store, holder)
        if grant is None:
            continue
        assert type(grant.term) is int
        assert 0 <= grant.expires_in < 2**1024
        if grant.is_leader:
            assert grant.term > before
            assert 0 < grant.expires_in <= 30.0
            leaders.append((holder, grant))
    assert len(leaders) <= 1, "two holders"
    for holder, grant in leaders:
        renewed = await ask(store, holder, grant.term)
        assert renewed is not None
        assert (renewed.is_leader, renewed.term) == (True, grant.term)
        assert await store.release(NAME, holder)
        again = await ask(store, BETA if holder == ALPHA else GAMMA)
        assert grant.term == 2**63 - 1 if again is None else (again.is_leader, again.term) == (True, grant.term + 1)
    return [grant for _, grant in leaders]


@fewer(by=5)
@given(rows, st.booleans())
@example(("alpha", "1", 1.5, 30.0, 0.0, 0, boot_clock_domain()), True)
@example(("alpha", "1", "seven", 30.0, 0.0, 0, boot_clock_domain()), True)
@example(("alpha", "1", 7, 30.0, float("inf"), 0, boot_clock_domain()), True)
@example(("alpha", "1", 7, 30.0, 1e15, 0, boot_clock_domain()), True)
@example(("alpha", "1", 2**63 - 2, 30.0, 0.0, 0, boot_clock_domain()), True)
@example((None, None, 7, 30.0, 0.0, 0, None), False)
@example(("alpha", "1", 2**63 - 1, 30.0, 0.0, 0, boot_clock_domain()), True)
@example(("alpha", "1", 7, float("inf"), float("inf"), 0, "another boot"), True)
def test_of_any_row_of_a_lease_at_most_one_node_gets_it_and_under_a_higher_term(
    row: Sequence[Any], strict: bool
) -> None:
    with database_of(schema=SCHEMA if strict else LOOSE) as path:
        assume(put(path, row))
        term = row[2] if type(row[2]) is int and 0 < row[2] < 2**63 else 0
        trio.run(lambda: campaigns(path, before=term))


@fewer(by=10)
@given(rows)
def test_a_node_beside_any_row_leads_stands_by_or_is_told_what_is_wrong(row: Sequence[Any]) -> None:
    with database_of() as path:
        assume(put(path, row))
        run_beside(path)


def run_beside(path: Path) -> list[str]:
    """Run a conductor on the database for a moment; an error out of `run` is `Unusable`, at once, naming the file."""

    async def main() -> None:
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(conductor.run)
                await trio.sleep(0.01)
                assert conductor.started
                await conductor.stop()
        except* Unusable as group:
            assert str(path) in str(group.exceptions[0])
            assert "leader_started" not in journal.stages()

    conductor, journal = make_conductor(
        make_jobs(noop, interval=0.001), SQLiteLeaseStore(path), timing=LeaseTiming(ttl=60.0), boot_clock=boot_time
    )
    trio.run(main)
    return journal.stages()


@fewer(by=20)
@given(rows)
def test_a_row_that_is_spoilt_under_a_leader_ends_its_term_and_not_its_run(row: Sequence[Any]) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(conductor.run)
            await conductor.wait_leader()
            put(path, row)
            with trio.move_on_after(0.3):
                await conductor.wait_standby()
            assert conductor.started
            await conductor.stop()

    with database_of() as path:
        timing = LeaseTiming(ttl=0.3, renew_interval=0.03)
        conductor, journal = make_conductor(
            make_jobs(noop, interval=60.0), SQLiteLeaseStore(path), timing=timing, boot_clock=boot_time
        )
        trio.run(main)
        assert journal.stages()[-1] == "stopped"
        terms = [entry.details["term"] for entry in journal.all("leader_started")]
        assert terms == sorted(set(terms))


# Files that are none of ours -----------------------------------------------------------------------------------------


@fewer(by=2)
@given(st.one_of(st.binary(max_size=300), st.binary(max_size=200).map(lambda blob: b"SQLite format 3\0" + blob)))
@example(b"")
@example(b"\0" * 4096)
def test_any_bytes_as_a_database_are_refused_and_left_alone_or_were_none(content: bytes) -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "lease.db"
        path.write_bytes(content)
        leaders = trio.run(lambda: campaigns(path))
        assert path.read_bytes() == content or not content
        assert len(leaders) == (0 if content else 1)


@fewer(by=5)
@given(st.lists(st.tuples(st.integers(0, 2**20), st.binary(min_size=1, max_size=30)), min_size=1, max_size=6))
def test_a_database_of_ours_that_is_damaged_anywhere_serves_one_node_or_none(damage: list[tuple[int, bytes]]) -> None:
    with database_of() as path:
        put(path, ("alpha", "1", 7, 30.0, boot_time() - 1, 0, boot_clock_domain()))
        content = bytearray(path.read_bytes())
        for anywhere, blob in damage:
            place = anywhere % len(content)
            content[place : place + len(blob)] = blob
        path.write_bytes(content)
        store = SQLiteLeaseStore(path)

        async def main() -> None:
            grants = [await ask(store, holder) for holder in (ALPHA, BETA)]
            assert sum(1 for grant in grants if grant is not None and grant.is_leader) <= 1

        trio.run(main)


@fewer(by=20)
@given(st.sampled_from([-(2**31), -1, 0, 1, 3, 2**31 - 1]))
def test_a_schema_of_another_version_is_refused_naming_both(version: int) -> None:
    with database_of(version=version) as path:
        before = path.read_bytes()
        assert run_beside(path)[-1] == "stopped"
        assert path.read_bytes() == before


COPIED = "CREATE TABLE copy AS SELECT * FROM lease; DROP TABLE lease; ALTER TABLE copy RENAME TO lease"
EXPIRED = ("alpha", "1", 7, 30.0, 0.0, 0, boot_clock_domain())
spoils = st.sampled_from(
    [
        COPIED,
        "DROP TABLE lease",
        "DROP TABLE released",
        "DROP TABLE node",
        "ALTER TABLE lease DROP COLUMN ttl",
        "ALTER TABLE lease ADD COLUMN note TEXT",
        "CREATE TRIGGER deaf BEFORE INSERT ON lease BEGIN SELECT RAISE(IGNORE); END",
        "CREATE TRIGGER deaf BEFORE INSERT ON released BEGIN SELECT RAISE(IGNORE); END",
        "CREATE TABLE copy AS SELECT * FROM released; DROP TABLE released; ALTER TABLE copy RENAME TO released",
        "ALTER TABLE lease RENAME TO kept; CREATE VIEW lease AS SELECT * FROM kept",
        "CREATE TABLE notes (text)",
        "CREATE INDEX by_host ON node (host)",
    ]
)


@fewer(by=10)
@given(st.sets(spoils, max_size=2), rows)
@example({COPIED}, EXPIRED)
def test_tables_that_were_altered_serve_one_node_or_none(statements: set[str], row: Sequence[Any]) -> None:
    with database_of() as path:
        assume(put(path, row))
        with closing(sqlite3.connect(path)) as database:
            try:
                database.executescript(";".join(sorted(statements)))
            except sqlite3.Error:
                assume(condition=False)
        trio.run(lambda: campaigns(path))
        run_beside(path)

"""A lease store in a SQLite file: one leader among the processes of one machine that open it.

Every call is one transaction, made in one hop to a worker thread on a connection of its own, so that nothing is
held open between calls: a process may fork, the file may be replaced, and the connection of a call that was given
up is discarded by the thread that still has it. Lock conflicts are waited out in Trio, where a cancellation is
prompt, and not in SQLite.

Expiry is counted on the clock that all processes of the machine share and that does not jump (time since boot).
A row that was written in another boot, or in another time namespace, gets its whole ttl again.
"""

import os
import random
import sqlite3
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, Self, TypeVar, final

import trio

from .. import records
from ..clocks import boot_clock_domain, boot_time
from ..errors import Unusable
from ..lease import Holder, LeaseGrant, Node, NodeSeen, NodeState
from ..records import LeaseRecord

T = TypeVar("T")

APPLICATION_ID: Final = 0x636A6F62  # "cjob": tells our files from those of other applications
SCHEMA_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE lease (
    name TEXT PRIMARY KEY, node_id TEXT NOT NULL, incarnation TEXT NOT NULL, term INTEGER NOT NULL,
    ttl REAL NOT NULL, expires_at REAL NOT NULL, released INTEGER NOT NULL, clock_domain TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE released (
    name TEXT NOT NULL, node_id TEXT NOT NULL, incarnation TEXT NOT NULL,
    PRIMARY KEY (name, node_id, incarnation)
) WITHOUT ROWID;
CREATE TABLE node (
    lease_name TEXT NOT NULL, node_id TEXT NOT NULL, host TEXT NOT NULL, role TEXT NOT NULL,
    priority INTEGER NOT NULL, version TEXT NOT NULL, incarnation TEXT NOT NULL, state TEXT NOT NULL,
    last_seen_at REAL NOT NULL, PRIMARY KEY (lease_name, node_id)
) WITHOUT ROWID;
"""
# How long SQLite itself waits for a lock: short, for a thread that waits cannot be cancelled.
BUSY_TIMEOUT: Final = 0.02
_RETRY_PAUSE: Final = (0.005, 0.03)
_BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_HOPELESS: Final = {
    sqlite3.SQLITE_NOTADB: "is no SQLite database",
    sqlite3.SQLITE_CORRUPT: "is a damaged SQLite database",
    sqlite3.SQLITE_READONLY: "is read-only",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened",
    sqlite3.SQLITE_PERM: "may not be opened",
}


@final
class SQLiteLeaseStore:
    """Leases in a SQLite file, for the processes of one machine. Holds nothing open between calls."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Remember the file; it is made, with its folders, by the first call.

        A file that is no database, that cannot be written, that belongs to another application or was made by
        a newer conductor-jobs is not touched: the first call raises Unusable. Raises ValueError for an empty path.
        """
        if not os.fspath(path):
            raise ValueError("SQLiteLeaseStore path must be the name of a file, not ''.")
        self.path = Path(path).absolute()
        # A limiter of its own in every Trio run: threads of the application never starve a renewal (I6).
        self._limiters = trio.lowlevel.RunVar[trio.CapacityLimiter](f"threads of {self.path}")

    def __repr__(self) -> str:
        return f"SQLiteLeaseStore({str(self.path)!r})"

    def __eq__(self, other: object) -> bool:
        """Return whether both keep their leases in one file."""
        return isinstance(other, SQLiteLeaseStore) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        pass

    async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> LeaseGrant:
        """See `LeaseStore.acquire`. Cancelling gives the call up, whatever its thread still does."""
        return await self._in_thread(lambda: self._acquire(lease_name, holder, ttl, term))

    async def release(self, lease_name: str, holder: Holder) -> bool:
        """See `LeaseStore.release`. Cancelling gives the call up, whatever its thread still does."""
        return await self._in_thread(lambda: self._release(lease_name, holder))

    async def heartbeat(self, lease_name: str, node: Node, incarnation: str, state: NodeState) -> None:
        """See `NodeRegistry.heartbeat`. Cancelling gives the call up, whatever its thread still does."""
        await self._in_thread(lambda: self._heartbeat(lease_name, node, incarnation, state))

    async def nodes(self, lease_name: str) -> Sequence[NodeSeen]:
        """See `NodeRegistry.nodes`."""
        return await self._in_thread(lambda: self._nodes(lease_name))

    async def _in_thread(self, transaction: Callable[[], T]) -> T:
        try:
            limiter = self._limiters.get()
        except LookupError:
            limiter = trio.CapacityLimiter(8)
            self._limiters.set(limiter)
        while True:
            try:
                return await trio.to_thread.run_sync(transaction, abandon_on_cancel=True, limiter=limiter)
            except sqlite3.OperationalError as error:
                if _primary_code(error) not in _BUSY:
                    raise
            await trio.sleep(random.uniform(*_RETRY_PAUSE))

    def _acquire(self, lease_name: str, holder: Holder, ttl: float, term: int | None) -> LeaseGrant:
        with self._transaction() as database:
            now, before = _read(database, lease_name)
            if _is_barred(database, lease_name, holder):
                changed = None
            elif term is None:
                changed = records.campaign(before, holder, ttl, now)
            else:
                changed = records.renew(before, holder, term, ttl, now)
            if changed is not None:
                _write(database, lease_name, changed)
            return records.answer(
                changed or before,
                is_leader=changed is not None,
                operation="acquire" if term is None else "renew",
                now=now,
                unix_now=time.time(),
            )

    def _release(self, lease_name: str, holder: Holder) -> bool:
        with self._transaction() as database:
            now, before = _read(database, lease_name)
            database.execute(
                "INSERT OR IGNORE INTO released VALUES (?, ?, ?)",
                (lease_name, holder.node_id, holder.incarnation),
            )
            freed = records.release(before, holder)
            if freed is not None:
                _write(database, lease_name, freed)
            return freed is not None and before is not None and before.held_at(now)

    def _heartbeat(self, lease_name: str, node: Node, incarnation: str, state: NodeState) -> None:
        row = (lease_name, node.node_id, node.host, node.role, node.priority, node.version)
        with self._transaction() as database:
            database.execute(
                "INSERT OR REPLACE INTO node VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*row, incarnation, state, time.time()),
            )

    def _nodes(self, lease_name: str) -> Sequence[NodeSeen]:
        with self._transaction() as database:
            rows = database.execute(
                "SELECT node_id, host, role, priority, version, incarnation, state, last_seen_at"
                " FROM node WHERE lease_name = ? ORDER BY node_id",
                (lease_name,),
            ).fetchall()
        return [NodeSeen(Node(*row[:5]), *row[5:]) for row in rows]

    @contextmanager
    def _transaction(self) -> Generator[sqlite3.Connection, None, None]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT, isolation_level=None)
            with closing(connection) as database:
                # Before anything may write: a file of somebody else's is not touched, not even its journal mode.
                if not self._is_prepared(database):
                    database.execute("PRAGMA journal_mode = WAL")
                database.execute("PRAGMA synchronous = FULL")
                database.execute("BEGIN IMMEDIATE")
                with database:
                    if not self._is_prepared(database):
                        _create_schema(database)
                    yield database
        except sqlite3.DatabaseError as error:
            self._raise_if_hopeless(error)
            raise
        except OSError as error:
            raise Unusable(f"database {str(self.path)!r} cannot be made: {error.strerror}.") from error

    def _is_prepared(self, database: sqlite3.Connection) -> bool:
        application_id = database.execute("PRAGMA application_id").fetchone()[0]
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if application_id != APPLICATION_ID:
            if version or database.execute("SELECT 1 FROM sqlite_master").fetchone():
                raise Unusable(
                    f"database {str(self.path)!r} belongs to another application; "
                    "the lease store needs a file of its own."
                )
            return False
        if version != SCHEMA_VERSION:
            raise Unusable(
                f"database {str(self.path)!r} has schema version {version}, and this conductor-jobs "
                f"knows {SCHEMA_VERSION}: it was made by a newer one."
            )
        return True

    def _raise_if_hopeless(self, error: sqlite3.DatabaseError) -> None:
        if reason := _HOPELESS.get(_primary_code(error)):
            raise Unusable(f"database {str(self.path)!r} {reason} ({error}).") from error


def _create_schema(database: sqlite3.Connection) -> None:
    for statement in _SCHEMA.split(";"):
        database.execute(statement)
    database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _read(database: sqlite3.Connection, lease_name: str) -> tuple[float, LeaseRecord | None]:
    # The clock is read under the write lock: whoever waited for it must not decide by an old time.
    now = boot_time()
    row: tuple[Any, ...] | None = database.execute(
        "SELECT node_id, incarnation, term, ttl, expires_at, released, clock_domain FROM lease WHERE name = ?",
        (lease_name,),
    ).fetchone()
    if row is None:
        return now, None
    node_id, incarnation, term, ttl, expires_at, released, domain = row
    record = LeaseRecord(Holder(node_id, incarnation), term, ttl, expires_at, bool(released))
    if domain != boot_clock_domain():
        record = records.restamped(record, now)
        _write(database, lease_name, record)
    return now, record


def _write(database: sqlite3.Connection, lease_name: str, record: LeaseRecord) -> None:
    holder = (record.holder.node_id, record.holder.incarnation)
    database.execute(
        "INSERT OR REPLACE INTO lease VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            lease_name,
            *holder,
            record.term,
            record.ttl,
            record.expires_at,
            record.released,
            boot_clock_domain(),
        ),
    )


def _is_barred(database: sqlite3.Connection, lease_name: str, holder: Holder) -> bool:
    key = (lease_name, holder.node_id, holder.incarnation)
    query = "SELECT 1 FROM released WHERE name = ? AND node_id = ? AND incarnation = ?"
    return database.execute(query, key).fetchone() is not None


def _primary_code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF

"""A lease store in a SQLite file: one leader among the processes of one machine that open it.

Every call is one transaction, made in one hop to a worker thread on a connection of its own, so that nothing is
held open between calls: a process may fork, no lease is kept in a file that was deleted meanwhile, and the
connection of a call that was given up is discarded by the thread that still has it. (A campaign that is refused again
may need none, see `sqlite_refusals`.) Lock conflicts are waited out in Trio, where a cancellation is prompt, and not in
SQLite.

Expiry is counted on the clock that all processes of the machine share and that does not jump (time since boot).
A row that was written in another boot, or in another time namespace, gets its whole ttl again. (Two standbys in
two time namespaces would give it to the row of a dead leader for ever: nobody would lead, but never two.)
"""

import math
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Self, TypeVar, final

import trio

from .. import records
from ..clocks import boot_clock_domain, boot_time
from ..errors import Unusable
from ..lease import TERM_LIMIT, Holder, LeaseGrant, Node, NodeSeen, NodeState
from ..records import LeaseRecord
from .sqlite_file import is_busy, transaction
from .sqlite_refusals import Refusals, stamp_of

T = TypeVar("T")
Abandoned = Callable[[], bool]

_RETRY_PAUSE: Final = (0.005, 0.03)
_LEASE_THREADS: Final = 4
_NODE_THREADS: Final = 2


@final
class SQLiteLeaseStore:
    """Leases in a SQLite file, for the processes of one machine. Holds nothing open between calls."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Remember the file; it is made, with its folders, by the first call.

        A file that is no database, that cannot be written, that belongs to another application, was made by a newer
        conductor-jobs or was altered by others is not touched: the first call raises Unusable, as does one that
        finds a row that no conductor-jobs wrote. Raises ValueError for a path that is empty or has a NUL in it.
        """
        if not os.fspath(path) or "\0" in os.fspath(path):
            raise ValueError(f"SQLiteLeaseStore path must be the name of a file, not {os.fspath(path)!r}.")
        self.path: Path = Path(path).absolute()
        self._file = self.path.resolve()
        self._refusals = Refusals()
        # Limiters of our own in every Trio run: neither the threads of the application nor heartbeats that hang
        # ever starve a renewal (I6).
        self._lease_limiter = trio.lowlevel.RunVar[trio.CapacityLimiter](f"lease threads of {self.path}")
        self._node_limiter = trio.lowlevel.RunVar[trio.CapacityLimiter](f"node threads of {self.path}")

    def __repr__(self) -> str:
        return f"SQLiteLeaseStore({str(self.path)!r})"

    def __eq__(self, other: object) -> bool:
        """Return whether both keep their leases in one file."""
        return isinstance(other, SQLiteLeaseStore) and self._file == other._file

    def __hash__(self) -> int:
        return hash(self._file)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        pass

    async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> LeaseGrant:
        """See `LeaseStore.acquire`. Cancelling gives the call up; it may still be carried out."""
        return await self._for_lease(lambda abandoned: self._acquire(abandoned, lease_name, holder, ttl, term))

    async def release(self, lease_name: str, holder: Holder) -> bool:
        """See `LeaseStore.release`. Cancelling gives the call up; it may still be carried out."""
        return await self._for_lease(lambda _: self._release(lease_name, holder))

    async def heartbeat(self, lease_name: str, node: Node, incarnation: str, state: NodeState) -> None:
        """See `NodeRegistry.heartbeat`. Cancelling gives the call up; it may still be carried out."""
        await self._for_node(lambda abandoned: self._heartbeat(abandoned, lease_name, node, incarnation, state))

    async def nodes(self, lease_name: str) -> Sequence[NodeSeen]:
        """See `NodeRegistry.nodes`."""
        return await self._for_node(lambda abandoned: self._nodes(abandoned, lease_name))

    async def _for_lease(self, call: Callable[[Abandoned], T]) -> T:
        return await _in_thread(call, _limiter(self._lease_limiter, _LEASE_THREADS))

    async def _for_node(self, call: Callable[[Abandoned], T]) -> T:
        return await _in_thread(call, _limiter(self._node_limiter, _NODE_THREADS))

    def _acquire(
        self, abandoned: Abandoned, lease_name: str, holder: Holder, ttl: float, term: int | None
    ) -> LeaseGrant:
        stamp = stamp_of(self.path) if term is None else None
        if (refusal := self._refusals.again(lease_name, holder, ttl, stamp)) is not None:
            return refusal
        with transaction(self.path, abandoned) as database:
            now, before = self._read(database, lease_name)
            barred = _is_barred(database, lease_name, holder)
            changed = records.acquire(before, holder, ttl, term, now, barred=barred)
            if changed is not None and changed.term == TERM_LIMIT:
                raise Unusable(f"database {str(self.path)!r} has no number left for the next term of {lease_name!r}.")
            if changed is not None:
                _write(database, lease_name, changed)
            elif before is not None:
                self._refusals.remember(lease_name, before, stamp, now)
            return records.answer(
                changed or before,
                is_leader=changed is not None,
                operation="acquire" if term is None else "renew",
                now=now,
                unix_now=time.time(),
            )

    def _read(self, database: sqlite3.Connection, lease_name: str) -> tuple[float, LeaseRecord | None]:
        # The clock is read under the write lock: whoever waited for it must not decide by an old time.
        now = boot_time()
        row: tuple[Any, ...] | None = database.execute(
            "SELECT node_id, incarnation, term, ttl, expires_at, released, clock_domain FROM lease WHERE name = ?",
            (lease_name,),
        ).fetchone()
        if row is None:
            return now, None
        if problem := _why_not_ours(*row[:5]):
            raise Unusable(f"database {str(self.path)!r} has a lease {lease_name!r} that is not ours: {problem}.")
        node_id, incarnation, term, ttl, expires_at, released, domain = row
        record = LeaseRecord(Holder(node_id, incarnation), term, ttl, expires_at, bool(released))
        # An expiry that lies further ahead than a whole ttl was counted on no clock of ours either.
        if domain != boot_clock_domain() or expires_at > now + ttl:
            record = records.restamped(record, now)
            _write(database, lease_name, record)
        return now, record

    def _release(self, lease_name: str, holder: Holder) -> bool:
        # Never too late to be right: it frees and bars only what this incarnation has.
        with transaction(self.path) as database:
            now, before = self._read(database, lease_name)
            row = (lease_name, holder.node_id, holder.incarnation)
            database.execute("INSERT OR IGNORE INTO released VALUES (?, ?, ?)", row)
            freed = records.release(before, holder)
            if freed is not None:
                _write(database, lease_name, freed)
            return records.was_held(before, holder, now)

    def _heartbeat(self, abandoned: Abandoned, lease_name: str, node: Node, incarnation: str, state: NodeState) -> None:
        described = (lease_name, node.node_id, node.host, node.role, node.priority, node.version)
        with transaction(self.path, abandoned) as database:
            now = time.time()
            query = "SELECT min(first_seen_at, ?) FROM node WHERE lease_name = ? AND node_id = ? AND incarnation = ?"
            (since,) = database.execute(query, (now, lease_name, node.node_id, incarnation)).fetchone() or (now,)
            row = (*described, incarnation, state, since, now)
            database.execute("INSERT OR REPLACE INTO node VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    def _nodes(self, abandoned: Abandoned, lease_name: str) -> Sequence[NodeSeen]:
        query = (
            "SELECT node_id, host, role, priority, version, incarnation, state, first_seen_at, last_seen_at"
            " FROM node WHERE lease_name = ? ORDER BY node_id"
        )
        with transaction(self.path, abandoned) as database:
            rows = database.execute(query, (lease_name,)).fetchall()
        return [NodeSeen(Node(*row[:5]), *row[5:]) for row in rows]


def _limiter(of_run: trio.lowlevel.RunVar[trio.CapacityLimiter], threads: int) -> trio.CapacityLimiter:
    try:
        return of_run.get()
    except LookupError:
        of_run.set(trio.CapacityLimiter(threads))
        return of_run.get()


async def _in_thread(call: Callable[[Abandoned], T], limiter: trio.CapacityLimiter) -> T:
    # An abandoned campaign that came through late would supersede the term of a later one of our own.
    given_up = threading.Event()
    try:
        while True:
            try:
                return await trio.to_thread.run_sync(call, given_up.is_set, abandon_on_cancel=True, limiter=limiter)
            except sqlite3.OperationalError as error:
                if not is_busy(error):
                    raise
            await trio.sleep(random.uniform(*_RETRY_PAUSE))
    finally:
        given_up.set()


def _why_not_ours(node_id: object, incarnation: object, term: object, ttl: object, expires_at: object) -> str | None:
    # SQLite keeps anything in any column.
    for column, value, holds in (
        ("node_id", node_id, type(node_id) is str),
        ("incarnation", incarnation, type(incarnation) is str),
        ("term", term, type(term) is int and 0 < term < TERM_LIMIT),
        ("ttl", ttl, type(ttl) is float and 0 < ttl < math.inf),
        ("expires_at", expires_at, type(expires_at) is float),
    ):
        if not holds:
            return f"{column} {value!r}"
    return None


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

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

import os
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final, Self, final

from .. import records
from ..errors import Unusable
from ..lease import TERM_LIMIT, Holder, LeaseGrant, Node, NodeSeen, NodeState
from ..runner_records import Claim
from . import sqlite_leases, sqlite_runners
from .sqlite_file import transaction
from .sqlite_refusals import Refusals, stamp_of
from .sqlite_threads import Abandoned, Threads

_LEASE_THREADS: Final = 4
_NODE_THREADS: Final = 2
# One writes to the file at a time: more of them would only stand in the way of renewals.
_RUNNER_THREADS: Final = 2


@final
class SQLiteLeaseStore:
    """Leases in a SQLite file, for the processes of one machine. Holds nothing open between calls."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Remember the file; it is made, with its folders, by the first call.

        A file that is no database, that cannot be written, that belongs to another application, was made by a newer
        conductor-jobs or was altered by others is not touched: the first call raises Unusable, as does one that
        finds a row that no conductor-jobs wrote. Raises ValueError for what is no path, is empty or has a NUL in it.
        """
        if not isinstance(path, str | os.PathLike):
            raise ValueError(f"SQLiteLeaseStore path must be the name of a file, not a {type(path).__name__}.")  # noqa: TRY004
        if not os.fspath(path) or "\0" in os.fspath(path):
            raise ValueError(f"SQLiteLeaseStore path must be the name of a file, not {os.fspath(path)!r}.")
        self.path: Path = Path(path).absolute()
        self._file = self.path.resolve()
        self._refusals = Refusals()
        self._lease_threads = Threads(_LEASE_THREADS)
        self._node_threads = Threads(_NODE_THREADS)
        self._runner_threads = Threads(_RUNNER_THREADS)

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
        return await self._lease_threads.run(lambda abandoned: self._acquire(abandoned, lease_name, holder, ttl, term))

    async def release(self, lease_name: str, holder: Holder) -> bool:
        """See `LeaseStore.release`. Cancelling gives the call up; it may still be carried out."""
        return await self._lease_threads.run(lambda _: self._release(lease_name, holder))

    async def heartbeat(
        self, lease_name: str, node: Node, incarnation: str, state: NodeState, fingerprint: str
    ) -> None:
        """See `NodeRegistry.heartbeat`. Cancelling gives the call up; it may still be carried out."""
        await self._node_threads.run(
            lambda abandoned: self._heartbeat(abandoned, lease_name, node, incarnation, state, fingerprint)
        )

    async def nodes(self, lease_name: str) -> Sequence[NodeSeen]:
        """See `NodeRegistry.nodes`."""
        return await self._node_threads.run(lambda abandoned: self._nodes(abandoned, lease_name))

    async def claims(self, lease_name: str) -> Sequence[Claim]:
        """See `ClaimStore.claims`."""
        return await self._runner_threads.run(lambda abandoned: sqlite_runners.claims(abandoned, self.path, lease_name))

    async def claim(self, lease_name: str, claims: Sequence[Claim]) -> Sequence[Claim]:
        """See `ClaimStore.claim`. Cancelling gives the call up; it may still be carried out."""
        return await self._runner_threads.run(
            lambda abandoned: sqlite_runners.claim(abandoned, self.path, lease_name, claims)
        )

    async def paused(self, lease_name: str) -> Collection[str]:
        """See `PauseStore.paused`."""
        return await self._runner_threads.run(lambda abandoned: sqlite_runners.paused(abandoned, self.path, lease_name))

    async def set_paused(self, lease_name: str, runner: str, paused: bool) -> None:
        """See `PauseStore.set_paused`. Cancelling gives the call up; it may still be carried out."""
        await self._runner_threads.run(
            lambda abandoned: sqlite_runners.set_paused(abandoned, self.path, lease_name, runner, paused)
        )

    async def load_cursor(self, lease_name: str, runner: str) -> str | None:
        """See `CursorStore.load_cursor`."""
        return await self._runner_threads.run(
            lambda abandoned: sqlite_runners.load_cursor(abandoned, self.path, lease_name, runner)
        )

    async def save_cursor(self, lease_name: str, runner: str, term: int, cursor: str) -> None:
        """See `CursorStore.save_cursor`. Cancelling gives the call up; it may still be carried out."""
        await self._runner_threads.run(
            lambda abandoned: sqlite_runners.save_cursor(abandoned, self.path, lease_name, runner, term, cursor)
        )

    def _acquire(
        self, abandoned: Abandoned, lease_name: str, holder: Holder, ttl: float, term: int | None
    ) -> LeaseGrant:
        stamp = stamp_of(self.path) if term is None else None
        if (refusal := self._refusals.again(lease_name, holder, ttl, stamp)) is not None:
            return refusal
        with transaction(self.path, abandoned) as database:
            now, before = sqlite_leases.read(database, self.path, lease_name)
            barred = sqlite_leases.is_barred(database, lease_name, holder)
            changed = records.acquire(before, holder, ttl, term, now, barred=barred)
            if changed is not None and changed.term == TERM_LIMIT:
                raise Unusable(f"database {str(self.path)!r} has no number left for the next term of {lease_name!r}.")
            if changed is not None:
                sqlite_leases.write(database, lease_name, changed)
            elif before is not None:
                self._refusals.remember(lease_name, before, stamp, now)
            return records.answer(
                changed or before,
                is_leader=changed is not None,
                operation="acquire" if term is None else "renew",
                now=now,
                unix_now=time.time(),
            )

    def _release(self, lease_name: str, holder: Holder) -> bool:
        # Never too late to be right: it frees and bars only what this incarnation has.
        with transaction(self.path) as database:
            now, before = sqlite_leases.read(database, self.path, lease_name)
            sqlite_leases.bar(database, lease_name, holder)
            freed = records.release(before, holder)
            if freed is not None:
                sqlite_leases.write(database, lease_name, freed)
            return records.was_held(before, holder, now)

    def _heartbeat(
        self, abandoned: Abandoned, lease_name: str, node: Node, incarnation: str, state: NodeState, fingerprint: str
    ) -> None:
        described = (lease_name, node.node_id, node.host, node.role, node.priority, node.version)
        with transaction(self.path, abandoned) as database:
            now = time.time()
            query = "SELECT min(first_seen_at, ?) FROM node WHERE lease_name = ? AND node_id = ? AND incarnation = ?"
            (since,) = database.execute(query, (now, lease_name, node.node_id, incarnation)).fetchone() or (now,)
            row = (*described, incarnation, state, since, now, fingerprint)
            database.execute("INSERT OR REPLACE INTO node VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    def _nodes(self, abandoned: Abandoned, lease_name: str) -> Sequence[NodeSeen]:
        query = (
            "SELECT node_id, host, role, priority, version, incarnation, state, first_seen_at, last_seen_at,"
            " fingerprint FROM node WHERE lease_name = ? ORDER BY node_id"
        )
        with transaction(self.path, abandoned) as database:
            rows = database.execute(query, (lease_name,)).fetchall()
        return [NodeSeen(Node(*row[:5]), *row[5:]) for row in rows]

"""A lease store in a PostgreSQL database: one leader among all processes that reach it.

Every call is one statement on a connection without session state, so that a pooler in transaction mode may stand
between: `postgres_schema` has what they call, `postgres_connections` the connections, `postgres_watches` those who wait
for a release.
"""

import time
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, LiteralString, Self, TypeVar, final

import psycopg
import trio

from .. import records
from ..errors import StaleTerm, Unusable
from ..lease import Holder, LeaseGrant, Node, NodeSeen, NodeState
from ..records import LeaseRecord
from ..runner_records import Claim
from . import postgres_runners
from .postgres_connections import Connections, Line, Threads, seconds_left
from .postgres_nodes import HEARTBEAT, NODES, node_seen
from .postgres_schema import problem, with_schema
from .postgres_url import Place, parsed
from .postgres_watches import Holds, Watches

T = TypeVar("T")

# More than can be connecting at a time: only these are not ended by whoever gives them up.
_THREADS: Final = 16
# A server has few connections to give.
_KEEP_FOR: Final = 60.0
_LONGEST_LOCK_WAIT: Final = 60.0

# Sends that nobody acknowledges break a connection, for the sake of calls that have no deadline.
_DEFAULTS: Final = {
    "application_name": "conductor-jobs",
    "client_encoding": "utf8",
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}

_ACQUIRE: Final = """
SELECT granted, (lease).node_id, (lease).incarnation, (lease).term, (lease).ttl, (lease).released,
       extract(epoch FROM (lease).expires_at - clock)::float8, extract(epoch FROM clock)::float8
FROM conductor_jobs.acquire_v2(%s, %s, %s, %s, %s, %s, %s, %s)
"""
_RELEASE: Final = "SELECT conductor_jobs.release_v2(%s, %s, %s, %s)"


@final
class PostgresLeaseStore:
    """Leases in a PostgreSQL database, for every process that reaches it.

    With `async with store:` connections are kept between calls. Without it every call makes one of its own.
    """

    def __init__(self, url: str) -> None:
        """Remember the URL, `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`; nothing is connected yet.

        What it leaves out libpq finds in the environment (PGHOST, PGPASSWORD, ...) and in ~/.pgpass; what follows a
        `?` are libpq's parameters, such as `sslmode=verify-full` or `target_session_attrs=read-write`. The first
        call makes the schema `conductor_jobs`. It raises Unusable for one that is not ours, that a newer
        conductor-jobs has made, or that we may not make; any other error means that trying again may help.
        Raises ValueError for anything but such a URL, without repeating what may be a password.
        """
        parameters = parsed(url)
        self._place = Place.of(parameters)
        self._gave_up_at = 0  # when the latest call was made that was given up
        parameters = _DEFAULTS | parameters
        self._lines = Connections(parameters)
        self._watch_lines = Connections(parameters)
        self._lease_threads = Threads(_THREADS)
        self._node_threads = Threads(_THREADS)
        self._runner_threads = Threads(_THREADS)
        self._watch_threads = Threads(_THREADS)
        self._watches = trio.lowlevel.RunVar[Watches]("those who wait for a PostgreSQL lease store")
        self._users = 0

    def __repr__(self) -> str:
        return f"PostgresLeaseStore({str(self._place)!r})"

    def __eq__(self, other: object) -> bool:
        """Return whether both keep their leases in one database, as far as their URLs tell."""
        return isinstance(other, PostgresLeaseStore) and self._place == other._place

    def __hash__(self) -> int:
        return hash(self._place)

    async def __aenter__(self) -> Self:
        self._use(+1)
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._use(-1)

    async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> LeaseGrant:
        """See `LeaseStore.acquire`. Cancelling gives the call up; it may still be carried out."""
        asked_at = time.monotonic_ns()
        asker = _names(lease_name, holder)
        try:
            ((granted, *described, unix_now),) = await self._ask(
                self._lease_threads,
                _ACQUIRE,
                (*asker, float(ttl), term, asked_at, self._gave_up_at, _patience_ms()),
            )
        except BaseException:
            self._gave_up_at = max(self._gave_up_at, asked_at)
            raise
        # Seconds are counted from the server's reading of its clock.
        return records.answer(
            _record(*described),
            is_leader=granted,
            operation="acquire" if term is None else "renew",
            now=0.0,
            unix_now=unix_now,
        )

    async def release(self, lease_name: str, holder: Holder) -> bool:
        """See `LeaseStore.release`. Cancelling gives the call up; it may still be carried out."""
        asker = _names(lease_name, holder)
        ((freed,),) = await self._ask(self._lease_threads, _RELEASE, (*asker, _patience_ms()))
        return bool(freed)

    async def wait_released(self, lease_name: str, term: int) -> None:
        """See `ReleaseWatcher.wait_released`. Cancelling stops the waiting only."""
        await self._watch(lease_name, lambda standing: standing.released or standing.term > term)

    async def wait_begun(self, lease_name: str, term: int) -> None:
        """See `ReleaseWatcher.wait_begun`. Cancelling stops the waiting only."""
        await self._watch(lease_name, lambda standing: standing.term >= term)

    async def heartbeat(
        self, lease_name: str, node: Node, incarnation: str, state: NodeState, fingerprint: str
    ) -> None:
        """See `NodeRegistry.heartbeat`. Cancelling gives the call up; it may still be carried out."""
        described = (lease_name, node.node_id, node.host, node.role, node.priority, node.version, incarnation, state)
        await self._ask(self._node_threads, HEARTBEAT, (*described, fingerprint))

    async def nodes(self, lease_name: str) -> Sequence[NodeSeen]:
        """See `NodeRegistry.nodes`."""
        rows = await self._ask(self._node_threads, NODES, (lease_name,))
        return [node_seen(*row) for row in rows]

    async def claims(self, lease_name: str) -> Sequence[Claim]:
        """See `ClaimStore.claims`."""
        return await self._of_runners(lambda line: postgres_runners.claims(line, lease_name))

    async def claim(self, lease_name: str, claims: Sequence[Claim]) -> Sequence[Claim]:
        """See `ClaimStore.claim`. Cancelling gives the call up; it may still be carried out."""
        if not claims:
            return []
        (term,) = {claim.term for claim in claims}
        patience = _patience_ms()
        record, kept = await self._of_runners(
            lambda line: postgres_runners.claim(line, lease_name, claims, term, patience)
        )
        _require_present(record, lease_name, term)
        return kept

    async def paused(self, lease_name: str) -> Collection[str]:
        """See `PauseStore.paused`."""
        return await self._of_runners(lambda line: postgres_runners.paused(line, lease_name))

    async def set_paused(self, lease_name: str, runner: str, paused: bool) -> None:
        """See `PauseStore.set_paused`. Cancelling gives the call up; carried out late, it undoes no later one."""
        patience = _patience_ms()
        await self._of_runners(lambda line: postgres_runners.set_paused(line, lease_name, runner, paused, patience))

    async def load_cursor(self, lease_name: str, runner: str) -> str | None:
        """See `CursorStore.load_cursor`."""
        return await self._of_runners(lambda line: postgres_runners.load_cursor(line, lease_name, runner))

    async def save_cursor(self, lease_name: str, runner: str, term: int, cursor: str) -> None:
        """See `CursorStore.save_cursor`. Cancelling gives the call up; carried out late, it undoes no later one."""
        patience = _patience_ms()
        record = await self._of_runners(
            lambda line: postgres_runners.save_cursor(line, lease_name, runner, term, cursor, patience)
        )
        _require_present(record, lease_name, term)

    async def _of_runners(self, work: Callable[[Line], T]) -> T:
        with self._understood():
            return await self._lines.run(self._runner_threads, partial(with_schema, work=work))

    async def _ask(
        self, threads: Threads, query: LiteralString, parameters: tuple[object, ...]
    ) -> list[tuple[Any, ...]]:
        with self._understood():
            return await self._lines.run(threads, partial(with_schema, work=partial(_rows, query, parameters)))

    async def _watch(self, lease_name: str, holds: Holds) -> None:
        with self._understood():
            await self._watches_of_run().wait(lease_name, holds)

    def _watches_of_run(self) -> Watches:
        try:
            return self._watches.get()
        except LookupError:
            self._watches.set(Watches(self._watch_lines, self._watch_threads))
            return self._watches.get()

    def _use(self, more: int) -> None:
        self._users += more
        for lines in (self._lines, self._watch_lines):
            lines.keep_for(_KEEP_FOR if self._users else 0.0)

    @contextmanager
    def _understood(self) -> Generator[None, None, None]:
        try:
            yield
        except psycopg.Error as error:
            if (complaint := problem(error)) is not None:
                raise Unusable(f"database {str(self._place)!r} cannot be used: {complaint}") from error
            raise


def _rows(query: LiteralString, parameters: tuple[object, ...], line: Line) -> list[tuple[Any, ...]]:
    cursor = line.database.execute(query, parameters)
    return cursor.fetchall() if cursor.description else []


def _record(node_id: str | None, *described: Any) -> LeaseRecord | None:
    if node_id is None:
        return None
    incarnation, term, ttl, released, expires_in = described
    # The database counts in microseconds, and rounds.
    return LeaseRecord(Holder(node_id, incarnation), term, ttl, min(ttl, expires_in), released)


def _names(lease_name: str, holder: Holder) -> tuple[str, str, str]:
    names = {"lease name": lease_name, "node id": holder.node_id, "incarnation": holder.incarnation}
    for field, name in names.items():
        if "\0" in name:
            raise Unusable(f"{field} {name!r} has a NUL character in it, which PostgreSQL cannot keep.")
    return lease_name, holder.node_id, holder.incarnation


def _require_present(record: LeaseRecord | None, lease_name: str, term: int) -> None:
    if not records.is_present(record, term):
        raise StaleTerm(records.stale_text(record, lease_name, term))


def _patience_ms() -> int:
    """Return how long the database may wait for a lock: no longer than somebody waits for the answer."""
    return int(1000 * min(max(seconds_left(), 0.001), _LONGEST_LOCK_WAIT))

"""What the PostgreSQL store asks of runners, each call on a line of its own: claims, pauses and cursors.

A fenced write returns the record of the lease as it has found it, under the lock that keeps it so; whoever called
then finds out from that whether the write was refused. (An error here would cost the connection.)
"""

from collections.abc import Sequence
from typing import Any, Final, LiteralString

from ..lease import Holder
from ..records import LeaseRecord
from ..runner_records import Claim, from_microseconds, to_microseconds
from .postgres_connections import Line

_CLAIMS: Final = """
SELECT runner, due_at, term, result FROM conductor_jobs.claim WHERE lease_name = %s ORDER BY runner COLLATE "C"
"""
_CLAIM: Final = """
SELECT (lease).node_id, (lease).incarnation, (lease).term, (lease).ttl, (lease).released, taken
FROM conductor_jobs.claim(%s, %s, %s::text[], %s::bigint[], %s::text[], %s)
"""
_PAUSED: Final = "SELECT runner FROM conductor_jobs.paused WHERE lease_name = %s AND is_paused"
_CHANGE_OF_PAUSE: Final = "SELECT change FROM conductor_jobs.paused WHERE lease_name = %s AND runner = %s"
_SET_PAUSED: Final = "SELECT conductor_jobs.set_paused(%s, %s, %s, %s, %s)"
_LOAD_CURSOR: Final = "SELECT content FROM conductor_jobs.cursor WHERE lease_name = %s AND runner = %s"
_CHANGE_OF_CURSOR: Final = "SELECT change FROM conductor_jobs.cursor WHERE lease_name = %s AND runner = %s"
_SAVE_CURSOR: Final = """
SELECT (lease).node_id, (lease).incarnation, (lease).term, (lease).ttl, (lease).released, saved
FROM conductor_jobs.save_cursor(%s, %s, %s, %s, %s, %s)
"""


def claims(line: Line, lease_name: str) -> Sequence[Claim]:
    """See `ClaimStore.claims`."""
    rows = line.database.execute(_CLAIMS, (lease_name,))
    return [Claim(runner, from_microseconds(due_at), term, result) for runner, due_at, term, result in rows]


def claim(
    line: Line, lease_name: str, asked: Sequence[Claim], term: int, patience_ms: int
) -> tuple[LeaseRecord | None, Sequence[Claim]]:
    """See `ClaimStore.claim`: return the lease's record, and those that are kept."""
    columns = (
        [each.runner for each in asked],
        [to_microseconds(each.due_at) for each in asked],
        [each.result for each in asked],
    )
    ((*found, taken),) = line.database.execute(_CLAIM, (lease_name, term, *columns, patience_ms))
    kept = set(taken or ())
    return _record(*found), [each for each in asked if each.runner in kept]


def paused(line: Line, lease_name: str) -> set[str]:
    """See `PauseStore.paused`."""
    return {runner for (runner,) in line.database.execute(_PAUSED, (lease_name,))}


def set_paused(line: Line, lease_name: str, runner: str, is_paused: bool, patience_ms: int) -> None:
    """See `PauseStore.set_paused`."""
    is_done = False
    while not is_done:
        seen = _latest(line, _CHANGE_OF_PAUSE, lease_name, runner)
        asked = (lease_name, runner, is_paused, seen, patience_ms)
        ((is_done,),) = line.database.execute(_SET_PAUSED, asked)


def load_cursor(line: Line, lease_name: str, runner: str) -> str | None:
    """See `CursorStore.load_cursor`."""
    row = line.database.execute(_LOAD_CURSOR, (lease_name, runner)).fetchone()
    return None if row is None else str(row[0])


def save_cursor(
    line: Line, lease_name: str, runner: str, term: int, cursor: str, patience_ms: int
) -> LeaseRecord | None:
    """See `CursorStore.save_cursor`: return the lease's record."""
    saved: bool | None = False
    found: Sequence[Any] = ()
    while saved is False:  # None: it was refused
        seen = _latest(line, _CHANGE_OF_CURSOR, lease_name, runner)
        asked = (lease_name, runner, term, cursor, seen, patience_ms)
        ((*found, saved),) = line.database.execute(_SAVE_CURSOR, asked)
    return _record(*found)


def _latest(line: Line, query: LiteralString, lease_name: str, runner: str) -> int:
    """Return the number of the latest change of a row, or 0 before the first."""
    row = line.database.execute(query, (lease_name, runner)).fetchone()
    return 0 if row is None else int(row[0])


def _record(node_id: str | None, *described: Any) -> LeaseRecord | None:
    if node_id is None:
        return None
    incarnation, term, ttl, released = described
    return LeaseRecord(Holder(node_id, incarnation), term, ttl, 0.0, released)

"""What a SQLite file keeps of runners: claims, pauses and cursors, one row a runner in a table of each.

A fenced write is one transaction with the look at the lease, under the file's write lock: no term begins between them.
Whoever is given up before his transaction has that lock changes nothing, and later ones come after it, so that
no late pause or cursor undoes a later one.
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, get_args

from ..errors import Unusable
from ..failures import shown
from ..lease import TERM_LIMIT
from ..runner_records import Claim, ClaimResult, from_microseconds, supersedes, to_microseconds
from .sqlite_file import transaction
from .sqlite_leases import require_present
from .sqlite_threads import Abandoned

_RESULTS: Final = frozenset({None, *get_args(ClaimResult)})
_CLAIMS: Final = "SELECT runner, due_at, term, result FROM claim WHERE lease_name = ?"


def claims(abandoned: Abandoned, path: Path, lease_name: str) -> Sequence[Claim]:
    """See `ClaimStore.claims`."""
    with transaction(path, abandoned) as database:
        rows = database.execute(f"{_CLAIMS} ORDER BY runner", (lease_name,)).fetchall()
    return [_claim_of(path, lease_name, *row) for row in rows]


def claim(abandoned: Abandoned, path: Path, lease_name: str, asked: Sequence[Claim]) -> Sequence[Claim]:
    """See `ClaimStore.claim`."""
    if not asked:
        return []
    with transaction(path, abandoned) as database:
        for term in {each.term for each in asked}:
            require_present(database, path, lease_name, term)
        taken = [each for each in asked if supersedes(each, _kept(database, path, lease_name, each.runner))]
        rows = ((lease_name, each.runner, to_microseconds(each.due_at), each.term, each.result) for each in taken)
        database.executemany("INSERT OR REPLACE INTO claim VALUES (?, ?, ?, ?, ?)", rows)
    return taken


def paused(abandoned: Abandoned, path: Path, lease_name: str) -> set[str]:
    """See `PauseStore.paused`."""
    with transaction(path, abandoned) as database:
        rows = database.execute("SELECT runner FROM paused WHERE lease_name = ?", (lease_name,)).fetchall()
    for (runner,) in rows:
        _require_ours(path, "paused", lease_name, "runner", runner, type(runner) is str)
    return {runner for (runner,) in rows}


def set_paused(abandoned: Abandoned, path: Path, lease_name: str, runner: str, is_paused: bool) -> None:
    """See `PauseStore.set_paused`."""
    pause, resume = (
        "INSERT OR IGNORE INTO paused VALUES (?, ?)",
        "DELETE FROM paused WHERE lease_name = ? AND runner = ?",
    )
    with transaction(path, abandoned) as database:
        database.execute(pause if is_paused else resume, (lease_name, runner))


def load_cursor(abandoned: Abandoned, path: Path, lease_name: str, runner: str) -> str | None:
    """See `CursorStore.load_cursor`."""
    query = "SELECT content FROM cursor WHERE lease_name = ? AND runner = ?"
    with transaction(path, abandoned) as database:
        row: tuple[Any] | None = database.execute(query, (lease_name, runner)).fetchone()
    if row is None:
        return None
    (content,) = row
    _require_ours(path, "cursor", lease_name, "content", content, type(content) is str)
    return str(content)


def save_cursor(abandoned: Abandoned, path: Path, lease_name: str, runner: str, term: int, cursor: str) -> None:
    """See `CursorStore.save_cursor`."""
    with transaction(path, abandoned) as database:
        require_present(database, path, lease_name, term)
        database.execute("INSERT OR REPLACE INTO cursor VALUES (?, ?, ?)", (lease_name, runner, cursor))


def _kept(database: sqlite3.Connection, path: Path, lease_name: str, runner: str) -> Claim | None:
    row = database.execute(f"{_CLAIMS} AND runner = ?", (lease_name, runner)).fetchone()
    return None if row is None else _claim_of(path, lease_name, *row)


def _claim_of(path: Path, lease_name: str, runner: Any, due_at: Any, term: Any, result: Any) -> Claim:
    # SQLite keeps anything in any column.
    try:
        due = from_microseconds(due_at) if type(due_at) is int else None
    except OverflowError:
        due = None
    for column, value, holds in (
        ("runner", runner, type(runner) is str),
        ("due_at", due_at, due is not None),
        ("term", term, type(term) is int and 0 < term < TERM_LIMIT),
        ("result", result, result in _RESULTS),
    ):
        _require_ours(path, "claim", lease_name, column, value, holds)
    assert due is not None
    return Claim(runner, due, term, result)


def _require_ours(path: Path, table: str, lease_name: str, column: str, value: object, holds: bool) -> None:
    if not holds:
        raise Unusable(
            f"database {str(path)!r} has a row of lease {lease_name!r} in table {table} that is not ours: "
            f"{column} {shown(value)}."
        )

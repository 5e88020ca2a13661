"""The rows of leases in a SQLite file, and what is refused of them: each function works within a transaction."""

import math
import sqlite3
from pathlib import Path
from typing import Any

from .. import records
from ..clocks import boot_clock_domain, boot_time
from ..errors import StaleTerm, Unusable
from ..lease import TERM_LIMIT, Holder
from ..records import LeaseRecord


def read(database: sqlite3.Connection, path: Path, lease_name: str) -> tuple[float, LeaseRecord | None]:
    """Return what the clock says, and the record; a row that was stamped by a clock that is gone is stamped anew."""
    # The clock is read under the write lock: whoever waited for it must not decide by an old time.
    now = boot_time()
    row: tuple[Any, ...] | None = database.execute(
        "SELECT node_id, incarnation, term, ttl, expires_at, released, clock_domain FROM lease WHERE name = ?",
        (lease_name,),
    ).fetchone()
    if row is None:
        return now, None
    if problem := _why_not_ours(*row[:5]):
        raise Unusable(f"database {str(path)!r} has a lease {lease_name!r} that is not ours: {problem}.")
    node_id, incarnation, term, ttl, expires_at, released, domain = row
    record = LeaseRecord(Holder(node_id, incarnation), term, ttl, expires_at, bool(released))
    # An expiry that lies further ahead than a whole ttl was counted on no clock of ours either.
    if domain != boot_clock_domain() or expires_at > now + ttl:
        record = records.restamped(record, now)
        write(database, lease_name, record)
    return now, record


def write(database: sqlite3.Connection, lease_name: str, record: LeaseRecord) -> None:
    """Keep a record."""
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


def require_present(database: sqlite3.Connection, path: Path, lease_name: str, term: int) -> None:
    """Raise StaleTerm unless a fenced write under `term`, in this transaction, is to be kept."""
    _, record = read(database, path, lease_name)
    if not records.is_present(record, term):
        raise StaleTerm(records.stale_text(record, lease_name, term))


def bar(database: sqlite3.Connection, lease_name: str, holder: Holder) -> None:
    """Have this incarnation never get the lease again."""
    row = (lease_name, holder.node_id, holder.incarnation)
    database.execute("INSERT OR IGNORE INTO released VALUES (?, ?, ?)", row)


def is_barred(database: sqlite3.Connection, lease_name: str, holder: Holder) -> bool:
    """Return whether this incarnation gets the lease no more."""
    key = (lease_name, holder.node_id, holder.incarnation)
    query = "SELECT 1 FROM released WHERE name = ? AND node_id = ? AND incarnation = ?"
    return database.execute(query, key).fetchone() is not None


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

"""The SQLite file of a lease store: making it, recognising it, and one transaction at a time in it."""

import errno
import os
import sqlite3
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, NoReturn

from ..errors import Unusable

APPLICATION_ID: Final = 0x636A6F62  # "cjob": tells our files from those of other applications
SCHEMA_VERSION: Final = 2
SCHEMA: Final = """
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
    first_seen_at REAL NOT NULL, last_seen_at REAL NOT NULL, fingerprint TEXT NOT NULL,
    PRIMARY KEY (lease_name, node_id)
) WITHOUT ROWID;
CREATE TABLE claim (
    lease_name TEXT NOT NULL, runner TEXT NOT NULL, due_at INTEGER NOT NULL, term INTEGER NOT NULL, result TEXT,
    PRIMARY KEY (lease_name, runner)
) WITHOUT ROWID;
CREATE TABLE paused (lease_name TEXT NOT NULL, runner TEXT NOT NULL, PRIMARY KEY (lease_name, runner)) WITHOUT ROWID;
CREATE TABLE cursor (
    lease_name TEXT NOT NULL, runner TEXT NOT NULL, content TEXT NOT NULL, PRIMARY KEY (lease_name, runner)
) WITHOUT ROWID;
"""
# Compared but for blanks and line breaks, so that a change of them here is no other schema.
_TABLES: Final = {sql.split()[2]: " ".join(sql.split()) for sql in SCHEMA.split(";") if sql.strip()}
# How long SQLite itself waits for a lock: short, for a thread that waits cannot be cancelled.
BUSY_TIMEOUT: Final = 0.02
_SHORTEST_DATABASE: Final = 100  # bytes of the header, https://sqlite.org/fileformat.html
_BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_HOPELESS: Final = {
    sqlite3.SQLITE_NOTADB: "is no SQLite database",
    sqlite3.SQLITE_CORRUPT: "is a damaged SQLite database",
    sqlite3.SQLITE_READONLY: "is read-only",
    sqlite3.SQLITE_PERM: "may not be opened",
}
# A full disk or a process out of descriptors may do better later; these cannot.
_HOPELESS_ERRNO: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ELOOP})


class AbandonedError(Exception):
    """Nobody waits for this transaction any more, so it changes nothing."""


@contextmanager
def transaction(path: Path, abandoned: Callable[[], bool] = lambda: False) -> Generator[sqlite3.Connection, None, None]:
    """Hold the write lock of the file for one transaction, on a connection of its own; commits at the end.

    The file is made, with its folders, if there is none. Raises Unusable, having touched nothing, for a file that
    is no database, cannot be written, is another application's or a newer version's; AbandonedError if the caller
    has given up by the time that the lock is ours; sqlite3.OperationalError for what may be tried again.
    """
    if not os.access(path, os.F_OK):
        _make_folder(path)
    elif _is_there_without(os.W_OK, path):
        # SQLite opens a file that it may only read, and leaves files of its own beside it.
        raise Unusable(f"database {str(path)!r} is read-only.")
    try:
        with closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None)) as database:
            # A text that is none, in a damaged file, is one that equals no other.
            database.text_factory = lambda text: text.decode(errors="replace")
            # A file of somebody else's is not touched, not even its journal mode.
            if not _was_prepared(database, path):
                database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            database.execute("BEGIN IMMEDIATE")
            with database:
                if abandoned():
                    raise AbandonedError
                if _is_prepared(database, path):
                    _require_our_tables(database, path)
                else:
                    _create_schema(database)
                yield database
    except UnicodeDecodeError as error:
        # SQLite's message repeats the name that is damaged, and cannot be read either.
        _refuse(path, _HOPELESS[sqlite3.SQLITE_CORRUPT], error)
    except sqlite3.DatabaseError as error:
        _raise_if_hopeless(error, path)
        raise


def is_busy(error: sqlite3.Error) -> bool:
    """Return whether another connection was in the way."""
    return _primary_code(error) in _BUSY


def _make_folder(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        # A folder that was there, and was taken away before it was looked at, is no reason.
        is_no_folder = isinstance(error, FileExistsError) and os.path.lexists(path.parent) and not path.parent.is_dir()
        if error.errno in _HOPELESS_ERRNO or is_no_folder:
            raise Unusable(f"database {str(path)!r} cannot be made: {error.strerror}.") from error
        raise


def _was_prepared(database: sqlite3.Connection, path: Path) -> bool:
    # One snapshot for all that is looked at: another process may be creating the schema right now.
    database.execute("BEGIN")
    with database:
        return _is_prepared(database, path)


def _is_prepared(database: sqlite3.Connection, path: Path) -> bool:
    application_id = database.execute("PRAGMA application_id").fetchone()[0]
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if application_id != APPLICATION_ID:
        if version or application_id or database.execute("SELECT 1 FROM sqlite_master").fetchone():
            raise Unusable(
                f"database {str(path)!r} belongs to another application; the lease store needs a file of its own."
            )
        # SQLite takes a file too short for a database to be an empty one, and would write over it.
        if 0 < path.stat().st_size < _SHORTEST_DATABASE:
            raise Unusable(f"database {str(path)!r} is no SQLite database.")
        return False
    if version != SCHEMA_VERSION:
        raise Unusable(
            f"database {str(path)!r} has schema version {version}, and this conductor-jobs knows {SCHEMA_VERSION}: "
            f"it was made by {'a newer' if version > SCHEMA_VERSION else 'another'} one."
        )
    return True


def _require_our_tables(database: sqlite3.Connection, path: Path) -> None:
    # A table that was copied has lost its key, and a trigger may swallow writes: then two nodes would get one lease.
    query = "SELECT name, sql, tbl_name FROM sqlite_master WHERE type != 'index'"
    found = {name: " ".join(sql.split()) for name, sql, table in database.execute(query) if table in _TABLES}
    altered = sorted(name for name in found.keys() | _TABLES.keys() if found.get(name) != _TABLES.get(name))
    if altered:
        raise Unusable(f"database {str(path)!r} was altered: {', '.join(altered)} is missing or not as we made it.")


def _create_schema(database: sqlite3.Connection) -> None:
    for statement in SCHEMA.split(";"):
        database.execute(statement)
    database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _raise_if_hopeless(error: sqlite3.DatabaseError, path: Path) -> None:
    code = _primary_code(error)
    if code in _HOPELESS:
        _refuse(path, f"{_HOPELESS[code]} ({error})", error)
    if code == sqlite3.SQLITE_CANTOPEN and (problem := _why_not_opened(path)):
        _refuse(path, f"cannot be opened: {problem}", error)


def _why_not_opened(path: Path) -> str | None:
    # SQLite does not tell. Asking by opening the file would drop the locks that this process has on it:
    # https://sqlite.org/howtocorrupt.html, section 2.2.
    if path.is_dir():
        return os.strerror(errno.EISDIR)
    needed = path if os.access(path, os.F_OK) else path.parent
    return os.strerror(errno.EACCES) if _is_there_without(os.R_OK | os.W_OK, needed) else None


def _is_there_without(mode: int, path: Path) -> bool:
    # Asked in this order, and twice: what another process makes or deletes between two questions denies nothing.
    return os.access(path, os.F_OK) and not os.access(path, mode) and os.access(path, os.F_OK)


def _refuse(path: Path, problem: str, error: Exception) -> NoReturn:
    raise Unusable(f"database {str(path)!r} {problem}.") from error


def _primary_code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF

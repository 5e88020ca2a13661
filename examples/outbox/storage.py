"""Where the outbox keeps its data, and the fence that a leader of the past does not get over."""

import sqlite3
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from conductor_jobs import StaleTerm

EXAMPLE_MESSAGES = 300
SCHEMA = """
CREATE TABLE messages (id INTEGER PRIMARY KEY AUTOINCREMENT, created_at REAL NOT NULL, body TEXT NOT NULL);
CREATE TABLE tasks (
    id INTEGER PRIMARY KEY, message_id INTEGER NOT NULL UNIQUE REFERENCES messages, delivered_in_term INTEGER
);
CREATE INDEX pending_tasks ON tasks (id) WHERE delivered_in_term IS NULL;
CREATE TABLE fence (term INTEGER NOT NULL);
INSERT INTO fence VALUES (0)
"""


class Outbox(NamedTuple):
    """Which files there are. Terms of two leases do not compare, so an outbox belongs to one lease for good."""

    database: Path
    sink: Path

    @classmethod
    def in_folder(cls, folder: Path) -> "Outbox":
        """Name the files; nothing is made yet."""
        return cls(folder / "outbox.db", folder / "delivered.jsonl")


class Counts(NamedTuple):
    """How far the work has come."""

    messages: int
    tasks: int
    delivered: int


@contextmanager
def connect(outbox: Outbox) -> Generator[sqlite3.Connection, None, None]:
    """Open the database for one piece of work, in the thread that does it."""
    # Whoever is frozen in a transaction keeps the others waiting: their runner fails, and the next tick tries again.
    with closing(sqlite3.connect(outbox.database, timeout=5.0, isolation_level=None)) as database:
        yield database


@contextmanager
def fenced(database: sqlite3.Connection, term: int) -> Generator[None, None, None]:
    """Open a write transaction; raises StaleTerm, with nothing changed, when a later term has written already."""
    with database:
        # Immediate: between the comparison and the commit no other leader can write.
        database.execute("BEGIN IMMEDIATE")
        (latest,) = database.execute("SELECT term FROM fence").fetchone()
        if term < latest:
            raise StaleTerm(f"term {term} may not write to the outbox any more: term {latest} has")
        database.execute("UPDATE fence SET term = :term WHERE term < :term", {"term": term})
        yield


def prepare(outbox: Outbox) -> int:
    """Make the database, with messages to work on, unless it is there; return how many messages that were."""
    outbox.database.parent.mkdir(parents=True, exist_ok=True)
    with connect(outbox) as database, database:
        database.execute("BEGIN IMMEDIATE")  # two processes may be started at once
        if database.execute("SELECT 1 FROM sqlite_master").fetchone():
            return 0
        for statement in SCHEMA.split(";"):
            database.execute(statement)
        database.executemany("INSERT INTO messages (created_at, body) VALUES (?, ?)", example_messages(time.time()))
    return EXAMPLE_MESSAGES


def example_messages(now: float) -> list[tuple[float, str]]:
    """Return (created_at, body) of the messages, spread over the minute before `now`."""
    oldest, apart = now - 60.0, 60.0 / EXAMPLE_MESSAGES
    return [(oldest + number * apart, f"invoice {number + 1} is due") for number in range(EXAMPLE_MESSAGES)]


def count(outbox: Outbox) -> Counts:
    """Return how far the work has come, in one snapshot."""
    query = "SELECT (SELECT COUNT(*) FROM messages), COUNT(*), COUNT(delivered_in_term) FROM tasks"
    with connect(outbox) as database:
        return Counts(*database.execute(query).fetchone())

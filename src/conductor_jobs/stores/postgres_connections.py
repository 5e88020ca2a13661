"""Connections to PostgreSQL that are kept between calls, each of them in the hands of one caller at a time.

psycopg's blocking connection is used in worker threads, since its other one needs asyncio. A thread cannot be
cancelled, but its connection can be broken: whoever gives a call up shuts the socket down, by a handle of its own,
whereupon the thread wakes, closes the connection and ends. So a server that hangs holds no threads of ours, apart
from those that are still connecting: these end by `connect_timeout`.
"""

import math
import os
import socket
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, TypeVar, final

import psycopg
import trio

T = TypeVar("T")
Database = psycopg.Connection[Any]

# Seconds for a login. Fewer than 2 are not possible, and nobody waits longer than for a single call.
_SHORTEST_CONNECT: Final = 2
_LONGEST_CONNECT: Final = 10


class AbandonedError(Exception):
    """Nobody waits for this call any more."""


@final
class Line:
    """A connection, and a handle of its socket that outlives it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        #: The notifications that came along with the answers to our statements.
        self.hints: list[psycopg.Notify] = []
        database.add_notify_handler(self.hints.append)
        # A handle of our own: another thread may use it, whatever libpq does with its number at that moment.
        self.socket = socket.socket(fileno=os.dup(database.fileno()))

    def is_sound(self) -> bool:
        """Return whether nothing has come in: what does while nobody asks is mostly the reason of the end."""
        try:
            self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def break_off(self) -> None:
        """Wake the thread that waits for an answer, with an error."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close both."""
        self.database.close()
        self.socket.close()


@final
class Call:
    """One call in a worker thread, and what thread and caller must agree on: what becomes of its line."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._given_up = False
        self._in_use: Line | None = None
        self._handed_back: Line | None = None

    def carry_out(self, take: Callable[[], Line], work: Callable[[Line], T]) -> tuple[Line, T]:
        """In the thread: do the work on a line, and hand the line back, or close it."""
        line = take()
        try:
            with self._lock:
                self._require_caller()
                self._in_use = line
            result = work(line)
            with self._lock:
                self._require_caller()
                self._in_use, self._handed_back = None, line
        except BaseException:
            with self._lock:
                self._in_use = None
            line.close()
            raise
        return line, result

    def give_up(self) -> None:
        """In the caller, who has got neither line nor result."""
        with self._lock:
            self._given_up = True
            if self._in_use is not None:
                self._in_use.break_off()
            if self._handed_back is not None:
                self._handed_back.close()

    def _require_caller(self) -> None:
        if self._given_up:
            raise AbandonedError


@final
class Hand:
    """What one caller has in hand: a line that was kept, or none as yet, and then the first call opens one."""

    def __init__(self, connections: "Connections", line: Line | None) -> None:
        self._connections = connections
        self.line = line

    async def run(self, work: Callable[[Line], T]) -> T:
        """Do the work in a thread. Cancelling gives it up at once; after that, and after an error, the line is gone."""
        line, self.line = self.line, None
        patience, call = seconds_left(), Call()
        try:
            self.line, result = await trio.to_thread.run_sync(
                call.carry_out,
                lambda: line or self._connections.open(patience),
                work if line else lambda opened: self._connections.prepared(opened, work),
                abandon_on_cancel=True,
                limiter=self._connections.limiter(),
            )
        except BaseException:
            call.give_up()
            raise
        return result

    async def wait_readable(self) -> None:
        """Wait until the server sends something unasked. Cancelling stops the waiting only."""
        assert self.line is not None, "a line is there once something was run on it"
        await trio.lowlevel.wait_readable(self.line.socket)


@final
class Connections:
    """The connections of one kind of calls, with threads of their own, so that no other kind can starve them (I6)."""

    def __init__(self, parameters: dict[str, Any], prepare: Callable[[Line], None], threads: int) -> None:
        """`prepare` is called in the thread with every new line."""
        self._parameters = parameters
        self._prepare = prepare
        self._threads = threads
        # By process: a connection must not be used, nor closed, by both a process and its fork.
        self._kept: dict[int, list[Line]] = {}
        self._limiter = trio.lowlevel.RunVar[trio.CapacityLimiter]("threads of a PostgreSQL lease store")

    @asynccontextmanager
    async def lend(self) -> AsyncGenerator[Hand, None]:
        """Lend a line; it is kept for the next caller if it is sound at the end."""
        hand = Hand(self, self._take())
        try:
            yield hand
        except BaseException:
            if hand.line is None:
                self.close()  # what has broken one line has mostly broken all
            raise
        finally:
            if hand.line is not None:
                self._kept_by_process().append(hand.line)

    async def run(self, work: Callable[[Line], T]) -> T:
        """Do the work in a thread, on a line of its own. Cancelling gives it up at once."""
        async with self.lend() as hand:
            return await hand.run(work)

    def close(self) -> None:
        """Close what is kept."""
        with suppress(IndexError):
            while True:
                self._kept_by_process().pop().close()

    def open(self, patience: float) -> Line:
        """In a thread: connect, waiting for `patience` seconds at most, but for 2 at least."""
        seconds = math.ceil(min(max(patience, _SHORTEST_CONNECT), _LONGEST_CONNECT))
        parameters = {"connect_timeout": seconds} | self._parameters
        # Prepared statements belong to a session, which a pooler may change from one statement to the next.
        database: Database = psycopg.connect(**parameters, autocommit=True, prepare_threshold=None)
        try:
            return Line(database)
        except OSError:  # no descriptor is left for the handle
            database.close()
            raise

    def prepared(self, line: Line, work: Callable[[Line], T]) -> T:
        """In a thread: do the first work on a new line."""
        self._prepare(line)
        return work(line)

    def limiter(self) -> trio.CapacityLimiter:
        """Return the limiter of our threads in this Trio run."""
        try:
            return self._limiter.get()
        except LookupError:
            self._limiter.set(trio.CapacityLimiter(self._threads))
            return self._limiter.get()

    def _take(self) -> Line | None:
        with suppress(IndexError):
            while True:
                line = self._kept_by_process().pop()
                if line.is_sound():
                    return line
                line.close()
        return None

    def _kept_by_process(self) -> list[Line]:
        return self._kept.setdefault(os.getpid(), [])


def seconds_left() -> float:
    """Return how long the calling task may wait, by the deadlines that it is under."""
    return trio.current_effective_deadline() - trio.current_time()

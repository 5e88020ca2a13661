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
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
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
        self.listens: bool = False
        self.used_at: float = 0.0
        #: The notifications that came along with the answers to our statements.
        self.hints: list[psycopg.Notify] = []
        database.add_notify_handler(self.hints.append)
        # A handle of our own: another thread may use it, whatever libpq does with its number at that moment.
        self.socket: socket.socket = socket.socket(fileno=os.dup(database.fileno()))

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

    def __init__(self, kept: Line | None) -> None:
        self._lock = threading.Lock()
        self._given_up = False
        # The thread closes the line that it uses, and nobody else does; the caller one that no thread uses.
        self._in_use: Line | None = None
        self._at_rest = kept

    def carry_out(
        self, connect: Callable[[], Line], work: Callable[[Line], T], keep: Callable[[Line], None]
    ) -> tuple[Line, T]:
        """In the thread: do the work on the line that was kept, or on a new one."""
        line = self._take() or self._connect(connect, keep)
        try:
            result = work(line)
            self._hand_over(at_rest=line)
        except BaseException:
            self._hand_over_nothing()
            line.close()
            raise
        return line, result

    def give_up(self) -> None:
        """In the caller, who has got neither line nor result."""
        with self._lock:
            self._given_up = True
            if self._in_use is not None:
                self._in_use.break_off()
            if self._at_rest is not None:
                self._at_rest.close()

    def _take(self) -> Line | None:
        line = self._at_rest
        self._hand_over(in_use=line)
        return line

    def _connect(self, connect: Callable[[], Line], keep: Callable[[Line], None]) -> Line:
        line = connect()
        try:
            self._hand_over(in_use=line)
        except AbandonedError:
            # Or whoever has less patience than a login takes would never get one.
            keep(line)
            raise
        return line

    def _hand_over(self, *, in_use: Line | None = None, at_rest: Line | None = None) -> None:
        with self._lock:
            if self._given_up:
                raise AbandonedError
            self._in_use, self._at_rest = in_use, at_rest

    def _hand_over_nothing(self) -> None:
        with self._lock:
            self._in_use = None


@final
class Threads:
    """The worker threads of one kind of calls: no other kind can starve it of them (I6)."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._limiter = trio.lowlevel.RunVar[trio.CapacityLimiter]("threads of a PostgreSQL lease store")

    def limiter(self) -> trio.CapacityLimiter:
        """Return the limiter of this Trio run."""
        try:
            return self._limiter.get()
        except LookupError:
            self._limiter.set(trio.CapacityLimiter(self._number))
            return self._limiter.get()


@final
class Hand:
    """What one caller has in hand: a line that was kept, or none as yet, and then the first call opens one."""

    def __init__(self, connections: "Connections", threads: Threads, line: Line | None) -> None:
        self._connections = connections
        self._threads = threads
        self.line = line

    async def run(self, work: Callable[[Line], T]) -> T:
        """Do the work in a thread. Cancelling gives it up at once; after that, and after an error, the line is gone."""
        line, self.line = self.line, None
        call = Call(line)
        connect = partial(self._connections.open, seconds_left())
        try:
            self.line, result = await trio.to_thread.run_sync(
                call.carry_out,
                connect,
                work,
                self._connections.keep,
                abandon_on_cancel=True,
                limiter=self._threads.limiter(),
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
    """The connections to a database of one kind of callers; some are kept, for as long as somebody wants that."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        """`parameters` are libpq's."""
        self._parameters = dict(parameters)
        # By process: a connection must not be used, nor closed, by both a process and its fork.
        self._kept: dict[int, list[Line]] = {}
        self._keep_for = 0.0

    @asynccontextmanager
    async def lend(self, threads: Threads) -> AsyncGenerator[Hand, None]:
        """Lend a line to a caller whose calls run in those threads."""
        hand, began = Hand(self, threads, self._take()), time.monotonic()
        try:
            yield hand
        except BaseException:
            if hand.line is None:
                self._close_unused_since(began)  # what has broken one line has mostly broken all
            raise
        finally:
            if hand.line is not None:
                self.keep(hand.line)

    async def run(self, threads: Threads, work: Callable[[Line], T]) -> T:
        """Do the work in a thread, on a line of its own. Cancelling gives it up at once."""
        async with self.lend(threads) as hand:
            return await hand.run(work)

    def keep_for(self, seconds: float) -> None:
        """Keep a line that nobody uses for so long from now on; 0 closes those that are kept."""
        self._keep_for = seconds
        self._close_unused_since(time.monotonic() - seconds)

    def keep(self, line: Line) -> None:
        """Keep a sound line for whoever comes next; in any thread."""
        line.used_at = time.monotonic()
        self._kept_by_process().append(line)
        self._close_unused_since(time.monotonic() - self._keep_for)

    def open(self, patience: float) -> Line:
        """Connect, in a thread, waiting for `patience` seconds at most, but for 2 at least."""
        seconds = math.ceil(min(max(patience, _SHORTEST_CONNECT), _LONGEST_CONNECT))
        parameters: dict[str, Any] = {"connect_timeout": seconds} | self._parameters
        # Prepared statements belong to a session, which a pooler may change from one statement to the next.
        database: Database = psycopg.connect(**parameters, autocommit=True, prepare_threshold=None)
        try:
            return Line(database)
        except OSError:  # no descriptor is left for the handle
            database.close()
            raise

    def _take(self) -> Line | None:
        with suppress(IndexError):
            while True:
                line = self._kept_by_process().pop()
                if line.is_sound():
                    return line
                line.close()
        return None

    def _close_unused_since(self, moment: float) -> None:
        # The latest is taken first, so that the first of the list are those that are needed least.
        lines = self._kept_by_process()
        with suppress(IndexError):
            while lines[0].used_at <= moment:
                lines.pop(0).close()

    def _kept_by_process(self) -> list[Line]:
        return self._kept.setdefault(os.getpid(), [])


def seconds_left() -> float:
    """Return how long the calling task may wait, by the deadlines that it is under."""
    return trio.current_effective_deadline() - trio.current_time()

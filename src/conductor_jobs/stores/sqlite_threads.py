"""Calls of the SQLite store, each in one hop to a worker thread, and how they wait for others and are given up."""

import random
import sqlite3
import threading
from collections.abc import Callable
from typing import Final, TypeVar, final

import trio

from .sqlite_file import is_busy

T = TypeVar("T")
Abandoned = Callable[[], bool]

_RETRY_PAUSE: Final = (0.005, 0.03)


@final
class Threads:
    """The worker threads of one kind of calls: no other kind, and no application, can starve it of them (I6)."""

    def __init__(self, number: int) -> None:
        self._number = number
        # One of our own in every Trio run.
        self._limiter = trio.lowlevel.RunVar[trio.CapacityLimiter]("threads of a SQLite lease store")

    async def run(self, call: Callable[[Abandoned], T]) -> T:
        """Make the call, which asks whether it was given up; again and again while others lock the file.

        Cancelling gives it up at once.
        """
        # An abandoned campaign that came through late would supersede the term of a later one of our own.
        given_up = threading.Event()
        try:
            while True:
                try:
                    return await trio.to_thread.run_sync(
                        call, given_up.is_set, abandon_on_cancel=True, limiter=self.limiter()
                    )
                except sqlite3.OperationalError as error:
                    if not is_busy(error):
                        raise
                await trio.sleep(random.uniform(*_RETRY_PAUSE))
        finally:
            given_up.set()

    def limiter(self) -> trio.CapacityLimiter:
        """Return the limiter of this Trio run."""
        try:
            return self._limiter.get()
        except LookupError:
            self._limiter.set(trio.CapacityLimiter(self._number))
            return self._limiter.get()

"""What becomes of leases, told to all who wait for it in a process by one connection (I9).

A notification is a hint that something has changed: which lease, and how, is then looked up. A pooler passes none on,
so that every 0.75 s somebody looks without one.
"""

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple, final

import trio

from ..failures import sole_exception
from .postgres_connections import Connections, Line, Threads
from .postgres_schema import with_schema

# How often somebody looks without a hint: as often as the engine looks at a store that gives none.
_LOOK: Final = (0.65, 0.85)
_STANDINGS: Final = "SELECT name, term, released FROM conductor_jobs.lease WHERE name = ANY(%s)"


class Standing(NamedTuple):
    """The latest term of a lease, and whether it was released."""

    term: int
    released: bool


Holds = Callable[[Standing], bool]


@final
class _Waiter:
    def __init__(self, lease_name: str, holds: Holds) -> None:
        self.lease_name = lease_name
        self.holds = holds
        self.told = trio.Event()


@final
class Watches:
    """Those who wait in one Trio run. One of them looks for all, on his own account; when he leaves, the next one does.

    So there is one connection however many wait, and no task that outlives them.
    """

    def __init__(self, lines: Connections, threads: Threads) -> None:
        self._lines = lines
        self._threads = threads
        self._waiters: list[_Waiter] = []
        self._turn = trio.Lock()
        self._pause = trio.CancelScope()

    async def wait(self, lease_name: str, holds: Holds) -> None:
        """Wait until a lease stands so. Cancelling stops the waiting only."""
        waiter = _Waiter(lease_name, holds)
        self._waiters.append(waiter)
        self._pause.cancel()  # whoever comes must know at once how things stand
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._look_for_all)
                await waiter.told.wait()
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            raise sole_exception(group) from None
        finally:
            self._waiters.remove(waiter)

    async def _look_for_all(self) -> None:
        async with self._turn, self._lines.lend(self._threads) as hand:
            while True:
                # Made before we look: who comes while we do is looked for right after.
                self._pause = trio.CancelScope()
                waiters = list(self._waiters)
                names = list({waiter.lease_name for waiter in waiters})
                standings = await hand.run(partial(with_schema, work=partial(_look, names=names)))
                for waiter in waiters:
                    standing = standings.get(waiter.lease_name)
                    if standing is not None and waiter.holds(standing):
                        waiter.told.set()
                with self._pause, trio.move_on_after(random.uniform(*_LOOK)):
                    await hand.wait_readable()


def _look(line: Line, names: Sequence[str]) -> dict[str, Standing]:
    if not line.listens:
        listen(line)
    return _standings(line, names)


def _standings(line: Line, names: Sequence[str]) -> dict[str, Standing]:
    while True:
        line.hints.clear()
        rows = line.database.execute(_STANDINGS, (names,)).fetchall()
        # A hint that came along with the answer may speak of what happened after it.
        if not line.hints:
            return {name: Standing(term, released) for name, term, released in rows}


def listen(line: Line) -> None:
    """Listen, if the session is ours alone: a pooler lends another one with every statement."""
    (session,) = line.database.execute("SELECT pg_backend_pid()").fetchall()
    if session == (line.database.info.backend_pid,):
        line.database.execute("LISTEN conductor_jobs_lease")
    line.listens = True

"""Whoever waits for the same waits once: however many long polls there are, one task asks the store."""

import math
from typing import NamedTuple, final

import trio

from ..lease import LeaseStore, watches_releases
from ..stores.http_wire import Event
from .asking import ask_store, look

# What comes in through this server is known at once; this finds the rest.
_POLL_INTERVAL = 0.5


class Awaited(NamedTuple):
    """What is waited for: the release of a term of a lease, or its beginning, or whatever comes after that."""

    event: Event
    lease_name: str
    term: int


@final
class Watches:
    """Waits over one store, whether it can tell what becomes of a lease or has to be looked at again and again."""

    def __init__(self, store: LeaseStore, nursery: trio.Nursery) -> None:
        """`nursery` owns the tasks that watch; each ends when the last who waits for it has gone."""
        self._store = store
        self._nursery = nursery
        self._watches: dict[Awaited, _Watch] = {}
        self._stopped = False

    async def wait(self, awaited: Awaited) -> bool:
        """Return True once it has happened, at once if so already, and False when told to stop before.

        Cancelling stops the waiting only. Raises what the store raises.
        """
        if self._stopped:
            return False
        if (watch := self._watches.get(awaited)) is None:
            watch = self._watches[awaited] = _Watch()
            self._nursery.start_soon(self._run, awaited, watch)
        watch.waiting += 1
        try:
            await watch.over.wait()
        finally:
            watch.waiting -= 1
            if not watch.waiting:
                watch.scope.cancel()
                self._forget(awaited, watch)
        if watch.problem is not None:
            raise watch.problem
        return watch.happened

    def stop(self) -> None:
        """Send everybody away who waits, now and later."""
        self._stopped = True
        for watch in self._watches.values():
            watch.over.set()

    def hint(self, lease_name: str) -> None:
        """Say that the lease was released, or taken, just now."""
        for awaited, watch in self._watches.items():
            if awaited.lease_name == lease_name:
                watch.hinted.set()

    async def _run(self, awaited: Awaited, watch: "_Watch") -> None:
        with watch.scope:
            try:
                await self._happens(awaited, watch)
                watch.happened = True
            except Exception as error:  # noqa: BLE001 - raised to those who wait; the server lives on
                watch.problem = error
        self._forget(awaited, watch)
        watch.over.set()

    async def _happens(self, awaited: Awaited, watch: "_Watch") -> None:
        if not watches_releases(self._store):
            await self._poll(awaited, watch)
        elif awaited.event == "released":
            await self._store.wait_released(awaited.lease_name, awaited.term)
        else:
            await self._store.wait_begun(awaited.lease_name, awaited.term)

    async def _poll(self, awaited: Awaited, watch: "_Watch") -> None:
        enough = awaited.term + (awaited.event == "released")
        held_until = math.inf
        while True:
            watch.hinted = trio.Event()
            asked_at = trio.current_time()
            grant = await ask_store(lambda: look(self._store, awaited.lease_name))
            if grant.term >= enough:
                return
            if grant.expires_in > 0:
                held_until = asked_at + grant.expires_in
            elif awaited.event == "released" and grant.term and trio.current_time() < held_until:
                # Free before it could expire. An expiry is for those who wait to notice: then the priority of a
                # node decides how soon it tries.
                return
            with trio.move_on_after(_POLL_INTERVAL):
                await watch.hinted.wait()

    def _forget(self, awaited: Awaited, watch: "_Watch") -> None:
        if self._watches.get(awaited) is watch:
            del self._watches[awaited]


@final
class _Watch:
    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.over = trio.Event()
        self.hinted = trio.Event()
        self.waiting = 0
        self.happened = False
        self.problem: Exception | None = None

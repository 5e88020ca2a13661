"""Everybody who waits for one release waits once: however many long polls there are, one task asks the store."""

import math
from typing import final

import trio

from ..lease import LeaseStore, watches_releases
from .asking import ask_store, look

# A release that came in through this server is known at once; this finds the others.
_POLL_INTERVAL = 0.5


@final
class Releases:
    """Waits over one store, whether it can tell of a release or has to be looked at again and again."""

    def __init__(self, store: LeaseStore, nursery: trio.Nursery) -> None:
        """`nursery` owns the tasks that watch; each ends when the last who waits for it has gone."""
        self._store = store
        self._nursery = nursery
        self._watches: dict[tuple[str, int], _Watch] = {}
        self._stopped = False

    async def wait(self, lease_name: str, term: int) -> bool:
        """Return True once `term` has been released or a later one has begun, False when told to stop before.

        Cancelling stops the waiting only. Raises what the store raises.
        """
        if self._stopped:
            return False
        key = (lease_name, term)
        if (watch := self._watches.get(key)) is None:
            watch = self._watches[key] = _Watch()
            self._nursery.start_soon(self._run, key, watch)
        watch.waiting += 1
        try:
            await watch.over.wait()
        finally:
            watch.waiting -= 1
            if not watch.waiting:
                watch.scope.cancel()
                self._forget(key, watch)
        if watch.problem is not None:
            raise watch.problem
        return watch.released

    def stop(self) -> None:
        """Send everybody away who waits, now and later."""
        self._stopped = True
        for watch in self._watches.values():
            watch.over.set()

    def hint(self, lease_name: str) -> None:
        """Say that the lease was released, or taken, just now."""
        for (name, _), watch in self._watches.items():
            if name == lease_name:
                watch.hinted.set()

    async def _run(self, key: tuple[str, int], watch: "_Watch") -> None:
        with watch.scope:
            try:
                if watches_releases(self._store):
                    await self._store.wait_released(*key)
                else:
                    await self._poll(*key, watch)
                watch.released = True
            except Exception as error:  # noqa: BLE001 - raised to those who wait; the server lives on
                watch.problem = error
        self._forget(key, watch)
        watch.over.set()

    async def _poll(self, lease_name: str, term: int, watch: "_Watch") -> None:
        held_until = math.inf
        while True:
            watch.hinted = trio.Event()
            asked_at = trio.current_time()
            grant = await ask_store(lambda: look(self._store, lease_name))
            if grant.term > term:
                return
            if grant.expires_in > 0:
                held_until = asked_at + grant.expires_in
            elif grant.term and trio.current_time() < held_until:
                # Free before it could expire. An expiry is for those who wait to notice: then the priority of a
                # node decides how soon it tries.
                return
            with trio.move_on_after(_POLL_INTERVAL):
                await watch.hinted.wait()

    def _forget(self, key: tuple[str, int], watch: "_Watch") -> None:
        if self._watches.get(key) is watch:
            del self._watches[key]


@final
class _Watch:
    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.over = trio.Event()
        self.hinted = trio.Event()
        self.waiting = 0
        self.released = False
        self.problem: Exception | None = None

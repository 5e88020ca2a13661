"""What a node does between two campaigns: it waits for the moment at which asking again may bring something (I9).

A store that is polled is asked every so often. One that tells what becomes of the lease is asked once in a renew
interval, just after an expiry, and after a release; and of a thousand standbys only a few ask, for the others are told
that the next term has begun, wait on, and look at it one by one.
"""

import random
from typing import final

import trio

from .lease import LeaseGrant, LeaseStore, ReleaseWatcher, watches_releases
from .store_calls import NoAnswer, call_store
from .timing import POLL_INTERVAL, POLL_JITTER, LeaseTiming

# After a release all who watch wake at once; a little apart, the first to lead spares the others their campaign.
_STAMPEDE_JITTER = 0.02


@final
class Standby:
    """The waiting of one node for one lease."""

    def __init__(self, store: LeaseStore, lease_name: str, timing: LeaseTiming, priority: int) -> None:
        self._store = store
        self._lease_name = lease_name
        self._timing = timing
        self._priority = priority
        self._told_over = 0

    async def wait(self, refusal: LeaseGrant) -> None:
        """Return when it is time to campaign again. Cancelling stops the waiting only."""
        store = self._store
        if not watches_releases(store):
            await trio.sleep(self._timing.next_look(refusal, watching=False, priority=self._priority))
        elif refusal.term <= self._told_over:
            # It was told of the end of a term that goes on: a hint so wrong is not followed twice in a row.
            self._told_over = 0
            await trio.sleep(POLL_INTERVAL)
        else:
            try:
                await self._watch(store, refusal)
            except Exception:  # noqa: BLE001 - a watch is a hint: without it we look as often as if there were none
                await trio.sleep(POLL_INTERVAL)

    async def _watch(self, store: ReleaseWatcher, refusal: LeaseGrant) -> None:
        term = refusal.term
        pause = self._timing.next_look(refusal, watching=True, priority=self._priority)
        if not await self._next_begins(store, term, pause):
            return
        # All are told of it at once: each looks at a moment of its own, and watches until then.
        if await self._next_begins(store, term + 1, random.uniform(0, self._timing.renew_interval)):
            # No third term is taken on hearsay, for hints may be wrong.
            await trio.sleep(random.uniform(0, POLL_JITTER))

    async def _next_begins(self, store: ReleaseWatcher, term: int, pause: float) -> bool:
        # False when `pause` is over, or the lease is free: then it is time to campaign.
        try:
            await call_store(lambda: store.wait_released(self._lease_name, term), pause)
            self._told_over = term
            await call_store(lambda: store.wait_begun(self._lease_name, term + 1), random.uniform(0, _STAMPEDE_JITTER))
        except NoAnswer:
            return False
        return True

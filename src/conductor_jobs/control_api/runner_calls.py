"""What each route of runners does with the store, free of HTTP: claims, pauses and cursors."""

from typing import Never, final

from ..lease import LeaseStore
from ..runner_records import ClaimStore, CursorStore, PauseStore, keeps_claims, keeps_cursors, keeps_pauses
from ..stores import http_wire_runners as wire
from ..stores.http_wire import LeaseQuery, Nothing
from .asking import Refused, ask_store


@final
class RunnerCalls:
    """Six calls over one store. Each raises Refused when the store fails; cancelling gives the call up."""

    def __init__(self, store: LeaseStore) -> None:
        self._store = store

    async def claim(self, asked: wire.ClaimRequest) -> wire.KeptRunners:
        """Keep claims."""
        store = self._of_claims()
        kept = await ask_store(lambda: store.claim(asked.lease_name, asked.as_claims()))
        return wire.KeptRunners([each.runner for each in kept])

    async def claims(self, asked: LeaseQuery) -> wire.KeptClaims:
        """Tell which claims there are."""
        store = self._of_claims()
        kept = await ask_store(lambda: store.claims(asked.lease_name))
        return wire.KeptClaims([wire.KeptClaim.of(each) for each in kept])

    async def pause(self, asked: wire.PauseRequest) -> Nothing:
        """Pause a runner, or resume it."""
        store = self._of_pauses()
        await ask_store(lambda: store.set_paused(asked.lease_name, asked.runner, asked.paused))
        return Nothing()

    async def paused(self, asked: LeaseQuery) -> wire.PausedRunners:
        """Tell who is paused."""
        store = self._of_pauses()
        return wire.PausedRunners(sorted(await ask_store(lambda: store.paused(asked.lease_name))))

    async def save_cursor(self, asked: wire.CursorRequest) -> Nothing:
        """Keep a cursor."""
        store = self._of_cursors()
        await ask_store(lambda: store.save_cursor(asked.lease_name, asked.runner, asked.term, asked.cursor))
        return Nothing()

    async def cursor(self, asked: wire.CursorQuery) -> wire.Cursor:
        """Tell how far a runner has come."""
        store = self._of_cursors()
        return wire.Cursor(await ask_store(lambda: store.load_cursor(asked.lease_name, asked.runner)))

    def _of_claims(self) -> ClaimStore:
        return self._store if keeps_claims(self._store) else _refuse("claims")

    def _of_pauses(self) -> PauseStore:
        return self._store if keeps_pauses(self._store) else _refuse("pauses")

    def _of_cursors(self) -> CursorStore:
        return self._store if keeps_cursors(self._store) else _refuse("cursors")


def _refuse(what: str) -> Never:
    raise Refused(501, "not_supported", f"the lease store of this server keeps no {what}.")

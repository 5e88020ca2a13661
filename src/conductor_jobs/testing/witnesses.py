"""Two witnesses of what passes between an engine and the store: one beside the engine, one beside the store.

What the engine heard may be less than what the store did: calls get lost on the way there and back.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, final

from ..lease import Holder, LeaseGrant
from ..runner_records import Claim
from .faulty_store import StoreCall
from .history import Answered, Asked, ClaimAsked, Claimed, Committed, Failed, PauseSet

#: Adds an event of one life to the history, at this moment: its type, and its facts.
Note = Callable[..., None]


@final
class EngineSide:
    """The store as the engine sees it: what was asked and what came back, when."""

    def __init__(self, note: Note, store: Any) -> None:
        self._note = note
        self._store = store
        self._calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> LeaseGrant:
        """See `LeaseStore.acquire`."""
        operation: StoreCall = "campaign" if term is None else "renew"
        with self._asking(operation, term) as answered:
            grant: LeaseGrant = await self._store.acquire(lease_name, holder, ttl, term=term)
            answered(grant.is_leader, grant.term, grant.expires_in)
        return grant

    async def release(self, lease_name: str, holder: Holder) -> bool:
        """See `LeaseStore.release`."""
        with self._asking("release", None) as answered:
            freed: bool = await self._store.release(lease_name, holder)
            answered(freed, 0, 0.0)
        return freed

    async def claim(self, lease_name: str, claims: Sequence[Claim]) -> Sequence[Claim]:
        """See `ClaimStore.claim`."""
        self._note(ClaimAsked, tuple(claims))
        kept: Sequence[Claim] = await self._store.claim(lease_name, claims)
        return kept

    @contextmanager
    def _asking(
        self, operation: StoreCall, term: int | None
    ) -> Generator[Callable[[bool, int, float], None], None, None]:
        self._calls += 1
        call = self._calls
        self._note(Asked, call, operation, term)

        def answered(granted: bool, term: int, expires_in: float) -> None:
            self._note(Answered, call, operation, granted, term, expires_in)

        try:
            yield answered
        except BaseException as error:
            self._note(Failed, call, operation, type(error).__name__)
            raise


@final
class StoreSide:
    """The store itself: what it carried out, when, for whom."""

    def __init__(self, note: Note, store: Any) -> None:
        self._note = note
        self._store = store
        # Drawn anew in every process, so that they are told by their number.
        self._incarnations: dict[str, int] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> LeaseGrant:
        """See `LeaseStore.acquire`."""
        grant: LeaseGrant = await self._store.acquire(lease_name, holder, ttl, term=term)
        operation: StoreCall = "campaign" if term is None else "renew"
        self._note(Committed, operation, grant.is_leader, grant.term, term, ttl, self._number_of(holder))
        return grant

    async def release(self, lease_name: str, holder: Holder) -> bool:
        """See `LeaseStore.release`."""
        freed: bool = await self._store.release(lease_name, holder)
        self._note(Committed, "release", freed, 0, None, 0.0, self._number_of(holder))
        return freed

    async def claim(self, lease_name: str, claims: Sequence[Claim]) -> Sequence[Claim]:
        """See `ClaimStore.claim`."""
        kept: Sequence[Claim] = await self._store.claim(lease_name, claims)
        self._note(Claimed, tuple(kept))
        return kept

    async def set_paused(self, lease_name: str, runner: str, paused: bool) -> None:
        """See `PauseStore.set_paused`."""
        await self._store.set_paused(lease_name, runner, paused)
        self._note(PauseSet, runner, paused)

    def _number_of(self, holder: Holder) -> int:
        return self._incarnations.setdefault(holder.incarnation, len(self._incarnations) + 1)

"""What the store keeps of runners, as the engine asks for it: again and again, until it has an answer or no term.

A claim that the store has not confirmed is no claim, so nothing is run for it; and a run that has ended has not ended
for the next leader before the store knows. Both are asked for until the term is over.
"""

import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar, final

import trio

from .journal import LEASE
from .lease import LeaseStore
from .recorder import Recorder
from .runner_records import Claim, ClaimStore, PauseStore, keeps_claims, keeps_pauses
from .store_calls import call_for_user, call_store, checked_claims, checked_names, problem_text
from .term import Term
from .timing import LeaseTiming

T = TypeVar("T")
_SHORTEST_PAUSE = 0.05


@final
class Ledger:
    """Claims and pauses of one lease. Every call may be cancelled, its outcome then being unknown."""

    def __init__(self, store: LeaseStore, lease_name: str, timing: LeaseTiming, recorder: Recorder) -> None:
        self._store = store
        self._lease_name = lease_name
        self._timing = timing
        self._recorder = recorder
        #: Who is paused, as the store said last.
        self.paused: frozenset[str] = frozenset()
        #: The latest claim of each runner, as the store said last or took from us.
        self.claims: dict[str, Claim] = {}
        #: The store has been asked once who is paused.
        self.looked: trio.Event = trio.Event()
        self._failures = 0
        # In the order in which they began: questions about pauses, and changes of ours; from which one `paused` is.
        self._begun = 0
        self._paused_since = 0
        self._changed_since = 0
        # How often claims became known: what was asked before that is older.
        self._claims_told = 0

    @property
    def keeps_claims(self) -> bool:
        """Whether the store can keep claims, without which no schedule can be kept."""
        return keeps_claims(self._store)

    async def read_claims(self, term: Term) -> None:
        """Read the latest claim of each runner. Raises LeaseLost once the term is over."""
        store = self._store
        assert keeps_claims(store)
        self._know(await self._until_answered(term, lambda: self._read_claims(store)))

    async def claim(self, term: Term, claims: Iterable[Claim]) -> Sequence[Claim]:
        """Have claims kept, and return those that are: a run may begin. Raises LeaseLost once the term is over."""
        store, wanted = self._store, list(claims)
        if not wanted:
            return ()
        assert keeps_claims(store)
        kept = await self._until_answered(term, lambda: self._claim(store, wanted))
        self.claims.update({claim.runner: claim for claim in kept})
        self._claims_told += 1
        return kept

    async def read_paused(self, term: Term) -> frozenset[str]:
        """Return who is paused. Raises LeaseLost once the term is over."""
        store = self._store
        if keeps_pauses(store):
            await self._until_answered(term, lambda: self._read_paused(store))
        return self.paused

    @trio.lowlevel.enable_ki_protection
    async def keep_paused_known(self) -> None:
        """Read who is paused now and then, also as a standby: whoever comes to lead has to know. Cancelling ends it."""
        store = self._store
        while keeps_pauses(store):
            # Of a store that fails, what it said last stands; the lease task says that it fails.
            with contextlib.suppress(Exception):
                await self._once(lambda: self._read_paused(store))
            self.looked.set()
            await trio.sleep(self._timing.heartbeat_interval)
        self.looked.set()

    async def read(self) -> None:
        """Read claims and pauses once, in any state of the node. Raises TimeoutError, and what the store raises."""
        store, timeout = self._store, self._timing.store_timeout
        if keeps_claims(store):
            told_before = self._claims_told
            claims = await call_for_user(lambda: self._read_claims(store), timeout)
            # What the leader goes by now may be newer: it would run again what another node's term has begun.
            if told_before == self._claims_told:
                self._know(claims)
        if keeps_pauses(store):
            await call_for_user(lambda: self._read_paused(store), timeout)

    async def set_paused(self, runner: str, paused: bool) -> None:
        """Pause or resume a runner, on every node. Raises TimeoutError, and what the store raises."""
        store = self._store
        if not keeps_pauses(store):
            raise RuntimeError(
                f"{type(store).__name__} does not keep who is paused: it lacks `paused` and `set_paused`"
            )
        await call_for_user(lambda: store.set_paused(self._lease_name, runner, paused), self._timing.store_timeout)
        self._begun += 1
        self._changed_since = self._begun
        self.paused = self.paused | {runner} if paused else self.paused - {runner}

    def _know(self, claims: dict[str, Claim]) -> None:
        self.claims = claims
        self._claims_told += 1

    async def _read_claims(self, store: ClaimStore) -> dict[str, Claim]:
        return {claim.runner: claim for claim in checked_claims("claims", await store.claims(self._lease_name))}

    async def _claim(self, store: ClaimStore, wanted: Sequence[Claim]) -> Sequence[Claim]:
        kept = {claim.runner: claim for claim in checked_claims("claim", await store.claim(self._lease_name, wanted))}
        # What nobody asked for, or more than once, begins nothing.
        return [claim for claim in wanted if kept.get(claim.runner) == claim]

    async def _read_paused(self, store: PauseStore) -> None:
        while True:
            self._begun += 1
            question = self._begun
            paused = checked_names("paused", await store.paused(self._lease_name))
            # An answer that was under way when a pause was set here may be older than that, and what is known without
            # it may lack what was set elsewhere.
            if question > self._changed_since:
                break
        # A later question may have been answered before this one.
        if question > self._paused_since:
            self._paused_since, self.paused = question, paused

    async def _until_answered(self, term: Term, call: Callable[[], Awaitable[T]]) -> T:
        failures = 0
        while True:
            term.check_lease()
            try:
                answer = await self._once(call)
            # A StaleTerm too: the lease task hears of a later term with its next renewal, and ends this one.
            except Exception as error:  # noqa: BLE001 - whatever the store raises, it may do better later
                failures += 1
                self._failed(error)
                await trio.sleep(max(_SHORTEST_PAUSE, self._timing.backoff(failures)))
            else:
                self._failures = 0
                return answer

    async def _once(self, call: Callable[[], Awaitable[T]]) -> T:
        return await call_store(call, self._timing.store_timeout)

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        if self._failures == 1:
            self._recorder.write(LEASE, "claim_failed", result="failed", error=problem_text(error))

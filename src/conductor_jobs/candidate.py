"""A candidate: a node that asks a store for a lease, and keeps account of what the store answers.

It asks one question at a time, of a campaign or a renewal, and decides nothing; what an answer means for the work is
the lease task's to say. A question that fails is counted and journaled, and is no answer.
"""

import secrets
from typing import final

import trio

from .clocks import Clocks, Instant
from .errors import Unusable
from .journal import LEASE
from .lease import Holder, LeaseGrant, LeaseStore
from .recorder import Recorder
from .store_calls import UselessGrant, call_store, checked_grant, problem_text
from .term import Term, TermScope
from .timing import LeaseTiming


@final
class Candidate:
    """Who asks for which lease, by which rules, and how that went. A `term` is None where none is held."""

    def __init__(
        self,
        store: LeaseStore,
        lease_name: str,
        holder: Holder,
        timing: LeaseTiming,
        clocks: Clocks,
        recorder: Recorder,
    ) -> None:
        self._store = store
        self._lease_name = lease_name
        self._holder = holder
        self.timing = timing
        self.clocks = clocks
        self._recorder = recorder
        #: By Trio's clock; infinity while there is a reason not to ask.
        self.asked_at: float = clocks.now().trio
        self.last_grant: LeaseGrant | None = None
        self.highest_term: int = 0
        self.consecutive_failures: int = 0
        #: In words, what the latest call of the store failed with; None once one has succeeded.
        self.problem: str | None = None
        self.renewals: int = 0
        self.renew_failures: int = 0
        #: That all confirmed renewals took together, in seconds.
        self.renew_seconds: float = 0.0

    async def ask(self, *, term: int | None, patience: float) -> LeaseGrant | None:
        """Campaign, or renew `term`; return what the store answers, None if that takes longer than `patience` seconds.

        None also for whatever the store raises, except Unusable before its first answer. Whoever acts on the answer
        tells of it by `answered`: one that is handled too late counts for nothing (I1).
        """
        self.asked_at = trio.current_time()
        try:
            answer = await call_store(
                lambda: self._store.acquire(self._lease_name, self._holder, self.timing.ttl, term=term), patience
            )
            return checked_grant(answer, self._holder)
        except Exception as error:
            if isinstance(error, Unusable) and self.last_grant is None:
                raise
            self._failed(error, term)
            return None

    def answered(self, grant: LeaseGrant) -> None:
        """Note an answer."""
        self.last_grant = grant
        self.highest_term = max(self.highest_term, grant.term)
        self.consecutive_failures = 0
        self.problem = None

    def renewed(self, seconds: float) -> None:
        """Note a renewal that took so long."""
        self.renewals += 1
        self.renew_seconds += seconds

    def term_of(self, grant: LeaseGrant, asked_at: Instant) -> TermScope | None:
        """Return the term that a campaign has won, or None if no work can begin under it, which is a failure too."""
        deadline = self.timing.deadline(asked_at, grant)
        if self.clocks.remaining(deadline) <= 0:
            self._failed(UselessGrant("too late for work to begin"), None)
            return None
        if grant.term <= self.highest_term:
            # Our fencing token would be refused by whatever has seen the higher one (I3).
            self._failed(UselessGrant(f"as term {grant.term} after {self.highest_term}"), None)
            return None
        self.answered(grant)
        term = Term(grant.term, self._lease_name, self._holder, self.clocks, deadline)
        return TermScope(term, self.timing.margin, self.clocks)

    async def give_back(self, term: int | None) -> None:
        """Release whatever this incarnation holds and bar it, within the store timeout; raises nothing."""
        try:
            freed = await call_store(
                lambda: self._store.release(self._lease_name, self._holder), self.timing.store_timeout
            )
            if freed is True:
                self.journal("lease_released", term, result="released")
        except Exception as error:  # noqa: BLE001 - whatever the store raises, the lease expires by itself
            self.journal("release_failed", term, result="failed", error=problem_text(error))

    def draw_incarnation(self) -> None:
        """Go on as a new incarnation: the store has barred the one that was released."""
        self._holder = Holder(self._holder.node_id, secrets.token_hex(8))

    def journal(
        self,
        stage: str,
        term: int | None,
        *,
        result: str,
        error: str | None = None,
        details: dict[str, int] | None = None,
    ) -> None:
        """Journal what becomes of the lease: of our `term`, or of whoever held it by the latest answer."""
        facts: dict[str, object] = {"lease_name": self._lease_name}
        if term is not None:
            facts |= {"holder_id": self._holder.node_id, "term": term}
        elif self.last_grant is not None:
            facts |= {"holder_id": self.last_grant.holder_id, "term": self.last_grant.term}
        self._recorder.write(LEASE, stage, result=result, error=error, details=facts | (details or {}))

    def _failed(self, error: Exception, term: int | None) -> None:
        self.consecutive_failures += 1
        self.problem = problem_text(error)
        if term is not None:
            self.renew_failures += 1
            self.journal("renew_failed", term, result="failed", error=self.problem)
        elif self.consecutive_failures == 1:
            # A standby may knock at a dead store for hours: the first failure is news, the others are not.
            self.journal("acquire_failed", term, result="failed", error=self.problem)

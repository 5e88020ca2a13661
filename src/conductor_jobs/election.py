"""The lease task: campaign, hold the lease, lose it, campaign again; at the end give it back.

    campaigning ──granted──> holding ──refused, or not confirmed in time──> waiting for the work to end
         ^                      └──resigned, the work drained──> released, standing back      │
         └────────────────────────────────────────────────────────────────┴───────────────────┘

A stop cancels a campaign, for whoever is leaving must not come to lead. It does not touch a lease that is held:
that is renewed until the last of its work has ended, and then released by whoever runs this task.
"""

import math
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import final

import trio

from .clocks import Clocks, Instant
from .errors import Unusable
from .journal import LEASE
from .leadership import Leadership
from .lease import Holder, LeaseGrant, LeaseStore
from .recorder import Recorder
from .resignation import Resignation
from .standby import Standby
from .store_calls import UselessGrant, call_store, checked_grant, problem_text
from .term import EndReason, LossReason, Term, TermScope
from .timing import LeaseTiming

# Between two campaigns that brought nothing: a store that answers nonsense at once is not to be hammered.
_SHORTEST_PAUSE = 0.01
# Longer than a standby of lower priority takes to notice a release by polling, in seconds.
STAND_BACK = 1.5


@final
@dataclass(frozen=True, slots=True)
class Candidate:
    """Who campaigns for which lease, and by which rules."""

    store: LeaseStore
    lease_name: str
    holder: Holder
    priority: int
    timing: LeaseTiming
    clocks: Clocks


@final
class Election:
    """Who leads, as far as this node knows; `run` is the lease task."""

    def __init__(
        self,
        candidate: Candidate,
        recorder: Recorder,
        leadership: Leadership,
        watch: Callable[[TermScope], None],
    ) -> None:
        self._watch = watch
        self._candidate = candidate
        self._standby = Standby(candidate.store, candidate.lease_name, candidate.timing, candidate.priority)
        self._recorder = recorder
        self._leadership = leadership
        self._campaign_scope = trio.CancelScope()
        self._withdrawn = trio.Event()
        self._resignation: Resignation | None = None
        self._scope: TermScope | None = None
        # The store's first answer has come, or is overdue.
        self.settled: trio.Event = trio.Event()
        self.last_grant: LeaseGrant | None = None
        self._highest_term = 0
        self.consecutive_failures: int = 0
        #: In words, what the latest call of the store failed with; None once one has succeeded.
        self.problem: str | None = None
        self.renewals: int = 0
        self.renew_failures: int = 0
        #: That all confirmed renewals took together, in seconds.
        self.renew_seconds: float = 0.0
        self._asked_at = candidate.clocks.now().trio

    @property
    def quiet_for(self) -> float:
        """Seconds since the lease task last asked the store, 0 while it has no reason to; it is less than a ttl."""
        if self._scope is None and self._withdrawn.is_set():
            return 0.0
        # By the clocks, since the status is asked for in any thread.
        return max(0.0, self._candidate.clocks.now().trio - self._asked_at)

    @property
    def live_scope(self) -> TermScope | None:
        """The scope of a term under which work may begin now, or None."""
        return self._scope if self._scope is not None and self._scope.admits else None

    @property
    def scope(self) -> TermScope | None:
        """The scope of the latest term, as long as work of it may be left."""
        return self._scope

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Campaign and hold the lease by turns, until withdrawn as a standby or cancelled."""
        while not self._withdrawn.is_set():
            scope: TermScope | None = None
            with trio.CancelScope() as self._campaign_scope:
                scope = await self._campaign()
            # An answer may come in at the very moment of the withdrawal: then the lease is only given back.
            if scope is None or self._withdrawn.is_set():
                return
            self._begin(scope)
            if await self._hold(scope) == "released":
                await self._stand_back()

    def withdraw(self) -> None:
        """Stop campaigning for good; a lease that is held stays held."""
        self._withdrawn.set()
        self._campaign_scope.cancel()

    def resign(self, drain: Callable[[TermScope], Awaitable[None]]) -> trio.Event | None:
        """Begin to give the lease back: nothing begins under the term any more, and `drain` ends its work.

        Returns what is set when the lease was given back, or the term lost before that; None unless we lead.
        """
        if self.live_scope is None or self._resignation is None:
            return None
        self._journal("resigning", result="draining")
        self._resignation.ask(drain)
        return self._resignation.over

    async def wait_idle(self) -> None:
        """Wait until no leader's work is left. Cancelling stops the waiting only."""
        if self._scope is not None:
            await self._scope.wait_idle()

    async def release(self) -> None:
        """Give the lease back and bar this incarnation; call it once no work is left and `run` has ended (I7).

        Asked of the store even when we do not know of a lease: the outcome of an earlier call may be unknown.
        Bounded by the store timeout, and shielded from cancellation.
        """
        if self._scope is not None and self._leadership.term is self._scope.term:
            self._end(self._scope, "released")
        with trio.CancelScope(shield=True):
            await self._give_back()

    async def _give_back(self) -> None:
        candidate = self._candidate
        try:
            freed = await call_store(
                lambda: candidate.store.release(candidate.lease_name, candidate.holder),
                candidate.timing.store_timeout,
            )
            if freed is True:
                self._journal("lease_released", result="released")
        except Exception as error:  # noqa: BLE001 - whatever the store raises, the lease expires by itself
            self._journal("release_failed", result="failed", error=problem_text(error))

    async def _campaign(self) -> TermScope:
        candidate = self._candidate
        while True:
            asked_at = candidate.clocks.now()
            grant = await self._ask(term=None, patience=candidate.timing.store_timeout)
            if grant is not None and grant.is_leader and (scope := self._scope_of(grant, asked_at)) is not None:
                return scope
            self.settled.set()
            if grant is not None and not grant.is_leader:
                self._answered(grant)
                await self._standby.wait(grant)
            elif grant is not None and grant.term <= self._highest_term:
                # Campaigning on, each time for a number one higher, is the way out, and nobody else leads meanwhile.
                await trio.sleep(_SHORTEST_PAUSE)
            else:
                await trio.sleep(max(_SHORTEST_PAUSE, candidate.timing.backoff(self.consecutive_failures)))

    def _scope_of(self, grant: LeaseGrant, asked_at: Instant) -> TermScope | None:
        candidate, clocks = self._candidate, self._candidate.clocks
        deadline = candidate.timing.deadline(asked_at, grant)
        if clocks.remaining(deadline) <= 0:
            self._failed(UselessGrant("too late for work to begin"), None)
            return None
        if grant.term <= self._highest_term:
            # Our fencing token would be refused by whatever has seen the higher one (I3).
            self._failed(UselessGrant(f"as term {grant.term} after {self._highest_term}"), None)
            return None
        self._answered(grant)
        term = Term(grant.term, candidate.lease_name, candidate.holder, clocks, deadline)
        return TermScope(term, candidate.timing.margin, clocks)

    async def _hold(self, scope: TermScope) -> EndReason:
        self._resignation = resignation = Resignation(scope)
        reason = await resignation.hold(self._renew)
        self._end(scope, reason)
        await self._last_of_work(scope)
        if reason == "released":
            await self._give_back()
            # The store has barred the incarnation that was released.
            holder = Holder(self._candidate.holder.node_id, secrets.token_hex(8))
            self._candidate = replace(self._candidate, holder=holder)
        resignation.over.set()
        return reason

    async def _stand_back(self) -> None:
        with trio.CancelScope() as self._campaign_scope:
            await trio.sleep(STAND_BACK)

    async def _renew(self, scope: TermScope) -> LossReason:
        timing = self._candidate.timing
        with trio.CancelScope(deadline=scope.deadline.trio) as trust:
            pause = timing.renew_interval
            while True:
                await trio.sleep(pause)
                asked_at = self._candidate.clocks.now()
                remaining = self._candidate.clocks.remaining(scope.deadline)
                if remaining <= 0:
                    break
                grant = await self._ask(term=scope.term.number, patience=min(timing.store_timeout, remaining))
                # An answer that is handled after the deadline revives nothing (I1).
                if scope.lease_lapsed():
                    break
                if grant is None:
                    pause = timing.backoff(self.consecutive_failures)
                    continue
                self._answered(grant)
                if not grant.is_leader or grant.term != scope.term.number:
                    return "lease_superseded"
                scope.confirm(timing.deadline(asked_at, grant))
                trust.deadline = scope.deadline.trio
                took = trio.current_time() - asked_at.trio
                self.renewals += 1
                self.renew_seconds += took
                pause = max(0.0, timing.renew_interval - took)
        return "lease_expired"

    async def _ask(self, *, term: int | None, patience: float) -> LeaseGrant | None:
        candidate = self._candidate
        self._asked_at = trio.current_time()
        try:
            answer = await call_store(
                lambda: candidate.store.acquire(
                    candidate.lease_name, candidate.holder, candidate.timing.ttl, term=term
                ),
                patience,
            )
            return checked_grant(answer, candidate.holder)
        except Exception as error:
            if isinstance(error, Unusable) and self.last_grant is None:
                raise
            self._failed(error, term)
            return None

    def _answered(self, grant: LeaseGrant) -> None:
        self.last_grant = grant
        self._highest_term = max(self._highest_term, grant.term)
        self.consecutive_failures = 0
        self.problem = None

    def _failed(self, error: Exception, term: int | None) -> None:
        self.consecutive_failures += 1
        self.problem = problem_text(error)
        if term is not None:
            self.renew_failures += 1
            self._journal("renew_failed", result="failed", error=self.problem)
        elif self.consecutive_failures == 1:
            # A standby may knock at a dead store for hours: the first failure is news, the others are not.
            self._journal("acquire_failed", result="failed", error=self.problem)

    def _begin(self, scope: TermScope) -> None:
        self._scope = scope
        self._watch(scope)
        self._leadership.term = scope.term
        self._journal("leader_started", result="leader")
        self.settled.set()

    def _end(self, scope: TermScope, reason: EndReason) -> None:
        scope.end(reason)
        self._leadership.term = None
        self._journal("leader_ended", result=reason)

    async def _last_of_work(self, scope: TermScope) -> None:
        # Not even a campaign may begin while work of the lost term is left: it could win the next one.
        self._asked_at = math.inf
        await scope.wait_idle()
        self._asked_at = trio.current_time()
        overrun = scope.overrun()
        if overrun:
            self._journal("term_overrun", result="ended", details={"overrun_ms": round(overrun * 1000)})
        self._scope = None

    def _journal(
        self, stage: str, *, result: str, error: str | None = None, details: dict[str, int] | None = None
    ) -> None:
        facts: dict[str, object] = {"lease_name": self._candidate.lease_name}
        if self._scope is not None:
            facts["holder_id"] = self._candidate.holder.node_id
            facts["term"] = self._scope.term.number
        elif self.last_grant is not None:
            facts["holder_id"] = self.last_grant.holder_id
            facts["term"] = self.last_grant.term
        self._recorder.write(LEASE, stage, result=result, error=error, details=facts | (details or {}))

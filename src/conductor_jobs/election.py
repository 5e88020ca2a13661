"""The lease task: campaign, hold the lease, lose it, campaign again; at the end give it back.

    campaigning ──granted──> holding ──refused, or not confirmed in time──> waiting for the work to end
         ^                      └──resigned, the work drained──> released, standing back      │
         └────────────────────────────────────────────────────────────────┴───────────────────┘

A stop cancels a campaign, for whoever is leaving must not come to lead. It does not touch a lease that is held:
that is renewed until the last of its work has ended, and then released by whoever runs this task.
"""

import math
from collections.abc import Awaitable, Callable
from typing import final

import trio

from .candidate import Candidate
from .leadership import Leadership
from .resignation import Resignation
from .standby import Standby
from .term import EndReason, LossReason, TermScope

# Between two campaigns that brought nothing: a store that answers nonsense at once is not to be hammered.
_SHORTEST_PAUSE = 0.01
# Longer than a standby of lower priority takes to notice a release by polling, in seconds.
STAND_BACK = 1.5


@final
class Election:
    """Who leads, as far as this node knows; `run` is the lease task."""

    def __init__(
        self,
        candidate: Candidate,
        standby: Standby,
        leadership: Leadership,
        watch: Callable[[TermScope], None],
    ) -> None:
        self.candidate: Candidate = candidate
        self._standby = standby
        self._leadership = leadership
        self._watch = watch
        self._campaign_scope = trio.CancelScope()
        self._withdrawn = trio.Event()
        self._resignation: Resignation | None = None
        self._scope: TermScope | None = None
        # The store's first answer has come, or is overdue.
        self.settled: trio.Event = trio.Event()

    @property
    def quiet_for(self) -> float:
        """Seconds since the lease task last asked the store, 0 while it has no reason to; it is less than a ttl."""
        if self._scope is None and self._withdrawn.is_set():
            return 0.0
        # By the clocks, since the status is asked for in any thread.
        return max(0.0, self.candidate.clocks.now().trio - self.candidate.asked_at)

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
        if (scope := self.live_scope) is None or self._resignation is None:
            return None
        self.candidate.journal("resigning", scope.term.number, result="draining")
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
            await self.candidate.give_back(None if self._scope is None else self._scope.term.number)

    async def _campaign(self) -> TermScope:
        candidate, timing = self.candidate, self.candidate.timing
        while True:
            asked_at = candidate.clocks.now()
            grant = await candidate.ask(term=None, patience=timing.store_timeout)
            if grant is not None and grant.is_leader and (scope := candidate.term_of(grant, asked_at)) is not None:
                return scope
            self.settled.set()
            if grant is not None and not grant.is_leader:
                candidate.answered(grant)
                await self._standby.wait(grant)
            elif grant is not None and grant.term <= candidate.highest_term:
                # Campaigning on, each time for a number one higher, is the way out, and nobody else leads meanwhile.
                await trio.sleep(_SHORTEST_PAUSE)
            else:
                await trio.sleep(max(_SHORTEST_PAUSE, timing.backoff(candidate.consecutive_failures)))

    async def _hold(self, scope: TermScope) -> EndReason:
        self._resignation = resignation = Resignation(scope)
        reason = await resignation.hold(self._renew)
        self._end(scope, reason)
        await self._last_of_work(scope)
        if reason == "released":
            await self.candidate.give_back(None)
            self.candidate.draw_incarnation()
        resignation.over.set()
        return reason

    async def _stand_back(self) -> None:
        with trio.CancelScope() as self._campaign_scope:
            await trio.sleep(STAND_BACK)

    async def _renew(self, scope: TermScope) -> LossReason:
        candidate, timing = self.candidate, self.candidate.timing
        with trio.CancelScope(deadline=scope.deadline.trio) as trust:
            pause = timing.renew_interval
            while True:
                await trio.sleep(pause)
                asked_at = candidate.clocks.now()
                remaining = candidate.clocks.remaining(scope.deadline)
                if remaining <= 0:
                    break
                grant = await candidate.ask(term=scope.term.number, patience=min(timing.store_timeout, remaining))
                # An answer that is handled after the deadline revives nothing (I1).
                if scope.lease_lapsed():
                    break
                if grant is None:
                    pause = timing.backoff(candidate.consecutive_failures)
                    continue
                candidate.answered(grant)
                if not grant.is_leader or grant.term != scope.term.number:
                    return "lease_superseded"
                scope.confirm(timing.deadline(asked_at, grant))
                trust.deadline = scope.deadline.trio
                took = trio.current_time() - asked_at.trio
                candidate.renewed(took)
                pause = max(0.0, timing.renew_interval - took)
        return "lease_expired"

    def _begin(self, scope: TermScope) -> None:
        self._scope = scope
        self._watch(scope)
        self._leadership.term = scope.term
        self.candidate.journal("leader_started", scope.term.number, result="leader")
        self.settled.set()

    def _end(self, scope: TermScope, reason: EndReason) -> None:
        scope.end(reason)
        self._leadership.term = None
        self.candidate.journal("leader_ended", scope.term.number, result=reason)

    async def _last_of_work(self, scope: TermScope) -> None:
        # Not even a campaign may begin while work of the lost term is left: it could win the next one.
        self.candidate.asked_at = math.inf
        await scope.wait_idle()
        self.candidate.asked_at = trio.current_time()
        overrun = scope.overrun()
        if overrun:
            details = {"overrun_ms": round(overrun * 1000)}
            self.candidate.journal("term_overrun", scope.term.number, result="ended", details=details)
        self._scope = None

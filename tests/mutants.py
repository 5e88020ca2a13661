"""Engines that are broken in one way each, by which the checker of the simulations is tested.

A mutant is a context manager that breaks the engine, or the rules that stores keep, as somebody might who did not know
better. `MUTANTS` says of each what it is, and within how many seeds the checker has to catch it.
"""

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import Any
from unittest.mock import patch

import msgspec
import trio

from conductor_jobs import attempts, candidate, election, records, standby, term, timing
from conductor_jobs.clocks import Instant
from conductor_jobs.drain import Drain
from conductor_jobs.lease import Holder, LeaseGrant
from conductor_jobs.ledger import Ledger
from conductor_jobs.records import LeaseRecord
from conductor_jobs.runner_records import Claim
from conductor_jobs.schedule_entries import ScheduleEntries
from conductor_jobs.stores.memory import MemoryLeaseStore
from conductor_jobs.term import LossReason, Term, TermScope
from conductor_jobs.testing.scenario import FaultKind, Scenario
from conductor_jobs.ticks import TickGroup
from conductor_jobs.timing import LeaseTiming

Mutant = Callable[[], AbstractContextManager[Any]]
Candidate = candidate.Candidate
Election = election.Election
TermOfWork = term.Term


def deadline_counted_from_the_answer() -> AbstractContextManager[Any]:
    honest = LeaseTiming.deadline

    def deadline(self: LeaseTiming, asked_at: Instant, grant: LeaseGrant) -> Instant:
        return honest(self, Instant(trio.current_time(), trio.current_time()), grant)

    return patch.object(LeaseTiming, "deadline", deadline)


@contextmanager
def no_deadline_on_the_work() -> Generator[None, None, None]:
    """Nothing but a refusal ends a term."""

    async def renew(self: Election, scope: TermScope) -> LossReason:
        candidate, rules = self.candidate, self.candidate.timing
        pause = rules.renew_interval
        while True:
            await trio.sleep(pause)
            grant = await candidate.ask(term=scope.term.number, patience=rules.store_timeout)
            pause = rules.backoff(candidate.consecutive_failures) if grant is None else rules.renew_interval
            if grant is not None:
                candidate.answered(grant)
                if not grant.is_leader:
                    return "lease_superseded"

    honest = LeaseTiming.deadline

    def never(self: LeaseTiming, asked_at: Instant, grant: LeaseGrant) -> Instant:
        return honest(self, asked_at, grant).after(1e6)

    with patch.object(Election, "_renew", renew), patch.object(LeaseTiming, "deadline", never):
        yield


def an_unknown_outcome_extends_the_term() -> AbstractContextManager[Any]:
    honest = Election._renew

    async def renew(self: Election, scope: TermScope) -> LossReason:
        candidate, ask = self.candidate, Candidate.ask

        async def ask_and_trust(*, term: int | None, patience: float) -> LeaseGrant | None:
            asked_at = candidate.clocks.now()
            grant = await ask(candidate, term=term, patience=patience)
            if grant is None:
                scope.confirm(asked_at.after(candidate.timing.ttl - candidate.timing.margin))
            return grant

        with patch.object(candidate, "ask", ask_and_trust):
            return await honest(self, scope)

    return patch.object(Election, "_renew", renew)


def release_before_the_work_has_ended() -> AbstractContextManager[Any]:
    honest = Drain.drain_run

    async def drain(self: Drain) -> None:
        candidate = self._election.candidate
        with trio.move_on_after(candidate.timing.store_timeout):
            await candidate._store.release(candidate._lease_name, candidate._holder)
        await honest(self)

    return patch.object(Drain, "drain_run", drain)


def the_renewer_stops_at_the_drain() -> AbstractContextManager[Any]:
    honest = Election.withdraw

    async def ask(*, term: int | None, patience: float) -> LeaseGrant | None:
        return await trio.sleep_forever()

    def withdraw(self: Election) -> None:
        honest(self)
        self.candidate.ask = ask  # type: ignore[method-assign] # it is broken on purpose

    return patch.object(Election, "withdraw", withdraw)


def a_term_taken_again_keeps_its_number() -> AbstractContextManager[Any]:
    honest = records.campaign

    def campaign(record: LeaseRecord | None, holder: Holder, ttl: float, now: float) -> LeaseRecord | None:
        granted = honest(record, holder, ttl, now)
        return granted if granted is None or record is None else msgspec.structs.replace(granted, term=record.term)

    return patch.object(records, "campaign", campaign)


def renewal_matched_by_node_id_alone() -> AbstractContextManager[Any]:
    def renew(record: LeaseRecord | None, holder: Holder, term: int, ttl: float, now: float) -> LeaseRecord | None:
        if record is None or record.holder.node_id != holder.node_id or not record.held_at(now):
            return None
        return msgspec.structs.replace(record, ttl=ttl, expires_at=now + ttl)

    return patch.object(records, "renew", renew)


def a_release_deletes_the_row() -> AbstractContextManager[Any]:
    honest = MemoryLeaseStore.release

    async def release(self: MemoryLeaseStore, lease_name: str, holder: Holder) -> bool:
        freed = await honest(self, lease_name, holder)
        if freed:
            self._cell(lease_name).value = None
        return freed

    return patch.object(MemoryLeaseStore, "release", release)


def a_refused_renewal_keeps_the_term_until_its_deadline() -> AbstractContextManager[Any]:
    honest = Election._renew

    async def renew(self: Election, scope: TermScope) -> LossReason:
        reason = await honest(self, scope)
        await trio.sleep(max(0.0, scope.term.lease_remaining()))
        return reason

    return patch.object(Election, "_renew", renew)


def a_campaign_renews_its_own_lease_under_the_same_number() -> AbstractContextManager[Any]:
    honest = records.campaign

    def campaign(record: LeaseRecord | None, holder: Holder, ttl: float, now: float) -> LeaseRecord | None:
        if record is not None and record.holder == holder and record.held_at(now):
            return msgspec.structs.replace(record, ttl=ttl, expires_at=now + ttl)
        return honest(record, holder, ttl, now)

    return patch.object(records, "campaign", campaign)


def a_refusal_counts_as_no_answer() -> AbstractContextManager[Any]:
    """`is_leader=False` is ignored until the lease expires."""
    honest = Candidate.ask

    async def ask(self: Candidate, *, term: int | None, patience: float) -> LeaseGrant | None:
        grant = await honest(self, term=term, patience=patience)
        if grant is None or term is None or grant.is_leader:
            return grant
        self._failed(ConnectionError("a refusal"), term)
        return None

    return patch.object(Candidate, "ask", ask)


@contextmanager
def a_standby_that_stops_passes_through_leading() -> Generator[None, None, None]:
    """A campaign that is under way at the stop goes on, and what it wins is led."""

    async def run(self: Election) -> None:
        while True:
            scope = await self._campaign()
            self._begin(scope)
            await self._hold(scope)

    honest = Drain.drain_run

    async def drain(self: Drain) -> None:
        with trio.move_on_after(2 * self._election.candidate.timing.store_timeout):
            while self._election.live_scope is None:
                await trio.sleep(0.1)
        await honest(self)

    with patch.object(Election, "run", run), patch.object(Drain, "drain_run", drain):
        yield


def a_store_call_without_a_deadline() -> AbstractContextManager[Any]:
    async def call_store(call: Callable[[], Any], timeout: float) -> Any:
        return await call()

    return patch.object(candidate, "call_store", call_store)


def a_standby_looks_too_seldom() -> AbstractContextManager[Any]:
    return patch.object(timing, "POLL_INTERVAL", 3.0)


def a_release_wakes_nobody() -> AbstractContextManager[Any]:
    return patch.object(standby, "watches_releases", lambda store: False)


def a_node_that_loses_its_lease_stays_a_standby() -> AbstractContextManager[Any]:
    honest = Election._last_of_work

    async def last_of_work(self: Election, scope: TermScope) -> None:
        await honest(self, scope)
        await trio.sleep(600)

    return patch.object(Election, "_last_of_work", last_of_work)


def late_work_goes_unreported() -> AbstractContextManager[Any]:
    return patch.object(TermScope, "overrun", lambda self: 0.0)


def a_drain_is_never_cut() -> AbstractContextManager[Any]:
    honest = Drain.drain_run

    async def drain(self: Drain) -> None:
        await self._ticks.wait_idle()
        await honest(self)

    return patch.object(Drain, "drain_run", drain)


def services_are_drained_like_ticks() -> AbstractContextManager[Any]:
    return patch.object(TermScope, "end_services", lambda self: None)


def a_runners_error_ends_the_run() -> AbstractContextManager[Any]:
    return patch.object(attempts, "split_failure", lambda error: (None, error))


def interval_ticks_drift() -> AbstractContextManager[Any]:
    async def keep_interval(self: TickGroup) -> None:
        while True:
            await trio.sleep(self._jobs.config.interval)
            self.request("interval")
            await self.wait_idle()

    return patch.object(TickGroup, "keep_interval", keep_interval)


# Of schedules


def a_claim_comes_after_the_run() -> AbstractContextManager[Any]:
    """Nothing is claimed before a run; the claim that ends it is the first that the store hears."""
    honest = Ledger.claim

    async def claim(self: Ledger, term: Term, claims: Iterable[Claim]) -> Sequence[Claim]:
        wanted = list(claims)
        await honest(self, term, [each for each in wanted if each.result is not None])
        return wanted

    return patch.object(Ledger, "claim", claim)


def claims_are_not_fenced() -> AbstractContextManager[Any]:
    return patch.object(MemoryLeaseStore, "_require_present", lambda self, lease_name, term: None)


@contextmanager
def _the_last_claims_seem(changed: Callable[[Claim, datetime], Claim]) -> Generator[None, None, None]:
    honest = Ledger.read_claims

    async def read_claims(self: Ledger, term: Term) -> None:
        await honest(self, term)
        self.claims = {name: changed(claim, self._recorder.now()) for name, claim in self.claims.items()}

    with patch.object(Ledger, "read_claims", read_claims):
        yield


def a_new_leader_forgets_the_gap() -> AbstractContextManager[Any]:
    """It begins with what is due from now on."""

    def from_now_on(claim: Claim, now: datetime) -> Claim:
        return claim if claim.result is None else msgspec.structs.replace(claim, due_at=max(now, claim.due_at))

    return _the_last_claims_seem(from_now_on)


def an_unended_claim_is_passed_over() -> AbstractContextManager[Any]:
    return _the_last_claims_seem(lambda claim, _: msgspec.structs.replace(claim, result=claim.result or "completed"))


def who_is_paused_is_not_asked() -> AbstractContextManager[Any]:
    async def read_paused(self: Ledger, term: Term) -> frozenset[str]:
        return frozenset()

    return patch.object(Ledger, "read_paused", read_paused)


def what_was_missed_is_not_told() -> AbstractContextManager[Any]:
    return patch.object(ScheduleEntries, "missed", lambda self, runner, due, turn: None)


def _under(*faults: FaultKind, gap: float = 15.0, watching: bool | None = None) -> Scenario:
    return Scenario(duration=900.0, fault_gap=gap, faults=faults, watching=watching)


ANYTHING = Scenario(duration=900.0)
# What each is to be caught under, and within how many seeds.
MUTANTS: dict[Mutant, tuple[Scenario, int]] = {
    deadline_counted_from_the_answer: (_under("blocks", "slow answers", "slow", gap=8.0), 5),
    no_deadline_on_the_work: (ANYTHING, 5),
    an_unknown_outcome_extends_the_term: (ANYTHING, 5),
    release_before_the_work_has_ended: (ANYTHING, 5),
    the_renewer_stops_at_the_drain: (ANYTHING, 10),
    a_term_taken_again_keeps_its_number: (_under("crash", "stop"), 5),
    renewal_matched_by_node_id_alone: (ANYTHING, 10),
    a_release_deletes_the_row: (ANYTHING, 5),
    a_refused_renewal_keeps_the_term_until_its_deadline: (ANYTHING, 10),
    a_campaign_renews_its_own_lease_under_the_same_number: (_under("lost answers", "slow answers"), 5),
    a_refusal_counts_as_no_answer: (ANYTHING, 10),
    a_standby_that_stops_passes_through_leading: (ANYTHING, 5),
    a_store_call_without_a_deadline: (ANYTHING, 5),
    a_standby_looks_too_seldom: (_under("stop", "cancel", watching=False), 10),
    a_release_wakes_nobody: (_under("stop", "cancel", watching=True), 5),
    a_node_that_loses_its_lease_stays_a_standby: (ANYTHING, 10),
    late_work_goes_unreported: (ANYTHING, 5),
    a_drain_is_never_cut: (ANYTHING, 5),
    services_are_drained_like_ticks: (ANYTHING, 5),
    a_runners_error_ends_the_run: (ANYTHING, 5),
    interval_ticks_drift: (ANYTHING, 5),
    a_claim_comes_after_the_run: (ANYTHING, 5),
    claims_are_not_fenced: (ANYTHING, 10),
    a_new_leader_forgets_the_gap: (ANYTHING, 5),
    an_unended_claim_is_passed_over: (ANYTHING, 5),
    who_is_paused_is_not_asked: (ANYTHING, 10),
    what_was_missed_is_not_told: (ANYTHING, 5),
}

"""Lease stores that keep claims, pauses or cursors wrongly, in one way each; see `broken_stores`."""

from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from typing import Any

import msgspec
import trio

from conductor_jobs import Holder, LeaseGrant, StaleTerm, records
from conductor_jobs.records import LeaseRecord
from conductor_jobs.runner_records import Claim, supersedes, to_microseconds
from conductor_jobs.testing import conformance_claims as claims
from conductor_jobs.testing import conformance_cursors as cursors

from .broken_stores import Broken, Client


class ThatKeepsMilliseconds(Client):
    async def claim(self, lease_name: str, claims: Sequence[Claim]) -> Sequence[Claim]:
        return await super().claim(lease_name, [_at_milliseconds(claim) for claim in claims])


def _at_milliseconds(claim: Claim) -> Claim:
    rest = timedelta(microseconds=claim.due_at.microsecond % 1000)
    return msgspec.structs.replace(claim, due_at=claim.due_at - rest)


class ThatForgetsResults(Client):
    async def claims(self, lease_name: str) -> Sequence[Claim]:
        return [msgspec.structs.replace(claim, result=None) for claim in await super().claims(lease_name)]


class WithoutCapitalsInRunners(Client):
    async def claim(self, lease_name: str, claims: Sequence[Claim]) -> Sequence[Claim]:
        await super().claim(lease_name, [msgspec.structs.replace(each, runner=each.runner.lower()) for each in claims])
        return claims


class WithClaimsInTheOrderOfADictionary(Client):
    async def claims(self, lease_name: str) -> Sequence[Claim]:
        return sorted(await super().claims(lease_name), key=lambda claim: claim.runner.casefold())


class WithAnInstantOfNoZone(Client):
    async def claims(self, lease_name: str) -> Sequence[Claim]:
        kept = await super().claims(lease_name)
        return [msgspec.structs.replace(claim, due_at=claim.due_at.replace(tzinfo=None)) for claim in kept]


class ThatKeepsAllOfACallOrNone(Client):
    async def claim(self, lease_name: str, claims: Sequence[Claim]) -> Sequence[Claim]:
        kept = {claim.runner: claim for claim in await self.claims(lease_name)}
        good = all(supersedes(claim, kept.get(claim.runner)) for claim in claims)
        return await super().claim(lease_name, claims if good else [])


class ThatSaysItKeptWhatWasAsked(Client):
    async def claim(self, lease_name: str, claims: Sequence[Claim]) -> Sequence[Claim]:
        await super().claim(lease_name, claims)
        return claims


class ThatTellsOfClaimsInAnOrderOfItsOwn(Client):
    async def claim(self, lease_name: str, claims: Sequence[Claim]) -> Sequence[Claim]:
        return sorted(await super().claim(lease_name, claims), key=lambda claim: claim.runner)


class ThatComparesTheTermOfNoClaims(Client):
    async def claim(self, lease_name: str, claims: Sequence[Claim]) -> Sequence[Claim]:
        if not claims:
            raise StaleTerm("no claims, no term")
        return await super().claim(lease_name, claims)


class ThatKeepsTheFirstClaimOfAStaleCall(Client):
    async def claim(self, lease_name: str, claims: Sequence[Claim]) -> Sequence[Claim]:
        try:
            return await super().claim(lease_name, claims)
        except StaleTerm:
            self.store._claims[lease_name, claims[0].runner] = claims[0]
            raise


class ThatPassesStaleClaimsOver(Client):
    """Answers that none was kept, in place of StaleTerm."""

    async def claim(self, lease_name: str, claims: Sequence[Claim]) -> Sequence[Claim]:
        try:
            return await super().claim(lease_name, claims)
        except StaleTerm:
            return []


class ThatWantsAnUnexpiredLease(Client):
    async def claim(self, lease_name: str, claims: Sequence[Claim]) -> Sequence[Claim]:
        self._want(lease_name)
        return await super().claim(lease_name, claims)

    async def save_cursor(self, lease_name: str, runner: str, term: int, cursor: str) -> None:
        self._want(lease_name)
        await super().save_cursor(lease_name, runner, term, cursor)

    def _want(self, lease_name: str) -> None:
        record = self.store._cell(lease_name).value
        if record is None or not record.held_at(trio.current_time()):
            raise StaleTerm("expired")


class ThatComparesTheTermBeforehand(Client):
    """The comparison and the keeping are two transactions."""

    async def claim(self, lease_name: str, claims: Sequence[Claim]) -> Sequence[Claim]:
        for claim in claims:
            self.store._require_present(lease_name, claim.term)
        await trio.sleep(0.002)
        kept = [each for each in claims if supersedes(each, self.store._claims.get((lease_name, each.runner)))]
        self.store._claims.update({(lease_name, claim.runner): claim for claim in kept})
        return kept

    async def save_cursor(self, lease_name: str, runner: str, term: int, cursor: str) -> None:
        self.store._require_present(lease_name, term)
        await trio.sleep(0.002)
        self.store._cursors[lease_name, runner] = cursor


class WithTooManyVariables(Client):
    async def claim(self, lease_name: str, claims: Sequence[Claim]) -> Sequence[Claim]:
        if 4 * len(claims) > 999:
            raise RuntimeError("too many SQL variables")
        return await super().claim(lease_name, claims)


class WithPagesOfAHundredClaims(Client):
    async def claims(self, lease_name: str) -> Sequence[Claim]:
        return (await super().claims(lease_name))[:100]


class WithRunnersThatRunTogether(Client):
    """Keeps what it keeps of runners under `lease:runner`."""

    async def claims(self, lease_name: str) -> Sequence[Claim]:
        kept = self.store._claims.items()
        mine = [(f"{name}:{runner}", claim) for (name, runner), claim in sorted(kept)]
        prefix = f"{lease_name}:"
        return [msgspec.structs.replace(claim, runner=key.removeprefix(prefix)) for key, claim in mine if prefix in key]

    async def paused(self, lease_name: str) -> Collection[str]:
        keys = [f"{name}:{runner}" for name, runner in self.store._paused]
        return {key.removeprefix(f"{lease_name}:") for key in keys if key.startswith(f"{lease_name}:")}

    async def load_cursor(self, lease_name: str, runner: str) -> str | None:
        kept = {f"{name}:{runner}": cursor for (name, runner), cursor in self.store._cursors.items()}
        return kept.get(f"{lease_name}:{runner}")


class WithOneConnectionForAll(Client):
    """Whoever renews waits for everybody who is before him."""

    def __init__(self, store: Any) -> None:
        super().__init__(store)
        self.connection = trio.Lock()

    async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> Any:
        async with self.connection:
            return await super().acquire(lease_name, holder, ttl, term=term)

    async def save_cursor(self, lease_name: str, runner: str, term: int, cursor: str) -> None:
        async with self.connection:
            await trio.sleep(0.5)
        await super().save_cursor(lease_name, runner, term, cursor)


class ThatTogglesPauses(Client):
    async def set_paused(self, lease_name: str, runner: str, paused: bool) -> None:
        await super().set_paused(lease_name, runner, runner not in await self.paused(lease_name))


class WithoutCapitalsInPauses(Client):
    async def set_paused(self, lease_name: str, runner: str, paused: bool) -> None:
        await super().set_paused(lease_name, runner.lower(), paused)


class ThatForgetsWithTheTerm(Client):
    """What it keeps of runners ends with the term, as if it were attached to the lease."""

    async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> Any:
        grant: LeaseGrant = await super().acquire(lease_name, holder, ttl, term=term)
        if grant.is_leader and term is None:
            self.store._paused.clear()
            self.store._cursors.clear()
        return grant


class ThatPausesForTheLeaderAlone(Client):
    async def set_paused(self, lease_name: str, runner: str, paused: bool) -> None:
        record = self.store._cell(lease_name).value
        if record is not None and not record.released:
            await super().set_paused(lease_name, runner, paused)


class ThatTakesAnEmptyCursorForNone(Client):
    async def load_cursor(self, lease_name: str, runner: str) -> str | None:
        return await super().load_cursor(lease_name, runner) or None


class WithShortCursors(Client):
    async def save_cursor(self, lease_name: str, runner: str, term: int, cursor: str) -> None:
        await super().save_cursor(lease_name, runner, term, cursor[:65_535])


class WithCursorsOfJSON(Client):
    """A cursor that happens to be JSON comes back as what it says."""

    async def load_cursor(self, lease_name: str, runner: str) -> Any:
        cursor = await super().load_cursor(lease_name, runner)
        return None if cursor == "null" else cursor


class WithoutCapitalsInCursors(Client):
    async def save_cursor(self, lease_name: str, runner: str, term: int, cursor: str) -> None:
        await super().save_cursor(lease_name, runner.lower(), term, cursor)

    async def load_cursor(self, lease_name: str, runner: str) -> str | None:
        return await super().load_cursor(lease_name, runner.lower())


class WithCursorsOfAnyTerm(Client):
    async def save_cursor(self, lease_name: str, runner: str, term: int, cursor: str) -> None:
        self.store._cursors[lease_name, runner] = cursor


def anything_is_kept(claim: Claim, kept: Claim | None) -> bool:
    return True


def what_is_not_earlier_is_kept(claim: Claim, kept: Claim | None) -> bool:
    return kept is None or claim.due_at >= kept.due_at


def only_later_instants_are_kept(claim: Claim, kept: Claim | None) -> bool:
    return kept is None or claim == kept or claim.due_at > kept.due_at


def instants_are_compared_as_floats(claim: Claim, kept: Claim | None) -> bool:
    if kept is not None and float(to_microseconds(claim.due_at)) == float(to_microseconds(kept.due_at)):
        return claim == kept or (kept.result is None and claim.term >= kept.term)
    return supersedes(claim, kept)


def instants_are_compared_as_texts(claim: Claim, kept: Claim | None) -> bool:
    if kept is not None and claim.due_at != kept.due_at:
        return str(to_microseconds(claim.due_at)) > str(to_microseconds(kept.due_at))
    return supersedes(claim, kept)


def terms_are_compared_as_texts(claim: Claim, kept: Claim | None) -> bool:
    if kept is not None and claim.due_at == kept.due_at and claim != kept:
        return kept.result is None and str(claim.term) >= str(kept.term)
    return supersedes(claim, kept)


def an_open_instant_is_its_terms_alone(claim: Claim, kept: Claim | None) -> bool:
    same = kept is not None and claim.due_at == kept.due_at
    return supersedes(claim, kept) and not (same and kept is not None and claim.term != kept.term)


def a_later_term_ends_again(claim: Claim, kept: Claim | None) -> bool:
    again = kept is not None and claim.due_at == kept.due_at and claim.term > kept.term
    return supersedes(claim, kept) or again


def a_repeated_end_is_passed_over(claim: Claim, kept: Claim | None) -> bool:
    return supersedes(claim, kept) and not (kept is not None and claim == kept and kept.result is not None)


def any_later_term_is_present(record: LeaseRecord | None, term: int) -> bool:
    return record is not None and record.term <= term and not record.released


def an_older_term_is_present(record: LeaseRecord | None, term: int) -> bool:
    return record is not None and term <= record.term and not record.released


def a_released_term_is_present(record: LeaseRecord | None, term: int) -> bool:
    return record is not None and record.term == term


def a_term_that_never_was_is_present(record: LeaseRecord | None, term: int) -> bool:
    return record is None or _is_present(record, term)


_is_present: Callable[[LeaseRecord | None, int], bool] = records.is_present

BROKEN_KEEPERS: tuple[Broken, ...] = (
    (claims.a_claim_is_kept_as_it_was_written, ThatKeepsMilliseconds),
    (claims.a_claim_is_kept_as_it_was_written, ThatForgetsResults),
    (claims.a_claim_is_kept_as_it_was_written, WithoutCapitalsInRunners),
    (claims.a_claim_is_kept_as_it_was_written, WithAnInstantOfNoZone),
    (claims.claims_are_ordered_by_their_runners, WithClaimsInTheOrderOfADictionary),
    (claims.a_later_instant_takes_the_place_of_an_earlier_one, ("supersedes", anything_is_kept)),
    (claims.a_later_instant_takes_the_place_of_an_earlier_one, ("supersedes", instants_are_compared_as_floats)),
    (claims.a_later_instant_takes_the_place_of_an_earlier_one, ("supersedes", instants_are_compared_as_texts)),
    (claims.an_instant_ends_once, ("supersedes", what_is_not_earlier_is_kept)),
    (claims.an_instant_ends_once, ("supersedes", only_later_instants_are_kept)),
    (claims.an_instant_ends_once, ("supersedes", a_later_term_ends_again)),
    (claims.an_open_instant_is_taken_over_by_a_later_term, ("supersedes", an_open_instant_is_its_terms_alone)),
    (claims.an_open_instant_is_taken_over_by_a_later_term, ("supersedes", terms_are_compared_as_texts)),
    (claims.a_claim_that_is_repeated_is_answered_alike, ("supersedes", a_repeated_end_is_passed_over)),
    (claims.of_several_claims_each_is_judged_by_itself, ThatKeepsAllOfACallOrNone),
    (claims.of_several_claims_each_is_judged_by_itself, ThatSaysItKeptWhatWasAsked),
    (claims.of_several_claims_each_is_judged_by_itself, ThatTellsOfClaimsInAnOrderOfItsOwn),
    (claims.of_several_claims_each_is_judged_by_itself, ThatComparesTheTermOfNoClaims),
    (claims.a_stale_claim_keeps_nothing_of_its_call, ThatKeepsTheFirstClaimOfAStaleCall),
    (claims.a_stale_claim_keeps_nothing_of_its_call, ThatPassesStaleClaimsOver),
    (claims.a_stale_claim_keeps_nothing_of_its_call, ("is_present", any_later_term_is_present)),
    (claims.a_stale_claim_keeps_nothing_of_its_call, ("is_present", an_older_term_is_present)),
    (claims.a_stale_claim_keeps_nothing_of_its_call, ("is_present", a_released_term_is_present)),
    (claims.a_stale_claim_keeps_nothing_of_its_call, ("is_present", a_term_that_never_was_is_present)),
    (claims.claims_are_kept_after_an_expiry, ThatWantsAnUnexpiredLease),
    (claims.no_old_claim_is_kept_once_a_term_was_granted, ThatComparesTheTermBeforehand),
    (claims.many_claims_go_into_one_call, WithTooManyVariables),
    (claims.many_claims_go_into_one_call, WithPagesOfAHundredClaims),
    (claims.claims_of_leases_are_kept_apart, WithRunnersThatRunTogether),
    (claims.calls_for_runners_hold_up_no_renewal, WithOneConnectionForAll),
    (cursors.a_pause_lasts_until_it_is_ended, ThatTogglesPauses),
    (cursors.a_pause_lasts_until_it_is_ended, WithoutCapitalsInPauses),
    (cursors.pauses_are_no_matter_of_terms, ThatForgetsWithTheTerm),
    (cursors.pauses_are_no_matter_of_terms, ThatPausesForTheLeaderAlone),
    (cursors.pauses_of_leases_are_kept_apart, WithRunnersThatRunTogether),
    (cursors.a_cursor_is_kept_as_it_was_written, ThatTakesAnEmptyCursorForNone),
    (cursors.a_cursor_is_kept_as_it_was_written, WithShortCursors),
    (cursors.a_cursor_is_kept_as_it_was_written, WithCursorsOfJSON),
    (cursors.cursors_are_kept_apart, WithoutCapitalsInCursors),
    (cursors.cursors_are_kept_apart, WithRunnersThatRunTogether),
    (cursors.cursors_outlive_terms, ThatForgetsWithTheTerm),
    (cursors.a_stale_cursor_is_refused, WithCursorsOfAnyTerm),
    (cursors.a_stale_cursor_is_refused, ("is_present", a_released_term_is_present)),
    (cursors.cursors_are_kept_after_an_expiry, ThatWantsAnUnexpiredLease),
    (cursors.no_old_cursor_is_kept_once_a_term_was_granted, ThatComparesTheTermBeforehand),
)

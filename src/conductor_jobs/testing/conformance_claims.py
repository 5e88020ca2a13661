"""Rules of `conformance`: claims, for stores that keep them (`ClaimStore`)."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, get_args

import trio

from ..failures import shown
from ..lease import LeaseStore
from ..runner_records import Claim, ClaimResult, ClaimStore, keeps_claims, keeps_cursors, keeps_pauses
from .conformance_clients import ALPHA, RUNNER_NAMES, Clients, Observed, fresh_lease, require
from .conformance_fences import (
    Fenced,
    an_expired_term_writes_on,
    every_stale_write_is_refused,
    no_old_write_is_kept_beside_a_campaign,
)

_MICROSECOND: Final = timedelta(microseconds=1)
_NOON: Final = datetime(2026, 3, 28, 12, tzinfo=UTC)
#: As numbers of microseconds: of few digits, and of more than a float or a number of JavaScript tells apart.
_INSTANTS: Final = (
    datetime(1970, 1, 1, 0, 0, 0, 999_999, tzinfo=UTC),
    datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC),
    _NOON,
    datetime(2026, 3, 28, 12, 0, 0, 123_457, tzinfo=UTC),
    datetime(2500, 1, 1, 0, 0, 0, 999_998, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999_998, tzinfo=UTC),
)
_RESULTS: Final[tuple[ClaimResult | None, ...]] = (None, *get_args(ClaimResult))
_MANY: Final = 1000
#: How many call for runners at once, and how often somebody renews meanwhile.
_CALLERS, _RENEWALS = 20, 5


async def a_claim_is_kept_as_it_was_written(clients: Clients) -> None:
    """Of a claim everything is kept as written: any name, the instant to the microsecond, the term, the result."""
    lease = fresh_lease()
    await clients.won(lease, ALPHA)
    require(await _claims(clients, lease) == [], "it kept claims of a lease that nobody had claimed anything for.")
    for number, name in enumerate(RUNNER_NAMES):
        due_at, result = _INSTANTS[number % len(_INSTANTS)], _RESULTS[number % len(_RESULTS)]
        await _kept(clients, lease, Claim(name, due_at, 1, result))
    written = [
        Claim(name, _INSTANTS[number % len(_INSTANTS)], 1, _RESULTS[number % len(_RESULTS)])
        for number, name in enumerate(RUNNER_NAMES)
    ]
    kept = {claim.runner: claim for claim in await _claims(clients, lease)}
    for claim in written:
        require(kept.pop(claim.runner, None) == claim, f"{claim} was written, and not kept as it is.")
    require(not kept, f"of what nobody had claimed it kept {list(kept.values())}.")


async def claims_are_ordered_by_their_runners(clients: Clients) -> None:
    """Claims are ordered by the names of their runners, character by character, whatever the server's language."""
    lease = fresh_lease()
    await clients.won(lease, ALPHA)
    names = ["b", "B", "a", "Z", "ä", "a-b", "aa", "10", "9", "日", "🦊", "\uffee", "_"]
    await _kept(clients, lease, *(Claim(name, _NOON, 1) for name in names))
    told = [claim.runner for claim in await _claims(clients, lease)]
    require(told == sorted(names), f"claims came in the order {told}, not {sorted(names)}.")


async def a_later_instant_takes_the_place_of_an_earlier_one(clients: Clients) -> None:
    """A later due instant takes the place of the one that is kept, by a microsecond too; an earlier one never does."""
    lease = fresh_lease()
    await clients.won(lease, ALPHA)
    for due_at in _INSTANTS:
        for result in (None, "completed"):
            await _kept(clients, lease, Claim("a", due_at, 1))
            await _passed_over(clients, lease, Claim("a", due_at - _MICROSECOND, 1, result))
            later = Claim("a", due_at + _MICROSECOND, 1, result)
            await _kept(clients, lease, later)
            await _passed_over(clients, lease, Claim("a", due_at, 1, result))
            require(await _claims(clients, lease) == [later], f"instead of {later} it kept something earlier.")
            lease = fresh_lease()
            await clients.won(lease, ALPHA)


async def an_instant_ends_once(clients: Clients) -> None:
    """A claim is ended once: it is neither begun again nor given another end, by its own term or a later one."""
    lease = fresh_lease()
    await clients.won(lease, ALPHA)
    ended = Claim("a", _NOON, 1, "completed")
    await _kept(clients, lease, Claim("a", _NOON, 1))
    await _kept(clients, lease, ended)
    for term in (1, 2):
        await _passed_over(clients, lease, Claim("a", _NOON, term), Claim("a", _NOON, term, "failed"))
        require(await _claims(clients, lease) == [ended], f"{ended} was given another end.")
        await clients.campaign(lease, ALPHA)


async def an_open_instant_is_taken_over_by_a_later_term(clients: Clients) -> None:
    """A claim that has not ended is taken over, or ended, by a later term: of 10 after 9 as of 2 after 1."""
    lease = fresh_lease()
    await clients.won(lease, ALPHA)
    await _kept(clients, lease, Claim("a", _NOON, 1), Claim("b", _NOON, 1))
    for term in range(2, 11):
        await clients.campaign(lease, ALPHA)
        await _kept(clients, lease, Claim("a", _NOON, term))
    await _kept(clients, lease, Claim("b", _NOON, 10, "unknown"))
    kept = await _claims(clients, lease)
    expected = [Claim("a", _NOON, 10), Claim("b", _NOON, 10, "unknown")]
    require(kept == expected, f"claims that had not ended were taken over: {expected}; it kept {kept}.")


async def a_claim_that_is_repeated_is_answered_alike(clients: Clients) -> None:
    """A call that is made again, since its answer was lost, is answered as it was before."""
    lease = fresh_lease()
    await clients.won(lease, ALPHA)
    for claim in (Claim("a", _NOON, 1), Claim("a", _NOON, 1, "failed"), Claim("a", _INSTANTS[-1], 1, "skipped")):
        for _ in range(3):
            await _kept(clients, lease, claim)


async def of_several_claims_each_is_judged_by_itself(clients: Clients) -> None:
    """Of several claims in one call those that may be are kept, and told in the order in which they were asked for."""
    lease = fresh_lease()
    await clients.won(lease, ALPHA)
    before = [Claim(name, _NOON, 1, "completed") for name in "abc"]
    await _kept(clients, lease, *before)
    later = _NOON + _MICROSECOND
    new = [Claim("d", _NOON, 1), Claim("c", later, 1), Claim("a", later, 1, "skipped")]
    asked = [new[0], Claim("b", _NOON, 1, "failed"), new[1], new[2]]
    answer = await _claim(clients, lease, asked)
    require(answer == new, f"of {asked} it kept {answer}, not {new}.")
    kept, expected = await _claims(clients, lease), [new[2], before[1], new[1], new[0]]
    require(kept == expected, f"it said that it kept {new}, and kept {kept}.")
    require(await _claim(clients, fresh_lease(), []) == [], "of no claims it kept some.")


async def a_stale_claim_keeps_nothing_of_its_call(clients: Clients) -> None:
    """Claims are refused with StaleTerm, all of the call, unless they carry the present term, not yet released."""
    await every_stale_write_is_refused(clients, _fenced(clients))


async def claims_are_kept_after_an_expiry(clients: Clients) -> None:
    """That a lease has expired makes no difference to claims, as long as nobody has taken it."""
    await an_expired_term_writes_on(clients, _fenced(clients))


async def no_old_claim_is_kept_once_a_term_was_granted(clients: Clients) -> None:
    """Once a term was granted no claim of the one before is kept, whichever was under way at that moment."""
    await no_old_write_is_kept_beside_a_campaign(clients, _fenced(clients))


async def many_claims_go_into_one_call(clients: Clients) -> None:
    """One call takes a thousand claims."""
    lease = fresh_lease()
    await clients.won(lease, ALPHA)
    many = [Claim(f"a runner with a name of usual length {number:04}", _NOON, 1) for number in range(_MANY)]
    for result in (None, "completed"):
        asked = [Claim(each.runner, each.due_at, 1, result) for each in many]
        answer = await _claim(clients, lease, asked)
        require(answer == asked, f"of {_MANY} claims in one call it kept {len(answer)}, or in another order.")
        kept = await _claims(clients, lease)
        require(kept == asked, f"of {_MANY} claims in one call there were then {len(kept)}, or others.")


async def claims_of_leases_are_kept_apart(clients: Clients) -> None:
    """Claims of one lease are none of another, however alike the names of leases and runners are."""
    for separator in ":/|,.-_ \n\x1f":
        prefix = fresh_lease()
        one, other = f"{prefix}{separator}b", prefix
        names = {one: "c", other: f"b{separator}c"}
        for lease, name in names.items():
            await clients.won(lease, ALPHA)
            await _kept(clients, lease, Claim(name, _NOON, 1, "completed"))
        for lease, name in names.items():
            kept = await _claims(clients, lease)
            require(kept == [Claim(name, _NOON, 1, "completed")], f"of lease {lease!r} it kept {kept}.")


async def calls_for_runners_hold_up_no_renewal(clients: Clients) -> None:
    """However many calls for runners are under way, a renewal is confirmed promptly."""
    lease = fresh_lease()
    await clients.won(lease, ALPHA)

    async def call(number: int) -> None:
        while True:
            await trio.sleep(0.002)  # or the clock of a test would never go on
            await _call_for_a_runner(clients.next_store(), lease, f"runner-{number}")

    async with trio.open_nursery() as nursery:
        for number in range(_CALLERS):
            nursery.start_soon(call, number)
        for _ in range(_RENEWALS):
            await trio.sleep(0.05)
            began = trio.current_time()
            await clients.still_held(lease, ALPHA, 1)
            took = trio.current_time() - began
            require(took < clients.prompt, f"beside {_CALLERS} calls for runners a renewal took {took:.1f} s.")
        nursery.cancel_scope.cancel()


async def _call_for_a_runner(store: LeaseStore, lease: str, runner: str) -> None:
    await _claimer(store).claim(lease, [Claim(runner, _NOON, 1)])
    if keeps_pauses(store):
        await store.paused(lease)
    if keeps_cursors(store):
        await store.save_cursor(lease, runner, 1, "cursor")


def _fenced(clients: Clients) -> Fenced:
    async def write(lease: str, runner: str, term: int, number: int) -> None:
        due_at = _NOON + number * _MICROSECOND
        claims = [Claim(f"{runner}, first", due_at, term), Claim(f"{runner}, second", due_at, term)]
        answer = await _claim(clients, lease, claims)
        require(answer == claims, f"of {claims}, each later than what was kept, it kept {answer}.")

    async def look(lease: str, runner: str) -> list[Claim]:
        return [claim for claim in await _claims(clients, lease) if claim.runner.startswith(f"{runner}, ")]

    return Fenced("claim", write, look)


async def _kept(clients: Clients, lease: str, *claims: Claim) -> None:
    answer = await _claim(clients, lease, claims)
    require(answer == list(claims), f"of {list(claims)} it kept {answer}.")


async def _passed_over(clients: Clients, lease: str, *claims: Claim) -> None:
    for claim in claims:
        before = await _claims(clients, lease)
        answer = await _claim(clients, lease, [claim])
        require(answer == [], f"{claim} was kept in place of {before}.")


async def _claim(clients: Clients, lease: str, claims: Sequence[Claim]) -> list[Claim]:
    return _whole(await _claimer(clients.next_store()).claim(lease, claims))


async def _claims(clients: Clients, lease: str) -> list[Claim]:
    return _whole(await _claimer(clients.next_store()).claims(lease))


def _whole(answer: Sequence[Claim]) -> list[Claim]:
    for claim in answer:
        require(isinstance(claim, Claim), f"among claims there was {shown(claim)}.")
        require(claim.due_at.utcoffset() == timedelta(0), f"the instant of {claim} is not in UTC.")
    return list(answer)


def _claimer(store: LeaseStore) -> ClaimStore:
    if not keeps_claims(store):
        raise Observed("one client keeps claims, and another does not.")
    return store

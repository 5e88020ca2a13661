"""One call of a lease store, as the engine makes it: with a deadline, and with one kind of outcome at a time."""

from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import Final, TypeVar, get_args

import trio

from .failures import error_text, shown, split_failure
from .lease import TERM_LIMIT, Holder, LeaseGrant
from .runner_records import Claim, ClaimResult
from .seconds import checked_seconds

T = TypeVar("T")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CLAIM_RESULTS: Final = get_args(ClaimResult)


class NoAnswer(Exception):
    """The store did not answer in time: whether it did what it was asked is unknown."""


class UselessGrant(Exception):
    """The store granted the lease in a way that work cannot begin under; `how` ends the sentence that says so."""

    def __init__(self, how: str) -> None:
        super().__init__(f"the lease store granted the lease {how}")


async def call_store(call: Callable[[], Awaitable[T]], timeout: float) -> T:
    """Await the call for at most `timeout` seconds.

    Raises NoAnswer when that was not enough, and whatever Exception the store raises. Cancelling leaves the outcome
    of the call unknown; an error that comes along with the cancellation, as from a nursery inside a driver,
    is dropped, since outside of the cancelled scope it would pass for a fresh one.
    """
    with trio.move_on_after(timeout):
        try:
            return await call()
        except BaseExceptionGroup as group:
            _, cancellation = split_failure(group)
            if cancellation is not None:
                raise cancellation from None
            raise
    raise NoAnswer(f"the lease store gave no answer within {timeout:g} s")


async def call_for_user(call: Callable[[], Awaitable[T]], timeout: float) -> T:
    """Await the call as `call_store` does, for a user who waits for it: raises TimeoutError in place of NoAnswer."""
    try:
        return await call_store(call, timeout)
    except NoAnswer as silence:
        raise TimeoutError(str(silence)) from None


def checked_grant(answer: object, asker: Holder) -> LeaseGrant:
    """Return what a store answered to `acquire`, once it can be relied on.

    Raises TypeError or ValueError naming the field, its value and the rule. Times for display are not looked at; in a
    refusal `expires_in` may be any number, since it only says when to ask again.
    """
    if not isinstance(answer, LeaseGrant):
        raise TypeError(f"acquire returned {shown(answer)}, which is no LeaseGrant")
    leads, holder_id, term = answer.is_leader, answer.holder_id, answer.term
    _require(type(leads) is bool, "is_leader must be True or False", leads)
    _require(
        type(term) is int and leads <= term < TERM_LIMIT, f"term must be an integer from {leads:d} to 2**63 - 1", term
    )
    _require(holder_id is None or type(holder_id) is str, "holder_id must be a text or None", holder_id)
    _require(type(answer.expires_in) in (int, float), "expires_in must be a number of seconds", answer.expires_in)
    if leads:
        _require(
            holder_id == asker.node_id, f"holder_id of a lease granted to {asker.node_id!r} must be that", holder_id
        )
        checked_seconds("lease grant: expires_in", answer.expires_in, zero_allowed=True)
    return answer


def checked_claims(call: str, answer: object) -> list[Claim]:
    """Return the claims that a store answered to `call`, once they can be relied on. Raises TypeError or ValueError."""
    if not isinstance(answer, Iterable):
        raise TypeError(f"{call} returned {shown(answer)}, which are no claims")
    claims = list(answer)
    for claim in claims:
        if not isinstance(claim, Claim):
            raise TypeError(f"{call} returned {shown(claim)}, which is no Claim")
        due_at = claim.due_at
        if not (isinstance(claim.runner, str) and isinstance(due_at, datetime) and type(claim.term) is int):
            raise TypeError(f"{call} returned {shown(claim)}, whose fields are of other types")
        if due_at.utcoffset() is None or due_at < _EPOCH:
            raise ValueError(f"{call} returned {shown(claim)}, whose due_at is not a time of UTC from 1970 on")
        if claim.result is not None and claim.result not in _CLAIM_RESULTS:
            raise ValueError(f"{call} returned {shown(claim)}, whose result means nothing")
    return claims


def checked_names(call: str, answer: object) -> frozenset[str]:
    """Return the names that a store answered to `call`. Raises TypeError if they are no collection of texts."""
    if isinstance(answer, str) or not isinstance(answer, Iterable):
        raise TypeError(f"{call} returned {shown(answer)}, which are no names")
    names = list(answer)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"{call} returned {shown(name)}, which is no name")
    return frozenset(names)


def _require(holds: bool, rule: str, value: object) -> None:
    if not holds:
        raise ValueError(f"lease grant: {rule}, not {shown(value)}")


def problem_text(error: Exception) -> str:
    """Say what went wrong with a store, naming the type of error where its text may not be enough."""
    return (
        error_text(error)
        if isinstance(error, NoAnswer | UselessGrant)
        else f"{type(error).__name__}: {error_text(error)}"
    )

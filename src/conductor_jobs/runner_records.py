"""What a lease store can keep of runners beside the lease: claims, pauses and cursors, and the rules of a claim.

A *claim* says which due instant of a runner was taken last, in which term, and what became of it. One claim a runner is
enough, since due instants are taken in order: whatever is not after it has been taken. It is written before the run,
and again after it; one that was never written the second time tells the next leader that nobody knows how far the
run came.

Claims and cursors are fenced: a store keeps them only while the lease's present term is the one that they carry, and
has not been released.
"""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, Protocol, TypeGuard, final, runtime_checkable

import msgspec

from .lease import has_methods, is_name

#: What became of a due instant: run to its end, run and failed, not run for the reason named, registered before it,
#: or left by a term that ended. Missing in a claim whose run has not ended.
ClaimResult = Literal["completed", "failed", "skipped", "paused", "registered", "unknown"]

#: Characters of a runner's name under which every store can keep something: `exercise_lease_store` asks for so many.
LONGEST_NAME: Final = 255
#: The rule of `is_runner_name`.
NAME_RULE: Final = f"a text of at most {LONGEST_NAME} characters that UTF-8 can hold, without NUL"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


@final
class Claim(msgspec.Struct, frozen=True):
    """The latest due instant of a runner that was taken: by which term, and with what result.

    `due_at` is aware, in UTC, and exact to the microsecond. `result` is None from before the run until after it.
    """

    runner: str
    due_at: datetime
    term: int
    result: ClaimResult | None = None


@runtime_checkable
class ClaimStore(Protocol):
    """What some stores can do besides: keep the latest claim of each runner."""

    async def claims(self, lease_name: str) -> Sequence[Claim]:
        """Return the latest claim of every runner that has one, ordered by the runner's name."""
        ...

    async def claim(self, lease_name: str, claims: Sequence[Claim]) -> Sequence[Claim]:
        """Keep each claim that `supersedes` the one kept of its runner, and return those that are kept, in order.

        All of them carry one term, and no two are of one runner. In one step with their keeping, that term is compared
        with the lease's: raises StaleTerm, keeping none, unless it is the lease's present term and not released.
        Whether the lease has expired makes no difference as long as no other term has begun. No claims: returns
        none and compares nothing. Cancelling leaves the outcome unknown.
        """
        ...


@runtime_checkable
class PauseStore(Protocol):
    """What some stores can do besides: remember which runners are paused."""

    async def paused(self, lease_name: str) -> Collection[str]:
        """Return the names of the runners that are paused."""
        ...

    async def set_paused(self, lease_name: str, runner: str, paused: bool) -> None:
        """Pause a runner, or resume it; no change if it is so already. Cancelling leaves the outcome unknown."""
        ...


@runtime_checkable
class CursorStore(Protocol):
    """What some stores can do besides: keep how far a runner has come, as a text of the runner's own."""

    async def load_cursor(self, lease_name: str, runner: str) -> str | None:
        """Return the cursor that was saved last, or None."""
        ...

    async def save_cursor(self, lease_name: str, runner: str, term: int, cursor: str) -> None:
        """Keep a cursor, in one step with the comparison of its term with the lease's.

        Raises StaleTerm, keeping nothing, unless `term` is the lease's present term and not released. Cancelling
        leaves the outcome unknown.
        """
        ...


def is_runner_name(value: object) -> TypeGuard[str]:
    """Return whether every store can keep something by a runner's name.

    A claim that one store refuses for its name, as the index of a database does, would hold up those asked with it.
    """
    return is_name(value) and len(value) <= LONGEST_NAME


def supersedes(claim: Claim, kept: Claim | None) -> bool:
    """Return whether a store is to keep `claim` in place of the one of this runner that it keeps now.

    A later due instant does. The same one does while its run has not ended: to end it, or to take it over in a later
    term. Also what is kept already is kept, so that a call whose answer was lost can be made again.
    """
    if kept is None or claim.due_at > kept.due_at:
        return True
    if claim.due_at < kept.due_at:
        return False
    return claim == kept or (kept.result is None and claim.term >= kept.term)


def to_microseconds(due_at: datetime) -> int:
    """Return a due instant as microseconds since 1970, which every store can keep and compare exactly."""
    return (due_at - _EPOCH) // _MICROSECOND


def from_microseconds(microseconds: int) -> datetime:
    """Return the due instant that `to_microseconds` made a number of. Raises OverflowError beyond the year 9999."""
    return _EPOCH + microseconds * _MICROSECOND


def keeps_claims(store: object) -> TypeGuard[ClaimStore]:
    """Return whether a store keeps claims."""
    return has_methods(store, "claims", "claim")


def keeps_pauses(store: object) -> TypeGuard[PauseStore]:
    """Return whether a store remembers who is paused."""
    return has_methods(store, "paused", "set_paused")


def keeps_cursors(store: object) -> TypeGuard[CursorStore]:
    """Return whether a store keeps cursors."""
    return has_methods(store, "load_cursor", "save_cursor")

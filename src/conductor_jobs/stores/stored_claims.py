"""A claim as the JSON that a store of keys and texts keeps under the runner's name."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final, Self, final

import msgspec

from ..lease import TERM_LIMIT
from ..runner_records import Claim, ClaimResult, from_microseconds, to_microseconds

#: In microseconds since 1970: the range of due instants.
FIRST_DUE: Final = to_microseconds(datetime.min.replace(tzinfo=UTC))
LAST_DUE: Final = to_microseconds(datetime.max.replace(tzinfo=UTC))


@final
class StoredClaim(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept of a claim; the script that claims in Redis reads it by the order of these fields."""

    due_at_us: Annotated[int, msgspec.Meta(ge=FIRST_DUE, le=LAST_DUE)]
    term: Annotated[int, msgspec.Meta(ge=1, le=TERM_LIMIT - 1)]
    result: ClaimResult | None

    @classmethod
    def of(cls, claim: Claim) -> Self:
        """Return what is kept of it."""
        return cls(to_microseconds(claim.due_at), claim.term, claim.result)

    def claim(self, runner: str) -> Claim:
        """Return it as the claim of that runner."""
        return Claim(runner, from_microseconds(self.due_at_us), self.term, self.result)


def encoded(claim: Claim) -> bytes:
    """Return what is kept of a claim, the same bytes for the same claim."""
    return msgspec.json.encode(StoredClaim.of(claim))


def decoded(runner: str, kept: bytes) -> Claim:
    """Return the claim of a runner. Raises ValueError for what `encoded` would not have made."""
    return msgspec.json.decode(kept, type=StoredClaim).claim(runner)


def term_of(claims: Sequence[Claim]) -> int:
    """Return the term that the claims of one call carry. Raises ValueError for several."""
    term, *others = {claim.term for claim in claims}
    if others:
        raise ValueError(f"claims of one call must carry one term, not {sorted([term, *others])}.")
    return term

"""What client and server of the control API say to each other of runners; see `http_wire`.

A due instant is an ISO 8601 text with its zone, exact to the microsecond.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, final

import msgspec

from ..runner_records import Claim, ClaimResult
from .http_rules import check, check_names, check_term

#: Bytes of a request or an answer: ten thousand claims of names that are long, or a cursor of some megabytes.
LARGEST_OF_RUNNERS: Final = 32 * 2**20
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@final
class AskedClaim(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A claim as it is asked for; the term is that of the request."""

    runner: str
    due_at: datetime
    result: ClaimResult | None = None

    def __post_init__(self) -> None:
        check_names(self, "runner")
        _check_instant(self.due_at)


@final
class ClaimRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """`POST /v1/runners/claim`: keep the claims that supersede what is kept; all of them in one step, under `term`."""

    lease_name: str
    term: int
    claims: list[AskedClaim]

    @classmethod
    def of(cls, lease_name: str, claims: Sequence[Claim]) -> "ClaimRequest":
        """Return it as it is sent. Raises ValueError unless there are claims, all of one term."""
        terms = {claim.term for claim in claims}
        check(len(terms) == 1, "claims", sorted(terms), "of one term")
        asked = [AskedClaim(claim.runner, claim.due_at, claim.result) for claim in claims]
        return cls(lease_name, terms.pop(), asked)

    def __post_init__(self) -> None:
        check_names(self, "lease_name")
        check_term(self.term)
        runners = {claim.runner for claim in self.claims}
        check(len(runners) == len(self.claims), "claims", len(self.claims), f"of {len(runners)} runners, one of each")

    def as_claims(self) -> list[Claim]:
        """Return them as stores say it."""
        return [Claim(each.runner, each.due_at.astimezone(UTC), self.term, each.result) for each in self.claims]


@final
class KeptRunners(msgspec.Struct, frozen=True, rename="camel"):
    """The answer to a claim: the runners whose claims are kept."""

    kept: list[str]


@final
class KeptClaim(msgspec.Struct, frozen=True, rename="camel"):
    """A claim that is kept."""

    runner: str
    due_at: datetime
    term: int
    result: ClaimResult | None = None

    def __post_init__(self) -> None:
        _check_instant(self.due_at)

    @classmethod
    def of(cls, claim: Claim) -> "KeptClaim":
        """Return it as it is sent."""
        return cls(claim.runner, claim.due_at, claim.term, claim.result)

    def as_claim(self) -> Claim:
        """Return it as stores say it."""
        return Claim(self.runner, self.due_at.astimezone(UTC), self.term, self.result)


@final
class KeptClaims(msgspec.Struct, frozen=True, rename="camel"):
    """The answer to `GET /v1/runners/claims`."""

    claims: list[KeptClaim]


@final
class PauseRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """`POST /v1/runners/pause`: pause a runner, or resume it."""

    lease_name: str
    runner: str
    paused: bool

    def __post_init__(self) -> None:
        check_names(self, "lease_name", "runner")


@final
class PausedRunners(msgspec.Struct, frozen=True, rename="camel"):
    """The answer to `GET /v1/runners/paused`."""

    runners: list[str]


@final
class CursorQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """`GET /v1/runners/cursor`: of which lease and which runner."""

    lease_name: str
    runner: str

    def __post_init__(self) -> None:
        check_names(self, "lease_name", "runner")


@final
class CursorRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """`POST /v1/runners/cursor/save`: keep a cursor, in one step with the comparison of `term`."""

    lease_name: str
    runner: str
    term: int
    cursor: str

    def __post_init__(self) -> None:
        check_names(self, "lease_name", "runner")
        check_term(self.term)
        check("\0" not in self.cursor, "cursor", self.cursor, "a text without NUL")


@final
class Cursor(msgspec.Struct, frozen=True, rename="camel"):
    """The answer to `GET /v1/runners/cursor`."""

    cursor: str | None


def _check_instant(due_at: datetime) -> None:
    # Of ten thousand claims nothing is worked out that is not needed.
    if due_at.tzinfo is not UTC or due_at < _EPOCH:
        check(_is_instant(due_at), "due_at", due_at.isoformat(), "an instant from 1970 to 9999, with its zone")


def _is_instant(moment: datetime) -> bool:
    try:
        return moment.utcoffset() is not None and moment.astimezone(UTC) >= _EPOCH
    except OverflowError:  # in UTC it is in the year 10000, or before the year 1
        return False

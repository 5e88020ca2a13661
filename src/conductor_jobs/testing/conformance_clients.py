"""Several clients of one place that keeps leases: how the rules of `conformance` ask, and judge an answer."""

import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from itertools import count
from typing import Final, final
from uuid import uuid4

from ..failures import shown
from ..lease import Holder, LeaseGrant, LeaseStore
from ..runner_records import LONGEST_NAME
from ..store_calls import checked_grant

CLIENTS: Final = 3
#: The seconds of leases that are not to expire while they are looked at.
LONG: Final = 600.0

ALPHA: Final = Holder("alpha", "1")
ALPHA_AGAIN: Final = Holder("alpha", "2")
BETA: Final = Holder("beta", "1")
GAMMA: Final = Holder("gamma", "1")

#: Each the name of a lease, a node, an incarnation and a runner; no two are one, though they differ by little.
NAMES: Final = (
    *("jobs", "Jobs", "jobs ", " jobs", "jöbs", "jo\u0308bs", "日本語", "🦊", "ſ", "s", "ß", "ss", "1", "01", "1.0"),
    *("a'b", 'a"b', "a`b", "a\\b", "a%sb", "a{b}", "a$1", "a;--", "../a", "a*", "a?b", "a#b", "a&b=c", "[a]"),
    *("a\nb", "a\tb", "\r\n", "\x01", "\x7f", "null", "x" * 255, "x" * 254, "ж" * 255),
)  # fmt: skip
#: Of runners, with the longest there is, which no index makes shorter by compressing it.
RUNNER_NAMES: Final = (*NAMES, "".join(chr(0x1F300 + number) for number in range(LONGEST_NAME)))


class Observed(Exception):
    """What was observed, and should not have been."""


@final
class Clients:
    """The clients take turns: which of them carries a call must make no difference."""

    def __init__(
        self,
        stores: Sequence[LeaseStore],
        open_store: Callable[[], AbstractAsyncContextManager[LeaseStore]],
        ttl: float,
        prompt: float,
    ) -> None:
        """Ask `stores`, by turns; `open_store` opens another one. `ttl` and `prompt` are in seconds."""
        self.stores: list[LeaseStore] = list(stores)
        self.open_store = open_store
        self.ttl = ttl
        self.prompt = prompt
        self._turns = count()

    def next_store(self) -> LeaseStore:
        """Return the client whose turn it is."""
        return self.stores[next(self._turns) % len(self.stores)]

    async def campaign(self, lease: str, holder: Holder, ttl: float = LONG) -> LeaseGrant:
        """Campaign, and see that the answer is one."""
        answer = await self.next_store().acquire(lease, holder, ttl)
        return _whole(answer, holder, "acquire")

    async def renew(self, lease: str, holder: Holder, term: int, ttl: float = LONG) -> LeaseGrant:
        """Ask for a renewal, and see that the answer is one."""
        answer = await self.next_store().acquire(lease, holder, ttl, term=term)
        return _whole(answer, holder, "renew")

    async def release(self, lease: str, holder: Holder) -> bool:
        """Release, and see that the answer is True or False."""
        answer = await self.next_store().release(lease, holder)
        require(type(answer) is bool, f"release returned {shown(answer)}, which is neither True nor False.")
        return answer

    async def won(self, lease: str, holder: Holder, ttl: float = LONG) -> LeaseGrant:
        """Campaign for a lease that is free, and see that it was granted."""
        grant = await self.campaign(lease, holder, ttl)
        require(grant.is_leader, f"{named(holder)} campaigned for a lease that was free, and was refused: {grant}.")
        return grant

    async def still_held(self, lease: str, holder: Holder, term: int) -> None:
        """See that a term goes on."""
        grant = await self.renew(lease, holder, term)
        require(
            (grant.is_leader, grant.term) == (True, term),
            f"after that, {named(holder)}, which still held term {term}, could not renew it: {grant}.",
        )


Rule = Callable[[Clients], Awaitable[None]]


def fresh_lease() -> str:
    """Return a name of a lease that nobody used before."""
    return f"conformance-{uuid4().hex}"


def named(holder: Holder) -> str:
    """Return who that is."""
    return f"{holder.node_id!r} (incarnation {holder.incarnation!r})"


def require(holds: bool, observed: str) -> None:
    """Raise Observed unless it holds."""
    if not holds:
        raise Observed(observed)


def require_refused(grant: LeaseGrant, asked: str, holder: Holder | None, term: int) -> None:
    """See that somebody was refused, and told how the lease stands: who has it, or had it last, and in which term."""
    require(not grant.is_leader, f"{asked}, and was granted it: {grant}.")
    told = (None if holder is None else holder.node_id, term)
    require((grant.holder_id, grant.term) == told, f"{asked}, and was not told of {told[0]!r} in term {term}: {grant}.")


def _whole(answer: LeaseGrant, asker: Holder, operation: str) -> LeaseGrant:
    try:
        grant = checked_grant(answer, asker)
    except (TypeError, ValueError) as error:
        raise Observed(f"{error}.") from error
    require(grant.operation == operation, f"asked to {operation}, it answered {grant}.")
    times = (grant.renewed_at, grant.lease_expires_at, grant.expires_in)
    require(
        all(type(each) in (int, float) and math.isfinite(each) for each in times) and grant.expires_in >= 0,
        f"the times of {grant} are no numbers of seconds, or expires_in is below 0.",
    )
    return grant

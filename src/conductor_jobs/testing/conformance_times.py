"""Rules of `conformance`: when a lease expires, and for whom. Time is the store's; ours only bounds it."""

from typing import Final

import trio

from ..lease import Holder, LeaseGrant
from .conformance_clients import (
    ALPHA,
    ALPHA_AGAIN,
    BETA,
    Clients,
    Observed,
    fresh_lease,
    named,
    require,
    require_refused,
)

#: Seconds by which two clocks may differ over a ttl, and the pause between two looks at a lease about to expire.
_DRIFT: Final = 0.01
_LOOK: Final = 0.02
#: How often something that a machine may be too slow for is tried.
_ATTEMPTS: Final = 5


async def an_expired_lease_is_not_renewed(clients: Clients) -> None:
    """A lease that has expired is not renewed, although nobody took it; a campaign takes it, under the next term."""
    lease = fresh_lease()
    await clients.won(lease, ALPHA, clients.ttl)
    await expiry(clients, lease)
    grant = await clients.renew(lease, ALPHA, 1)
    require_refused(grant, f"{named(ALPHA)} asked to renew term 1, which had expired", ALPHA, 1)
    grant = await clients.won(lease, ALPHA)
    require(grant.term == 2, f"after term 1 expired the next one was {grant.term}.")


async def a_lease_lasts_as_long_as_was_told(clients: Clients) -> None:
    """A lease is given to nobody else before the seconds that its holder was told have passed, and then to another."""
    lease = fresh_lease()
    asked_at = trio.current_time()
    grant = await clients.won(lease, ALPHA, clients.ttl)
    taken = await taken_over(clients, lease, BETA)
    early = asked_at + min(clients.ttl, grant.expires_in) - trio.current_time()
    require(early < _DRIFT, f"a lease was given to another {early:.3f} s before it expired: {grant}, then {taken}.")
    require(taken.term == 2, f"after term 1 expired, the next one was {taken.term}.")


async def a_renewal_moves_the_expiry(clients: Clients) -> None:
    """A renewal counts the ttl anew: the lease outlives the expiry that was told before, and ends by the last one."""
    for _ in range(_ATTEMPTS):
        lease = fresh_lease()
        last = await _renewed_for_longer_than_a_ttl(clients, lease)
        if last is not None:
            break
    else:
        raise Observed(f"the store, or this machine, is too slow to renew a lease of {clients.ttl:g} s in time.")
    grant, asked_at = last
    taken = await taken_over(clients, lease, BETA)
    early = asked_at + min(clients.ttl, grant.expires_in) - trio.current_time()
    require(early < _DRIFT, f"a renewed lease was given to another {early:.3f} s too early: {grant}, then {taken}.")


async def _renewed_for_longer_than_a_ttl(clients: Clients, lease: str) -> tuple[LeaseGrant, float] | None:
    """Return the last renewal and when it was asked for, or None if one came too late through no fault of the store."""
    ttl, asked_at = clients.ttl, trio.current_time()
    grant = await clients.won(lease, ALPHA, ttl)
    for _ in range(6):
        await trio.sleep(ttl / 4)
        lasts_until, asked_at = asked_at + min(ttl, grant.expires_in), trio.current_time()
        grant = await clients.renew(lease, ALPHA, 1, ttl)
        if not grant.is_leader:
            in_time = trio.current_time() < lasts_until
            require(not in_time, f"its holder asked to renew a lease that had not expired, and was refused: {grant}.")
            return None
        rival = await clients.campaign(lease, BETA)
        if trio.current_time() < asked_at + min(ttl, grant.expires_in):
            require_refused(rival, f"{named(BETA)} campaigned for a lease that had just been renewed", ALPHA, 1)
        elif rival.is_leader:
            return None
    return grant, asked_at


async def what_is_late_changes_nothing(clients: Clients) -> None:
    """A late renewal or release of a term that expired changes nothing for its successor."""
    lease = fresh_lease()
    await clients.won(lease, ALPHA, clients.ttl)
    await taken_over(clients, lease, BETA)
    await clients.still_held(lease, BETA, 2)
    late = await clients.renew(lease, ALPHA, 1)
    require_refused(late, f"{named(ALPHA)} asked to renew term 1 after {named(BETA)} had taken the lease", BETA, 2)
    require(not await clients.release(lease, ALPHA), "a release of a term that had been taken over returned True.")
    await clients.still_held(lease, BETA, 2)
    require(await clients.release(lease, BETA), "a release by the holder of term 2 returned False.")
    # Nothing was freed by a release after the expiry either, but the incarnation is barred by it.
    await clients.won(lease, ALPHA_AGAIN, clients.ttl)
    await expiry(clients, lease)
    require(not await clients.release(lease, ALPHA_AGAIN), "a release of a lease that had expired returned True.")
    grant = await clients.campaign(lease, ALPHA_AGAIN)
    require_refused(grant, f"{named(ALPHA_AGAIN)} campaigned after its release", ALPHA_AGAIN, 3)


async def expiry(clients: Clients, lease: str) -> None:
    """Wait until a lease has expired, as a barred incarnation is told, which can take nothing."""
    onlooker = Holder("onlooker", "1")
    await clients.release(lease, onlooker)
    while (seen := await clients.campaign(lease, onlooker)).expires_in > 0:
        require(not seen.is_leader, f"{named(onlooker)}, barred, was granted the lease: {seen}.")
        await trio.sleep(seen.expires_in)


async def taken_over(clients: Clients, lease: str, rival: Holder) -> LeaseGrant:
    """Campaign until the lease has expired and is granted."""
    while True:
        grant = await clients.campaign(lease, rival)
        if grant.is_leader:
            return grant
        await trio.sleep(min(_LOOK, grant.expires_in) or _LOOK)

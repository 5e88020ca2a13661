"""Rules of `conformance`: who gets a lease, who is refused, and what a release leaves behind."""

from ..lease import Holder
from .conformance_clients import (
    ALPHA,
    ALPHA_AGAIN,
    BETA,
    GAMMA,
    LONG,
    NAMES,
    Clients,
    fresh_lease,
    named,
    require,
    require_refused,
)


async def a_campaign_takes_a_free_lease(clients: Clients) -> None:
    """A campaign takes a lease that nobody ever held, under term 1."""
    grant = await clients.won(fresh_lease(), ALPHA)
    require(grant.term == 1, f"the first term of a lease is {grant.term}.")
    require(grant.expires_in > 0, f"a lease was granted for no time at all: {grant}.")


async def others_are_refused_and_told(clients: Clients) -> None:
    """While somebody holds a lease everybody else is refused, another incarnation of his node too, and told of him."""
    lease = fresh_lease()
    await clients.won(lease, ALPHA)
    for rival in (BETA, ALPHA_AGAIN):
        grant = await clients.campaign(lease, rival)
        require_refused(grant, f"{named(rival)} campaigned for a lease that {named(ALPHA)} held", ALPHA, 1)
        require(
            grant.expires_in > LONG / 2, f"of a lease of {LONG:g} s that was just taken it said that {grant} was left."
        )
    await clients.still_held(lease, ALPHA, 1)


async def a_renewal_is_confirmed(clients: Clients) -> None:
    """The holder of a lease renews its term, as often as it likes, under the same number."""
    lease = fresh_lease()
    await clients.won(lease, ALPHA)
    for _ in range(3):
        grant = await clients.renew(lease, ALPHA, 1)
        require((grant.is_leader, grant.term) == (True, 1), f"a renewal of term 1 was answered {grant}.")
        require(grant.expires_in > LONG / 2, f"a renewal for {LONG:g} s was answered {grant}.")


async def a_renewal_of_anything_else_is_refused(clients: Clients) -> None:
    """A renewal is refused, and changes nothing, unless node, incarnation and term are those of the holder."""
    lease = fresh_lease()
    grant = await clients.renew(lease, ALPHA, 1)
    require_refused(grant, "somebody asked to renew a lease that nobody ever held", None, 0)
    await clients.won(lease, ALPHA)
    await clients.campaign(lease, ALPHA)
    for asker, term in ((BETA, 2), (ALPHA_AGAIN, 2), (ALPHA, 1), (ALPHA, 3), (ALPHA, 0)):
        grant = await clients.renew(lease, asker, term)
        asked = f"{named(asker)} asked to renew term {term} of a lease that {named(ALPHA)} held in term 2"
        require_refused(grant, asked, ALPHA, 2)
        await clients.still_held(lease, ALPHA, 2)


async def a_campaign_over_ones_own_lease_is_a_new_term(clients: Clients) -> None:
    """A campaign over a lease of one's own that has not expired begins a new term, and ends the old one."""
    lease = fresh_lease()
    await clients.won(lease, ALPHA)
    for term in (2, 3, 4):
        grant = await clients.campaign(lease, ALPHA)
        require(
            (grant.is_leader, grant.term) == (True, term),
            f"a campaign of the holder of term {term - 1} was answered {grant}.",
        )
        old = await clients.renew(lease, ALPHA, term - 1)
        require_refused(old, f"the holder asked to renew term {term - 1} after term {term} began", ALPHA, term)
    await clients.still_held(lease, ALPHA, 4)


async def a_release_frees_and_keeps_the_term(clients: Clients) -> None:
    """A release frees the lease at once, and its term is kept: the next holder's is one higher."""
    lease = fresh_lease()
    for term, holder in enumerate((ALPHA, BETA, ALPHA_AGAIN, GAMMA), start=1):
        grant = await clients.won(lease, holder)
        require(grant.term == term, f"after term {term - 1} was released, the next one was {grant.term}.")
        require(await clients.release(lease, holder), f"a release by the holder of term {term} returned False.")
        late = await clients.campaign(lease, ALPHA)
        require_refused(late, f"{named(ALPHA)}, barred, campaigned for a lease that was free", holder, term)


async def a_release_is_for_the_holder_alone(clients: Clients) -> None:
    """A release by anyone but the holder changes nothing and returns False, as does a second one."""
    lease = fresh_lease()
    require(not await clients.release(lease, GAMMA), "a release of a lease that nobody ever held returned True.")
    await clients.won(lease, ALPHA)
    for stranger in (BETA, ALPHA_AGAIN):
        require(not await clients.release(lease, stranger), f"a release by {named(stranger)} returned True.")
        await clients.still_held(lease, ALPHA, 1)
    require(await clients.release(lease, ALPHA), "a release by the holder returned False.")
    require(not await clients.release(lease, ALPHA), "the second release by one holder returned True.")


async def a_released_incarnation_is_barred(clients: Clients) -> None:
    """An incarnation that released a lease is refused it for ever, also if it never held it; others are not."""
    lease, other_lease = fresh_lease(), fresh_lease()
    await clients.release(lease, BETA)
    early = await clients.campaign(lease, BETA)
    require_refused(early, f"{named(BETA)}, which had released a lease without holding it, campaigned for it", None, 0)
    await clients.won(lease, ALPHA)
    await clients.release(lease, ALPHA)
    for barred in (ALPHA, BETA):
        grant = await clients.campaign(lease, barred)
        require_refused(grant, f"{named(barred)} campaigned for the lease that it had released", ALPHA, 1)
        grant = await clients.renew(lease, barred, 1)
        require_refused(grant, f"{named(barred)} asked to renew the lease that it had released", ALPHA, 1)
    await clients.won(lease, ALPHA_AGAIN)
    await clients.release(lease, ALPHA_AGAIN)
    for barred in (ALPHA, BETA, ALPHA_AGAIN):
        grant = await clients.campaign(lease, barred)
        require_refused(grant, f"{named(barred)} campaigned for the lease that it had released", ALPHA_AGAIN, 2)
    await clients.won(other_lease, ALPHA)
    await clients.still_held(other_lease, ALPHA, 1)


async def leases_know_nothing_of_each_other(clients: Clients) -> None:
    """What happens to one lease changes no other, however alike their names, and no two nodes pass for one."""
    one, other = fresh_lease(), fresh_lease()
    await clients.won(one, ALPHA)
    await clients.won(other, BETA)
    await clients.campaign(other, BETA)
    await clients.release(other, BETA)
    await clients.still_held(one, ALPHA, 1)
    # Keys that are put together from several names must not run into each other.
    for separator in ":/|,.-_ \n\x1f":
        left, right = f"b{separator}c", f"a{separator}b"
        lease = fresh_lease()
        await clients.won(lease, Holder("a", left))
        grant = await clients.campaign(lease, Holder(right, "c"))
        asked = f"{named(Holder(right, 'c'))} campaigned for a lease of {named(Holder('a', left))}"
        require_refused(grant, asked, Holder("a", left), 1)
        await clients.release(f"{lease}{separator}a", Holder("b", "c"))
        await clients.won(lease + "'s", Holder(right, "c"))
        await clients.won(lease + separator, Holder(f"a{separator}b", "c"))
        await clients.still_held(lease, Holder("a", left), 1)


async def any_text_is_a_name(clients: Clients) -> None:
    """A name of a lease, a node or an incarnation is any text without NUL, told from every other by a character."""
    prefix = fresh_lease()
    holders = [Holder(name, name) for name in NAMES]
    for name, holder in zip(NAMES, holders, strict=True):
        grant = await clients.won(prefix + name, holder)
        require(grant.term == 1, f"lease {prefix + name!r} began with term {grant.term}: it was taken for another.")
    for name, holder in zip(NAMES, holders, strict=True):
        grant = await clients.campaign(prefix + name, ALPHA)
        require_refused(grant, f"{named(ALPHA)} campaigned for lease {prefix + name!r}", holder, 1)
        require(await clients.release(prefix + name, holder), f"a release of {prefix + name!r} returned False.")
    # Nor is one of them barred where another one was.
    shared = fresh_lease()
    for term, holder in enumerate(holders, start=1):
        grant = await clients.won(shared, holder)
        require(grant.term == term, f"{named(holder)} was granted term {grant.term} after {term - 1}.")
        require(await clients.release(shared, holder), f"a release by {named(holder)} returned False.")
